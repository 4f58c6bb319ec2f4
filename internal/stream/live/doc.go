// Package live is what a stream node knows of the hub: for each partition of its
// topics the last records (the ring), the last value of each key, the window of
// dedupe ids, and who subscribes to what.
//
// It decides, for every record, by message.Window whether it is a duplicate, and
// hands each one that is not to the subscribers of its subjects, encoded once for
// all that are sent the same bytes. It keeps nothing that matters: all of it is
// read from the hub again when a node starts, and any node decides alike.
//
// A subscription begins at one point of each partition in its view: what it is
// told of before (recovered records, last values) and what it is delivered after
// meet there without a gap and without an overlap. Where that cannot be promised
// the subscriber is told so.
//
// It knows no connections and no protocols: a Receiver takes what is delivered.
//
// # Parts
//
// A topic has a state: its partitions as the hub described them. One goroutine for
// each topic reads it, decides about each batch (judge), and takes it up under the
// partition's lock: ring, last values, head, delivery. Where the topic is not what
// it was the state is retired, all its subscriptions end, and another takes its
// place. A subscription is made by a catchUp, under the locks of all partitions in
// view; what the ring does not have is read by the partition's scanner, for all who
// wait at once.
//
// # Memory
//
// Beside the bytes of keys and values, on 64-bit machines: 32 bytes an entry of the
// window (at most W, rounded up to a power of two, for each partition), about 190 a
// record of the ring, 340 a last value with its key, 220 a subscription that shares
// its key with many, 480 one that is alone.
//
// # Known holes
//
// A node that begins reading at the start of a log that retention has cut may show
// one repeat live, as section 8 of the design allows. Times are those of the
// machines that produced and accepted: dedupe_horizon must exceed what their clocks
// differ. History without a position, or with HistoryRequest.Repeats, may hold such
// a repeat at the oldest records. What was read of a topic that was made anew is
// told from what it was only where the hub has topic ids, or has fewer records.
package live

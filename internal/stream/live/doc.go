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
package live

// Package kafka is the hub as the rest of Postroad sees it, and the only
// package that knows franz-go: a Sink that the forwarder drains into, a Reader that
// follows a topic showing each message once, and a Feed by which a stream node
// knows whole topics.
//
// What the Sink guarantees: records of one partition reach the log in the order
// they were given, each once per client (idempotent producer, acks from all
// replicas in sync). No timer and no number of retries ever drops one: a record
// waits until the hub takes it, refuses it for good, or the Sink is reset or
// closed, and its callback says which. Closing never waits for the hub.
//
// What a Session guarantees: of what it was given, each message is in the hub once
// for who reads committed records, however often the chain is taken over, by
// whomever: transactions hold the messages and the record of which are there, and
// who takes over fences the one before and reads the record. Its answers are true.
//
// What the Reader guarantees: the one rule of message.Window. Each dedupe id is
// shown once within the look-back of its partition, whichever offset reading
// began at, and the hub may go away and come back meanwhile. A topic that is
// deleted and made anew is followed from its beginning, where the hub has topic
// ids.
//
// What the Feed guarantees: each partition of a topic as it stands in the hub, in
// order, without what was aborted, and how far it goes; where something is missing
// between two pieces the gap shows, and of a topic made anew nothing is taken for
// the old one. It shows copies and replays as well: who reads it judges.
//
// All take silence for no end: what is to be read to an end is read to there,
// or the partition's leader has said that nothing readable is left before it, or
// there is an error.
//
// How the hub is reached (credentials, TLS, a proxy) is settled anew for each
// connection, from what the files that the settings name hold at that moment; see
// link. A file that cannot be used is passed over for what it held before. No
// secret gets into an error or a log line. What differs between kinds of hubs is
// in dialect.go.
//
// A topic that was deleted and made anew, and a producer that the hub has lost or
// once refused, are told of by Sink.Partitions, and mended by Sink.Reset.
//
// Known holes:
//   - A hub without topic ids cannot tell that a topic was made anew.
//   - A partition that an unclean election has cut short, and that has grown again
//     beyond where the Feed was before it asks, is not seen to be another.
//   - A Sink that was closed or reset may have a request in the hub's socket
//     that still lands. Whoever reads back right after does not see it. Readers
//     drop the second copy.
//   - Whether there is a SASL mechanism at all is settled once, when a client is
//     made: franz-go asks none for a connection where it was given none.
package kafka

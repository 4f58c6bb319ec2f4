// Package relay is the hub of a stamp that sends to another stamp instead of to
// Kafka: a Sink that the forwarder drains into, over HTTPS to the other's gateway.
//
// What the Sink guarantees: a message counts as sent only when an answer says that
// it is durable in the other stamp's queue. Messages of one key get there in the
// order they were given. Each is stored there once, however often connections are
// cut: a batch that got no answer is sent again to the same process there, which
// knows what it has; where that process is gone the messages come back, and the
// forwarder asks, through ReadBack, what any process there has stored. No timer
// and no number of tries drops one. Closing never waits for the other stamp.
//
// Where Kafka has offsets there are times here: a mark's offset is a time of the
// other stamp's clock in microseconds. Partitions are streams of requests side by
// side, so that the time a round trip takes does not bound what is sent.
//
// docs/adr/0012-a-relay-asks-what-is-stored.md argues for all this, and lists where it ends.
package relay

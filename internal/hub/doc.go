// Package hub is the embedded hub: one Kafka broker inside the process, for
// development and for tests, so that everything runs with no other software.
//
// What it guarantees: a record it acknowledged is still there, at the same
// offset, after the process was killed at any moment and started again on the
// same directory. Two processes never use one directory (a lock that the
// kernel drops with its holder), and a port in use is an error of New.
//
// What it does not do, and why it must not carry anything that matters:
//   - Without sync_writes a power cut may lose records it acknowledged, as
//     with a single broker of Apache Kafka at its defaults: records are in the
//     page cache when the answer goes out.
//   - After a kill it has forgotten which batches of a producer it has seen,
//     so a batch whose acknowledgement was lost may stand in the log twice.
//     Readers drop the second copy (message.Window).
//   - Where retention has removed every record of a partition, a restart
//     begins that partition at offset 0 again.
//   - No replication, no authentication, no TLS.
//
// The broker itself is franz-go's kfake; this package adds the lock, retention
// that also runs after a restart, topics that survive a kill however they were
// created, and a guard against input that is not the Kafka protocol.
package hub

// Package wire is what a stamp sends to another stamp's gateway: batches of
// messages with their identities, and the small JSON documents around them.
//
// It guarantees that Append and Reader are inverse, that a Reader takes no more
// memory than the limit it was given, and that bytes from outside lead to an
// error that says where, never to a panic. docs/relay.md has the format.
//
// It knows no HTTP and decides nothing.
package wire

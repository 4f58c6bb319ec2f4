// Package wire carries the WebSocket connections of a stream node: the upgrade,
// frames in and out, pings, slow clients, the close.
//
// What goes out is queued by reference: a Block that ten thousand connections are
// sent is one piece of memory, made once, with the headers of its frames in it.
// Connections belong to shards. A shard goes round at most every
// Options.WriteDelay, and gives each of its connections all that waits for it in
// one write, since the system call is most of what a delivery costs. A write never waits for a client: where the socket takes no more, a
// goroutine goes on with that connection alone until its queue is empty. TLS has
// no write that can be left half done, so its connections always have such a
// goroutine while something waits for them.
//
// What it guarantees: the bytes that Send and Deliver are given go out whole and
// in that order, or the connection ends. One exception is asked for by the topic:
// while a client is slow, what waits for it of a subscription that conflates is
// replaced by the newest of each key. What waits is bounded: a client that leaves
// too much unread for too long is told 3008 and dropped.
//
// It does not know what the messages mean. HTTP/2 (extended CONNECT) and
// compression are not offered.
package wire

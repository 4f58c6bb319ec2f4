// Package centrifugo speaks the client protocol of Centrifugo with WebSocket
// clients, in JSON and Protobuf, so that its official SDKs read a stream node
// unmodified.
//
// A channel of the protocol is a subject (live.ParseSubject); two spellings of one
// subject are two channels to a client, and each is answered in its own spelling.
// An offset is the Kafka offset plus 1, since clients take 0 for none; an epoch is
// the partition's (live.Position). Both are given only where the client can come
// back with them.
//
// What it guarantees: the reply to subscribe is queued before the first
// publication of the subscription, recovered publications come before live ones,
// and the offset that a client holds at any moment, cut off in the middle of
// anything, is one it can come back with and miss nothing. What a subscription
// begins with is sent in pieces, which is why:
//
//   - Of recovered records the first 256 KiB stand in the reply, whose offset is
//     then that of the last one in it, and the rest follows as pushes that carry
//     their offsets. All SDKs take the offset of each publication that has one,
//     in the reply or behind it, so one cut off in between resumes where it stood;
//     and none meets a message larger than it takes.
//   - Last values are never in the reply. Two SDKs drop publications in the
//     results of connect unless they are recovered ones, one forgets the offset of
//     a reply that has publications without offsets. They follow as pushes without
//     an offset, which leaves alone what the client holds. To a subscription made
//     at connect they carry the offset the subscription began at: the Protobuf
//     decoder of one SDK reads an absent offset there as 0 and keeps that.
//
// It knows nothing of tokens, gateways and sockets: Deps brings an authenticator
// and a publisher, wire the connections, live what there is to see. Presence,
// join and leave, deltas, filters, numeric channel ids, RPC and messages without
// a reply are not offered.
package centrifugo

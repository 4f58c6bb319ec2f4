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
//     results of connect unless they are recovered ones, one drops the tags of
//     publications in a reply. They follow as pushes with a tag that marks them.
//     In subjects with positions the reply has the offset before the first of
//     them, each carries its own, and the final one that at which the subscription
//     began: one cut off in between comes back to those that it has not seen, and
//     what was sent since. Had the reply the offset of the beginning, it would come
//     back behind all of them, and the rest be lost in silence. The final one's own
//     would be no place to come back to for a key that is silent for longer than
//     the hub keeps messages. An offset of 0, before the first message of all, is
//     one that SDKs keep, and come back with or without a field for it.
//
// It knows nothing of tokens, gateways and sockets: Deps brings an authenticator
// and a publisher, wire the connections, live what there is to see. Presence,
// join and leave, deltas, filters, numeric channel ids, RPC and messages without
// a reply are not offered.
package centrifugo

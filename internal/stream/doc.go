// Package stream is a stream node: it reads the hub's topics and brings their
// messages, live, to any number of WebSocket and SSE clients.
//
// A node keeps nothing that matters. Any of them serves any client, and one that
// comes from another node with its position (an offset of the Centrifugo
// protocol, an event's id) gets what it missed, or is told that it cannot.
//
// The parts are packages of their own: live is what the node knows of the hub,
// wire writes WebSocket connections, centrifugo is their protocol, publish
// brings what clients publish to a gateway. This one joins them, and has what
// belongs to the whole node: its HTTP interface with SSE, last values and
// history; who may connect, how many and how long; health; and the drain, by
// which clients leave a node that stops at a stated rate instead of all at once.
//
// It does not decide who may see what, nor read Kafka: it is given an
// authenticator and a live.Log.
package stream

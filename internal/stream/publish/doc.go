// Package publish carries what clients publish to a gateway, over HTTP.
//
// Its guarantee: a Publish that returns without an error stands for a message
// that is durable at a gateway, and every attempt for one message carries the
// same idempotency key and the same principal, so that readers see it once
// however many gateways stored it. Attempts after the first are marked as such.
// Where it cannot be told whether the message was stored the error says so
// (ErrUnknown) and holds the key.
//
// It keeps nothing: what is under way when the process ends is unknown to the
// client, who has its own word for that.
package publish

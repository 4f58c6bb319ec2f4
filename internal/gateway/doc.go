// Package gateway is the HTTP interface by which messages enter a stamp: the
// classic call, /v1 with plain messages, CloudEvents and NDJSON, the fate of a
// message by its receipt, and the description of all this for people and
// programs (/openapi.json, /docs).
//
// Its guarantee: a 2xx for a message is written only after Store.Append has
// returned without an error, which means that the message is durable. Of a
// request either all messages are stored or none. What a client sent decides
// the dedupe ids and nothing else does (see batch.identify), so the same
// request at two stamps gives the same ids and two different messages never
// share one.
//
// Every POST of messages is answered with the idempotency key it was stored
// under, errors included, so that whoever sees a lost or unknown outcome can
// send again with that key. Within one process a repeated key is answered from
// memory (see keyIndex), and so is one of a process that ended before, once its
// keys are loaded; elsewhere the message is stored again and readers show it
// once.
//
// It does not store, forward or authenticate: those are Store, Tracker and, in
// time, an authenticator handed to it. It starts no goroutine.
package gateway

package gateway

import (
	"net/http"
	"sync/atomic"

	"postroad/internal/message"
)

// Limits that no setting moves, because clients are written against them.
const (
	// maxKeyLen is the longest idempotency key, in bytes.
	maxKeyLen = 255
	// maxMessageKeyLen is the longest message key, in bytes.
	maxMessageKeyLen = 1024
	// maxHeaders is the largest number of headers on a message, those that
	// the gateway supplies not counted.
	maxHeaders = 64
	// maxHeaderName is the longest name of a message header, in bytes.
	maxHeaderName = 256
	// maxOwnIDLen is the longest id that an NDJSON line or a CloudEvent may
	// bring, in bytes.
	maxOwnIDLen = 1024
	// maxFields and maxFieldBytes bound the header fields of a request; the
	// HTTP server has its own, larger, bound before these.
	maxFields     = 100
	maxFieldBytes = 64 << 10
)

// load counts what is in progress and refuses what is too much. It never
// waits: a client that is told to come again is better off than one in a queue
// whose length it cannot see.
type load struct {
	requests, bytes       atomic.Int64
	maxRequests, maxBytes int64
}

// enter admits one more request; leave takes it out.
func (l *load) enter() error {
	if l.requests.Add(1) > l.maxRequests {
		l.requests.Add(-1)
		return refuse(errUnavailable, "overloaded: %d requests in progress (overload.max_requests)", l.maxRequests)
	}
	return nil
}

func (l *load) leave() { l.requests.Add(-1) }

// take reserves n bytes for a body; give returns them.
func (l *load) take(n int) error {
	if l.bytes.Add(int64(n)) > l.maxBytes {
		l.bytes.Add(int64(-n))
		return refuse(errUnavailable, "overloaded: %d bytes of bodies in progress (overload.max_bytes)", l.maxBytes)
	}
	return nil
}

func (l *load) give(n int) { l.bytes.Add(int64(-n)) }

// checkFields bounds the header fields of a request.
func checkFields(h http.Header) error {
	if len(h) > maxFields {
		return refuse(errHeaders, "%d header fields; at most %d", len(h), maxFields)
	}
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	if size > maxFieldBytes {
		return refuse(errHeaders, "%d bytes of header fields; at most %d", size, maxFieldBytes)
	}
	return nil
}

// checkSizes refuses a batch with a message over message.max_bytes, so that
// nothing is accepted that the hub would find too large.
func (g *Gateway) checkSizes(b *batch) error {
	for i := range b.msgs {
		size := b.msgs[i].Size()
		if size <= g.opts.Message.MaxBytes {
			continue
		}
		e := refuse(message.ErrTooLarge, "%smessage of %d bytes (key, headers and value as stored); at most %d (message.max_bytes)",
			b.prefix(i), size, g.opts.Message.MaxBytes)
		return b.locate(e, i)
	}
	return nil
}

package gateway

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postroad/internal/message"
)

// batch is what one request asks to store: one message or many. It owns the
// memory of its messages and is used again for later requests.
type batch struct {
	topic string
	key   requestKey
	// caller sent the request.
	caller caller
	// domain keeps classic messages apart from those of /v1: what is stored
	// of them differs even where the client sent the same texts.
	domain string
	msgs   []message.Message
	// own holds for each message the key that belongs to it alone, or "".
	own []string
	// lines holds for each message of NDJSON the number of its line; unit is
	// what a message is called in an error, "line" or "event", and empty in a
	// request of one.
	lines []int
	unit  string

	// digest is the digest of the request, keyHash the hash of its key within
	// principal and topic, zero for minted keys. Both are set by identify.
	digest  message.Hash
	keyHash message.Hash
	// time is when the request was accepted, in microseconds.
	time time.Time

	// headers and text are the memory of the messages' headers, digests that
	// of identify.
	headers  []message.Header
	text     []byte
	lastType []byte // in text; see keepType
	digests  []message.Hash
	// ids are those that come from keys of the messages' own, else zero.
	ids  []message.ID
	body *body
	// out is the memory of the answer.
	out []byte
}

// Domains of the digests; see batch.domain.
const (
	digestMessage = "postroad message digest 1"
	digestClassic = "postroad classic digest 1"
	digestRequest = "postroad request digest 1"
	keyDomain     = "postroad idempotency key 1"
)

// keepMessages is the largest number of messages whose memory is kept for
// later batches.
const keepMessages = 2048

// reset makes the batch empty, without references to what it held.
func (b *batch) reset() {
	clear(b.msgs)
	clear(b.own)
	clear(b.headers)
	if cap(b.msgs) > keepMessages {
		*b = batch{}
		return
	}
	*b = batch{
		msgs: b.msgs[:0], own: b.own[:0], lines: b.lines[:0], headers: b.headers[:0],
		text: b.text[:0], digests: b.digests[:0], ids: b.ids[:0], out: b.out[:0],
	}
}

// grow makes room for n more messages of one header each, so that a batch of
// thousands is not copied over and over while it grows.
func (b *batch) grow(n int) {
	b.msgs, b.own, b.lines = slices.Grow(b.msgs, n), slices.Grow(b.own, n), slices.Grow(b.lines, n)
	b.headers = slices.Grow(b.headers, n)
	b.digests, b.ids = slices.Grow(b.digests, n), slices.Grow(b.ids, n)
}

// add appends a message whose headers are those that were added to b.headers
// since mark, and puts these in order. own is the message's own key, or "".
func (b *batch) add(m message.Message, mark int, own string) {
	if mine := b.headers[mark:]; len(mine) > 1 {
		slices.SortFunc(mine, func(x, y message.Header) int { return strings.Compare(x.Name, y.Name) })
	}
	m.Headers = b.headers[mark:len(b.headers):len(b.headers)]
	b.msgs = append(b.msgs, m)
	b.own = append(b.own, own)
}

// keepText copies s into the batch's memory.
func (b *batch) keepText(s string) []byte {
	mark := len(b.text)
	b.text = append(b.text, s...)
	return b.text[mark:len(b.text):len(b.text)]
}

// prefix begins an error text about message i: "line 3: ", or nothing.
func (b *batch) prefix(i int) string {
	if b.unit == "" {
		return ""
	}
	return fmt.Sprintf("%s %d: ", b.unit, b.number(i))
}

// locate adds to an error about message i which one that is.
func (b *batch) locate(e *refusal, i int) *refusal {
	if b.unit == "" {
		return e
	}
	return e.with(b.unit, b.number(i))
}

// number counts from 1; of NDJSON it is the line.
func (b *batch) number(i int) int {
	if i < len(b.lines) {
		return b.lines[i]
	}
	return i + 1
}

// digestOf hashes what the client sent of one message: key, value and headers
// (content type and CloudEvents attributes among them). Transport headers and
// what the gateway adds do not count. The headers are in order, so the order
// in which a client wrote them does not count either.
func digestOf(domain string, m *message.Message) message.Hash {
	h := message.NewHasher(domain)
	if m.Key == nil {
		h.Uint(0)
	} else {
		h.Uint(1)
		h.Bytes(m.Key)
	}
	h.Bytes(m.Value)
	h.Uint(uint64(len(m.Headers)))
	for _, header := range m.Headers {
		h.String(header.Name)
		h.Bytes(header.Value)
	}
	return h.Sum()
}

// digestAll is the digest of a request: the hash of its messages' digests in
// order, each with the message's id where that comes from a key of its own (the
// digest of an NDJSON line does not hold its id, and the same line under
// another id is another request). The digest of a single message without such a
// key is the request's. It can be computed again from what is stored.
func digestAll(digests []message.Hash, ids []message.ID) message.Hash {
	if len(digests) == 1 && ids[0].IsZero() {
		return digests[0]
	}
	h := message.NewHasher(digestRequest)
	h.Uint(uint64(len(digests)))
	for i := range digests {
		h.Bytes(digests[i][:])
		h.Bytes(ids[i][:])
	}
	return h.Sum()
}

// identify gives every message its dedupe id, digest, principal, time and
// marks. The id depends on what the client sent and on nothing else:
//
//   - a message with a key of its own (a CloudEvent's source and id, an NDJSON
//     line's id) has the id of principal, topic, that key and the message's own
//     digest, index 0, in whatever batch it comes;
//   - any other has the id of principal, topic, the request's key, the digest
//     of the whole request and its index in it.
func (g *Gateway) identify(b *batch, traceparent string) {
	principal := b.caller.name
	for i := range b.msgs {
		digest, id := digestOf(b.domain, &b.msgs[i]), message.ID{}
		if b.own[i] != "" {
			id = message.DeriveID(principal, b.topic, b.own[i], digest, 0)
		}
		b.digests, b.ids = append(b.digests, digest), append(b.ids, id)
	}
	b.digest = digestAll(b.digests, b.ids)
	b.time = g.deps.Now().UTC().Truncate(time.Microsecond)
	if !b.key.minted {
		b.keyHash = hashKey(principal, b.topic, b.key.text)
	}
	for i := range b.msgs {
		m := &b.msgs[i]
		m.Topic, m.Principal, m.Time, m.TraceParent = b.topic, principal, b.time, traceparent
		m.KeyHash, m.Repeat = b.keyHash, b.key.repeat
		if b.own[i] != "" {
			m.Digest, m.ID = b.digests[i], b.ids[i]
		} else {
			m.Digest = b.digest
			m.ID = message.DeriveID(principal, b.topic, b.key.text, b.digest, i)
		}
	}
}

// hashKey is the scope of an idempotency key: principal and topic.
func hashKey(principal, topic, key string) message.Hash {
	h := message.NewHasher(keyDomain)
	h.String(principal)
	h.String(topic)
	h.String(key)
	return h.Sum()
}

// eventKey is the own key of a CloudEvent and lineKey that of an NDJSON line.
// Their control characters keep them apart from each other and from every
// Idempotency-Key, none of which may hold one.
func eventKey(source, id string) string { return "event\x00" + source + "\x00" + id }

func lineKey(id string) string { return "line\x00" + id }

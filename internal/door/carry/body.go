package carry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// memory counts the bytes that kept bodies and answers take, and refuses those
// beyond its size.
//
// Whoever sends a body slowly holds memory for as long as it likes, and may do so
// many times. Without a bound a single client could see to it that no body is kept,
// and so no POST of anybody repeated. So once half of the memory is used a client
// gets no more than a share for bodies that it is still sending, and one that has
// been coming for long is passed on as it comes.
type memory struct {
	size int64
	used atomic.Int64

	mu     sync.Mutex
	coming map[netip.Prefix]int64 // by client; guarded by mu
}

const (
	// clientShare is the part of the memory that one client may take for bodies
	// that it is still sending, where memory is scarce: one in so many.
	clientShare = 16
	// keepTime is how long a body may take to come where memory is scarce.
	keepTime = 10 * time.Second
)

func (m *memory) scarce() bool { return m.used.Load() > m.size/2 }

// admit counts bytes of a body that a client is still sending.
func (m *memory) admit(client netip.Prefix, n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if sum := m.coming[client] + n; sum > m.size/clientShare && m.scarce() {
		return false
	}
	if m.coming == nil {
		m.coming = make(map[netip.Prefix]int64)
	}
	m.coming[client] += n
	return true
}

// dismiss undoes admit.
func (m *memory) dismiss(client netip.Prefix, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.coming[client] -= n; m.coming[client] <= 0 {
		delete(m.coming, client)
	}
}

func (m *memory) take(n int64) bool {
	if m.used.Add(n) <= m.size {
		return true
	}
	m.used.Add(-n)
	return false
}

func (m *memory) give(n int64) { m.used.Add(-n) }

// held is memory of one request: of its body, which is given back when the last
// that may send it leaves, or of an answer that was read whole.
type held struct {
	from  *memory
	bytes atomic.Int64
	users atomic.Int32

	// While a body comes, of the goroutine that reads it.
	client netip.Prefix // whose body it is; not valid where that is not known
	since  time.Time
	coming int64
}

// comes begins the body of a client, and came ends it.
func (h *held) comes(client netip.Prefix) { h.client, h.since = client, time.Now() }

func (h *held) came() {
	if h.coming > 0 {
		h.from.dismiss(h.client, h.coming)
	}
	h.client, h.since, h.coming = netip.Prefix{}, time.Time{}, 0
}

// slow: the body takes too long to come.
func (h *held) slow() bool {
	return h != nil && !h.since.IsZero() && h.from.scarce() && time.Since(h.since) > keepTime
}

// take of nil is free.
func (h *held) take(n int64) bool {
	if h == nil {
		return true
	}
	known := h.client.IsValid()
	if known && !h.from.admit(h.client, n) {
		return false
	}
	if !h.from.take(n) {
		if known {
			h.from.dismiss(h.client, n)
		}
		return false
	}
	if known {
		h.coming += n
	}
	h.bytes.Add(n)
	return true
}

func (h *held) enter() { h.users.Add(1) }

func (h *held) leave() {
	if h.users.Add(-1) == 0 {
		h.give()
	}
}

// give gives all of it back.
func (h *held) give() { h.from.give(h.bytes.Swap(0)) }

// firstBytes is what is taken for a body before any of it was seen. Memory
// grows with what has arrived, so that a client that announces much and sends
// little holds little.
const firstBytes int64 = 4 << 10

// keep reads src to its end, of which size bytes are announced (-1: unknown),
// and returns them. Where there are more than most, or h gets no more memory, or
// they come too slowly for it, whole is false, and the bytes are those that were
// read so far. An error is the client's.
func keep(src io.Reader, size, most int64, h *held) (b []byte, whole bool, err error) {
	if size > most {
		return nil, false, nil
	}
	bound := most + 1 // one more than there may be, to see the end without growing
	if size >= 0 {
		bound = size + 1
	}
	length := min(firstBytes, bound)
	if !h.take(length) {
		return nil, false, nil
	}
	b = make([]byte, 0, length)
	for {
		n, err := src.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case errors.Is(err, io.EOF):
			return b, int64(len(b)) <= most, nil
		case err != nil:
			return nil, false, &bodyError{err}
		case h.slow():
			return b, false, nil
		case len(b) < cap(b):
			continue
		}
		more := min(int64(cap(b)), bound-int64(cap(b)))
		if more <= 0 || !h.take(more) {
			return b, false, nil
		}
		b = append(make([]byte, 0, int64(cap(b))+more), b...)
	}
}

// kept makes a body of bytes that were kept. The transport knows the types and
// writes header and body at once.
func kept(b *bytes.Reader) io.ReadCloser {
	if b.Len() == 0 {
		return http.NoBody
	}
	return io.NopCloser(b)
}

// lent lends a request's body to one attempt after another, as long as none
// has read of it. The transport closes the body of a failed attempt; the
// client's own stays open.
type lent struct {
	src     io.Reader
	touched atomic.Bool
}

func noBody(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.ContentLength == 0
}

// lend returns nil for a request without a body. b are bytes that were already read
// of it, which h holds until they are sent.
func lend(req *http.Request, b []byte, h *held) *lent {
	if noBody(req) {
		return nil
	}
	if len(b) > 0 {
		return &lent{src: io.MultiReader(&begun{bytes.NewReader(b), h}, req.Body)}
	}
	return &lent{src: req.Body}
}

// begun is the beginning of a body that is passed on as it comes.
type begun struct {
	bytes *bytes.Reader
	held  *held
}

// Read implements io.Reader.
func (b *begun) Read(p []byte) (int, error) {
	n, err := b.bytes.Read(p)
	if err != nil {
		b.held.give()
	}
	return n, err
}

// Read implements io.Reader.
func (b *lent) Read(p []byte) (int, error) {
	b.touched.Store(true)
	n, err := b.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	}
	return n, err
}

// Close implements io.Closer for one attempt.
func (b *lent) Close() error { return nil }

// whole reports whether another attempt would find the body as the client sent
// it.
func (b *lent) whole() bool { return b == nil || !b.touched.Load() }

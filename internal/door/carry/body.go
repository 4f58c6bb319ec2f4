package carry

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// memory counts the bytes that kept bodies and answers take, and refuses those
// beyond its size.
type memory struct {
	size int64
	used atomic.Int64
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
}

// take of nil is free.
func (h *held) take(n int64) bool {
	if h == nil {
		return true
	}
	if !h.from.take(n) {
		return false
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
// and returns them. Where there are more than most, or h gets no more memory,
// whole is false, and the bytes are those that were read so far. An error is
// the client's.
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

// lend returns nil for a request without a body. begun are bytes that were
// already read of it.
func lend(req *http.Request, begun []byte) *lent {
	if noBody(req) {
		return nil
	}
	if len(begun) > 0 {
		return &lent{src: io.MultiReader(bytes.NewReader(begun), req.Body)}
	}
	return &lent{src: req.Body}
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

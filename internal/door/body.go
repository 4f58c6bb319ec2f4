package door

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
)

// bodyError: the client's body could not be read.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// body lends a request's body to one attempt after another, as long as none
// has read of it. The transport closes the body of a failed attempt; the
// client's own stays open.
type body struct {
	src     io.Reader
	touched atomic.Bool
}

// lend returns nil for a request without a body.
func lend(req *http.Request) *body {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &body{src: req.Body}
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.touched.Store(true)
	n, err := b.src.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	}
	return n, err
}

// Close implements io.Closer for one attempt.
func (b *body) Close() error { return nil }

// whole reports whether another attempt would find the body as the client sent
// it.
func (b *body) whole() bool { return b == nil || !b.touched.Load() }

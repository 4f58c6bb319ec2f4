package door

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

const (
	// writeBuffer is how much of a request the transport gathers before it
	// writes for the first time, in bytes.
	writeBuffer = 4 << 10
	// keptBody is how much of a body is kept for another attempt. It only has
	// to cover what the transport may take out of it before its first write:
	// its buffer and one more of io.Copy's 32 KiB. Whatever is larger has left
	// for an origin before that much was read.
	keptBody = 64 << 10
)

// bodyError: the client's body could not be read.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read request body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// body lends a request's body to one attempt after another. The transport
// closes the body of a failed attempt; the client's own stays open.
type body struct {
	src io.Reader

	mu      sync.Mutex
	kept    []byte // the beginning of src, as long as it is all that was read; guarded by mu
	pos     int    // how much of kept this attempt has read; guarded by mu
	lost    bool   // more than keptBody was read; guarded by mu
	reading bool   // a Read waits for the client; guarded by mu
	closed  bool   // the attempt is done with it; guarded by mu
}

// lend returns nil for a request without a body.
func lend(req *http.Request) *body {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &body{src: req.Body}
}

// Read implements io.Reader for one attempt. No lock is held while it waits for
// the client, or Close would wait for that client too.
func (b *body) Read(p []byte) (int, error) {
	if n, ok := b.again(p); ok {
		return n, nil
	}
	n, err := b.src.Read(p)
	b.keep(p[:n])
	if err != nil && !errors.Is(err, io.EOF) {
		err = &bodyError{err}
	}
	return n, err
}

// again reads what an earlier attempt has read; ok is false when the client's
// own body is to be read next.
func (b *body) again(p []byte) (n int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pos < len(b.kept) {
		n = copy(p, b.kept[b.pos:])
		b.pos += n
		return n, true
	}
	b.reading = true
	return 0, false
}

func (b *body) keep(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	if b.lost || len(b.kept)+len(p) > keptBody {
		b.kept, b.pos, b.lost = nil, 0, true
		return
	}
	b.kept = append(b.kept, p...)
	b.pos += len(p)
}

// Close ends one attempt's use of the body.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// rewind makes the body ready for another attempt, and reports false where that
// cannot be: the beginning is gone, or the last attempt may still be reading.
func (b *body) rewind() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lost || b.reading || !b.closed {
		return false
	}
	b.pos, b.closed = 0, false
	return true
}

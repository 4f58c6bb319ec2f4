package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"postroad/internal/message"
)

const (
	// bodyStart is the memory given to a body before it has shown its size:
	// what a client says in Content-Length is not believed further than this.
	bodyStart = 16 << 10
	// bodySmall is the largest buffer that small bodies share.
	bodySmall = 64 << 10
	// bodyKeep is the largest buffer that is kept for later bodies at all.
	bodyKeep = 1 << 20
)

// bodies lends buffers for request bodies. A buffer is owned by one batch from
// readBody to batch.dropBody. Small and large ones are kept apart, so that a
// flood of small requests does not sit on large buffers.
type bodies struct {
	small, large sync.Pool
	load         *load
}

type body struct {
	b []byte
	// reserved is how much of the load's bytes the body holds.
	reserved int
}

// get lends a buffer for a body of about size bytes; -1 is unknown.
func (s *bodies) get(size int64) *body {
	if size > bodySmall {
		if buf, ok := s.large.Get().(*body); ok {
			return buf
		}
	}
	if buf, ok := s.small.Get().(*body); ok {
		return buf
	}
	return &body{b: make([]byte, 0, bodyStart)}
}

// put takes a buffer back that nobody reads any more.
func (s *bodies) put(buf *body) {
	s.load.give(buf.reserved)
	buf.reserved = 0
	switch {
	case cap(buf.b) <= bodySmall:
		s.small.Put(buf)
	case cap(buf.b) <= bodyKeep:
		s.large.Put(buf)
	}
}

// forget gives up a buffer that somebody may still read: its bytes count no
// longer, its memory is left to the garbage collector.
func (s *bodies) forget(buf *body) { s.load.give(buf.reserved) }

// readBody reads the whole body, at most limit bytes (limitName says which
// setting that is), under body_timeout. On error nothing is kept. The errors
// are refusals: too large, too slow, ended early, no length, coded, overloaded.
func (g *Gateway) readBody(w http.ResponseWriter, r *http.Request, limit int, limitName string) (*body, error) {
	if err := checkBody(r, limit, limitName); err != nil {
		return nil, err
	}
	control := http.NewResponseController(w)
	// A server that cannot set deadlines (a test's recorder) has none.
	timed := control.SetReadDeadline(time.Now().Add(g.opts.BodyTimeout)) == nil
	buf := g.bodies.get(r.ContentLength)
	err := g.fill(buf, http.MaxBytesReader(w, r.Body, int64(limit)), limit)
	if err == nil {
		if timed {
			// The server watches the connection for its end while the handler
			// runs; an old deadline would look like one.
			err = control.SetReadDeadline(time.Time{})
		}
		if err == nil {
			return buf, nil
		}
	}
	got := len(buf.b)
	g.bodies.put(buf)
	if own, ok := errors.AsType[*refusal](err); ok {
		return nil, own
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, refuse(message.ErrTooLarge, "body of more than %d bytes (%s)", limit, limitName)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, refuse(errSlowBody, "%d bytes of the body arrived in %v (body_timeout)", got, g.opts.BodyTimeout)
	}
	return nil, refuse(message.ErrInvalid, "the body ended early, after %d bytes", got)
}

// drainTime is how long the rest of a body that nobody wants may hold up an
// answer.
const drainTime = 250 * time.Millisecond

// boundDrain makes sure that an answer is not held up by a body that was not
// read: the server reads what is left of it before it sends the answer, and
// without a deadline it would wait for a client that sends nothing.
func boundDrain(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Without support for deadlines there is no connection to wait for.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(drainTime))
	}
}

// checkBody refuses what the header fields alone show to be impossible.
func checkBody(r *http.Request, limit int, limitName string) error {
	if r.ContentLength > int64(limit) {
		return refuse(message.ErrTooLarge, "body of %d bytes; at most %d (%s)", r.ContentLength, limit, limitName)
	}
	if r.ContentLength == 0 && r.Header["Content-Length"] == nil && len(r.TransferEncoding) == 0 {
		return refuse(errNoLength, "the request has no body: send Content-Length (0 for an empty message) or a chunked body")
	}
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse(errMediaType, "content coding %q is not taken: send the body as it is", coding)
	}
	return nil
}

// fill reads src to its end. Memory is reserved and allocated as bytes arrive,
// at most the double of what is there, and one byte more than the limit, by
// which the end of a body of that size is seen.
func (g *Gateway) fill(buf *body, src io.Reader, limit int) error {
	buf.b = buf.b[:0]
	for {
		if len(buf.b) == buf.reserved {
			end := min(max(bodyStart, 2*len(buf.b)), limit+1)
			if err := g.load.take(end - buf.reserved); err != nil {
				return err
			}
			buf.reserved = end
			if end > cap(buf.b) {
				buf.b = append(make([]byte, 0, end), buf.b...)
			}
		}
		n, err := src.Read(buf.b[len(buf.b):buf.reserved])
		buf.b = buf.b[:len(buf.b)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

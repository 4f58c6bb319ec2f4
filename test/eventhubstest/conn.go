package eventhubstest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// conn is a connection as the broker sees it: only what may pass comes out of it,
// and one request at a time, so that answers of the rules and of the broker come
// in the order of the requests.
//
// The broker reads by one goroutine at a time and writes by another.
type conn struct {
	net.Conn // TLS
	d        *Double
	raw      net.Conn
	closed   chan struct{}
	once     sync.Once
	answered chan struct{} // holds a token while no answer is due
	silent   atomic.Bool   // it was idle for too long
	carries  atomic.Bool   // messages came by it

	// What follows belongs to who holds the token: first the reader, and from a
	// request until its answer the writer.
	rest  []byte    // what the broker has not taken of a request
	in    bool      // it has said who it is
	wait  time.Time // until when it was told to wait
	asked *request  // what the broker is to answer
}

// request is a request of a client.
type request struct {
	kmsg.Request
	corr int32
	held time.Duration // how long its answer is held back
}

func newConn(d *Double, secured, raw net.Conn) *conn {
	c := &conn{Conn: secured, d: d, raw: raw, closed: make(chan struct{}), answered: make(chan struct{}, 1)}
	c.answered <- struct{}{}
	return c
}

// Close implements net.Conn. It does not wait for anybody.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.raw.Close()
		c.d.door.forget(c)
	})
	return nil
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if err := c.next(); err != nil {
			_ = c.Close() // the client is to see it, and nothing else
			return 0, err
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

var errRefused = errors.New("refused by a rule of Event Hubs")

// next takes one request. It is in rest where the broker is to answer it.
func (c *conn) next() error {
	select {
	case <-c.answered:
	case <-c.closed:
		return net.ErrClosed
	}
	frame, err := c.frame()
	if err != nil {
		return err
	}
	r, err := parse(frame[4:])
	if err != nil {
		return err
	}
	answer, err := c.judge(r, int16(binary.BigEndian.Uint16(frame[6:])))
	switch {
	case err != nil:
		return err
	case answer != nil:
		if err := c.send(r, answer); err != nil {
			return err
		}
		c.answered <- struct{}{}
	default:
		c.rest = frame
		if p, ok := r.Request.(*kmsg.ProduceRequest); ok && p.Acks == 0 {
			c.answered <- struct{}{} // nothing is answered
			return nil
		}
		c.asked = r
	}
	return nil
}

// frame reads a request with its length before it.
func (c *conn) frame() ([]byte, error) {
	var size [4]byte
	if err := c.SetReadDeadline(time.Now().Add(c.d.opts.Idle)); err != nil {
		return nil, err
	}
	_, err := io.ReadFull(c.Conn, size[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, c.idle()
	}
	if err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	c.d.sized(n)
	if n > MaxRequest {
		c.d.count(TooLarge)
		return nil, errRefused
	}
	if n < 8 {
		return nil, errRefused
	}
	frame := append(size[:], make([]byte, n)...)
	_, err = io.ReadFull(c.Conn, frame[4:])
	return frame, err
}

func (d *Double) sized(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.largest = max(d.largest, n)
}

// idle is for a connection that was silent for too long. It returns once it is
// closed.
func (c *conn) idle() error {
	c.silent.Store(true)
	c.d.count(Idle)
	if c.d.opts.IdleReset {
		return errRefused
	}
	if err := c.raw.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, c.raw) // a client may still write, and hears nothing
	return errors.Join(errRefused, err)
}

// parse reads what follows the length.
func parse(b []byte) (*request, error) {
	reader := kbin.Reader{Src: b}
	key, version := reader.Int16(), reader.Int16()
	r := &request{corr: reader.Int32()}
	reader.NullableString() // the client's id
	if r.Request = kmsg.RequestForKey(key); r.Request == nil {
		return nil, errRefused
	}
	r.SetVersion(version)
	if r.IsFlexible() {
		kmsg.SkipTags(&reader)
	}
	return r, r.ReadFrom(reader.Src)
}

// send writes an answer of a rule.
func (c *conn) send(r *request, body []byte) error {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	frame = binary.BigEndian.AppendUint32(frame, uint32(r.corr))
	if flexible(r.ResponseKind()) {
		binary.BigEndian.PutUint32(frame, uint32(len(body)+5))
		frame = append(frame, 0)
	}
	_, err := c.Conn.Write(append(frame, body...))
	return err
}

// flexible reports whether the header of an answer has tags.
func flexible(r kmsg.Response) bool { return r.IsFlexible() && r.Key() != int16(kmsg.ApiVersions) }

// Write implements net.Conn. The broker writes an answer at once.
func (c *conn) Write(b []byte) (int, error) {
	r := c.asked
	c.asked = nil
	if r == nil {
		return 0, errRefused
	}
	out := b
	if r.held > 0 {
		c.d.count(Throttled)
		out = slowed(r, b)
		timer := time.NewTimer(r.held)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.closed:
			return 0, net.ErrClosed
		}
		c.wait = time.Now().Add(r.held)
	}
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	c.answered <- struct{}{}
	return len(b), nil
}

// slowed puts the time of throttling into an answer.
func slowed(r *request, frame []byte) []byte {
	resp := r.ResponseKind()
	head := 8
	if flexible(resp) {
		head++
	}
	if resp.ReadFrom(frame[head:]) != nil {
		return frame
	}
	switch resp := resp.(type) {
	case *kmsg.ProduceResponse:
		resp.ThrottleMillis = int32(r.held.Milliseconds())
	case *kmsg.FetchResponse:
		resp.ThrottleMillis = int32(r.held.Milliseconds())
	}
	out := resp.AppendTo(append([]byte(nil), frame[:head]...))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	return out
}

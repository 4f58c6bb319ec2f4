package carry

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
	"time"
)

// flight follows the connections that the transport uses for one attempt: more
// than one where a kept connection turns out to be closed.
//
// The transport has its own idea of what may be repeated: it sends a request
// without a body again, on another connection to the same origin, if it carries
// an Idempotency-Key. flight takes that connection away from it.
//
// got is called on the goroutine of RoundTrip, began by the transport's.
type flight struct {
	once   bool // the request may not be sent again once something was sent
	cancel context.CancelCauseFunc
	wire   *wire
	before int64 // bytes written on wire before this request
	maybe  bool  // something was written on an earlier connection
	reused bool  // the last connection had carried a request before

	wrote func() // is told once all of the request was written
	began func() // is told of the first byte of the answer
}

func (f *flight) trace() *httptrace.ClientTrace {
	written := func(info httptrace.WroteRequestInfo) {
		if info.Err == nil {
			f.wrote()
		}
	}
	return &httptrace.ClientTrace{GotConn: f.got, WroteRequest: written, GotFirstResponseByte: f.began}
}

func (f *flight) got(info httptrace.GotConnInfo) {
	f.maybe = f.sent()
	f.reused = info.Reused
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if f.maybe && f.once {
		// The end of the context stops the transport from taking yet another
		// connection, but it might still write on this one unless it is closed.
		f.cancel(errRepeat)
		_ = conn.Close()
	}
	f.wire, _ = conn.(*wire)
	if f.wire == nil { // not one that dial made: cannot be, but must not pass for unsent
		f.maybe = true
		return
	}
	f.before = f.wire.written.Load()
}

// sent is asked after RoundTrip failed, when the transport writes no more: it
// waits for its writing goroutine before it returns an error.
func (f *flight) sent() bool {
	return f.maybe || f.wire != nil && f.wire.written.Load() > f.before
}

// wire is a connection that counts the bytes the kernel took and gives up a
// write that makes no progress, as one to a stopped process does.
type wire struct {
	net.Conn
	address string // that was dialed
	written atomic.Int64
	stall   time.Duration
	writers *writers
	raw     syscall.RawConn // owned by the line
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
		return 0, err
	}
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	return n, err
}

// forget has the kernel keep no port for the connection once it is closed, which it
// does for a minute for the side that closes first. Without this a load that comes
// in pulses, and so opens and closes many, would use up all ports. It is for
// connections on which nothing is under way in either direction.
func (w *wire) forget() {
	if c, ok := w.Conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
}

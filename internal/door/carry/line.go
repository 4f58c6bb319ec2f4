package carry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A line is a connection on which one request after another is sent and its
// answer read by the same goroutine. It takes the requests that are most and
// smallest, in the place of http.Transport, whose two goroutines for each
// connection cost more than all else that a door does for such a request.
//
// Messages are written by http.Request.Write and read by http.ReadResponse: a
// line adds no parsing of its own. It never repeats anything. What does not fit
// (bodies passed on as they come, large ones that an origin may answer before it
// has read them, upgrades) goes over the transport.
type line struct {
	conn    net.Conn // w, or TLS over it
	wire    *wire
	in      *bufio.Reader
	allowed int64 // how much may still be read of a header
	age     uint64
	idle    time.Time // since when
}

const (
	// maxLineBody is up to how many bytes a body is sent over a line. It is
	// written before the answer is looked at, so it must fit the buffers of
	// sockets.
	maxLineBody = 64 << 10
	// maxAnswerHeader bounds the header of an answer, informational ones before
	// it included.
	maxAnswerHeader = 1 << 20
	// maxInformational bounds the answers of class 1xx before the real one.
	maxInformational = 5
	// maxIdleTime ends before the gateway's own, which would race with a request.
	maxIdleTime = 30 * time.Second
	// graceAnswer is how long an answer is waited for when the request could not
	// be written to its end: an origin may have refused it and closed.
	graceAnswer = 50 * time.Millisecond
)

var errHeader = errors.New("the header of the answer is too long")

// Read implements io.Reader for the buffer.
func (l *line) Read(p []byte) (int, error) {
	if l.allowed <= 0 {
		return 0, errHeader
	}
	n, err := l.conn.Read(p)
	l.allowed -= int64(n)
	return n, err
}

// lines are the unused lines of a target, the last used last.
type lines struct {
	open func(context.Context) (net.Conn, error)
	most int

	mu    sync.Mutex
	idle  []*line     // guarded by mu
	age   uint64      // how often all were closed; guarded by mu
	sweep *time.Timer // closes those that were unused for long; guarded by mu
}

// take returns an unused line, or nil.
func (ls *lines) take() *line {
	for {
		ls.mu.Lock()
		n := len(ls.idle)
		if n == 0 {
			ls.mu.Unlock()
			return nil
		}
		l := ls.idle[n-1]
		ls.idle[n-1] = nil
		ls.idle = ls.idle[:n-1]
		ls.mu.Unlock()
		// Without this look a request would be written to a connection that the
		// origin has closed, and count as one that may have arrived.
		if time.Since(l.idle) < maxIdleTime && l.wire.quiet() {
			return l
		}
		_ = l.conn.Close()
	}
}

// dial opens a new one.
func (ls *lines) dial(ctx context.Context) (*line, error) {
	ls.mu.Lock()
	age := ls.age
	ls.mu.Unlock()
	conn, err := ls.open(ctx)
	if err != nil {
		return nil, err
	}
	l := &line{conn: conn, age: age}
	raw := conn
	if t, ok := conn.(*tls.Conn); ok {
		raw = t.NetConn()
	}
	var ok bool
	if l.wire, ok = raw.(*wire); !ok { // cannot be, and nothing was sent
		_ = conn.Close()
		return nil, &dialError{fmt.Errorf("connection of type %T", raw), denied}
	}
	l.in = bufio.NewReader(l)
	return l, nil
}

// put takes a line back on which everything was read.
func (ls *lines) put(l *line) {
	if l.in.Buffered() > 0 {
		_ = l.conn.Close() // an answer that nobody asked for
		return
	}
	l.idle = time.Now()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if len(ls.idle) >= ls.most {
		l.wire.forget()
	}
	if l.age != ls.age || len(ls.idle) >= ls.most {
		_ = l.conn.Close()
		return
	}
	ls.idle = append(ls.idle, l)
	if ls.sweep == nil {
		ls.sweep = time.AfterFunc(maxIdleTime, ls.sweepOld)
	}
}

func (ls *lines) sweepOld() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.sweep = nil
	ls.idle = slices.DeleteFunc(ls.idle, func(l *line) bool {
		old := time.Since(l.idle) >= maxIdleTime
		if old {
			_ = l.conn.Close()
		}
		return old
	})
	if len(ls.idle) > 0 {
		ls.sweep = time.AfterFunc(maxIdleTime, ls.sweepOld)
	}
}

// close ends the unused ones, and the others when they are put back.
func (ls *lines) close() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.age++
	for _, l := range ls.idle {
		_ = l.conn.Close()
	}
	ls.idle = nil
	if ls.sweep != nil {
		ls.sweep.Stop()
		ls.sweep = nil
	}
}

// drop ends the unused ones to one address.
func (ls *lines) drop(address string) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.idle = slices.DeleteFunc(ls.idle, func(l *line) bool {
		gone := l.wire.address == address
		if gone {
			_ = l.conn.Close()
		}
		return gone
	})
}

// exchange sends a request and returns its answer. f learns which connection it
// goes over. The answer's body must be closed; the end of ctx ends it.
func (ls *lines) exchange(ctx context.Context, out *http.Request, f *flight, timeout time.Duration) (*http.Response, error) {
	l := ls.take()
	f.reused = l != nil
	if l == nil {
		var err error
		if l, err = ls.dial(ctx); err != nil {
			return nil, err
		}
	}
	f.wire, f.before = l.wire, l.wire.written.Load()
	stop := context.AfterFunc(ctx, l.cut)
	err := l.write(out)
	if err != nil && !f.sent() {
		stop()
		l.cut()
		return nil, err
	}
	if err == nil {
		f.wrote()
	}
	return ls.await(l, out, f, timeout, stop, err)
}

func (l *line) cut() { _ = l.conn.Close() }

// await reads the answer to a request that was written, or of which something
// was written before writeErr. stop ends what ends the line early.
func (ls *lines) await(l *line, out *http.Request, f *flight, timeout time.Duration, stop func() bool, writeErr error) (*http.Response, error) {
	if writeErr != nil {
		timeout = min(timeout, graceAnswer)
	}
	l.allowed = maxAnswerHeader
	err := l.conn.SetReadDeadline(time.Now().Add(timeout))
	if err == nil {
		_, err = l.in.Peek(1)
	}
	var res *http.Response
	if err == nil {
		f.began()
		if res, err = l.answer(out); err == nil {
			err = l.conn.SetReadDeadline(time.Time{})
		}
	}
	if err != nil {
		stop()
		l.cut()
		return nil, errors.Join(writeErr, unexpected(err))
	}
	res.Close = res.Close || writeErr != nil
	return ls.lend(l, out, res, stop), nil
}

// lend gives the line to the body of an answer until that ends.
func (ls *lines) lend(l *line, out *http.Request, res *http.Response, stop func() bool) *http.Response {
	l.allowed = 1<<63 - 1
	b := &lineBody{ReadCloser: res.Body, lines: ls, line: l, stop: stop, keep: !res.Close && !out.Close}
	if res.Body == http.NoBody {
		b.ended = true
		_ = b.Close()
		return res
	}
	res.Body = b
	return res
}

// answer reads the header of an answer and passes over informational ones.
func (l *line) answer(out *http.Request) (*http.Response, error) {
	for range maxInformational + 1 {
		res, err := http.ReadResponse(l.in, out)
		switch {
		case err != nil:
			return nil, err
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the origin switched protocols unasked")
		case res.StatusCode >= 200:
			return res, nil
		}
	}
	return nil, errors.New("too many informational answers")
}

// complete reports whether a whole answer lies in the buffer, so that it can be
// read without waiting. Where in doubt it is not.
func (l *line) complete(method string) bool {
	b, err := l.in.Peek(l.in.Buffered())
	if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) || len(b) < len("HTTP/1.1 200") || b[len("HTTP/1.1 ")] < '2' {
		return false
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		return false
	}
	if method == http.MethodHead {
		return true
	}
	for field := range bytes.SplitSeq(b[:end], []byte("\r\n")) {
		name, value, _ := bytes.Cut(field, []byte(":"))
		if len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")) {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 10, 31)
			return err == nil && uint64(len(b)-end-4) >= n
		}
	}
	return false
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writers are buffers for requests, of two sizes.
type writers struct{ small, large sync.Pool }

func newWriters() *writers {
	of := func(size int) sync.Pool {
		return sync.Pool{New: func() any { return bufio.NewWriterSize(nil, size) }}
	}
	return &writers{of(4 << 10), of(32 << 10)}
}

func (l *line) write(out *http.Request) error {
	pool := &l.wire.writers.small
	if out.ContentLength > 2<<10 {
		pool = &l.wire.writers.large
	}
	w, ok := pool.Get().(*bufio.Writer)
	if !ok {
		w = bufio.NewWriter(nil)
	}
	w.Reset(l.conn)
	err := out.Write(w)
	if err == nil {
		err = w.Flush()
	}
	w.Reset(nil)
	pool.Put(w)
	return err
}

// lineBody is the body of an answer on a line, which goes back when all of it was
// read.
type lineBody struct {
	io.ReadCloser
	lines *lines
	line  *line
	stop  func() bool
	keep  bool
	ended bool
	done  bool
}

// Read implements io.Reader.
func (b *lineBody) Read(p []byte) (int, error) {
	if b.done {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.ended = true
	}
	return n, err
}

// Close implements io.Closer.
func (b *lineBody) Close() error {
	if b.done {
		return nil
	}
	b.done = true
	if b.stop() && b.keep && b.ended {
		b.lines.put(b.line)
		return nil
	}
	return b.line.conn.Close()
}

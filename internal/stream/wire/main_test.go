package wire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(clientsEnv); what != "" {
		if err := dialClients(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// limit bounds every wait of a test.
const limit = 20 * time.Second

// recorder is a Handler that remembers.
type recorder struct {
	conn     *Conn
	messages chan string
	closed   chan string
	ticks    chan time.Time
	// on, where set, is called by Message.
	on func(payload []byte)
}

func newRecorder() *recorder {
	return &recorder{messages: make(chan string, 1024), closed: make(chan string, 2), ticks: make(chan time.Time, 1024)}
}

func (r *recorder) Message(p []byte) {
	if r.on != nil {
		r.on(p)
	}
	r.messages <- string(p)
}

func (r *recorder) Tick(now time.Time) {
	select {
	case r.ticks <- now:
	default:
	}
}

func (r *recorder) Closed(code uint16, reason string) { r.closed <- fmt.Sprintf("%d %s", code, reason) }

func (r *recorder) handle(c *Conn) Handler {
	r.conn = c
	return r
}

// within receives from ch, or fails the test.
func within[T any](t *testing.T, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatalf("%s: did not come", what)
		panic("unreachable")
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

// node is a Writers that runs behind a listener.
type node struct {
	w    *Writers
	srv  *httptest.Server
	stop func()
	// accepted gets what Accept returned.
	accepted chan error
	mu       sync.Mutex
	make     func() *recorder // guarded by mu
	all      []*recorder      // guarded by mu
	came     chan *recorder
}

type nodeOption func(*Options, *AcceptOptions, *httptest.Server)

func withOptions(change func(*Options)) nodeOption {
	return func(o *Options, _ *AcceptOptions, _ *httptest.Server) { change(o) }
}

func offering(a AcceptOptions) nodeOption {
	return func(_ *Options, o *AcceptOptions, _ *httptest.Server) { *o = a }
}

func newNode(t *testing.T, secure bool, options ...nodeOption) *node {
	t.Helper()
	n := &node{accepted: make(chan error, 4096), came: make(chan *recorder, 4096), make: newRecorder}
	opts, offer := DefaultOptions(), AcceptOptions{}
	opts.CloseTimeout = step // most clients of these tests do not answer
	n.srv = httptest.NewUnstartedServer(nil)
	for _, o := range options {
		o(&opts, &offer, n.srv)
	}
	w, err := NewWriters(opts, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	n.w = w
	n.srv.Config.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n.accepted <- w.Accept(rw, r, offer, func(c *Conn) Handler {
			n.mu.Lock()
			rec := n.make()
			n.all = append(n.all, rec)
			n.mu.Unlock()
			rec.handle(c)
			n.came <- rec
			return rec
		})
	})
	if secure {
		n.srv.StartTLS()
	} else {
		n.srv.Start()
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := within(t, done, "the end of Run"); err != nil {
			t.Errorf("Run: %v", err)
		}
		n.srv.Close()
		if w.Pending() != 0 || w.Connections() != 0 {
			t.Errorf("after Run %d bytes of %d connections wait", w.Pending(), w.Connections())
		}
	})
	t.Cleanup(n.stop)
	return n
}

// client is a WebSocket client that reads when it is told to.
type client struct {
	t    *testing.T
	conn net.Conn
	r    io.Reader
	hs   ws.Handshake
}

// dial connects; rcvbuf sets the size of the receive buffer where it is not 0.
func (n *node) dial(t *testing.T, rcvbuf int, protocols ...string) (*client, *recorder) {
	t.Helper()
	d := ws.Dialer{Protocols: protocols, NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil && rcvbuf > 0 {
			err = c.(*net.TCPConn).SetReadBuffer(rcvbuf)
		}
		return c, err
	}}
	if n.srv.TLS != nil {
		d.TLSConfig = n.srv.Client().Transport.(*http.Transport).TLSClientConfig
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, br, hs, err := d.Dial(ctx, "ws"+strings.TrimPrefix(n.srv.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn, r: conn, hs: hs}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c, within(t, n.came, "the handler")
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// send sends frames, masked.
func (c *client) send(frames ...ws.Frame) {
	c.t.Helper()
	var b bytes.Buffer
	for _, f := range frames {
		if err := ws.WriteFrame(&b, ws.MaskFrame(f)); err != nil {
			c.t.Fatal(err)
		}
	}
	c.write(b.Bytes())
}

// next reads a frame.
func (c *client) next() ws.Frame {
	c.t.Helper()
	h, err := ws.ReadHeader(c.r)
	if err != nil {
		c.t.Fatalf("read a frame: %v", err)
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	if _, err := io.ReadFull(c.r, f.Payload); err != nil {
		c.t.Fatalf("read a frame of %d bytes: %v", h.Length, err)
	}
	return f
}

// wantClose reads frames up to the close frame, which it returns as text.
func (c *client) wantClose(want string) {
	c.t.Helper()
	for {
		f := c.next()
		if f.Header.OpCode != ws.OpClose {
			continue
		}
		if len(f.Payload) == 0 && want == "" {
			return
		}
		code, reason := ws.ParseCloseFrameData(f.Payload)
		if got := fmt.Sprintf("%d %s", code, reason); got != want {
			c.t.Errorf("close frame %q, want %q", got, want)
		}
		return
	}
}

// wantEnd reads the end of the connection.
func (c *client) wantEnd() {
	c.t.Helper()
	if n, err := io.Copy(io.Discard, c.r); err != nil || n > 0 {
		c.t.Errorf("after the close frame %d bytes and %v", n, err)
	}
}

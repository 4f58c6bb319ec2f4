package wire

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"postroad/internal/stream/live"
)

func block(frames ...string) *live.Block {
	b := &live.Block{}
	for _, f := range frames {
		b.Bytes = AppendFrame(b.Bytes, false, []byte(f))
	}
	return b
}

func TestMessagesBothWays(t *testing.T) {
	for _, secure := range []bool{false, true} {
		n := newNode(t, secure)
		c, rec := n.dial(t, 0)
		long := strings.Repeat("x", 60_000)
		for _, m := range []string{"hello", "", long} {
			c.send(ws.NewTextFrame([]byte(m)))
			if got := within(t, rec.messages, "a message"); got != m {
				t.Errorf("message of %d bytes, want %d", len(got), len(m))
			}
		}
		rec.conn.Send([]byte("one"))
		rec.conn.Deliver(nil, block("two", "three"))
		rec.conn.Send([]byte(long))
		for _, want := range []string{"one", "two", "three", long} {
			f := c.next()
			if f.Header.OpCode != ws.OpText || string(f.Payload) != want {
				t.Errorf("frame %v of %d bytes, want %d", f.Header.OpCode, len(f.Payload), len(want))
			}
		}
		n.stop()
	}
}

func TestSubprotocol(t *testing.T) {
	n := newNode(t, false, offering(AcceptOptions{Subprotocols: []Subprotocol{{"json", false}, {"protobuf", true}}, Binary: true}))
	for _, row := range []struct {
		ask    []string
		agreed string
		binary bool
	}{
		{nil, "", true},
		{[]string{"unknown"}, "", true},
		{[]string{"json"}, "json", false},
		{[]string{"unknown", "protobuf", "json"}, "protobuf", true},
	} {
		c, rec := n.dial(t, 0, row.ask...)
		if c.hs.Protocol != row.agreed || rec.conn.Subprotocol() != row.agreed || rec.conn.Binary() != row.binary {
			t.Errorf("asked for %v: client has %q, node %q, binary %v", row.ask, c.hs.Protocol, rec.conn.Subprotocol(), rec.conn.Binary())
		}
		rec.conn.Send([]byte("m"))
		if f := c.next(); (f.Header.OpCode == ws.OpBinary) != row.binary {
			t.Errorf("asked for %v: frame %v", row.ask, f.Header.OpCode)
		}
	}
}

// A client may send its first command together with the request.
func TestBytesBehindTheRequest(t *testing.T) {
	n := newNode(t, false)
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", n.srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var b bytes.Buffer
	b.WriteString("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	if err := ws.WriteFrame(&b, ws.MaskFrame(ws.NewTextFrame([]byte("early")))); err != nil {
		t.Fatal(err)
	}
	if _, err := nc.Write(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	rec := within(t, n.came, "the handler")
	if got := within(t, rec.messages, "the message"); got != "early" {
		t.Errorf("message %q", got)
	}
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("answer %v", resp.Header)
	}
}

func TestRefusedUpgrades(t *testing.T) {
	n := newNode(t, false)
	good := map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade",
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	}
	for _, row := range []struct {
		name, method string
		change       map[string]string
		status       int
		want         string
	}{
		{"plain GET", "GET", map[string]string{"Upgrade": ""}, 426, "this address speaks WebSocket"},
		{"POST", "POST", nil, 405, "method"},
		{"version", "GET", map[string]string{"Sec-WebSocket-Version": "8"}, 426, "Sec-WebSocket-Version"},
		{"no key", "GET", map[string]string{"Sec-WebSocket-Key": ""}, 400, "Sec-WebSocket-Key"},
		{"other protocol", "GET", map[string]string{"Upgrade": "h2c"}, 400, "Upgrade"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), row.method, n.srv.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range good {
			req.Header.Set(k, v)
		}
		for k, v := range row.change {
			if req.Header.Set(k, v); v == "" {
				req.Header.Del(k)
			}
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != row.status || !strings.Contains(string(body), row.want) {
			t.Errorf("%s: %d %s (%v), want %d %s", row.name, resp.StatusCode, body, err, row.status, row.want)
		}
		if err := within(t, n.accepted, row.name); err == nil {
			t.Errorf("%s: Accept returned nil", row.name)
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestHTTP2IsRefusedInWords(t *testing.T) {
	n := newNode(t, true, func(_ *Options, _ *AcceptOptions, s *httptest.Server) { s.EnableHTTP2 = true })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := n.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusHTTPVersionNotSupported || !strings.Contains(string(body), "over HTTP/1.1 only, not over HTTP/2.0") {
		t.Errorf("%d %s (%v)", resp.StatusCode, body, err)
	}
	n.srv.Client().CloseIdleConnections()
}

func TestControlFramesOfTheClient(t *testing.T) {
	n := newNode(t, false)
	c, rec := n.dial(t, 0)
	// A ping between the two halves of a message is answered before the message
	// is whole.
	c.send(ws.NewFrame(ws.OpText, false, []byte("hel")), ws.NewPingFrame([]byte("p")))
	if f := c.next(); f.Header.OpCode != ws.OpPong || string(f.Payload) != "p" {
		t.Errorf("answer to a ping: %v %q", f.Header.OpCode, f.Payload)
	}
	c.send(ws.NewFrame(ws.OpContinuation, true, []byte("lo")), ws.NewPongFrame(nil))
	if got := within(t, rec.messages, "the message"); got != "hello" {
		t.Errorf("message %q", got)
	}
	c.send(ws.NewCloseFrame(ws.NewCloseFrameBody(4000, "had enough")))
	c.wantClose("4000 ")
	c.wantEnd()
	if got := within(t, rec.closed, "Closed"); got != "4000 had enough" {
		t.Errorf("Closed %q", got)
	}
}

func TestBreachesAreClosedWithTheirCode(t *testing.T) {
	n := newNode(t, false, withOptions(func(o *Options) { o.MaxMessageBytes = 1024 }))
	unmasked := ws.MustCompileFrame(ws.NewTextFrame([]byte("x")))
	for _, row := range []struct {
		name  string
		write func(c *client)
		want  string
	}{
		{"not masked", func(c *client) { c.write(unmasked) }, "1002 frames from client to server must be masked"},
		{"too big", func(c *client) { c.send(ws.NewTextFrame(make([]byte, 1025))) }, "1009 message too big"},
		{"too big in parts", func(c *client) {
			c.send(ws.NewFrame(ws.OpText, false, make([]byte, 1000)), ws.NewFrame(ws.OpContinuation, true, make([]byte, 25)))
		}, "1009 message too big"},
		{"not UTF-8", func(c *client) { c.send(ws.NewTextFrame([]byte{0xff})) }, "1007 text that is not UTF-8"},
		{"stray continuation", func(c *client) { c.send(ws.NewFrame(ws.OpContinuation, true, nil)) }, "1002 unexpected continuation data frame"},
		{"close code", func(c *client) { c.send(ws.NewCloseFrame(ws.NewCloseFrameBody(1005, ""))) }, "1002 status code is only application level"},
	} {
		c, rec := n.dial(t, 0)
		row.write(c)
		c.wantClose(row.want)
		c.send(ws.NewCloseFrame(nil))
		if got := within(t, rec.closed, row.name); got != row.want {
			t.Errorf("%s: Closed %q", row.name, got)
		}
	}
}

func TestEnds(t *testing.T) {
	for _, secure := range []bool{false, true} {
		n := newNode(t, secure)
		t.Run("by the node", func(t *testing.T) {
			c, rec := n.dial(t, 0)
			ctx := rec.conn.Context()
			rec.conn.Send([]byte("last words"))
			rec.conn.Disconnect(3005, "expired")
			rec.conn.Disconnect(3001, "only the first counts")
			rec.conn.Send([]byte("never sent"))
			if f := c.next(); string(f.Payload) != "last words" {
				t.Errorf("first %q", f.Payload)
			}
			c.wantClose("3005 expired")
			if within(t, ctx.Done(), "the context's end"); !errors.Is(context.Cause(ctx), errEnded) {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			c.send(ws.NewTextFrame([]byte("too late")), ws.NewCloseFrame(nil))
			c.wantEnd()
			if got := within(t, rec.closed, "Closed"); got != "3005 expired" || len(rec.messages) != 0 {
				t.Errorf("Closed %q after %d messages", got, len(rec.messages))
			}
		})
		t.Run("by a client that says nothing", func(t *testing.T) {
			c, rec := n.dial(t, 0)
			if err := c.conn.Close(); err != nil && !secure {
				t.Error(err)
			}
			if got := within(t, rec.closed, "Closed"); got != "1006 the client is gone" {
				t.Errorf("Closed %q", got)
			}
		})
		t.Run("by a close frame without a code", func(t *testing.T) {
			c, rec := n.dial(t, 0)
			c.send(ws.NewCloseFrame(nil))
			c.wantClose("")
			c.wantEnd()
			if got := within(t, rec.closed, "Closed"); got != "1005 " {
				t.Errorf("Closed %q", got)
			}
		})
		n.stop()
	}
}

// Two thousand clients are told to go at once, as a node that stops does; each
// gets its close frame.
func TestManyCloseAtOnce(t *testing.T) {
	const clients = 2000
	n := newNode(t, false, withOptions(func(o *Options) { o.CloseTimeout = limit }))
	var all []*client
	for range clients {
		c, _ := n.dial(t, 0)
		all = append(all, c)
	}
	until(t, "all are counted", func() bool { return n.w.Connections() == clients })
	for c := range n.w.Conns() {
		c.Disconnect(CodeShutdown, reasonShutdown)
	}
	for _, c := range all {
		c.wantClose("3001 shutdown")
		c.send(ws.NewCloseFrame(nil))
	}
	n.stop()
	for _, rec := range n.all {
		if got := within(t, rec.closed, "Closed"); got != "3001 shutdown" || len(rec.closed) > 0 {
			t.Errorf("Closed %q, and %d times more", got, len(rec.closed))
		}
	}
	answer := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Upgrade", "websocket")
	if err := n.w.Accept(answer, req, AcceptOptions{}, nil); !errors.Is(err, ErrStopping) || answer.Code != http.StatusServiceUnavailable {
		t.Errorf("after the end: %v, %d", err, answer.Code)
	}
}

func TestCloseReasonIsCutAtACharacter(t *testing.T) {
	f := closeFrame(3000, strings.Repeat("ä", 100))
	code, reason := ws.ParseCloseFrameData(f[2:])
	if len(f) > 127 || code != 3000 || reason != strings.Repeat("ä", 61) {
		t.Errorf("%d bytes: %d %q", len(f), code, reason)
	}
}

func TestOptionsValidateNamesAllProblems(t *testing.T) {
	o := Options{WriteDelay: -1, PingInterval: 0, Writers: -1, MaxQueuedBytes: 1}
	err := o.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, path := range []string{"write_delay: -1ns", "slow_for: 0s", "ping_interval: 0s", "pong_timeout: 0s", "close_timeout: 0s", "writers: -1", "max_queued_bytes: 1", "max_burst_bytes: 0", "max_message_bytes: 0"} {
		if !strings.Contains(err.Error(), path+": must be between") {
			t.Errorf("%s is not named in %v", path, err)
		}
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

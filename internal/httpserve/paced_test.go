package httpserve

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// h2c is a client of HTTP/2 without TLS.
func h2c(t *testing.T) *http.Client {
	t.Helper()
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	c := client(t, p)
	c.Timeout = time.Minute
	return c
}

// both runs a test with a client of each protocol.
func both(t *testing.T, run func(t *testing.T, c *http.Client)) {
	t.Helper()
	for _, p := range []struct {
		name string
		make func(*testing.T) *http.Client
	}{{"HTTP1", func(t *testing.T) *http.Client { return client(t, nil) }}, {"HTTP2", h2c}} {
		t.Run(p.name, func(t *testing.T) { run(t, p.make(t)) })
	}
}

// A client that stops in the middle of a body is told so, and holds nothing up.
func TestStalledBodyIsCut(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		o := edgeOptions()
		o.Clients.BodyTimeout = 100 * time.Millisecond
		e := startEdge(t, o, http.HandlerFunc(echo), nil)
		body, more := io.Pipe()
		defer more.Close()
		go func() { _, _ = io.WriteString(more, "half") }()
		resp, err := c.Post(e.URL(), "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("status %d", resp.StatusCode)
		}
		if n := e.metric(t, "postroad_listener_slow_clients_total", "body"); n != 1 {
			t.Errorf("counted %v", n)
		}
	})
}

// A body that nobody reads cannot be drawn out either: its connection ends.
func TestUnreadBodyIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var deadline time.Time
		lim := &limits{}
		lim.set(DefaultEdgeOptions().Clients)
		m, err := newEdgeMetrics(nil, "x")
		if err != nil {
			t.Fatal(err)
		}
		h := paced(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), lim, m)
		r, err := http.NewRequest(http.MethodPost, "http://x/", strings.NewReader("unread"))
		if err != nil {
			t.Fatal(err)
		}
		h.ServeHTTP(deadlined{set: &deadline}, r)
		if want := time.Now().Add(restTimeout); !deadline.Equal(want) {
			t.Errorf("deadline of the rest %v, want %v", deadline, want)
		}
	})
}

// deadlined is a ResponseWriter that remembers the deadline of reading.
type deadlined struct {
	http.ResponseWriter
	set *time.Time
}

func (d deadlined) SetReadDeadline(t time.Time) error { *d.set = t; return nil }

// trickle gives so many bytes each interval, for ever.
type trickle struct {
	bytes int
	every time.Duration
}

func (r trickle) Read(p []byte) (int, error) {
	<-time.After(r.every)
	return min(len(p), r.bytes), nil
}

func (trickle) Close() error { return nil }

func TestCrawlingBodyIsCut(t *testing.T) {
	for _, row := range []struct {
		bytes int
		every time.Duration
		cut   time.Duration // 0 for never
	}{
		{1, 20 * time.Second, 40 * time.Second},        // one byte now and then
		{511, time.Second, 31 * time.Second},           // just below the rate
		{513, time.Second, 0},                          // just above
		{20 << 10, 25 * time.Second, 0},                // in large pieces with pauses
		{1, time.Millisecond, 0},                       // 1000 bytes a second
		{4096, 29 * time.Second, 2 * 29 * time.Second}, // pieces too rare
	} {
		t.Run(fmt.Sprintf("%d bytes each %s", row.bytes, row.every), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &pacedBody{ReadCloser: trickle{row.bytes, row.every}, limits: DefaultEdgeOptions().Clients, slow: func() {}}
				b.watch = newWatch(b.limits.BodyTimeout, func() { t.Error("a body that comes is taken for one that stopped") })
				start, buf := time.Now(), make([]byte, 64<<10)
				for time.Since(start) < 3*time.Minute {
					if _, err := b.Read(buf); err != nil {
						if !errors.Is(err, ErrSlowBody) || time.Since(start) != row.cut {
							t.Errorf("cut after %s with %v, want after %s", time.Since(start), err, row.cut)
						}
						return
					}
				}
				if row.cut != 0 {
					t.Errorf("not cut, want after %s", row.cut)
				}
			})
		})
	}
}

// burst gives much at once, and then what comes after it.
type burst struct {
	bytes int
	trickle
}

func (b *burst) Read(p []byte) (int, error) {
	if b.bytes > 0 {
		n := min(len(p), b.bytes)
		b.bytes -= n
		return n, nil
	}
	return b.trickle.Read(p)
}

// What came at once at the beginning does not let the rest take hours.
func TestCrawlingAfterABurstIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &pacedBody{ReadCloser: &burst{1 << 20, trickle{1, 29 * time.Second}}, limits: DefaultEdgeOptions().Clients, slow: func() {}}
		b.watch = newWatch(b.limits.BodyTimeout, func() {})
		start, buf := time.Now(), make([]byte, 64<<10)
		for {
			if _, err := b.Read(buf); err != nil {
				if took := time.Since(start); !errors.Is(err, ErrSlowBody) || took > 4*b.limits.BodyTimeout {
					t.Errorf("cut after %s with %v", took, err)
				}
				return
			}
		}
	})
}

// Once the answer has begun both sides may pause as they like.
func TestPausesOfLiveStreamsAreNotCut(t *testing.T) {
	o := edgeOptions()
	o.Clients.BodyTimeout, o.Clients.WriteTimeout = 60*time.Millisecond, 60*time.Millisecond
	const pause = 250 * time.Millisecond
	e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		if err := rc.EnableFullDuplex(); err != nil && r.ProtoMajor == 1 {
			panic(err)
		}
		w.WriteHeader(http.StatusOK)
		if err := rc.Flush(); err != nil {
			panic(err)
		}
		line, err := bufio.NewReader(r.Body).ReadString('\n') // comes after a pause
		if err != nil {
			return
		}
		<-time.After(pause) // nothing to say for a while
		_, _ = io.WriteString(w, line)
	}), nil)
	both(t, func(t *testing.T, c *http.Client) {
		body, more := io.Pipe()
		defer more.Close()
		resp, err := c.Post(e.URL(), "text/plain", body)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		<-time.After(pause)
		if _, err := io.WriteString(more, "late\n"); err != nil {
			t.Error(err)
		}
		more.Close()
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "late\n" {
			t.Errorf("answer %q, %v", b, err)
		}
	})
}

func TestPausesOfUpgradedConnectionsAreNotCut(t *testing.T) {
	o := edgeOptions()
	o.Clients.BodyTimeout, o.Clients.WriteTimeout = 60*time.Millisecond, 60*time.Millisecond
	e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\n\r\n")
		for {
			line, err := rw.ReadString('\n')
			if err != nil {
				return
			}
			<-time.After(200 * time.Millisecond)
			if _, err := io.WriteString(conn, line); err != nil {
				return
			}
		}
	}), nil)
	conn := dial(t, e.Addr().String())
	in := bufio.NewReader(conn)
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	for _, want := range []string{"HTTP/1.1 101 Switching Protocols\r\n", "\r\n"} {
		if got, err := in.ReadString('\n'); err != nil || got != want {
			t.Fatalf("%q, %v", got, err)
		}
	}
	for range 2 {
		<-time.After(200 * time.Millisecond)
		_, _ = io.WriteString(conn, "line\n")
		if got, err := in.ReadString('\n'); err != nil || got != "line\n" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	conn.Close()
}

// A client that takes nothing of an answer is cut off; over HTTP/2 only that one
// answer, and its other requests go on.
func TestClientThatTakesNothingIsCut(t *testing.T) {
	both(t, func(t *testing.T, c *http.Client) {
		o := edgeOptions()
		o.Clients.WriteTimeout = 100 * time.Millisecond
		ended := make(chan error, 1)
		e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/much" {
				return
			}
			part := make([]byte, 32<<10)
			for {
				if _, err := w.Write(part); err != nil {
					ended <- err
					return
				}
			}
		}), nil)
		resp, err := c.Get(e.URL() + "/much")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("the answer is still being written")
		}
		get(t, c, e.URL())
		if n := e.metric(t, "postroad_listener_slow_clients_total", "answer"); resp.ProtoMajor == 2 && n != 1 {
			t.Errorf("counted %v", n)
		}
	})
}

func pipeConn(t *testing.T, timeout time.Duration) (server *clientConn, peer net.Conn) {
	t.Helper()
	m, err := newEdgeMetrics(nil, "x")
	if err != nil {
		t.Fatal(err)
	}
	lim := &limits{}
	lim.set(ClientLimits{WriteTimeout: timeout})
	a, b := net.Pipe()
	l := newLimited(nil, lim, m, nil)
	l.total = 1
	return &clientConn{Conn: a, home: l}, b
}

// The time of writing counts from what the client took last.
func TestWriteTimeoutIsOfProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipeConn(t, 30*time.Second)
		defer peer.Close()
		defer c.Close()
		taken := make(chan int, 1)
		go func() {
			n, buf := 0, make([]byte, writePart)
			for range 8 { // 20 s for each part, 160 s for all
				<-time.After(20 * time.Second)
				m, err := io.ReadFull(peer, buf)
				if err != nil {
					break
				}
				n += m
			}
			taken <- n
		}()
		if n, err := c.Write(make([]byte, 8*writePart)); err != nil || n != 8*writePart {
			t.Errorf("wrote %d, %v", n, err)
		}
		if n := <-taken; n != 8*writePart {
			t.Errorf("taken %d", n)
		}
		start := time.Now()
		_, err := c.Write([]byte("nobody takes this"))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took > 30*time.Second || took < 20*time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

// What a handler says of deadlines holds, until it takes it back.
func TestDeadlinesOfHandlersHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, peer := pipeConn(t, 30*time.Second)
		defer peer.Close()
		defer c.Close()
		for _, row := range []struct {
			set  func(time.Time) error
			wait time.Duration // 0 takes the deadline back
			want time.Duration
		}{
			{c.SetWriteDeadline, time.Second, time.Second},
			{c.SetDeadline, time.Minute, time.Minute},
			{c.SetDeadline, 0, 30 * time.Second},
			{c.SetWriteDeadline, 0, 30 * time.Second},
		} {
			var at time.Time
			if row.wait > 0 {
				at = time.Now().Add(row.wait)
			}
			if err := row.set(at); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != row.want {
				t.Errorf("%v after %s, want after %s", err, time.Since(start), row.want)
			}
		}
	})
}

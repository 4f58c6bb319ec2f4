package httpserve

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// asker sends one request after the other over a connection that it keeps until an
// answer ends it, as balancers and pools of connections do. It never repeats one.
type asker struct {
	dial  func() (net.Conn, error)
	conn  net.Conn
	read  *bufio.Reader
	asked atomic.Int64
}

func (a *asker) ask() error {
	if a.conn == nil {
		c, err := a.dial()
		if err != nil {
			return err
		}
		a.conn, a.read = c, bufio.NewReader(c)
	}
	if _, err := io.WriteString(a.conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(a.read, nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || string(b) != "HTTP/1.1 body" {
		return fmt.Errorf("answer %q: %w", b, err)
	}
	if resp.Close {
		a.close()
	}
	a.asked.Add(1)
	return nil
}

func (a *asker) close() {
	if a.conn != nil {
		a.conn.Close()
		a.conn = nil
	}
}

// throughAStop lets clients send over connections that they keep, while the server
// that they use is stopped and a balancer sends new connections to another one. It
// returns what the clients saw go wrong.
func throughAStop(t *testing.T, leave func(*Server)) error {
	t.Helper()
	const clients = 6
	stops, _ := newServer(t, testOptions(), http.HandlerFunc(echo))
	stays, _ := newServer(t, testOptions(), http.HandlerFunc(echo))
	old, other := start(t, stops.Run), start(t, stays.Run)
	var target atomic.Pointer[Server]
	target.Store(stops)
	dial := func() (net.Conn, error) { return net.Dial("tcp", target.Load().Addr().String()) }
	all := make([]*asker, clients)
	failed := make(chan error, 3*clients)
	for i := range all {
		all[i] = &asker{dial: dial}
		defer all[i].close()
		if err := all[i].ask(); err != nil {
			t.Fatal(err)
		}
	}
	target.Store(stays)
	leave(stops)
	ctx, rest := context.WithCancel(t.Context())
	defer rest()
	var loops sync.WaitGroup
	for i, a := range all { // half of them ask without a break, the others now and when all is over
		if err := a.ask(); err != nil {
			failed <- err
		}
		if i%2 == 0 {
			loops.Go(func() {
				for ctx.Err() == nil {
					if err := a.ask(); err != nil {
						failed <- err
						return
					}
				}
			})
		}
	}
	for i := 0; i < clients; i += 2 {
		waitUntil(t, func() bool { return all[i].asked.Load() > 4 || len(failed) > 0 })
	}
	if err := old.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	rest()
	loops.Wait()
	for _, a := range all {
		if err := a.ask(); err != nil {
			failed <- err
		}
		a.close()
	}
	if err := other.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	close(failed)
	var errs []error
	for err := range failed {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// No client that keeps its connection loses a request to a stop; without being told
// to leave some do, which this test would notice.
func TestClientsThatKeepConnectionsSurviveAStop(t *testing.T) {
	if err := throughAStop(t, (*Server).Leave); err != nil {
		t.Errorf("clients were told to leave, and still: %v", err)
	}
	if err := throughAStop(t, func(*Server) {}); err == nil {
		t.Error("clients that were not told saw no error: this test finds nothing")
	}
}

// Run says it from the beginning of the drain delay on, without closing anything.
func TestLeaveBeginsWithTheDrainDelay(t *testing.T) {
	o := testOptions()
	o.DrainDelay = time.Hour
	begun := make(chan (<-chan struct{}), 1)
	s, _ := newServer(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/begun" {
			begun <- Draining(r.Context())
			<-Draining(r.Context())
		}
		_, _ = io.WriteString(w, "answer")
	}))
	r := start(t, s.Run)
	idle, busy := dial(t, s.Addr().String()), dial(t, s.Addr().String())
	if got := askOn(t, idle); got != "answer" {
		t.Errorf("answer %q", got)
	}
	_, _ = io.WriteString(busy, "GET /begun HTTP/1.1\r\nHost: x\r\n\r\n")
	draining := <-begun
	r.cancel()
	<-draining
	if !s.Accepting() {
		t.Error("said to accept nothing in the drain delay")
	}
	for name, c := range map[string]net.Conn{"a request from before": busy, "an idle connection": idle} {
		if c == idle {
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		}
		read := bufio.NewReader(c)
		resp, err := http.ReadResponse(read, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(b) != "answer" || !resp.Close {
			t.Errorf("%s: %q, %v, close %v", name, b, err, resp.Close)
		}
		if _, err := read.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: the connection goes on: %v", name, err)
		}
	}
	if err := s.Close(); err != nil { // rather than to wait for an hour
		t.Fatal(err)
	}
	if err := r.wait(t); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Run: %v", err)
	}
}

// However a handler answers, the answer ends the connection; one that took the
// connection over, or is asked to switch protocols, is left alone.
func TestEveryAnswerSaysLeave(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/header":
			w.WriteHeader(http.StatusAccepted)
		case "/early":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
		case "/write":
			_, _ = io.WriteString(w, "x")
		case "/flush":
			w.(http.Flusher).Flush()
		case "/copy":
			_, _ = io.Copy(w, strings.NewReader("x"))
		case "/kept": // a handler that passes on what another server said
			w.Header().Set("Connection", "keep-alive")
			_, _ = io.WriteString(w, "x")
		case "/switch":
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "test")
			w.WriteHeader(http.StatusSwitchingProtocols)
		case "/panic":
			panic("said by the test")
		case "/nothing":
		}
	}))
	r := start(t, s.Run)
	for _, told := range []bool{false, true} {
		if told {
			s.Leave()
		}
		for _, path := range []string{"/header", "/early", "/write", "/flush", "/copy", "/kept", "/nothing", "/panic", "/switch"} {
			c := dial(t, s.Addr().String())
			_, _ = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n")
			read := bufio.NewReader(c)
			resp, err := http.ReadResponse(read, nil)
			for err == nil && resp.StatusCode == http.StatusEarlyHints {
				resp, err = http.ReadResponse(read, nil)
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			resp.Body.Close()
			if want := told || path == "/panic"; path != "/switch" && resp.Close != want {
				t.Errorf("%s, told %v: close %v", path, told, resp.Close)
			}
			if got := resp.Header.Get("Connection"); path == "/switch" && got != "Upgrade" {
				t.Errorf("%s, told %v: Connection: %s", path, told, got)
			}
			c.Close()
		}
	}
	if err := r.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// framed is one HTTP/2 connection without TLS, frame by frame (RFC 9113).
type framed struct {
	conn net.Conn
	read *bufio.Reader
}

// Types of frames.
const (
	frameData     = 0
	frameHeaders  = 1
	frameSettings = 4
	framePing     = 6
	frameGoAway   = 7
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func dialFramed(t *testing.T, addr string) *framed {
	t.Helper()
	f := &framed{conn: dial(t, addr)}
	f.read = bufio.NewReader(f.conn)
	if _, err := io.WriteString(f.conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	f.write(t, frame{kind: frameSettings})
	return f
}

func (f *framed) write(t *testing.T, fr frame) {
	t.Helper()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(fr.payload))<<8|uint32(fr.kind))
	b = binary.BigEndian.AppendUint32(append(b, fr.flags), fr.stream)
	if _, err := f.conn.Write(append(b, fr.payload...)); err != nil {
		t.Fatal(err)
	}
}

// get asks for / without a body.
func (f *framed) get(t *testing.T, stream uint32) {
	t.Helper()
	const endStreamAndHeaders = 0x1 | 0x4
	// :method GET, :scheme http and :path / of the static table, :authority x in full.
	f.write(t, frame{frameHeaders, endStreamAndHeaders, stream, []byte{0x82, 0x86, 0x84, 0x41, 1, 'x'}})
}

// until reads frames up to one that says so.
func (f *framed) until(t *testing.T, what string, is func(frame) bool) {
	t.Helper()
	for {
		var head [9]byte
		if _, err := io.ReadFull(f.read, head[:]); err != nil {
			t.Fatalf("before %s: %v", what, err)
		}
		n := binary.BigEndian.Uint32(head[:4]) // with the type in its last byte
		fr := frame{kind: head[3], flags: head[4], stream: binary.BigEndian.Uint32(head[5:]), payload: make([]byte, n>>8)}
		if _, err := io.ReadFull(f.read, fr.payload); err != nil {
			t.Fatalf("before %s: %v", what, err)
		}
		if is(fr) {
			return
		}
	}
}

// Over HTTP/2 the answer is whole, and the connection ends behind it.
func TestLeaveOverHTTP2(t *testing.T) {
	const endStream, ack = 0x1, 0x1
	s, _ := newServer(t, testOptions(), http.HandlerFunc(echo))
	r := start(t, s.Run)
	f := dialFramed(t, s.Addr().String())
	ends := func(fr frame, stream uint32) bool {
		return fr.kind == frameData && fr.stream == stream && fr.flags&endStream != 0
	}
	f.get(t, 1)
	f.until(t, "the first answer", func(fr frame) bool { return ends(fr, 1) })
	f.write(t, frame{kind: framePing, payload: make([]byte, 8)})
	f.until(t, "the ping's answer", func(fr frame) bool {
		if fr.kind == frameGoAway {
			t.Error("told to go while nobody leaves")
		}
		return fr.kind == framePing && fr.flags&ack != 0
	})
	s.Leave()
	f.get(t, 3)
	f.get(t, 5) // on its way when the connection is told to end
	f.write(t, frame{kind: framePing, payload: make([]byte, 8)})
	answered := map[uint32]bool{}
	var told, last uint32
	f.until(t, "the end of the answers and GOAWAY", func(fr frame) bool {
		answered[fr.stream] = answered[fr.stream] || ends(fr, fr.stream)
		if fr.kind == frameGoAway {
			told, last = told+1, binary.BigEndian.Uint32(fr.payload)
			if code := binary.BigEndian.Uint32(fr.payload[4:]); code != 0 {
				t.Errorf("GOAWAY with error %d", code)
			}
		}
		// What is not answered is above the last stream that is named, so that the
		// client knows that nobody has looked at it.
		return told > 0 && answered[3] && (answered[5] || last < 5)
	})
	if err := r.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
}

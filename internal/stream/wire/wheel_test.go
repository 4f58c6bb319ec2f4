package wire

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
)

// piped runs a Writers with one connection over a pipe, in a bubble of synctest.
func piped(t *testing.T, opts Options, offer AcceptOptions) (*client, *recorder, *Writers) {
	t.Helper()
	w, err := NewWriters(opts, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	near, far := net.Pipe()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		far.Close()
	})
	if !w.enter() {
		t.Fatal("stopping")
	}
	rec := newRecorder()
	w.begin(w.conn(near), offer, rec.handle, nil)
	return &client{t: t, conn: far, r: far}, rec, w
}

// A connection that is being accepted while the node stops is told so, too, and
// Run does not wait for it for ever.
func TestConnectionThatComesWithTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, err := NewWriters(DefaultOptions(), Deps{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- w.Run(ctx) }()
		if !w.enter() {
			t.Fatal("stopping")
		}
		cancel()
		synctest.Wait() // Run has told all that there are
		near, far := net.Pipe()
		defer far.Close()
		rec := newRecorder()
		w.begin(w.conn(near), AcceptOptions{}, rec.handle, nil)
		c := &client{t: t, conn: far, r: far}
		c.wantClose("3001 shutdown")
		if err := <-done; err != nil || <-rec.closed != "3001 shutdown" {
			t.Errorf("Run: %v", err)
		}
	})
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := DefaultOptions()
		c, rec, _ := piped(t, opts, AcceptOptions{Ping: func(*Conn) []byte { return []byte("{}") }})
		<-time.After(time.Minute) // nobody pings before the protocol says so
		begin := time.Now()
		rec.conn.StartPings()
		for i := range 5 {
			if f := c.next(); string(f.Payload) != "{}" || f.Header.OpCode != ws.OpText {
				t.Fatalf("%v %q", f.Header.OpCode, f.Payload)
			}
			if late := time.Since(begin); late > opts.PingInterval+step || i > 0 && late < opts.PingInterval-step {
				t.Errorf("ping %d after %v", i, late)
			}
			begin = time.Now()
			<-time.After(opts.PongTimeout - time.Second)
			c.send(ws.NewTextFrame([]byte("{}")))
		}
		if len(rec.ticks) < 20 || len(rec.ticks) > 60 {
			t.Errorf("%d ticks", len(rec.ticks))
		}
		// The next one is not answered.
		c.next()
		begin = time.Now()
		c.wantClose("3012 no pong")
		if late := time.Since(begin); late < opts.PongTimeout || late > opts.PongTimeout+step {
			t.Errorf("closed %v after the ping", late)
		}
		c.send(ws.NewCloseFrame(nil))
		if got := <-rec.closed; got != "3012 no pong" {
			t.Errorf("Closed %q", got)
		}
	})
}

func TestPingFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rec, _ := piped(t, DefaultOptions(), AcceptOptions{})
		rec.conn.StartPings()
		if f := c.next(); f.Header.OpCode != ws.OpPing {
			t.Errorf("%v", f.Header.OpCode)
		}
		c.send(ws.NewPongFrame(nil))
		if f := c.next(); f.Header.OpCode != ws.OpPing {
			t.Errorf("after a pong %v", f.Header.OpCode)
		}
	})
}

// What a handler is busy with does not hold up others, and Tick waits for it.
func TestTickIsNotCalledWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rec, _ := piped(t, DefaultOptions(), AcceptOptions{})
		begun, goOn := make(chan struct{}), make(chan struct{})
		rec.on = func([]byte) { close(begun); <-goOn }
		c.send(ws.NewTextFrame([]byte("slow")))
		<-begun
		ticks := len(rec.ticks)
		<-time.After(time.Minute)
		if len(rec.ticks) != ticks {
			t.Errorf("%d ticks while Message ran", len(rec.ticks)-ticks)
		}
		close(goOn)
		<-time.After(6 * time.Second)
		if len(rec.ticks) == ticks {
			t.Error("no tick after it")
		}
	})
}

// A client that does not answer a close frame is left after CloseTimeout.
func TestCloseTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := DefaultOptions()
		c, rec, _ := piped(t, opts, AcceptOptions{})
		begin := time.Now()
		rec.conn.Disconnect(3011, "reconnect")
		c.wantClose("3011 reconnect")
		if _, err := c.r.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("then %v", err)
		}
		if got := <-rec.closed; got != "3011 reconnect" {
			t.Errorf("Closed %q", got)
		}
		if late := time.Since(begin); late < opts.CloseTimeout || late > opts.CloseTimeout+2*step {
			t.Errorf("left after %v", late)
		}
	})
}

// A client that reads nothing is let go, however little waits for it and whatever it
// sends: it would hold that for as long as it likes.
func TestClientThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := DefaultOptions()
		c, rec, w := piped(t, opts, AcceptOptions{})
		rec.conn.StartPings()
		rec.conn.Send([]byte("little"))
		for begin := time.Now(); ; {
			select {
			case got := <-rec.closed:
				took := time.Since(begin)
				least := opts.PingInterval + opts.PongTimeout
				if got != "3008 slow" || took < least || took > least+15*time.Second || w.Pending() != 0 {
					t.Errorf("Closed %q after %v; %d bytes wait", got, took, w.Pending())
				}
				return
			case <-time.After(time.Second):
			}
			if time.Since(begin) > 5*time.Minute {
				t.Fatalf("not let go; %d bytes wait", w.Pending())
			}
			_ = ws.WriteFrame(c.conn, ws.MaskFrame(ws.NewTextFrame([]byte("{}")))) // it fails at the end
		}
	})
}

// A client that takes what waits for it slowly stays, be it one large block.
func TestClientThatTakesLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rec, _ := piped(t, DefaultOptions(), AcceptOptions{})
		rec.conn.StartPings()
		rec.conn.Deliver(nil, block(strings.Repeat("x", 12*streamPiece)))
		for piece := make([]byte, streamPiece); rec.conn.Waiting() >= streamPiece; {
			for range 3 {
				<-time.After(10 * time.Second)
				c.send(ws.NewTextFrame([]byte("{}")))
			}
			if _, err := io.ReadFull(c.r, piece); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if rec.conn.isEnding() {
			t.Errorf("let go with %d", rec.conn.code)
		}
	})
}

// A client that is sent more than may wait, and reads it in time, again and again,
// is not slow: each burst has its own SlowFor.
func TestBurstsAreNotSlowness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := DefaultOptions()
		opts.MaxQueuedBytes, opts.SlowFor = 4<<10, time.Second
		c, rec, _ := piped(t, opts, AcceptOptions{})
		burst := block(strings.Repeat("x", 10_000))
		for i := range 50 {
			rec.conn.Deliver(nil, burst)
			<-time.After(opts.SlowFor / 2)
			if f := c.next(); f.Header.OpCode != ws.OpText {
				t.Fatalf("burst %d: %v", i, f.Header.OpCode)
			}
			synctest.Wait() // the writer knows that it was read
		}
		// One that is not read in time is.
		rec.conn.Deliver(nil, burst)
		<-time.After(opts.SlowFor + 3*step)
		rec.conn.mu.Lock()
		defer rec.conn.mu.Unlock()
		if !rec.conn.ending || rec.conn.code != CodeSlow {
			t.Errorf("ending %v with %d", rec.conn.ending, rec.conn.code)
		}
	})
}

// After a pause a message goes out at once; those that come within WriteDelay of it
// share the next write.
func TestWriteDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opts := DefaultOptions()
		opts.WriteDelay = 5 * time.Millisecond
		c, rec, _ := piped(t, opts, AcceptOptions{})
		read := func(want string, after time.Duration, since time.Time) {
			t.Helper()
			b := make([]byte, 100)
			n, err := c.r.Read(b)
			if err != nil || string(b[:n]) != want || time.Since(since) != after {
				t.Errorf("%q after %v (%v), want %q after %v", b[:n], time.Since(since), err, want, after)
			}
		}
		for range 3 {
			begin := time.Now()
			rec.conn.Send([]byte("now"))
			read("\x81\x03now", 0, begin)
			<-time.After(time.Millisecond)
			rec.conn.Send([]byte("one"))
			<-time.After(3 * time.Millisecond)
			rec.conn.Send([]byte("two"))
			read("\x81\x03one\x81\x03two", opts.WriteDelay, begin)
			<-time.After(time.Minute)
		}
	})
}

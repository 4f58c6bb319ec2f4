package drill

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newWire(t *testing.T, to string) *Wire {
	t.Helper()
	w, err := NewWire(t.Context(), to, seed(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// throughWire connects and reads the greeting of echo.
func throughWire(t *testing.T, w *Wire) (net.Conn, *bufio.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", w.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "node\n" {
		t.Fatalf("greeting %q, %v", line, err)
	}
	return c, r
}

// A wire passes what comes, and ends with what it joins.
func TestWirePasses(t *testing.T) {
	node := echo(t, "node")
	w := newWire(t, node.Addr().String())
	c, r := throughWire(t, w)
	text := strings.Repeat("x", 2<<20)
	go func() { _, _ = io.WriteString(c, text) }() // the reader notices
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != text {
		t.Errorf("%v", err)
	}
	if w.Hits() != 0 {
		t.Error("a fault hit")
	}
}

// A connection that is cut in a request is reset, before all of it has arrived.
func TestWireCutsRequests(t *testing.T) {
	node := echo(t, "node")
	w := newWire(t, node.Addr().String())
	w.Set(WireCutsRequests)
	c, r := throughWire(t, w)
	go func() { _, _ = io.WriteString(c, strings.Repeat("x", 2<<20)) }() // it fails
	n, err := io.Copy(io.Discard, r)
	if !errors.Is(err, syscall.ECONNRESET) || n > 800<<10 {
		t.Errorf("%d bytes came, %v", n, err)
	}
	if w.Hits() != 1 {
		t.Errorf("%d hits", w.Hits())
	}
}

// Cut in answers, one connection after another goes with no byte of an answer.
func TestWireCutsAnswers(t *testing.T) {
	node := echo(t, "node")
	w := newWire(t, node.Addr().String())
	cut := 0
	for range 60 {
		w.Set(WirePasses)
		c, r := throughWire(t, w)
		w.Set(WireCutsAnswers)
		if _, err := io.WriteString(c, "question\n"); err != nil {
			t.Fatal(err)
		}
		line, err := r.ReadString('\n')
		switch {
		case errors.Is(err, syscall.ECONNRESET) && line == "":
			cut++
		case err != nil || line != "question\n":
			t.Fatalf("%q, %v", line, err)
		}
	}
	if cut == 0 || cut == 60 || w.Hits() != cut {
		t.Errorf("%d of 60 were cut, %d hits", cut, w.Hits())
	}
}

// A dead connection stays open and silent; new ones work.
func TestWireDeadens(t *testing.T) {
	node := echo(t, "node")
	w := newWire(t, node.Addr().String())
	c, _ := throughWire(t, w)
	w.Deaden()
	if w.Hits() != 1 {
		t.Errorf("%d hits", w.Hits())
	}
	if _, err := io.WriteString(c, "question\n"); err != nil {
		t.Errorf("a dead connection is closed: %v", err)
	}
	other, r := throughWire(t, w)
	if _, err := io.WriteString(other, "question\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := r.ReadString('\n'); err != nil || line != "question\n" {
		t.Errorf("a new one: %q, %v", line, err)
	}
	// The answer of the new one shows that what was sent before it had its time.
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// Where nobody listens behind it, a wire resets.
func TestWireToNobody(t *testing.T) {
	node := echo(t, "node")
	w := newWire(t, node.Addr().String())
	node.Close()
	c, err := new(net.Dialer).DialContext(t.Context(), "tcp", w.Addr())
	if errors.Is(err, syscall.ECONNRESET) {
		return // it was that fast
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(testLimit)); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

package hub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testOptions(dir string) Options {
	o := DefaultOptions()
	o.Listen = "127.0.0.1:0"
	o.Dir = dir
	return o
}

// start runs a hub until the test ends.
func start(t *testing.T, o Options) *Hub {
	t.Helper()
	h, err := New(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	return h
}

func TestFreePort(t *testing.T) {
	h := start(t, testOptions(""))
	_, port, err := net.SplitHostPort(h.Addr())
	if err != nil || port == "0" {
		t.Fatalf("Addr %q, want host and a real port (%v)", h.Addr(), err)
	}
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal("the hub does not answer at its address:", err)
	}
	conn.Close()
}

func TestPortInUse(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir := t.TempDir()
	o := testOptions(dir)
	o.Listen = ln.Addr().String()
	_, err = New(o, Deps{})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), o.Listen) {
		t.Fatalf("want an error that names %s as in use, got %v", o.Listen, err)
	}
	start(t, testOptions(dir)) // the directory was given back
}

// The hub's directory belongs to one process at a time: DESIGN 11, facts/hub.
func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	h, err := New(testOptions(dir), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(testOptions(dir), Deps{})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second hub on %s: %v, want ErrLocked with the name", dir, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal("second Close:", err)
	}
	start(t, testOptions(dir))
}

func TestAdvertise(t *testing.T) {
	o := testOptions("")
	o.Listen, o.Advertise = "0.0.0.0:0", "localhost:0"
	h := start(t, o)
	host, port, err := net.SplitHostPort(h.Addr())
	if err != nil || host != "localhost" || port == "0" {
		t.Fatalf("Addr %q, want localhost with the port listened on (%v)", h.Addr(), err)
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal("defaults:", err)
	}
	bad := Options{Listen: "0.0.0.0:9092", Topics: []string{"ok", "no/good"}, Partitions: 0, Retention: 1, RetentionBytes: 5}
	err := bad.Validate()
	for _, field := range []string{"advertise:", "topics[1]:", "partitions:", "retention:", "retention_bytes:"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no problem reported for %s in %v", field, err)
		}
	}
	for _, addr := range []string{"", "nohost", "host:port", "127.0.0.1:70000"} {
		o := DefaultOptions()
		o.Listen = addr
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "listen:") {
			t.Errorf("listen %q: %v", addr, err)
		}
	}
}

// Whatever a stranger sends, the hub hangs up on it and lives.
func TestGuard(t *testing.T) {
	frame := func(size uint32, key uint16, rest ...byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		return append(binary.BigEndian.AppendUint16(b, key), rest...)
	}
	rows := map[string][]byte{
		"http":        []byte("GET / HTTP/1.1\r\nHost: hub\r\n\r\n"),
		"huge":        frame(1<<31, 3),
		"small":       frame(2, 3),
		"unknown key": frame(16, 9999, make([]byte, 14)...),
		"later frame": append(frame(10, 18, make([]byte, 8)...), frame(16, 0xfff0)...),
		"bad body":    frame(12, 0, bytes.Repeat([]byte{0xff}, 10)...),
	}
	h := start(t, testOptions(""))
	for name, input := range rows {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write(input); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal("want the connection closed:", err)
			}
		})
	}
	conn, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal("the hub is gone:", err)
	}
	conn.Close()
}

// However the bytes are cut into reads, a valid stream passes and the frames
// stay aligned.
func FuzzGuard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0, 0}, uint8(3))
	f.Add([]byte("GET / HTTP/1.1"), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		var whole, cutUp guarded
		want := whole.follow(b)
		var got error
		for rest := b; len(rest) > 0 && got == nil; {
			n := min(len(rest), int(cut)+1)
			got = cutUp.follow(rest[:n])
			rest = rest[n:]
		}
		if (want == nil) != (got == nil) {
			t.Fatalf("whole: %v, cut into %d: %v", want, cut+1, got)
		}
		if want == nil && (whole.rest != cutUp.rest || whole.have != cutUp.have) {
			t.Fatalf("whole stands at %d/%d, cut at %d/%d", whole.have, whole.rest, cutUp.have, cutUp.rest)
		}
	})
}

package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"
)

// clientsEnv makes the test binary dial so many clients: "N URL".
const clientsEnv = "WIRE_TEST_CLIENTS"

// dialClients connects, says hello on each connection, prints a line, and keeps
// them until standard input ends.
func dialClients(what string) error {
	count, url, _ := strings.Cut(what, " ")
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	d := ws.Dialer{TLSConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // the server is of this test
	hello := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte("hello"))))
	var conns []io.Closer
	for range n {
		c, _, _, err := d.Dial(context.Background(), url)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		go func() { _, _ = io.Copy(io.Discard, c) }()
		if _, err := c.Write(hello); err != nil {
			return err
		}
	}
	fmt.Println("connected")
	_, err = io.Copy(io.Discard, os.Stdin)
	for _, c := range conns {
		c.Close()
	}
	return err
}

// deep is a Handler whose Message needs as much stack as decoding and subscribing
// do.
type deep struct {
	c        *Conn
	answered *atomic.Int64
}

func (d *deep) Message([]byte) {
	d.c.Send([]byte{'0' + byte(sink(10)%10)})
	d.answered.Add(1)
}

func (d *deep) Tick(time.Time)        {}
func (d *deep) Closed(uint16, string) {}

// sink uses about 10 KB of stack.
func sink(n int) int {
	var b [1024]byte
	if n > 0 {
		b[n] = byte(sink(n - 1))
	}
	s := 0
	for _, x := range b {
		s += int(x)
	}
	return s + n
}

// BenchmarkIdle says what a connection that waits takes of heap and stacks, once it
// has had a message handled that needs a deep stack. Clients are another process.
func BenchmarkIdle(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		b.Run(scheme, func(b *testing.B) {
			const clients = 2000
			for b.Loop() {
				b.ReportMetric(float64(idleBytes(b, scheme, clients))/clients/1024, "KB/connection")
			}
		})
	}
}

// TestIdleConnectionIsSmall holds connections to what they may take: no buffer and
// no grown stack stays with one that waits.
func TestIdleConnectionIsSmall(t *testing.T) {
	const clients, most = 500, 6 << 10
	if got := idleBytes(t, "ws", clients) / clients; got > most {
		t.Errorf("%d bytes for a connection, want at most %d", got, most)
	}
}

// crowded runs a Writers with clients of another process while do does.
func crowded(t testing.TB, scheme string, clients int, before func(), do func(*Writers)) {
	t.Helper()
	w, err := NewWriters(DefaultOptions(), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	var answered atomic.Int64
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := w.Accept(rw, r, AcceptOptions{}, func(c *Conn) Handler { return &deep{c, &answered} }); err != nil {
			t.Error(err)
		}
	}))
	if scheme == "wss" {
		srv.StartTLS()
	} else {
		srv.Start()
	}
	before()
	stop := startClients(t, fmt.Sprintf("%d %s://%s", clients, scheme, srv.Listener.Addr()))
	for end := time.Now().Add(limit); answered.Load() < int64(clients); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("%d of %d clients were heard", answered.Load(), clients)
			break
		}
	}
	do(w)
	stop()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	srv.Close()
}

func idleBytes(t testing.TB, scheme string, clients int) (bytes int64) {
	t.Helper()
	crowded(t, scheme, clients, func() { bytes = -inUse() }, func(*Writers) { bytes += inUse() })
	return bytes
}

// BenchmarkFanout says what it takes of the processor, all threads of the process
// together, to send one block of 150 bytes to each of many connections.
func BenchmarkFanout(b *testing.B) {
	for _, scheme := range []string{"ws", "wss"} {
		b.Run(scheme, func(b *testing.B) {
			const clients = 500
			shared := block(strings.Repeat("x", 150))
			crowded(b, scheme, clients, func() {}, func(w *Writers) {
				var before, after unix.Rusage
				if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
					b.Fatal(err)
				}
				n := 0
				for b.Loop() {
					for c := range w.Conns() {
						c.Deliver(nil, shared)
					}
					for w.Pending() > 0 {
						<-time.After(100 * time.Microsecond)
					}
					n += clients
				}
				if err := unix.Getrusage(unix.RUSAGE_SELF, &after); err != nil {
					b.Fatal(err)
				}
				used := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
				b.ReportMetric(float64(used)/1e3/float64(n), "µs-CPU/delivery")
			})
		})
	}
}

// inUse is what heap and stacks take after one collection: each shrinks a stack by
// half, so that after several it would not show that readers had grown theirs.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// startClients runs dialClients in a process of its own and returns once all are
// connected.
func startClients(t testing.TB, what string) (stop func()) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), binary)
	cmd.Env = append(os.Environ(), clientsEnv+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		stop()
		t.Fatalf("clients say %q: %v", line, err)
	}
	return stop
}

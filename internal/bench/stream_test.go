package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/stream/wire"
)

// A stream node measured by real processes, as small as it gets: the figures are
// there and the targets are named. It does not run beside others in this process,
// whose cores it takes.
func TestStream(t *testing.T) {
	o := DefaultStreamOptions()
	o.Binary, o.Dir, o.Rounds, o.Clients, o.Duration = buildPostroad(t), t.TempDir(), 1, 50, 300*time.Millisecond
	r, err := Stream(t.Context(), o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Idle) != 1 || len(r.Flows) != 4 || r.Latency == nil || r.Latency.Samples < 50 || r.Latency.P50.Median <= 0 ||
		r.Full == nil || r.Full.Median < 5 || r.Peak.Median < r.Full.Median {
		t.Errorf("%+v", r)
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"With 50 clients in place of 10000", "S1:", "S2: 12,500 clients", "S3, 99 %", "S5: resident with 50 connections", nameNode} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStreamOptions(t *testing.T) {
	err := StreamOptions{Only: []string{"all"}}.Validate()
	for _, want := range []string{"binary, dir:", "rounds:", "clients:", "duration:", "only: all"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

// The crowd counts what a server that is known sends, and its clients that are cut
// off.
func TestCrowd(t *testing.T) {
	opts := wire.DefaultOptions()
	opts.CloseTimeout = time.Second
	w, err := wire.NewWriters(opts, wire.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	named := &namer{subjects: make(map[string]int)}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if err := w.Accept(rw, r, wire.AcceptOptions{}, func(c *wire.Conn) wire.Handler { return named }); err != nil {
			t.Error(err)
		}
	}))
	defer srv.Close()
	c, err := newCrowd(srv.Listener.Addr().String(), speech{path: "/", bare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.join(t.Context(), 30, func(i int) string { return keyName(i % 2) }); err != nil {
		t.Fatal(err)
	}
	// A client has its answer before its connection is among those of the server.
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(30 * time.Second); w.Connections() < 30; {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d of 30 connections", w.Connections())
		}
	}
	stop, listened := make(chan struct{}), make(chan error, 1)
	go func() { listened <- c.listen(stop) }()
	for range 10 {
		for conn := range w.Conns() {
			conn.Send([]byte("x"))
		}
	}
	if err := c.received(t.Context(), 300); err != nil || c.reached.Load() != 30 {
		t.Errorf("%v; %d clients reached", err, c.reached.Load())
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(stop)
	if err := <-listened; err != nil || c.lost.Load() != 30 {
		t.Errorf("%v; %d clients lost", err, c.lost.Load())
	}
	if named.subjects["key-0"] != 15 || named.subjects["key-1"] != 15 {
		t.Errorf("subjects %v", named.subjects)
	}
}

// namer is a handler that counts messages.
type namer struct {
	mu       sync.Mutex
	subjects map[string]int
}

func (n *namer) Message(p []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.subjects[string(p)]++
}
func (n *namer) Tick(time.Time)        {}
func (n *namer) Closed(uint16, string) {}

func TestCrowdThatIsNotLetIn(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	c, err := newCrowd(srv.Listener.Addr().String(), speech{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.join(t.Context(), 2, keyName); err == nil || !strings.Contains(err.Error(), "cut off while they joined") {
		t.Errorf("joined: %v", err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	gone, err := newCrowd(l.Addr().String(), speech{})
	if err != nil {
		t.Fatal(err)
	}
	defer gone.close()
	if err := gone.join(t.Context(), 1, keyName); err == nil {
		t.Error("joined nothing")
	}
}

func TestSubscribers(t *testing.T) {
	for _, row := range []struct{ clients, keys, key, want int }{{10, 1, 0, 10}, {10, 3, 0, 4}, {10, 3, 2, 3}, {10, 10, 9, 1}, {3, 10, 5, 0}} {
		if got := subscribers(row.clients, row.keys, row.key); got != row.want {
			t.Errorf("%+v: %d", row, got)
		}
	}
}

func TestProcessorTime(t *testing.T) {
	got, err := parseProcessorTime("12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0 100")
	if err != nil || got != 2*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "12 (a) S 1", "1 (a) S 1 2 3 4 5 6 7 8 9 10 x 50"} {
		if d, err := parseProcessorTime(bad); err == nil {
			t.Errorf("%q: %v", bad, d)
		}
	}
	if _, err := processorTime(os.Getpid()); err != nil {
		t.Error(err)
	}
}

func TestMetric(t *testing.T) {
	page := []byte("# TYPE a gauge\na_b 3\na 1.5e+06\n")
	if v, err := metric(page, "a"); err != nil || v != 1.5e6 {
		t.Errorf("%v, %v", v, err)
	}
	if v, err := metric(page, "c"); err == nil {
		t.Errorf("a metric that there is not: %v", v)
	}
}

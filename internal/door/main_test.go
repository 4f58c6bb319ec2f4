package door

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"

	"postroad/internal/door/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits for cond, looking every few milliseconds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(60 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited 60 s in vain: %s", what)
		}
	}
}

// logBuffer is a log that tests read while the door writes it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) has(parts ...string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for line := range strings.Lines(b.buf.String()) {
		found := true
		for _, p := range parts {
			found = found && strings.Contains(line, p)
		}
		if found {
			return true
		}
	}
	return false
}

// stamp is an origin that remembers what it was asked.
type stamp struct {
	*httptest.Server
	name    string
	sick    atomic.Bool // its /healthz answers 503
	asked   atomic.Int64
	handler http.Handler // nil echoes
}

func newStamp(t *testing.T, name string, handler http.Handler) *stamp {
	t.Helper()
	s := &stamp{name: name, handler: handler}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.kill)
	return s
}

// ServeHTTP answers with the name of the stamp and the body it got.
func (s *stamp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		if s.sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	}
	s.asked.Add(1)
	if s.handler != nil {
		s.handler.ServeHTTP(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Stamp", s.name)
	_, _ = w.Write(body)
}

// kill closes the listener and every connection, as the end of a process does.
func (s *stamp) kill() {
	_ = s.Listener.Close()
	s.CloseClientConnections()
	s.Close()
}

// front is a door that listens, with its log.
type front struct {
	*Door
	url  string
	log  *logBuffer
	shut func() // ends it; again is nothing
}

func testOptions(origins ...Origin) Options {
	o := DefaultOptions()
	o.Origins = origins
	o.Probe.Interval = 10 * time.Millisecond
	o.Probe.Timeout = 5 * time.Second
	o.Carry.DialTimeout = 5 * time.Second
	o.Carry.ResponseTimeout = 20 * time.Second
	o.Carry.LookupTimeout = 10 * time.Second
	// What is a matter of seconds in a site is none here: one probe brings an
	// origin back, and as a whole.
	h := &o.Policy.Health
	h.Healthy, h.Restore.Passes, h.Restore.Ramp = 1, 1, 0
	h.Isolation.First, h.Isolation.Max = time.Millisecond, 10*time.Millisecond
	// Hedges have tests of their own: no machine is too slow for these.
	o.Policy.Hedge.Enabled = false
	return o
}

// origins lists addresses in order of priority, named a, b, c, ….
func origins(urls ...string) []Origin {
	list := make([]Origin, len(urls))
	for i, u := range urls {
		list[i] = Origin{Name: string(rune('a' + i)), URL: u, Priority: i + 1}
	}
	return list
}

// open makes a door whose probes do not run.
func open(t *testing.T, o Options, deps Deps) *front {
	t.Helper()
	buf := &logBuffer{}
	deps.Log = slog.New(slog.NewTextHandler(buf, &slog.HandlerOptions{Level: slog.LevelDebug}))
	d, err := New(o, deps)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(d.Handler())
	shut := func() {
		srv.CloseClientConnections()
		srv.Close()
		d.Close()
	}
	t.Cleanup(shut)
	return &front{d, srv.URL, buf, shut}
}

// probing runs the probes of the door until the test ends.
func (f *front) probing(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (f *front) healthy(name string) bool {
	return f.origin(gatewaysGroup, name).Healthy
}

// origin is the state of an origin, empty where there is none of that name.
func (f *front) origin(group, name string) OriginStatus {
	s, _ := f.Group(group)
	for _, o := range s.Origins {
		if o.Name == name {
			return o
		}
	}
	return OriginStatus{}
}

// suspect has an origin be found unreachable. While the machine stalls nothing is
// concluded from a failure, so that one may not be enough.
func (f *front) suspect(t *testing.T, name string) {
	t.Helper()
	o := f.state.Load().groups[gatewaysGroup].origin(name)
	eventually(t, name+" suspect", func() bool {
		if f.healthy(name) {
			o.Begin().End(policy.Unreachable)
		}
		return !f.healthy(name)
	})
}

// leaves waits until the door leaves an origin out that takes no connection, and
// asks again where the first request was in a moment in which the machine stalled.
func (f *front) leaves(t *testing.T, name string) {
	t.Helper()
	eventually(t, name+" left out", func() bool {
		if f.healthy(name) {
			ask(t, "GET", f.url, nil)
		}
		return !f.healthy(name)
	})
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// client never repeats a request by itself: it keeps no connections.
func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

// ask sends a request; a body of unknown length is any reader but a
// *strings.Reader.
func ask(t *testing.T, method, url string, body io.Reader, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(b)}
}

func listenRaw(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// value reads a counter or a gauge.
func value(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

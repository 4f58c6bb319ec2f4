package vehicles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	frontdoor "postroad/internal/door"
	"postroad/internal/loopback"
)

// request is an attempt as the door saw it.
type request struct {
	key, body string
	attempt   int
	at        time.Time
}

// fault is what becomes of an attempt: whether it is stored, and what the client
// is told of it.
type fault struct {
	stored bool
	status int // 0 breaks the connection
	header http.Header
	body   string
}

// door takes positions and answers as it is told to. It is the handler of a
// server, or a transport where time is not real.
type door struct {
	mu     sync.Mutex
	fault  func(n int) *fault // of the nth attempt; nil takes it. Guarded by mu
	asked  []request          // guarded by mu
	stored []request          // guarded by mu
	under  int                // requests under way; guarded by mu
	most   int                // guarded by mu
	took   time.Duration      // of an answer
}

func (d *door) attempt(r *http.Request) (*fault, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	attempt := 1
	if a := r.Header.Get("Postroad-Attempt"); a != "" {
		if attempt, err = strconv.Atoi(a); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	q := request{r.Header.Get("Idempotency-Key"), string(body), attempt, time.Now()}
	d.asked = append(d.asked, q)
	f := &fault{stored: true, status: http.StatusAccepted, body: fmt.Sprintf(`{"accepted":%d,"ids":[],"stamp":"onprem"}`, bytes.Count(body, []byte("\n")))}
	if d.fault != nil {
		if own := d.fault(len(d.asked) - 1); own != nil {
			f = own
		}
	}
	if f.stored {
		d.stored = append(d.stored, q)
	}
	if r.Method != http.MethodPost || r.URL.Path != "/v1/topics/vehicles/messages" || r.Header.Get("Content-Type") != "application/x-ndjson" {
		f = &fault{status: http.StatusNotFound}
	}
	return f, nil
}

func (d *door) busy(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.under += n
	d.most = max(d.most, d.under)
}

// RoundTrip implements http.RoundTripper.
func (d *door) RoundTrip(r *http.Request) (*http.Response, error) {
	d.busy(1)
	defer d.busy(-1)
	select {
	case <-time.After(d.took):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	f, err := d.attempt(r)
	if err != nil || f.status == 0 {
		return nil, errors.Join(err, errors.New("the connection broke"))
	}
	rec := httptest.NewRecorder()
	for name, v := range f.header {
		rec.Header()[name] = v
	}
	rec.WriteHeader(f.status)
	_, _ = rec.WriteString(f.body)
	return rec.Result(), nil
}

// ServeHTTP implements http.Handler.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := d.attempt(r)
	if err != nil || f.status == 0 {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(f.status)
	_, _ = io.WriteString(w, f.body)
}

func (d *door) seen() (asked, stored []request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(asked, d.asked...), append(stored, d.stored...)
}

func positions(t *testing.T, body string) []Position {
	t.Helper()
	var list []Position
	for line := range strings.Lines(body) {
		var m struct {
			Key   string
			Value Position
		}
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&m); err != nil || m.Key != m.Value.ID || m.Key == "" || m.Value.Line == "" || m.Value.At == 0 {
			t.Fatalf("line %q: %v", line, err)
		}
		list = append(list, m.Value)
	}
	return list
}

// simulate runs a simulator against a door for some time, which is not real.
func simulate(t *testing.T, o Options, d *door, lasts time.Duration, log io.Writer) *prometheus.Registry {
	t.Helper()
	reg := prometheus.NewRegistry()
	s, err := New(o, Deps{
		URL: "http://door", Client: &http.Client{Transport: d}, Registerer: reg,
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	if err := s.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	return reg
}

func metric(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// TestPosting: everything tells in time, a request at a time in each stream.
func TestPosting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{took: 40 * time.Millisecond}
		o := options(100)
		reg := simulate(t, o, d, time.Minute, io.Discard)
		_, stored := d.seen()
		last, n := make(map[string]int64), 0
		keys := make(map[string]bool)
		for _, r := range stored {
			if keys[r.key] || r.attempt != 1 || r.key[0] != '"' || r.key[len(r.key)-1] != '"' {
				t.Fatalf("key %s, attempt %d", r.key, r.attempt)
			}
			keys[r.key] = true
			for _, p := range positions(t, r.body) {
				n++
				// A position is of the moment, but for the request before it in its stream.
				if gap := p.At - last[p.ID]; last[p.ID] > 0 && (gap <= 0 || gap > o.StandingInterval.Milliseconds()+100) {
					t.Errorf("%s told after %d ms", p.ID, gap)
				}
				if age := r.at.UnixMilli() - p.At; age != 40 {
					t.Errorf("%s arrived %d ms after it was there", p.ID, age)
				}
				last[p.ID] = p.At
			}
		}
		if len(last) != 100 || n < 2000 || d.most < 1 || d.most > o.Streams {
			t.Errorf("%d vehicles, %d positions, %d requests at once", len(last), n, d.most)
		}
		if got := metric(t, reg, "postroad_vehicles_accepted_messages_total"); int(got) > n || int(got) < n-400 {
			t.Errorf("%v accepted, %d stored", got, n)
		}
		if metric(t, reg, "postroad_vehicles_repeats_total") != 0 || metric(t, reg, "postroad_vehicles_accept_seconds") == 0 {
			t.Error("repeats or no answers where nothing went wrong")
		}
	})
}

// TestRate: the interval sets how many messages there are.
func TestRate(t *testing.T) {
	count := func(interval time.Duration) (n int) {
		synctest.Test(t, func(t *testing.T) {
			d, o := &door{}, options(50)
			o.Interval, o.StandingInterval = interval, interval
			simulate(t, o, d, time.Minute, io.Discard)
			_, stored := d.seen()
			for _, r := range stored {
				n += len(positions(t, r.body))
			}
		})
		return n
	}
	fast, slow := count(200*time.Millisecond), count(2*time.Second)
	if fast < 50*300*9/10 || fast > 50*300*12/10 || slow < 50*30*9/10 || slow > 50*30*14/10 {
		t.Errorf("in a minute %d and %d positions, about 15000 and 1500 were to come", fast, slow)
	}
}

// TestRepeatsAreTheSameRequest: whatever goes wrong, every attempt of a request has
// the same key and bytes, its positions are stored, and no older position of a
// vehicle is stored for the first time after a newer one.
func TestRepeatsAreTheSameRequest(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		d := &door{took: 10 * time.Millisecond}
		d.fault = func(int) *fault {
			if rng.Float64() < 0.4 {
				return nil
			}
			return &[]fault{
				{status: 503, header: http.Header{"Retry-After": {"1"}}},
				{status: 504},
				{status: 504, stored: true},
				{stored: true},
				{},
				{status: 429},
				{status: 409},
				{status: 502, stored: true},
				{status: 507},
				{status: 408},
			}[rng.IntN(10)]
		}
		o := options(40)
		reg := simulate(t, o, d, 10*time.Minute, io.Discard)
		asked, stored := d.seen()
		first := make(map[string]request)
		attempts := make(map[string]int)
		for _, r := range asked {
			attempts[r.key]++
			if f, seen := first[r.key]; seen && f.body != r.body {
				t.Fatalf("two bodies under key %s", r.key)
			}
			first[r.key] = r
			if r.attempt != attempts[r.key] {
				t.Fatalf("attempt %d of key %s says it is %d", attempts[r.key], r.key, r.attempt)
			}
		}
		kept, last := make(map[string]bool), make(map[string]int64)
		for _, r := range stored {
			if kept[r.key] {
				continue
			}
			kept[r.key] = true
			for _, p := range positions(t, r.body) {
				if p.At <= last[p.ID] {
					t.Errorf("%s: an older position was stored after a newer one", p.ID)
				}
				last[p.ID] = p.At
			}
		}
		if lost := len(first) - len(kept); lost > o.Streams {
			t.Errorf("%d requests were given up", lost)
		}
		if len(last) != 40 || metric(t, reg, "postroad_vehicles_repeats_total") < 100 || metric(t, reg, "postroad_vehicles_refused_messages_total") != 0 {
			t.Errorf("%d vehicles, %d attempts of %d requests", len(last), len(asked), len(first))
		}
	})
}

// TestDoorAway: attempts become rare while the door is away, memory does not grow,
// and the first that comes through is what was under way; then the present.
func TestDoorAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, log := time.Now(), &bytes.Buffer{}
		away := func() bool { return time.Since(start) > time.Minute && time.Since(start) < 6*time.Minute }
		d := &door{}
		d.fault = func(int) *fault {
			if away() {
				return &fault{}
			}
			return nil
		}
		o := options(80)
		simulate(t, o, d, 7*time.Minute, log)
		asked, stored := d.seen()
		failed, keys := 0, make(map[string]bool)
		pauses := make(map[time.Duration]bool)
		last := make(map[string]time.Time)
		for _, r := range asked {
			if at := r.at.Sub(start); at > time.Minute && at < 6*time.Minute {
				failed++
				keys[r.key] = true
				pauses[r.at.Sub(last[r.key])] = true
			}
			last[r.key] = r.at
		}
		// 5 s on average once they are at their longest.
		if len(keys) != o.Streams || failed < 4*45 || failed > 4*90 {
			t.Errorf("%d attempts of %d requests while the door was away for five minutes", failed, len(keys))
		}
		if len(pauses) < failed/2 {
			t.Errorf("only %d different pauses of %d: no jitter", len(pauses), failed)
		}
		back := 0
		for _, r := range stored {
			if at := r.at.Sub(start); at < 6*time.Minute || keys[r.key] {
				continue
			}
			for _, p := range positions(t, r.body) {
				back++
				if age := r.at.Sub(time.UnixMilli(p.At)); age > time.Second {
					t.Errorf("%s: a position %v old after the door was back", p.ID, age)
				}
			}
		}
		if back == 0 || strings.Count(log.String(), "positions of vehicles wait") != o.Streams || strings.Count(log.String(), "accepted again") != o.Streams {
			t.Errorf("%d positions after the door was back; log:\n%s", back, log)
		}
	})
}

// TestRefused: what no repeat changes is not repeated, and not forgotten either.
func TestRefused(t *testing.T) {
	for name, f := range map[string]fault{
		"nobody is let in": {status: 401, body: `{"title":"Unauthorized"}`},
		"bad request":      {status: 400},
		"another answer":   {status: 202, body: `{"accepted":1000}`},
		"a redirect":       {status: 307, header: http.Header{"Location": {"http://elsewhere/"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, log := &door{fault: func(int) *fault { return &f }}, &bytes.Buffer{}
				reg := simulate(t, options(40), d, time.Minute, log)
				asked, _ := d.seen()
				keys := make(map[string]bool)
				for _, r := range asked {
					keys[r.key] = true
				}
				if len(keys) != len(asked) || len(asked) < 4 || len(asked) > 4*13 {
					t.Errorf("%d attempts of %d requests in a minute", len(asked), len(keys))
				}
				if metric(t, reg, "postroad_vehicles_refused_messages_total") < 40 || !strings.Contains(log.String(), "level=WARN") {
					t.Errorf("nobody is told: %s", log)
				}
			})
		})
	}
}

// TestRetryAfter: nobody is asked again sooner than they wish, and not all at once.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &door{}
		d.fault = func(n int) *fault {
			if n < 4 {
				return &fault{status: 503, header: http.Header{"Retry-After": {"7"}}}
			}
			return nil
		}
		simulate(t, options(40), d, 10*time.Second, io.Discard)
		asked, _ := d.seen()
		first, again := make(map[string]time.Time), make(map[time.Duration]bool)
		for _, r := range asked {
			if r.attempt == 1 {
				first[r.key] = r.at
				continue
			}
			after := r.at.Sub(first[r.key])
			again[after] = true
			if after < 7*time.Second || after > 8*time.Second {
				t.Errorf("asked again after %v", after)
			}
		}
		if len(again) != 4 {
			t.Errorf("asked again after %d different times, want 4", len(again))
		}
	})
}

// TestSilentDoor: an attempt that gets no answer ends in time, and the end of the
// simulator waits for none.
func TestSilentDoor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, d := time.Now(), &door{took: time.Hour}
		reg := simulate(t, options(40), d, time.Minute, io.Discard)
		if time.Since(start) != time.Minute {
			t.Errorf("it ended after %v", time.Since(start))
		}
		if n := metric(t, reg, "postroad_vehicles_repeats_total"); n != 4*2 {
			t.Errorf("%v attempts ended of four streams in a minute, at 20 s each", n)
		}
	})
}

// TestOverTheNetwork: a door that is not there yet, breaks connections, and comes
// back at the same address.
func TestOverTheNetwork(t *testing.T) {
	address, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var listener net.Listener
	o := options(30)
	o.Interval, o.StandingInterval, o.MaxBackoff = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	s, err := New(o, Deps{URL: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	for round := range 2 {
		d := &door{fault: func(n int) *fault {
			if n%3 == 1 {
				return &fault{}
			}
			return nil
		}}
		if listener, err = net.Listen("tcp", address); err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewUnstartedServer(d)
		srv.Listener.Close()
		srv.Listener = listener
		srv.Start()
		eventually(t, func() bool { _, stored := d.seen(); return len(stored) >= 20 }, fmt.Sprintf("20 requests in round %d", round))
		srv.CloseClientConnections()
		srv.Close()
	}
	cancel()
	if err := <-ran; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// TestStampKilled: behind a front door with two stamps one is killed; the other
// takes the positions of all vehicles from then on, and nothing is refused.
func TestStampKilled(t *testing.T) {
	var stamps [2]*door
	var servers [2]*httptest.Server
	var origins []frontdoor.Origin
	for i, name := range []string{"onprem", "cloud"} {
		stamps[i] = &door{}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
		mux.Handle("/", stamps[i])
		servers[i] = httptest.NewServer(mux)
		origins = append(origins, frontdoor.Origin{Name: name, URL: servers[i].URL, Priority: i + 1})
	}
	fo := frontdoor.DefaultOptions()
	fo.Origins, fo.Probe.Interval = origins, 20*time.Millisecond
	front, err := frontdoor.New(fo, frontdoor.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(front.Handler())
	o, reg := options(40), prometheus.NewRegistry()
	o.Interval, o.StandingInterval, o.MaxBackoff = 100*time.Millisecond, 100*time.Millisecond, 100*time.Millisecond
	s, err := New(o, Deps{URL: srv.URL, Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var ended sync.WaitGroup
	for _, run := range []func(context.Context) error{front.Run, s.Run} {
		ended.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, func() bool { _, n := stamps[0].seen(); return len(n) >= 20 }, "20 requests at the first stamp")
	_ = servers[0].Listener.Close()
	servers[0].CloseClientConnections()
	servers[0].Close()
	eventually(t, func() bool { _, n := stamps[1].seen(); return len(n) >= 40 }, "40 requests at the second stamp")
	cancel()
	ended.Wait()
	srv.Close()
	servers[1].Close()
	if n := metric(t, reg, "postroad_vehicles_refused_messages_total"); n != 0 {
		t.Errorf("%v positions refused", n)
	}
	_, stored := stamps[1].seen()
	told := make(map[string]bool)
	for _, r := range stored {
		for _, p := range positions(t, r.body) {
			told[p.ID] = true
		}
	}
	if len(told) != 40 {
		t.Errorf("%d vehicles tell the second stamp where they are, want 40", len(told))
	}
}

// eventually waits for cond, looking every few milliseconds.
func eventually(t *testing.T, cond func() bool, what string) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited 20 s in vain: %s", what)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for field, change := range map[string]func(*Options){
		"count: 0: ":                func(o *Options) { o.Count = 0 },
		"count: 10001: ":            func(o *Options) { o.Count = 10_001 },
		`topic: "a/b": `:            func(o *Options) { o.Topic = "a/b" },
		"interval: 1ms: ":           func(o *Options) { o.Interval = time.Millisecond },
		"standing_interval: 1s: ":   func(o *Options) { o.Interval, o.StandingInterval = 2*time.Second, time.Second },
		"streams: 65: ":             func(o *Options) { o.Streams = 65 },
		"timeout: 0s: ":             func(o *Options) { o.Timeout = 0 },
		"max_backoff: 1h0m0s: must": func(o *Options) { o.MaxBackoff = time.Hour },
	} {
		o := DefaultOptions()
		change(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no problem %q: %v", field, err)
		}
		if _, err := New(o, Deps{URL: "http://door"}); err == nil {
			t.Errorf("New took %s", field)
		}
	}
	for _, u := range []string{"", "door:8080", "ftp://door", "http://", ":"} {
		if _, err := New(DefaultOptions(), Deps{URL: u}); err == nil {
			t.Errorf("New took the address %q", u)
		}
	}
	reg := prometheus.NewRegistry()
	for i := range 2 {
		if _, err := New(DefaultOptions(), Deps{URL: "http://door", Registerer: reg}); (err == nil) != (i == 0) {
			t.Errorf("metrics registered %d times: %v", i+1, err)
		}
	}
}

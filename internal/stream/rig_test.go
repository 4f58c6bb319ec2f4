package stream

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// rig is a node over a log in memory, behind a listener.
type rig struct {
	*Node
	log *livetest.Log
	url string
	// stop ends the node and returns its error.
	stop func() error
	// ended is closed once Run has returned.
	ended <-chan struct{}
}

const secret = "a-secret-of-tests-that-is-long-enough-for-hmac"

// verifier lets in who brings no token, to read what anonymous says, and users by
// tokens, to read everything.
func verifier(t *testing.T, anonymous ...string) *auth.Verifier {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	o := auth.DefaultOptions()
	o.Keys = []auth.KeyFile{{Kind: auth.KindHMAC, File: file}}
	o.Leeway = 0
	policy := new(auth.Policy)
	if err := policy.UnmarshalText([]byte("* read */* publish */*")); err != nil {
		t.Fatal(err)
	}
	o.Policies = []auth.Policy{*policy}
	o.Anonymous.Enabled = len(anonymous) > 0
	for _, text := range anonymous {
		p, err := auth.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		o.Anonymous.Read = append(o.Anonymous.Read, p)
		o.Anonymous.Publish = append(o.Anonymous.Publish, p)
	}
	if o.Anonymous.Enabled {
		o.Policies = nil // they would be for the anonymous, too
		if err := policy.UnmarshalText([]byte("u* read */* publish */*")); err != nil {
			t.Fatal(err)
		}
		o.Policies = []auth.Policy{*policy}
	}
	v, err := auth.NewVerifier(o, auth.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func token(t *testing.T, user string, good time.Duration) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": user, "exp": time.Now().Add(good).Unix()}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testOptions(topics ...live.TopicOptions) Options {
	o := DefaultOptions()
	if o.Live.Topics = topics; len(topics) == 0 {
		o.Live.Topics = []live.TopicOptions{{Name: "cars"}, {Name: "one"}, {Name: "fast", Conflate: true}}
	}
	o.Drain.Timeout = 0
	return o
}

func newLog() *livetest.Log {
	log := livetest.NewLog()
	log.Make("cars", 4)
	log.Make("one", 1)
	log.Make("fast", 1)
	return log
}

// start runs a node that is ready; change may alter its settings beyond what is
// allowed outside.
func startNode(t *testing.T, log *livetest.Log, o Options, v Authenticator, change ...func(*Node)) *rig {
	t.Helper()
	if v == nil {
		v = verifier(t, "*/*")
	}
	n, err := New(o, Deps{Log: log, Auth: v, Name: "node", Demo: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "demo of "+r.URL.Path)
	})})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	ended := make(chan struct{})
	go func() { result <- n.Run(ctx); close(ended) }()
	server := httptest.NewServer(n.Handler())
	r := &rig{Node: n, log: log, url: server.URL, ended: ended}
	r.stop = func() error {
		cancel()
		<-ended
		server.CloseClientConnections()
		server.Close()
		select {
		case err := <-result:
			return err
		default:
			return nil
		}
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
	await(t, "the node to be ready", func() bool { return n.Ready() == nil })
	return r
}

// await waits for a condition, at most a generous time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// event is one of an event stream, or what stands between two blank lines.
type event struct {
	id, name, data, comment, retry string
	hasID                          bool
}

func (e event) message(t *testing.T) messageJSON {
	t.Helper()
	var m messageJSON
	if err := json.Unmarshal([]byte(e.data), &m); err != nil {
		t.Fatalf("%q: %v", e.data, err)
	}
	return m
}

// viewing is an open event stream as a browser sees it.
type viewing struct {
	res    *http.Response
	cancel context.CancelFunc
	events chan event // closed at the end of the stream
	last   string     // id of the last event, as a browser keeps it
}

// watch opens an event stream; header are pairs.
func watch(t *testing.T, url string, header ...string) *viewing {
	t.Helper()
	return watchOver(t, &http.Transport{DisableKeepAlives: true}, url, header...)
}

func watchOver(t *testing.T, tr *http.Transport, url string, header ...string) *viewing {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	v := &viewing{res: res, cancel: cancel, events: make(chan event, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(v.events)
		readEvents(res.Body, v.events)
	}()
	t.Cleanup(func() {
		v.close()
		<-done
	})
	return v
}

func (v *viewing) close() {
	v.cancel()
	v.res.Body.Close()
}

func readEvents(body io.Reader, to chan<- event) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 16<<20)
	var e event
	for lines.Scan() {
		if lines.Text() == "" {
			to <- e
			e = event{}
			continue
		}
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			e.id, e.hasID = value, true
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "retry":
			e.retry = value
		case "":
			e.comment = value
		}
	}
}

// next returns the next block of the stream; ok is false at its end.
func (v *viewing) next(t *testing.T) (e event, ok bool) {
	t.Helper()
	select {
	case e, ok = <-v.events:
		if e.hasID {
			v.last = e.id
		}
		return e, ok
	case <-time.After(20 * time.Second):
		t.Fatal("no event came")
	}
	return event{}, false
}

// nextEvent skips what a browser does not show.
func (v *viewing) nextEvent(t *testing.T) event {
	t.Helper()
	for {
		e, ok := v.next(t)
		if !ok {
			t.Fatal("the stream ended")
		}
		if e.data != "" {
			return e
		}
	}
}

// values reads n messages.
func (v *viewing) values(t *testing.T, n int) []string {
	t.Helper()
	var all []string
	for len(all) < n {
		e := v.nextEvent(t)
		if e.name != "" {
			t.Fatalf("event %+v among messages", e)
		}
		all = append(all, *e.message(t).Value)
	}
	return all
}

// position waits for a block that is an id and nothing else.
func (v *viewing) position(t *testing.T) string {
	t.Helper()
	for {
		e, ok := v.next(t)
		switch {
		case !ok || e.data != "":
			t.Fatalf("no position: %+v", e)
		case e.hasID:
			return e.id
		}
	}
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) problem(t *testing.T) (name, detail string) {
	t.Helper()
	var p struct{ Type, Detail string }
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("no problem: %d %s %q", a.status, a.header.Get("Content-Type"), a.body)
	}
	return strings.TrimPrefix(p.Type, "urn:postroad:problem:"), p.Detail
}

func ask(t *testing.T, method, url string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
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

// log1 is the value of a record that was sent.
func log1(r live.Record) string { return string(r.Value) }

func subjectA() live.Subject { return live.Subject{Topic: "one", Key: "a", Partition: -1} }

// counted reads a counter or a gauge.
func counted(t *testing.T, m prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetCounter().GetValue() + d.GetGauge().GetValue()
}

package carry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/door/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits for cond, looking every few milliseconds.
func eventually(t testing.TB, what string, cond func() bool) {
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

// stamp is an origin that remembers what it was asked.
type stamp struct {
	*httptest.Server
	name  string
	asked atomic.Int64

	mu     sync.Mutex
	marks  []string // Postroad-Attempt of each request; guarded by mu
	keys   []string // Idempotency-Key; guarded by mu
	bodies []string // guarded by mu

	handler http.Handler // nil echoes
}

func newStamp(t testing.TB, name string, handler http.Handler) *stamp {
	t.Helper()
	s := &stamp{name: name, handler: handler}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.kill)
	return s
}

// ServeHTTP answers with the name of the stamp and the body it got.
func (s *stamp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
	s.note(r, string(body))
	w.Header().Set("Stamp", s.name)
	_, _ = w.Write(body)
}

func (s *stamp) note(r *http.Request, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks = append(s.marks, strings.Join(r.Header[AttemptHeader], ","))
	s.keys = append(s.keys, strings.Join(r.Header[KeyHeader], ","))
	s.bodies = append(s.bodies, body)
}

// last returns the mark, the key and the body of the last request.
func (s *stamp) last() (mark, key, body string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.marks) == 0 {
		return "none", "none", "none"
	}
	i := len(s.marks) - 1
	return s.marks[i], s.keys[i], s.bodies[i]
}

// kill closes the listener and every connection, as the end of a process does.
func (s *stamp) kill() {
	_ = s.Listener.Close()
	s.CloseClientConnections()
	s.Close()
}

// rig is a carrier over a group of origins named a, b, c, … in order of
// priority.
type rig struct {
	*Carrier
	group *policy.Group

	mu  sync.Mutex
	all []Attempted // guarded by mu
}

type rigging struct {
	carry  Options
	policy policy.Options
	deps   Deps
	clock  func() time.Time
	// targets may change them before the carrier is made.
	targets func([]Target)
}

func testOptions() Options {
	o := DefaultOptions()
	o.DialTimeout = 20 * time.Second
	o.ResponseTimeout = 40 * time.Second
	o.LookupTimeout = 20 * time.Second
	return o
}

// calm is a policy that hedges nothing and takes no origin out but for a refused
// connection.
func calm() policy.Options {
	o := policy.DefaultOptions()
	o.Hedge.Enabled = false
	o.Hedge.Least, o.Hedge.Start, o.Hedge.Most = time.Minute, time.Minute, time.Minute
	o.Health.Errors.Consecutive, o.Health.Errors.Rate = 1000, 1
	return o
}

// hedging is calm, but hedges after a few milliseconds.
func hedging() policy.Options {
	o := calm()
	o.Hedge.Enabled = true
	o.Hedge.Least, o.Hedge.Start, o.Hedge.Most = 5*time.Millisecond, 5*time.Millisecond, 5*time.Millisecond
	o.Health.Silence = 1000
	return o
}

func newRig(t testing.TB, with rigging, urls ...string) *rig {
	t.Helper()
	if with.carry == (Options{}) {
		with.carry = testOptions()
	}
	if with.policy.ProbeInterval == 0 {
		with.policy = calm()
	}
	if with.clock == nil {
		with.clock = time.Now
	}
	origins := make([]policy.OriginOptions, len(urls))
	targets := make([]Target, len(urls))
	for i, u := range urls {
		name := string(rune('a' + i))
		origins[i] = policy.OriginOptions{Name: name, Priority: min(i+1, 5), Enabled: true}
		targets[i] = Target{Name: name, URLs: []string{u}}
	}
	if with.targets != nil {
		with.targets(targets)
	}
	group, err := policy.New(with.policy, origins, policy.Deps{Now: with.clock, Rand: rand.New(rand.NewPCG(1, 2))})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{group: group}
	with.deps.Now = with.clock
	with.deps.Attempted = func(a Attempted) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.all = append(r.all, a)
	}
	if r.Carrier, err = New(with.carry, group, targets, with.deps); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func (r *rig) attempts() []Attempted {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Attempted(nil), r.all...)
}

// answer is a response read to its end, or the error of RoundTrip.
type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (a answer) String() string {
	return fmt.Sprintf("%d from %q %.200q (%v)", a.status, a.header.Get(OriginHeader), a.body, a.err)
}

// request makes one as the handler of a front door gets it: GetBody is unset.
func request(ctx context.Context, kind Kind, method, path string, body io.Reader, header ...string) *http.Request {
	req := httptest.NewRequest(method, "http://door.test"+path, body)
	req.RequestURI = ""
	req.GetBody = nil
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req.WithContext(With(ctx, Call{Kind: kind}))
}

func (r *rig) do(t testing.TB, req *http.Request) answer {
	t.Helper()
	res, err := r.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, string(b), err}
}

const topic = "/v1/topics/t/messages"

// post sends a message to a gateway.
func (r *rig) post(t testing.TB, body string, header ...string) answer {
	t.Helper()
	return r.do(t, request(t.Context(), Gateway, http.MethodPost, topic, strings.NewReader(body), header...))
}

// wantUnknown wants the outcome of a request to be unknown.
func wantUnknown(t testing.TB, a answer) *Attempt {
	t.Helper()
	failed, ok := errors.AsType[*Attempt](a.err)
	if !ok || !failed.Sent {
		t.Fatalf("answer %v, want an attempt that was sent", a)
	}
	return failed
}

// problem is an answer of a gateway.
func problem(w http.ResponseWriter, status int, name string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"type":"urn:postroad:problem:%s","title":"x","status":%d}`, name, status)
}

// safeBuffer is a log that tests read while it is written.
type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

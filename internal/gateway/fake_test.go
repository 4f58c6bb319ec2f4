package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testLane = "01JD6Z0000000000000000TEST"

var errDisk = errors.New("disk on fire")

// fakeStore keeps messages in memory. before, where set, runs ahead of each
// append and its error is the append's.
type fakeStore struct {
	mu     sync.Mutex
	lane   string
	stored []message.Stored
	before func(ctx context.Context, msgs []message.Message) error
}

func newStore() *fakeStore { return &fakeStore{lane: testLane} }

func (s *fakeStore) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	if s.before != nil {
		if err := s.before(ctx, msgs); err != nil {
			return message.Place{}, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first := message.Place{Lane: s.lane, Seq: uint64(len(s.stored) + 1)}
	for i := range msgs {
		// Through the codec, as a queue would: what comes out owns its memory.
		m, err := message.Decode(message.Append(nil, &msgs[i]))
		if err != nil {
			return message.Place{}, err
		}
		s.stored = append(s.stored, message.Stored{Place: message.Place{Lane: s.lane, Seq: first.Seq + uint64(i)}, Message: m})
	}
	return first, nil
}

func (s *fakeStore) all() []message.Stored {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.stored)
}

// fakeTracker knows the outcomes it is told, by place.
type fakeTracker struct {
	store    *fakeStore
	mu       sync.Mutex
	outcomes map[message.Place]message.Outcome
	// waited is how long Await was allowed to take, by its deadline.
	waited time.Duration
}

func (f *fakeTracker) set(p message.Place, o message.Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.outcomes[p] = o
}

func (f *fakeTracker) outcome(p message.Place) message.Outcome {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o, ok := f.outcomes[p]; ok {
		return o
	}
	return message.Outcome{State: message.StateQueued}
}

func (f *fakeTracker) Await(ctx context.Context, first message.Place, n int) []message.Outcome {
	if deadline, ok := ctx.Deadline(); ok {
		f.mu.Lock()
		f.waited = time.Until(deadline)
		f.mu.Unlock()
	}
	list := make([]message.Outcome, n)
	for i := range list {
		list[i] = f.outcome(message.Place{Lane: first.Lane, Seq: first.Seq + uint64(i)})
	}
	return list
}

func (f *fakeTracker) Locate(_ context.Context, r message.Receipt) (message.Outcome, error) {
	for _, m := range f.store.all() {
		if m.Place == r.Place && m.ID == r.ID {
			return f.outcome(r.Place), nil
		}
	}
	return message.Outcome{}, message.ErrNotFound
}

func (f *fakeTracker) Scan(_ context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	for _, m := range f.store.all() {
		if m.ID == id {
			return message.Receipt{ID: id, Place: m.Place}, f.outcome(m.Place), nil
		}
	}
	return message.Receipt{}, message.Outcome{}, message.ErrNotFound
}

// rig is a gateway behind a real HTTP server.
type rig struct {
	*testing.T
	gateway *Gateway
	store   *fakeStore
	tracker *fakeTracker
	server  *httptest.Server
	clock   *fakeClock
}

type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newRig starts a gateway; change may alter its settings and collaborators.
func newRig(t *testing.T, change func(*Options, *Deps)) *rig {
	t.Helper()
	r := &rig{T: t, store: newStore(), clock: &fakeClock{now: time.Date(2026, 3, 4, 5, 6, 7, 891011000, time.UTC)}}
	r.tracker = &fakeTracker{store: r.store, outcomes: make(map[message.Place]message.Outcome)}
	o := DefaultOptions()
	d := Deps{
		Store: r.store, Tracker: r.tracker, Log: quiet(), Now: r.clock.Now, Retain: 24 * time.Hour, IPs: []string{"192.0.2.7"},
		Identity: Identity{Stamp: "onprem", Region: "north", Zone: "1", Hostname: "host-a", Version: "v1"},
	}
	if change != nil {
		change(&o, &d)
	}
	var err error
	if r.gateway, err = New(o, d); err != nil {
		t.Fatalf("New: %v", err)
	}
	r.server = httptest.NewServer(r.gateway.Handler())
	t.Cleanup(r.server.Close)
	return r
}

// reply is an answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request; fields are "Name: value".
func (r *rig) do(method, path, body string, fields ...string) reply {
	r.Helper()
	var src io.Reader
	if body != "" {
		src = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.Context(), method, r.server.URL+path, src)
	if err != nil {
		r.Fatalf("request: %v", err)
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		req.Header.Add(name, value)
	}
	res, err := r.server.Client().Do(req)
	if err != nil {
		r.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatalf("%s %s: read the answer: %v", method, path, err)
	}
	a := reply{status: res.StatusCode, header: res.Header, body: string(b)}
	conform(r.T, req, body, a)
	return a
}

func (r *rig) post(path, body string, fields ...string) reply {
	r.Helper()
	return r.do(http.MethodPost, path, body, fields...)
}

// one returns the only stored message.
func (r *rig) one() message.Stored {
	r.Helper()
	all := r.store.all()
	if len(all) != 1 {
		r.Fatalf("%d messages are stored; want 1", len(all))
	}
	return all[0]
}

// want checks an answer's status and that its body holds all parts.
func (r *rig) want(a reply, status int, parts ...string) {
	r.Helper()
	if a.status != status {
		r.Fatalf("status %d, want %d: %s", a.status, status, a.body)
	}
	for _, part := range parts {
		if !strings.Contains(a.body, part) {
			r.Errorf("answer %s lacks %s", a.body, part)
		}
	}
}

func headersOf(m message.Message) map[string]string {
	all := make(map[string]string)
	for _, h := range m.Headers {
		all[h.Name] = string(h.Value)
	}
	return all
}

package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// sabotage is what a twin has broken; the zero value nothing.
type sabotage struct {
	// sink is put around the sink of the stamp that relays.
	sink func(forward.Sink) forward.Sink
	// append is put around the receiving stamp's queue.
	append func(gateway.Store) gateway.Store
	// body changes what is sent.
	body func([]byte) []byte
	// keys, store and track are put around what the receiving gateway knows by.
	keys  func(gateway.KeySource) gateway.KeySource
	store func(gateway.RelayStore) gateway.RelayStore
	track func(gateway.Tracker) gateway.Tracker
}

// plan is what a test wants of a run.
type plan struct {
	messages     int
	gateways     int  // at the receiving stamp, at the same time
	killSender   bool // now and then
	killReceiver bool
	hubAway      bool
	noise        bool // cuts of the connection
	switching    int  // the balancer changes to another gateway at one in so many requests; 0 for never
	window       int  // W of the reader; 0 wants no record twice
	compress     bool
	sabotage     sabotage
}

// world is two stamps and the hub of the second: "site", which has only the other
// stamp, and "centre".
type world struct {
	t     testing.TB
	plan  plan
	seed  uint64
	began time.Time
	token string
	hub   *hub
	net   *network
	site  *faultfs.Share
	far   *faultfs.Share

	mu   sync.Mutex
	rng  *rand.Rand // guarded by mu, and all below
	acks map[string]message.Stored
	log  strings.Builder
}

func (w *world) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(n)
}

func (w *world) decide(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fmt.Fprintf(&w.log, "%9.3fs ", time.Since(w.began).Seconds())
	fmt.Fprintf(&w.log, format+"\n", args...)
}

func (w *world) history() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

// Write makes the parts' own words part of the history.
func (w *world) Write(b []byte) (int, error) {
	w.decide("%s", strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func (w *world) logger(of string) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})).With("of", of)
}

// process is a run of a stamp: its queue, its forwarder and, at the centre, a
// gateway.
type process struct {
	name    string
	host    *faultfs.Host
	queue   *queue.Queue
	sink    forward.Sink
	handler http.Handler
	stops   []func() // of the queue and the forwarder

	mu   sync.Mutex
	dead bool // guarded by mu
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func queueOptions() queue.Options {
	o := queue.DefaultOptions()
	o.Dir, o.SegmentBytes, o.BallastBytes, o.ReserveBytes = "/queue", 64<<10, 0, 64<<10
	return o
}

func forwardOptions() forward.Options {
	o := forward.DefaultOptions()
	o.SaveInterval, o.MaxInFlight, o.Batch = time.Second, 300, 50
	o.ProbeInterval, o.HoldInterval = time.Second, 2*time.Second
	return o
}

type source struct{ q *queue.Queue }

func (s source) Claim(ctx context.Context) (forward.Chain, error) {
	c, err := s.q.Claim(ctx)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (s source) Waiting() bool { return s.q.Waiting() }

// start runs a process of a stamp.
func (w *world) start(stamp, name string, share *faultfs.Share) (_ *process, err error) {
	p := &process{name: name, host: share.Host(name)}
	defer func() {
		if err != nil {
			p.host.Kill()
		}
	}()
	log := w.logger(name)
	p.queue, err = queue.Open(queueOptions(), queue.Deps{
		FS: p.host, Log: log, Stamp: stamp, Elapsed: func() time.Duration { return time.Since(w.began) },
	})
	if err != nil {
		return nil, err
	}
	if p.sink, err = w.sinkOf(stamp, p, log); err != nil {
		return nil, errors.Join(err, p.queue.Close())
	}
	f, err := forward.New(forwardOptions(), forward.Deps{Source: source{p.queue}, Sink: p.sink, Log: log})
	if err != nil {
		return nil, errors.Join(err, p.queue.Close())
	}
	if stamp == "centre" {
		if p.handler, err = w.gatewayOf(p, f.Board(), log); err != nil {
			return nil, errors.Join(err, p.queue.Close())
		}
	}
	for _, run := range []func(context.Context) error{p.queue.Run, f.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := run(ctx); err != nil {
				w.t.Errorf("%s: %v", name, err)
			}
		}()
		p.stops = append(p.stops, func() { cancel(); <-done })
	}
	w.decide("%s runs", name)
	return p, nil
}

func (w *world) sinkOf(stamp string, p *process, log *slog.Logger) (forward.Sink, error) {
	if stamp == "centre" {
		return newLink(w.hub), nil
	}
	o := DefaultOptions()
	o.URL, o.TokenFile, o.Streams = "https://centre.example", w.token, 3
	if !w.plan.compress {
		o.Compression = "none"
	}
	s, err := NewSink(o, Deps{Log: log, Stamp: stamp, MayWrite: p.queue.Overdue, transport: &carrier{w.net, p}})
	if err != nil {
		return nil, err
	}
	if wrap := w.plan.sabotage.sink; wrap != nil {
		return wrap(s), nil
	}
	return s, nil
}

type keySource struct{ q *queue.Queue }

func (k keySource) Keys(ctx context.Context, since time.Time, yield func(gateway.StoredKey) error) error {
	return k.q.Keys(ctx, since, func(key queue.Key) error { return yield(gateway.StoredKey(key)) })
}

// tracker answers as that of a whole stamp.
type tracker struct {
	q     *queue.Queue
	board *forward.Board
}

func (t tracker) Await(ctx context.Context, first message.Place, n int) []message.Outcome {
	return t.board.Await(ctx, first, n)
}

func (t tracker) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	o, err := t.q.Locate(ctx, r)
	if latest, ok := t.board.Outcome(r.Place); err == nil && ok {
		return latest, nil
	}
	return o, err
}

func (t tracker) Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	return t.q.Scan(ctx, id)
}

func (w *world) gatewayOf(p *process, board *forward.Board, log *slog.Logger) (http.Handler, error) {
	o := gateway.DefaultOptions()
	o.Relay.Stamps = []gateway.RelayStamp{{Name: "site", File: w.token}}
	d := gateway.Deps{
		Store: p.queue, Tracker: tracker{p.queue, board}, Keys: keySource{p.queue}, Relay: p.queue,
		Identity: gateway.Identity{Stamp: "centre"}, Log: log, Ready: p.queue.Ready,
	}
	s := w.plan.sabotage
	if s.append != nil {
		d.Store = s.append(d.Store)
	}
	if s.keys != nil {
		d.Keys = s.keys(d.Keys)
	}
	if s.store != nil {
		d.Relay = s.store(d.Relay)
	}
	if s.track != nil {
		d.Tracker = s.track(d.Tracker)
	}
	g, err := gateway.New(o, d)
	if err != nil {
		return nil, err
	}
	return g.Handler(), nil
}

// end stops a process: at once and for good, or as an operator does.
func (w *world) end(p *process, kill bool) {
	p.mu.Lock()
	p.dead = p.dead || kill
	p.mu.Unlock()
	if kill {
		if w.roll(2) == 0 { // with its host: what was not synced is gone
			p.host.Crash()
		} else {
			p.host.Kill()
		}
		p.sink.Close()
	}
	p.stops[1]() // the queue outlives who drains it
	p.stops[0]()
	p.sink.Close()
	_ = p.queue.Close()
	p.mu.Lock()
	p.dead = true
	p.mu.Unlock()
	p.host.Kill()
	w.decide("%s has ended, killed: %v", p.name, kill)
}

// tokenFile makes a file with a token.
func tokenFile(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(name, []byte("a-token-of-the-site-0123456789\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

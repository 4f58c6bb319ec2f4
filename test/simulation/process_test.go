package simulation

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"sync"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// process is one run of a gateway or a forwarder.
type process struct {
	w       *world
	name    string
	stamp   *stamp
	gateway bool
	began   time.Duration
	host    *faultfs.Host
	log     *slog.Logger
	queue   *queue.Queue
	handler http.Handler // of a gateway
	link    *link        // of a forwarder
	forward *forward.Forwarder
	drain   func() // refuses what is new
	cancel  []context.CancelFunc
	running sync.WaitGroup
	ended   chan struct{}
	ending  sync.Once

	mu       sync.Mutex
	gate     chan struct{} // guarded by mu: while paused; closed by resume
	dead     bool          // guarded by mu
	pausedAt time.Duration // guarded by mu
	resumed  time.Duration // guarded by mu: when the last pause ended
	paused   time.Duration // guarded by mu: the sum of all pauses
	stood    time.Duration // guarded by mu: how long its clock stood still
	stops    bool          // guarded by mu: the clock stands still in the present pause
	everStop bool          // guarded by mu: it did so in some pause
	trap     *trap         // guarded by mu
	spared   bool          // guarded by mu: its operations fail at times
}

// trap pauses a process at an operation.
type trap struct {
	kind  faultfs.Kind
	name  string // a pattern of path.Match for the last element
	after bool   // before it is answered, not before it is done
	nth   int
	pause func()
}

// elapsed is the process's own clock.
func (p *process) elapsed() time.Duration {
	now := p.w.elapsed()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil && p.stops {
		now = p.pausedAt
	}
	return now - p.stood
}

// pause has the process stand still; its clock goes on or not.
func (p *process) pause(stops bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gate != nil || p.dead {
		return false
	}
	p.gate, p.pausedAt, p.stops = make(chan struct{}), p.w.elapsed(), stops
	p.everStop = p.everStop || stops
	return true
}

func (p *process) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open()
}

// open is called with mu held.
func (p *process) open() {
	if p.gate == nil {
		return
	}
	now := p.w.elapsed()
	if p.stops {
		p.stood += now - p.pausedAt
	}
	p.paused += now - p.pausedAt
	p.resumed = now
	close(p.gate)
	p.gate = nil
}

// pauseFor pauses the process for a time.
func (p *process) pauseFor(d time.Duration, stops bool) {
	if !p.pause(stops) {
		return
	}
	p.w.decide("pause %s for %v, its clock stands still: %v", p.name, d.Round(time.Millisecond), stops)
	p.w.wg.Go(func() {
		<-time.After(d)
		p.w.decide("resume %s", p.name)
		p.resume()
	})
}

// stand waits while the process is paused.
func (p *process) stand() {
	for {
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		if gate == nil {
			return
		}
		<-gate
	}
}

// standAt is stand for an operation on the share. A forwarder stands where it
// calls its chains and the hub, and here only at what shows that it lives and at
// what it watches: its claims hold locks over operations, and time in a synctest
// bubble stands still while somebody waits for a lock.
func (p *process) standAt(name string) {
	if p.gateway || isHeartbeat(name) || isFence(name) {
		p.stand()
	}
}

// set arms a trap.
func (p *process) set(t *trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = t
}

// reach springs the trap at its operation.
func (p *process) reach(kind faultfs.Kind, name string, after bool) {
	p.mu.Lock()
	t := p.trap
	hit := false
	if t != nil && t.after == after && (t.kind == kind) {
		if ok, err := path.Match(t.name, path.Base(name)); ok && err == nil {
			t.nth--
			hit = t.nth <= 0
		}
	}
	if hit {
		p.trap = nil
	}
	p.mu.Unlock()
	if hit {
		p.w.decide("%s is at %s %s, after it: %v", p.name, kind, name, after)
		t.pause()
	}
}

// spare says that the process may not be well from now on.
func (p *process) spare() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spared = true
}

// well reports that nothing has been in the way of the process for so long that
// nobody may take it for dead.
func (p *process) well() bool {
	now, long := p.w.elapsed(), 2*(p.w.plan.queue.TTL+p.w.plan.queue.TakeoverMargin)
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.dead && !p.spared && p.gate == nil && now-max(p.resumed, time.Duration(p.stamp.trouble.Load())) > long
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// errLog is how the parts' own words come into the log of decisions.
func (w *world) logger(name string) *slog.Logger {
	return slog.New(slog.NewTextHandler(logWriter{w}, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})).With("of", name)
}

// slot is a place where a process runs, and is started again when it ended.
type slot struct {
	w       *world
	name    string
	stamp   *stamp
	host    string
	gateway bool

	mu  sync.Mutex
	now *process // guarded by mu; nil while none runs
	n   int      // guarded by mu
}

func (s *slot) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// keep runs processes one after the other until ctx ends.
func (s *slot) keep(ctx context.Context) {
	rng := s.w.random("slot " + s.name)
	pause(ctx, time.Duration(rng.Int64N(int64(time.Second)))) // so that few things happen at the same time
	for ctx.Err() == nil {
		p, err := s.start()
		if err != nil {
			s.w.decide("%s does not start: %v", s.name, err)
			pause(ctx, time.Duration(rng.Int64N(int64(2*time.Second))))
			continue
		}
		s.mu.Lock()
		s.now = p
		s.mu.Unlock()
		select {
		case <-p.ended:
		case <-ctx.Done():
			p.stop()
		}
		s.mu.Lock()
		s.now = nil
		s.mu.Unlock()
		pause(ctx, time.Duration(rng.Int64N(int64(15*time.Second))))
	}
}

// pause waits, at most until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *slot) start() (_ *process, err error) {
	s.mu.Lock()
	s.n++
	name := fmt.Sprintf("%s.%d", s.name, s.n)
	s.mu.Unlock()
	p := &process{
		w: s.w, name: name, stamp: s.stamp, gateway: s.gateway, began: s.w.elapsed(),
		host: s.stamp.share.Host(s.host), log: s.w.logger(name), ended: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			p.host.Kill()
		}
	}()
	part := queue.Drains
	if s.gateway {
		part = queue.Writes
	}
	p.queue, err = queue.Open(s.w.plan.queue, queue.Deps{
		Part: part, FS: mount{p, p.host, s.w.sabotage.spoil}, Log: p.log, Stamp: s.stamp.name, Elapsed: p.elapsed,
	})
	if err != nil {
		return nil, err
	}
	if s.gateway {
		err = p.runGateway()
	} else {
		err = p.runForwarder()
	}
	if err != nil {
		_ = p.queue.Close() // never ran
		return nil, err
	}
	s.w.decide("%s runs on host %s", name, s.host)
	return p, nil
}

// spawn runs something until it is told to stop; the last spawned is told first.
func (p *process) spawn(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p.running.Go(func() {
		defer close(done)
		if err := run(ctx); err != nil {
			p.w.fail(fmt.Errorf("%s: run: %w", p.name, err))
		}
	})
	p.cancel = append(p.cancel, func() {
		cancel()
		<-done
	})
}

func (p *process) runGateway() error {
	o := gateway.DefaultOptions()
	g, err := gateway.New(o, gateway.Deps{
		Store: p.store(), Tracker: tracker{p.queue}, Keys: keySource{p.queue},
		Identity: gateway.Identity{Stamp: p.stamp.name}, Log: p.log,
	})
	if err != nil {
		return err
	}
	p.handler, p.drain = g.Handler(), g.Drain
	p.spawn(p.queue.Run)
	p.spawn(func(ctx context.Context) error { g.LoadKeys(ctx); return nil })
	return nil
}

func (p *process) store() gateway.Store {
	if wrap := p.w.sabotage.store; wrap != nil {
		return wrap(p.queue)
	}
	return p.queue
}

func (p *process) runForwarder() error {
	p.link = newLink(p.w.hub, p)
	var sink forward.Sink = p.link
	if wrap := p.w.sabotage.sink; wrap != nil {
		sink = wrap(p.link)
	}
	var twins forward.Log = p.link
	if wrap := p.w.sabotage.twins; wrap != nil {
		twins = wrap(p.link)
	}
	f, err := forward.New(p.w.plan.forward, forward.Deps{Source: source{p}, Sink: sink, Twins: twins, Log: p.log})
	if err != nil {
		return err
	}
	p.forward = f
	p.drain = func() {}
	p.spawn(p.queue.Run)
	p.spawn(f.Run)
	return nil
}

// stop ends the process as an operator does.
func (p *process) stop() {
	p.resume()
	p.end(func() { p.drain() })
}

// kill ends the process alone, or with its host.
func (p *process) kill(withHost bool) {
	p.end(func() {
		p.mu.Lock()
		p.dead, p.trap = true, nil
		p.open()
		p.mu.Unlock()
		if withHost {
			p.host.Crash()
		} else {
			p.host.Kill()
		}
		if p.link != nil {
			p.link.Close()
		}
	})
}

func (p *process) end(first func()) {
	p.ending.Do(func() {
		first()
		for i := len(p.cancel) - 1; i >= 0; i-- {
			p.cancel[i]()
		}
		p.running.Wait()
		if p.forward != nil {
			p.w.leftOut.Add(p.forward.Status().DuplicateTotal)
		}
		_ = p.queue.Close() // gives up what a dead host has taken already
		p.mu.Lock()
		p.dead = true
		p.open()
		p.mu.Unlock()
		p.host.Kill()
		close(p.ended)
	})
	<-p.ended
}

// keySource lets the gateway read the keys of earlier processes.
type keySource struct{ queue *queue.Queue }

func (k keySource) Keys(ctx context.Context, since time.Time, yield func(gateway.StoredKey) error) error {
	return k.queue.Keys(ctx, since, func(key queue.Key) error { return yield(gateway.StoredKey(key)) })
}

// tracker answers as that of a gateway alone.
type tracker struct{ queue *queue.Queue }

func (t tracker) Await(_ context.Context, _ message.Place, n int) []message.Outcome {
	out := make([]message.Outcome, n)
	for i := range out {
		out[i].State = message.StateQueued
	}
	return out
}

func (t tracker) Locate(ctx context.Context, r message.Receipt) (message.Outcome, error) {
	return t.queue.Locate(ctx, r)
}

func (t tracker) Scan(ctx context.Context, id message.ID) (message.Receipt, message.Outcome, error) {
	return t.queue.Scan(ctx, id)
}

// source lets the forwarder claim the queue's chains, and stand still at them.
type source struct{ p *process }

func (s source) Claim(ctx context.Context) (forward.Chain, error) {
	s.p.stand()
	c, err := s.p.queue.Claim(ctx)
	if err != nil {
		return nil, err
	}
	s.p.claimed(c.ID())
	s.p.stand()
	return chain{c, s.p}, nil
}

func (s source) Waiting() bool { return s.p.queue.Waiting() }

type chain struct {
	forward.Chain
	p *process
}

func (c chain) Next(ctx context.Context, limit int) ([]message.Stored, error) {
	c.p.stand()
	msgs, err := c.Chain.Next(ctx, limit)
	c.p.w.ledger.belong(msgs, c.ID())
	c.p.stand()
	return msgs, err
}

func (c chain) NextHeld(ctx context.Context, topic string, limit int) ([]message.Stored, error) {
	c.p.stand()
	msgs, err := c.Chain.NextHeld(ctx, topic, limit)
	c.p.w.ledger.belong(msgs, c.ID())
	c.p.stand()
	return msgs, err
}

func (c chain) Divert(ctx context.Context, topic string, msgs []message.Stored) error {
	c.p.stand()
	err := c.Chain.Divert(ctx, topic, msgs)
	c.p.stand()
	return err
}

func (c chain) Bury(ctx context.Context, msgs []message.Stored) error {
	c.p.stand()
	err := c.Chain.Bury(ctx, msgs)
	c.p.stand()
	return err
}

func (c chain) Save(ctx context.Context, p message.Progress) error {
	c.p.stand()
	err := c.Chain.Save(ctx, p)
	c.p.stand()
	return err
}

func (c chain) Release(ctx context.Context) error {
	c.p.stand()
	return c.Chain.Release(ctx)
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// Forwarder drains the chains of a Source into a Sink. Its methods are safe for
// concurrent use; Run is called once.
type Forwarder struct {
	opts    Options
	deps    Deps
	log     *slog.Logger
	metrics *metrics
	breaker *breaker
	board   *Board
	budget  *budget
	gates   gates
	slabs   slabPool
	graves  *graves
	late    *late         // nil where twins are not looked for
	reads   chan struct{} // holds a token for each read-back under way
	// resetAt is until when the sink's client of before the last reset may have sent
	// anything, in Unix nanoseconds; 0 for never.
	resetAt atomic.Int64

	total atomic.Int64 // messages forwarded
	bytes atomic.Int64 // of their keys, headers and values
	rate  atomic.Int64 // of late, in thousandths a second
	flow  atomic.Int64 // bytes of late, a second

	mu       sync.Mutex
	drainers []*drainer // guarded by mu
	lastErr  error      // guarded by mu
	lastAt   time.Time  // guarded by mu
}

// New makes a Forwarder that does nothing before Run.
func New(opts Options, deps Deps) (*Forwarder, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Source == nil || deps.Sink == nil {
		return nil, errors.New("forwarder: source and sink are required")
	}
	if opts.Delivery == DeliveryExactlyOnce && deps.Transactor == nil {
		return nil, errors.New("forwarder: this sink cannot deliver exactly once")
	}
	f := &Forwarder{
		opts: opts, deps: deps, log: deps.Log, board: newBoard(opts.BoardMessages), budget: newBudget(opts),
		reads: make(chan struct{}, maxReads),
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(deps.Registerer, f.inFlight, func() float64 { return float64(len(f.running())) }, f.heldTopics)
	if err != nil {
		return nil, fmt.Errorf("forwarder metrics: %w", err)
	}
	f.metrics = m
	f.late = newLate(opts, deps.Twins, deps.Sink, m)
	f.graves = newGraves(opts.DeadLetterTopic, deps.Sink, f.log, m, f.reset)
	f.breaker = newBreaker(opts, f.log, deps.Sink.Probe, m.breakerState)
	deps.Sink.Watch(f.breaker.report)
	return f, nil
}

// Board returns the outcomes of recent messages.
func (f *Forwarder) Board() *Board { return f.board }

// Run claims chains and drains them until ctx ends. Then it stops reading,
// gives what is in flight up to drain_timeout to be answered, saves progress,
// gives the claims up, closes the Sink and returns nil.
func (f *Forwarder) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { f.breaker.watch(ctx) })
	wg.Go(func() { f.observe(ctx) })
	wg.Go(func() { f.graves.run(ctx) })
	slots := make(chan struct{}, f.opts.MaxChains)
	for fails := 0; ctx.Err() == nil; {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			continue
		case <-time.After(turnTime):
			f.makeTurn()
			continue
		}
		chain, err := f.deps.Source.Claim(ctx)
		if err == nil {
			fails = 0
			wg.Go(func() {
				f.drain(ctx, chain)
				<-slots
			})
			continue
		}
		if ctx.Err() != nil {
			break
		}
		<-slots
		f.note(fmt.Errorf("claim a chain: %w", err))
		f.log.Error("could not claim a chain", "err", err)
		if sleep(ctx, retryDelay(fails)) != nil {
			break
		}
		fails++
	}
	wg.Wait()
	f.deps.Sink.Close()
	return nil
}

// turnTime is how long all places may be taken before a chain must give its up.
const turnTime = 30 * time.Second

// makeTurn has the chain that has been drained for longest give up its claim, so
// that no chain starves behind max_chains others: above all not a live one behind
// those that dead processes left, with years of backlog or a topic that is held.
// What is not settled of it is handed out again, after the live ones.
func (f *Forwarder) makeTurn() {
	if f.breaker.shut.Load() {
		return // nothing gets on anywhere
	}
	if w, ok := f.deps.Source.(interface{ Waiting() bool }); ok && !w.Waiting() {
		return
	}
	all := f.running()
	if len(all) == 0 {
		return
	}
	oldest := slices.MinFunc(all, func(a, b *drainer) int { return a.began.Compare(b.began) })
	signal(oldest.yield)
}

func (f *Forwarder) drain(ctx context.Context, c Chain) {
	d := newDrainer(f, c)
	f.mu.Lock()
	f.drainers = append(f.drainers, d)
	f.mu.Unlock()
	d.run(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drainers = slices.DeleteFunc(f.drainers, func(o *drainer) bool { return o == d })
}

// running returns the drainers there are.
func (f *Forwarder) running() []*drainer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.drainers)
}

func (f *Forwarder) inFlight() float64 {
	n := 0
	for _, d := range f.running() {
		sent, _ := d.flight.counters()
		n += sent
	}
	return float64(n)
}

// note keeps the last error for the status.
func (f *Forwarder) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastErr, f.lastAt = err, time.Now()
}

// observeEvery is how often observe looks; an answer that takes longer leads to
// a probe.
const observeEvery = 500 * time.Millisecond

// probeEvery is how often the hub is probed where nothing else asks for it, so
// that an idle forwarder, too, knows whether it is there.
const probeEvery = 15 * time.Second

// observe turns silence into probes, takes messages back from a client that
// has had them for too long, and measures the rate.
func (f *Forwarder) observe(ctx context.Context) {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	idle := time.NewTicker(probeEvery)
	defer idle.Stop()
	f.breaker.kick()
	messages, bytes := meter{last: f.total.Load()}, meter{last: f.bytes.Load()}
	for {
		select {
		case <-ctx.Done():
			return
		case <-idle.C:
			f.breaker.kick()
			f.late.tidy()
			continue
		case <-tick.C:
		}
		f.observeSilence()
		f.rate.Store(int64(messages.tick(f.total.Load()) * 1000))
		f.flow.Store(int64(bytes.tick(f.bytes.Load())))
	}
}

// meter turns a count that is looked at every observeEvery into a rate.
type meter struct {
	last int64
	rate float64
}

func (m *meter) tick(count int64) float64 {
	now := float64(count-m.last) / observeEvery.Seconds()
	m.last = count
	m.rate += (now - m.rate) * 0.1 // a time constant of about 5 s
	return m.rate
}

// observeSilence looks for partitions that the hub owes an answer for.
func (f *Forwarder) observeSilence() {
	longest, limit, now := time.Duration(0), f.patience(), time.Now()
	var overdue []message.Mark
	for _, d := range f.running() {
		d.flight.owed(now, func(of message.Mark, silent time.Duration) {
			longest = max(longest, silent)
			if silent >= limit {
				overdue = append(overdue, of)
			}
		})
	}
	if longest >= observeEvery {
		f.breaker.kick()
	}
	// A session sends afresh by itself what the hub did not answer for.
	if len(overdue) > 0 && f.opts.Delivery != DeliveryExactlyOnce {
		f.refresh(longest, overdue)
	}
}

// returnGrace is how long a hub that answers again has for what waits in the client.
const returnGrace = 5 * time.Second

// patience is how long a partition may be silent before what it owes an answer for is
// taken back. Longer in the moment that the hub returns: what the client has is under
// way then, and taken back it would have to wait until that has landed.
func (f *Forwarder) patience() time.Duration {
	limit := f.opts.RefreshAfter
	if f.late != nil { // what is sent after that must be looked for first
		limit = min(limit, f.opts.LateAfter)
	}
	if f.breaker.answers() {
		limit += min(limit, returnGrace)
	}
	return limit
}

// withdrawer is a sink that can give back what is under way to some partitions, and
// leave the others alone.
type withdrawer interface {
	Withdraw(of []message.Mark) error
}

// refresh makes the sink give back what is overdue: all it has where the hub as a
// whole is silent, or the sink can do no less. The drainers then read back what did
// get into the hub, and send the rest with a new time of producing.
func (f *Forwarder) refresh(silent time.Duration, overdue []message.Mark) {
	f.log.Warn("taking messages back from the client", "silent_for", silent.Round(time.Second),
		"topic", overdue[0].Topic, "partition", overdue[0].Partition, "partitions", len(overdue))
	if s, can := f.deps.Sink.(withdrawer); can && f.breaker.heardWithin(f.patience()) {
		f.takeBack(func() error { return s.Withdraw(overdue) })
		return
	}
	f.reset()
}

// reset makes the sink give back all that it has of all chains.
func (f *Forwarder) reset() { f.takeBack(f.deps.Sink.Reset) }

// takeBack has the sink replace clients.
func (f *Forwarder) takeBack(replace func() error) {
	f.metrics.resets.Inc()
	now := time.Now().UnixNano()
	f.resetAt.Store(now) // before: who is given something back looks at it
	if err := replace(); err != nil {
		f.note(fmt.Errorf("reset the connection to the hub: %w", err))
		f.log.Error("could not reset the connection to the hub", "err", err)
	}
	if s, knows := f.deps.Sink.(interface{ GivenUp() time.Time }); knows {
		last := int64(0)
		if at := s.GivenUp(); !at.IsZero() {
			last = at.UnixNano()
		}
		f.resetAt.CompareAndSwap(now, min(now, last))
	}
}

// Forwarded returns how many messages, and bytes of keys, headers and values, the
// hub has acknowledged since the process began.
func (f *Forwarder) Forwarded() (messages, bytes int64) { return f.total.Load(), f.bytes.Load() }

// Status is the state of a forwarder.
type Status struct {
	Breaker BreakerStatus `json:"breaker"`
	// Chains are those being drained.
	Chains []ChainStatus `json:"chains"`
	// ForwardedTotal counts messages since the process began.
	ForwardedTotal int64 `json:"forwarded_total"`
	// RatePerSecond is how many of late, BytesPerSecond how many bytes of keys,
	// headers and values.
	RatePerSecond  float64 `json:"rate_per_second"`
	BytesPerSecond float64 `json:"bytes_per_second"`
	// DeadTotal were refused by the hub for good since the process began, and
	// are dead letters now.
	DeadTotal int64 `json:"dead_total"`
	// DuplicateTotal were late, and were not sent because another stamp's copy is
	// in the hub; LateTotal were late and sent with postroad-late, because the hub
	// may have dropped such a copy. Both since the process began.
	DuplicateTotal int64 `json:"duplicate_total"`
	LateTotal      int64 `json:"late_total"`
	// LastError is the last thing that went wrong, which may be over.
	LastError   string    `json:"last_error,omitempty"`
	LastErrorAt time.Time `json:"last_error_at,omitzero"`
}

// ChainStatus is the state of one chain.
type ChainStatus struct {
	ID string `json:"id"`
	// State is taking over, draining, recovering (messages came back and are
	// sent again), held (the hub refuses those of some topic until somebody
	// changes something) or stopping.
	State string `json:"state"`
	// Lane is the one being drained, NextSeq its first message that is not in
	// the hub.
	Lane    string `json:"lane,omitempty"`
	NextSeq uint64 `json:"next_seq,omitempty"`
	// InFlight messages wait for the hub's answer.
	InFlight int `json:"in_flight"`
	// Error is why it is not draining, or why progress could not be saved last
	// time, or both: until progress is saved again, a successor looks for, and
	// may send, all that was forwarded since.
	Error string `json:"error,omitempty"`
	// NextTry is when it is tried again, while held or recovering.
	NextTry time.Time `json:"next_try,omitzero"`
	// Topics are those with which something is the matter, held ones first. All
	// others go on.
	Topics []TopicStatus `json:"topics,omitempty"`
}

// TopicStatus is the state of a topic of a chain with which something is the
// matter.
type TopicStatus struct {
	Topic string `json:"topic"`
	// State is recovering or held, as a chain's.
	State string `json:"state"`
	// Aside says that messages stand in a side lane until the hub takes them.
	Aside   bool      `json:"aside,omitempty"`
	Error   string    `json:"error,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	NextTry time.Time `json:"next_try,omitzero"`
}

func cmpHeld(a, b TopicStatus) int {
	if (a.State == stateHeld) != (b.State == stateHeld) {
		if a.State == stateHeld {
			return -1
		}
		return 1
	}
	return strings.Compare(a.Topic, b.Topic)
}

func (f *Forwarder) heldTopics() float64 {
	n := 0
	for _, d := range f.running() {
		for _, t := range d.flight.topicStates() {
			if t.State == stateHeld || t.Aside {
				n++
			}
		}
	}
	return float64(n)
}

// Status returns the present state.
func (f *Forwarder) Status() Status {
	s := Status{
		Breaker: f.breaker.status(), Chains: []ChainStatus{},
		ForwardedTotal: f.total.Load(), RatePerSecond: float64(f.rate.Load()) / 1000, BytesPerSecond: float64(f.flow.Load()),
		DeadTotal: f.graves.count(),
	}
	if f.late != nil {
		s.DuplicateTotal, s.LateTotal = f.late.duplicates.Load(), f.late.unsure.Load()
	}
	at, err := f.breaker.lastFailure()
	f.mu.Lock()
	if f.lastErr != nil && f.lastAt.After(at) {
		at, err = f.lastAt, f.lastErr
	}
	f.mu.Unlock()
	if err != nil {
		s.LastError, s.LastErrorAt = err.Error(), at
	}
	for _, d := range f.running() {
		s.Chains = append(s.Chains, d.status())
	}
	return s
}

// retryDelay is a random time that grows with the failures to a second.
func retryDelay(fails int) time.Duration {
	return rand.N(20*time.Millisecond<<min(fails, 6)) + 1
}

// holdDelay is a random time that grows from a second to limit.
func holdDelay(fails int, limit time.Duration) time.Duration {
	return rand.N(min(time.Second<<min(fails, 10), limit)) + 1
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

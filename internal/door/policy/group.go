package policy

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// instant is a time on the group's clock: since the group was made.
type instant = time.Duration

// never is when nothing is due.
const never = instant(math.MaxInt64)

// ErrUnknownOrigin is in the error of a verb about an origin that is not there.
var ErrUnknownOrigin = errors.New("no such origin")

// Deps are the collaborators of a Group; each may be nil.
type Deps struct {
	// Now is the clock, by default that of the machine.
	Now func() time.Time
	// Rand seeds what is left to chance; by default it is different in each run.
	// It is used only in New.
	Rand *rand.Rand
	// Event is told each change of state, one at a time and in order. It may call
	// the group.
	Event func(Event)
}

// Event is a change of an origin's state, or of the group's where Origin is
// empty: from "normal" to "panic" and back.
type Event struct {
	Origin string    `json:"origin,omitempty"`
	From   string    `json:"from"`
	To     string    `json:"to"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Group is a set of origins that can stand in for each other. It is safe for
// concurrent use.
type Group struct {
	clock func() time.Time
	epoch time.Time

	conf         atomic.Pointer[Options]
	view         atomic.Pointer[view]
	due          atomic.Int64 // when the view must be looked at again; an instant
	turn         atomic.Uint64
	stalledUntil atomic.Int64 // an instant
	budget       budget
	events       events

	mu      sync.Mutex
	origins []*Origin // by priority, then as configured; replaced as a whole; guarded by mu
	panics  bool      // guarded by mu
	jitter  uint64    // guarded by mu
}

// New makes a group. It trusts its origins until something speaks against them:
// the first request need not wait for a probe.
func New(opts Options, origins []OriginOptions, deps Deps) (*Group, error) {
	if err := errors.Join(opts.Validate(), ValidateOrigins(origins)); err != nil {
		return nil, err
	}
	g := &Group{clock: deps.Now}
	if g.clock == nil {
		g.clock = time.Now
	}
	g.epoch = g.clock()
	g.events.tell = deps.Event
	seed := rand.Uint64
	if deps.Rand != nil {
		seed = deps.Rand.Uint64
	}
	g.turn.Store(seed())
	g.jitter = seed()
	g.budget.open(opts.Repeat)
	g.mu.Lock()
	g.adopt(opts, origins, true)
	g.mu.Unlock()
	return g, nil
}

// Update takes other options and origins. An origin that was there before, by its
// name, keeps its state; a new one gets requests once its probes pass. Options
// that are not valid change nothing.
func (g *Group) Update(opts Options, origins []OriginOptions) error {
	if err := errors.Join(opts.Validate(), ValidateOrigins(origins)); err != nil {
		return err
	}
	g.budget.update(opts.Repeat, g.now())
	g.locked(func(instant) { g.adopt(opts, origins, false) })
	return nil
}

// adopt makes opts and origins those of the group. The caller holds mu.
func (g *Group) adopt(opts Options, origins []OriginOptions, first bool) {
	now := g.now()
	if opts.ProbeInterval == 0 {
		opts.ProbeInterval = time.Second
	}
	g.conf.Store(&opts)
	before := make(map[string]*Origin, len(g.origins))
	for _, o := range g.origins {
		before[o.name] = o
	}
	next := make([]*Origin, 0, len(origins))
	for _, oo := range origins {
		o := before[oo.Name]
		if o == nil {
			o = newOrigin(g, oo.Name, first, now)
		}
		delete(before, oo.Name)
		o.opts = oo.withDefaults()
		o.traffic.retune(&opts, &o.delay)
		next = append(next, o)
	}
	for _, o := range before {
		o.gone.Store(true)
		o.usable.Store(false)
	}
	slices.SortStableFunc(next, func(a, b *Origin) int { return cmp.Compare(a.opts.Priority, b.opts.Priority) })
	g.origins = next
	for _, o := range next {
		if o.shown == "" {
			o.shown = o.mode()
		}
	}
	g.refresh(now)
}

// Origins returns all origins, by priority, then as configured.
func (g *Group) Origins() []*Origin {
	v := g.current(g.now())
	all := make([]*Origin, len(v.cands))
	for i := range v.cands {
		all[i] = v.cands[i].origin
	}
	return all
}

func (g *Group) now() instant { return g.clock().Sub(g.epoch) }

func (g *Group) at(i instant) time.Time { return g.epoch.Add(i) }

// locked runs change under mu, lets what follows from it happen, and then tells
// the events.
func (g *Group) locked(change func(now instant)) {
	g.mu.Lock()
	now := g.now()
	change(now)
	g.refresh(now)
	g.mu.Unlock()
	g.events.deliver()
}

// named returns an origin by its name. The caller holds mu.
func (g *Group) named(name string) (*Origin, error) {
	for _, o := range g.origins {
		if o.name == name {
			return o, nil
		}
	}
	return nil, fmt.Errorf("origin %q: %w", name, ErrUnknownOrigin)
}

// wake makes the view be looked at again at i, if not before.
func (g *Group) wake(i instant) {
	for {
		due := g.due.Load()
		if int64(i) >= due || g.due.CompareAndSwap(due, int64(i)) {
			return
		}
	}
}

// current returns the view, after what changed by time alone has happened. Where
// another goroutine is at it, the view before that will do.
func (g *Group) current(now instant) *view {
	if int64(now) >= g.due.Load() && g.mu.TryLock() {
		g.refresh(now)
		g.mu.Unlock()
		g.events.deliver()
	}
	return g.view.Load()
}

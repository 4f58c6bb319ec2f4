package policy

import (
	"sync"
	"sync/atomic"
	"time"
)

// State is what an origin is to its group.
type State string

// The states. The last four take precedence over the first three, which go on
// behind them, the further down the list the more.
const (
	// Healthy takes its share.
	Healthy State = "healthy"
	// Suspect is isolated: it failed, or was not probed yet.
	Suspect State = "suspect"
	// Restoring takes a growing part of its share.
	Restoring State = "restoring"
	// Draining takes no new requests: an operator or the origin itself said so.
	Draining State = "draining"
	// Maintenance: the origin itself asked to be left alone.
	Maintenance State = "maintenance"
	// Held is kept out until an operator releases it.
	Held State = "held"
	// Disabled is out by its configuration.
	Disabled State = "disabled"
)

// Origin is one origin of a group and what the group thinks of it.
type Origin struct {
	group *Group
	name  string
	seed  uint64 // of its name, for affinity

	// What others read without a lock.
	gone, usable, healthy, restoring, strained atomic.Bool
	disabled                                   atomic.Bool  // by the configuration
	hopeful                                    atomic.Bool  // suspect, and something passed: a failure matters
	wanting                                    atomic.Bool  // suspect, and more must pass: a success matters
	delay                                      atomic.Int64 // of a hedge, in nanoseconds
	slowUntil                                  atomic.Int64 // an instant; see slow

	traffic traffic

	// The rest is guarded by group.mu.
	opts   OriginOptions
	state  State // Healthy, Suspect or Restoring
	shown  State // the mode that was told last
	toldAt instant
	since  instant
	reason string

	window      window
	failing     bool // what probes say
	passes      int  // in a row, of probes and requests, without a failure
	isolations  int  // that were not forgotten
	until       instant
	waiting     bool // probes pass, but an operator must release it
	drained     bool // by an operator
	held        bool // by an operator
	taken       int  // percent taken away by an operator
	said        Announcement
	excused     bool // a failed probe was not counted because the machine stalled
	pace        pace
	fast        bool
	decided     bool
	turning     bool
	turnSince   instant
	probedAt    instant
	everProbed  bool
	lastProblem string
}

func newOrigin(g *Group, name string, trusted bool, now instant) *Origin {
	o := &Origin{group: g, name: name, seed: hashBytes(name), state: Healthy, since: now, reason: "not probed yet", fast: true}
	if !trusted {
		o.state, o.until, o.reason = Suspect, now, "new, not probed yet"
	}
	return o
}

// Name returns the name that the origin is configured with.
func (o *Origin) Name() string { return o.name }

// Healthy reports whether the origin answers as far as is known, whether or not it
// takes new requests.
func (o *Origin) Healthy() bool { return o.healthy.Load() && !o.gone.Load() }

// Disabled reports whether the configuration keeps everything from the origin.
func (o *Origin) Disabled() bool { return o.disabled.Load() }

// Usable reports whether the origin takes requests without there being a panic.
func (o *Origin) Usable() bool { return o.usable.Load() }

// mode is the state that shows. The caller holds group.mu.
func (o *Origin) mode() State {
	switch {
	case !o.opts.Enabled:
		return Disabled
	case o.held, o.waiting:
		return Held
	case o.said.Maintenance:
		return Maintenance
	case o.drained, o.said.Drain:
		return Draining
	}
	return o.state
}

// out reports whether an origin in this mode was out without having failed.
func (m State) out() bool {
	return m == Draining || m == Maintenance || m == Held || m == Disabled
}

// why is the reason for the mode. The caller holds group.mu.
func (o *Origin) why() string {
	switch {
	case !o.opts.Enabled:
		return "disabled in the configuration"
	case o.held:
		return "held by an operator"
	case o.waiting:
		return "probes pass, waiting to be released"
	case o.said.Maintenance:
		return "announced maintenance"
	case o.drained:
		return "drained by an operator"
	case o.said.Drain:
		return "announced that it drains"
	}
	return o.reason
}

// percent is what an operator left it of its share. The caller holds group.mu.
func (o *Origin) percent() int { return 100 - o.taken }

// traffic is what requests say about an origin.
type traffic struct {
	mu sync.Mutex

	// All guarded by mu.
	flying      int
	waited      int     // those of them that are not patient
	judgedFrom  instant // flights begun before say nothing about errors and silence
	quietSince  instant // since when there was no byte although some are waited for
	silent      int     // flights in a row that waited in vain
	silentSince instant // when the first of them began
	failing     int     // flights in a row that failed
	rate        rate
	latency     latency

	answered, failed, abandoned uint64
}

// restart forgets what spoke against the origin, and does not listen to flights
// that are under way: those that a stopped process left hanging end, in vain, long
// after it was restored, and would isolate it again. The caller holds group.mu.
func (t *traffic) restart(now instant) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.judgedFrom = now
	t.silent, t.failing = 0, 0
	t.rate = rate{}
}

// retune takes other options.
func (t *traffic) retune(conf *Options, delay *atomic.Int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delay.Store(int64(t.latency.delay(&conf.Hedge)))
}

// rate counts requests and failures in two halves of a span.
type rate struct {
	began       instant
	seen, bad   [2]int
	initialized bool
}

// add counts one request and reports whether too many failed.
func (r *rate) add(bad bool, e *Errors, now instant) bool {
	half := e.Span / 2
	switch age := now - r.began; {
	case !r.initialized || age >= e.Span:
		*r = rate{began: now, initialized: true}
	case age >= half:
		r.began += half
		r.seen[0], r.bad[0] = r.seen[1], r.bad[1]
		r.seen[1], r.bad[1] = 0, 0
	}
	r.seen[1]++
	if bad {
		r.bad[1]++
	}
	seen, failed := r.seen[0]+r.seen[1], r.bad[0]+r.bad[1]
	return bad && e.Rate > 0 && seen >= e.Least && float64(failed) >= e.Rate*float64(seen)
}

// window is the last probes, the newest in the lowest bit: 1 is passed.
type window struct {
	bits uint64
	n    int
}

func (w *window) add(passed bool, size int) {
	w.bits <<= 1
	if passed {
		w.bits |= 1
	}
	if size < 64 {
		w.bits &= 1<<size - 1
	}
	w.n = min(w.n+1, size)
}

// pace is how long the last probes took.
type pace struct {
	took [8]time.Duration
	n    int
}

// knownAt is how many probes must have passed before their pace says anything.
const knownAt = 3

func (p *pace) add(d time.Duration) {
	p.took[p.n%len(p.took)] = d
	p.n++
}

func (p *pace) known() bool { return p.n >= knownAt }

// median is not moved by a single slow probe, as a mean would be; 0 if there was
// none.
func (p *pace) median() time.Duration {
	n := min(p.n, len(p.took))
	if n == 0 {
		return 0
	}
	sorted := p.took
	for i := 1; i < n; i++ {
		for k := i; k > 0 && sorted[k] < sorted[k-1]; k-- {
			sorted[k], sorted[k-1] = sorted[k-1], sorted[k]
		}
	}
	return sorted[(n-1)/2]
}

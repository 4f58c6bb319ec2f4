package policy

import (
	"math/bits"
	"time"
)

const (
	// fullAt is how full an origin's store may be for it to get hedges.
	fullAt = 0.9
	// lateAt is by how much a timer of ours may be late.
	lateAt = 25 * time.Millisecond
	// How long after a late timer nothing is concluded from silence: four times
	// what it was late, within these.
	leastStall, mostStall = 100 * time.Millisecond, 2 * time.Second
)

// Beat tells how late a timer of the caller's own fired, for any timer that it
// has. One that is much too late means that this machine stalled: then all origins
// look silent at once, and nothing may be concluded from that for a while.
func (g *Group) Beat(late time.Duration) {
	if late < lateAt {
		return
	}
	until := int64(g.now() + min(max(4*late, leastStall), mostStall))
	for {
		was := g.stalledUntil.Load()
		if was >= until || g.stalledUntil.CompareAndSwap(was, until) {
			return
		}
	}
}

func (g *Group) stalled(now instant) bool { return int64(now) < g.stalledUntil.Load() }

// HedgeAfter returns how long to wait for the first byte of an answer from o
// before Flight.Silent is called, and whether the request may then be sent to a
// second origin as far as is known now. Whether it may when the time has come is
// asked by Pick with Ask.Hedge, which knows more by then.
func (g *Group) HedgeAfter(o *Origin) (time.Duration, bool) {
	now := g.now()
	v := g.current(now)
	delay := time.Duration(o.delay.Load())
	if !g.conf.Load().Hedge.Enabled || v.panics || g.stalled(now) || !g.budget.any() {
		return delay, false
	}
	for m := v.usable; m != 0; m &= m - 1 {
		other := v.cands[bits.TrailingZeros64(m)].origin
		if other != o && !other.strained.Load() && int64(now) >= other.slowUntil.Load() {
			return delay, true
		}
	}
	return delay, false
}

// hedge returns the usable origins that a second try may go to now: those that
// neither ask for less nor answer slowly, or not at all, themselves. Where all
// slow down at once there are none: a hedge would only add to their load.
func (v *view) hedge(conf *Options, now instant, stalled bool) uint64 {
	if !conf.Hedge.Enabled || v.panics || stalled {
		return 0
	}
	left := v.usable
	for m := left; m != 0; m &= m - 1 {
		o := v.cands[bits.TrailingZeros64(m)].origin
		if o.strained.Load() || int64(now) < o.slowUntil.Load() || o.overdue(now) {
			left &^= m & -m
		}
	}
	return left
}

// overdue reports whether the origin is waited for and was quiet for half the
// delay of a hedge, by when a healthy one would mostly have said something; or
// whether its last answer, a moment ago, came that late itself.
func (o *Origin) overdue(now instant) bool {
	t := &o.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	quiet := now - t.quietSince
	if t.latency.late&1 != 0 && quiet < slowFor {
		return true
	}
	return t.waited > 0 && (t.silent > 0 || quiet > instant(o.delay.Load())/2)
}

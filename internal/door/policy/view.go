package policy

import (
	"math/bits"
	"time"
)

// view is what Pick looks at: the group as it was at one moment. It is never
// changed, only replaced, so that requests take no lock. Sets of origins are bit
// masks over cands.
type view struct {
	cands  []cand
	tiers  []tier // what is usable, lowest priority number first; in panic one, of all suspects
	usable uint64
	panics bool
	// resorts are tried in this order where no tier has an untried origin.
	resorts [3]uint64
}

// The order of resorts. What an operator took out works; a suspect may work; an
// origin that asks to be left alone mostly refuses.
const (
	resortDrained = iota
	resortSuspect
	resortLeft
)

// cand is an origin in a view.
type cand struct {
	origin *Origin
	weight float64 // by percent as well; above 0 in tiers
	full   float64 // as configured
	// The ramp: before from nothing is admitted, after to everything.
	from, to instant
}

// tier is the usable origins of one priority.
type tier struct {
	mask, fast uint64  // fast: within the sensitivity of the fastest
	share      float64 // what it takes of its requests; the rest goes to the next tier
}

// ramp is the part of its share that an origin gets, 0 to 1. It never falls while
// the view lives.
func (c *cand) ramp(now instant) float64 {
	if now >= c.to {
		return 1
	}
	if now <= c.from {
		return 0
	}
	return float64(now-c.from) / float64(c.to-c.from)
}

// refresh lets happen what is due and makes the view anew. The caller holds mu.
func (g *Group) refresh(now instant) {
	conf := g.conf.Load()
	due := never
	g.due.Store(int64(never)) // before anything is looked at: what comes later wakes by itself
	for _, o := range g.origins {
		due = min(due, o.settleSilence(conf, now))
	}
	lonely := g.lonely()
	for _, o := range g.origins {
		due = min(due, o.settle(conf, now, lonely))
	}
	v := &view{cands: make([]cand, len(g.origins))}
	priority := 0
	var open uint64 // those that panic spreads requests over
	enabled := 0
	for i, o := range g.origins {
		bit := uint64(1) << i
		c := cand{origin: o, full: float64(o.opts.Weight), weight: float64(o.opts.Weight*o.percent()*o.said.percent()) / 1e4}
		mode := o.mode()
		if mode == Restoring {
			c.from, c.to = o.since, o.since+conf.Health.Restore.Ramp
		}
		v.cands[i] = c
		if mode == Disabled || o.held {
			continue
		}
		enabled++
		switch {
		case o.said.leaves(), mode != Suspect && o.state == Suspect && !o.waiting, mode == Suspect && c.weight == 0:
			v.resorts[resortLeft] |= bit
		case mode == Suspect:
			v.resorts[resortSuspect] |= bit
			open |= bit
		case mode == Draining, mode == Held, c.weight == 0:
			v.resorts[resortDrained] |= bit
		default:
			v.usable |= bit
			open |= bit
			if o.opts.Priority != priority {
				v.tiers = append(v.tiers, tier{})
				priority = o.opts.Priority
			}
			v.tiers[len(v.tiers)-1].add(bit, &v.cands[i])
		}
	}
	for i := range v.tiers {
		t := &v.tiers[i]
		t.share = min(t.share, 1)
		due = min(due, g.chooseFast(v, t, conf, now))
	}
	v.panics = v.panicking(conf, enabled)
	if v.panics && open != 0 && (v.usable != 0 || v.resorts[resortDrained] == 0) {
		v.tiers = []tier{{mask: open, fast: open, share: 1}}
	}
	g.show(v, now)
	g.view.Store(v)
	g.wake(due)
}

func (t *tier) add(bit uint64, c *cand) {
	t.mask |= bit
	t.share += c.weight / c.full
}

// panicking: nothing is usable, or less than the options ask for.
func (v *view) panicking(conf *Options, enabled int) bool {
	if enabled == 0 {
		return false
	}
	if v.usable == 0 {
		return true
	}
	return float64(bits.OnesCount64(v.usable)) < conf.Health.PanicBelow*float64(enabled)
}

// lonely reports whether no origin would be usable but for suspects. Then an
// isolation protects nobody. The caller holds mu.
func (g *Group) lonely() bool {
	for _, o := range g.origins {
		if m := o.mode(); (m == Healthy || m == Restoring) && o.percent()*o.said.percent() > 0 {
			return false
		}
	}
	return true
}

// show lets the group's and the origins' changes be seen. The caller holds mu.
func (g *Group) show(v *view, now instant) {
	for i, o := range g.origins {
		usable := v.usable&(1<<i) != 0
		o.usable.Store(usable)
		o.disabled.Store(!o.opts.Enabled)
		suspect := o.state == Suspect && !o.waiting
		o.healthy.Store(!suspect)
		o.hopeful.Store(suspect && o.passes > 0)
		o.wanting.Store(suspect && o.passes < g.conf.Load().Health.Restore.Passes)
		o.restoring.Store(o.state == Restoring)
		o.strained.Store(o.said.Throttled || o.said.Fill >= fullAt)
	}
	if v.panics == g.panics {
		return
	}
	g.panics = v.panics
	ev := Event{From: "panic", To: "normal", Reason: "enough origins are usable", At: g.at(now)}
	if v.panics {
		ev.From, ev.To, ev.Reason = "normal", "panic", "too few origins are usable"
		if v.usable == 0 {
			ev.Reason = "no origin is usable"
		}
	}
	g.events.add(ev)
}

// chooseFast says which origins of a tier are within the sensitivity of the
// fastest, and returns when that may change by time alone. The caller holds mu.
func (g *Group) chooseFast(v *view, t *tier, conf *Options, now instant) (due instant) {
	due = never
	fastest, inner := never, never // of all; of those within
	known := true                  // of all
	for m := t.mask; m != 0; m &= m - 1 {
		o := v.cands[bits.TrailingZeros64(m)].origin
		if !o.pace.known() {
			known = false
			continue
		}
		fastest = min(fastest, o.pace.median())
		if o.fast && o.decided {
			inner = min(inner, o.pace.median())
		}
	}
	if inner == never {
		inner = fastest
	}
	sense, margin := conf.LatencySensitivity, conf.Hysteresis.Margin
	for m := t.mask; m != 0; m &= m - 1 {
		k := bits.TrailingZeros64(m)
		o := v.cands[k].origin
		var want bool
		switch took := o.pace.median(); {
		case !o.decided && !known:
			want, o.fast = true, true // nobody is left out for being new, nor for being compared too soon
		case !o.decided:
			want = took <= fastest+sense
			o.fast, o.decided = want, true
		case o.fast:
			want = took <= fastest+sense+margin
		default:
			want = took <= inner+sense-margin
		}
		due = min(due, o.turnFast(want, conf.Hysteresis.Time, now))
		if o.fast {
			t.fast |= 1 << k
		}
	}
	if t.fast == 0 { // those within are gone: who is fastest now need not wait
		for m := t.mask; m != 0; m &= m - 1 {
			o := v.cands[bits.TrailingZeros64(m)].origin
			if o.pace.median() <= fastest+sense {
				o.fast, o.turning = true, false
				t.fast |= m & -m
			}
		}
	}
	return due
}

// turnFast changes whether the origin is among the fast ones once it was to
// change for long enough, and returns when that will be. The caller holds g.mu.
func (o *Origin) turnFast(want bool, after time.Duration, now instant) (due instant) {
	if want == o.fast {
		o.turning = false
		return never
	}
	if !o.turning {
		o.turning, o.turnSince = true, now
	}
	if now >= o.turnSince+after {
		o.fast, o.turning = want, false
		return never
	}
	return o.turnSince + after
}

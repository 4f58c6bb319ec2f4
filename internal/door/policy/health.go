package policy

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// Probe is how one probe of an origin went.
type Probe struct {
	// Err is why it failed; nil if it passed.
	Err error
	// Took is how long the answer took to begin.
	Took time.Duration
	// Said is what the answer announced, also that of a failed probe; the zero
	// value where there was no answer.
	Said Announcement
}

// Probed tells how a probe went.
func (o *Origin) Probed(p Probe) {
	g := o.group
	if o.gone.Load() {
		return
	}
	g.locked(func(now instant) {
		o.everProbed, o.probedAt = true, now
		if p.Err == nil || p.Said != (Announcement{}) {
			o.said = p.Said // what was announced holds until the next answer
		}
		switch {
		case p.Err == nil:
			o.probePassed(g.conf.Load(), p.Took)
		case p.Said.leaves():
			// It answered, and refuses on purpose: no failure.
		case g.stalled(now) && !o.excused:
			o.excused = true // ours, most likely; but only one
		default:
			o.probeFailed(g.conf.Load(), now, p.Err)
		}
	})
}

// probePassed: the caller holds group.mu.
func (o *Origin) probePassed(conf *Options, took time.Duration) {
	h := &conf.Health
	o.excused = false
	o.passes++
	o.pace.add(took)
	o.window.add(true, h.Window)
	if o.failing && bits.OnesCount64(o.window.bits) >= h.Healthy {
		o.failing, o.window = false, window{}
	}
	if o.state == Healthy {
		o.reason = "probes pass"
	}
}

// probeFailed: the caller holds group.mu.
func (o *Origin) probeFailed(conf *Options, now instant, err error) {
	o.passes = 0
	o.waiting = false // it would only wait to fail
	o.lastProblem = err.Error()
	o.window.add(false, conf.Health.Window)
	if failed := o.window.n - bits.OnesCount64(o.window.bits); failed >= conf.Health.Unhealthy {
		o.failing, o.window = true, window{}
		o.isolate(conf, now, "probes fail: "+err.Error())
	}
}

// isolate leaves the origin out for a time that grows with each isolation. The
// caller holds group.mu.
func (o *Origin) isolate(conf *Options, now instant, reason string) {
	o.passes = 0
	o.waiting = false
	o.traffic.restart(now)
	if o.state == Suspect {
		o.lastProblem = reason
		return
	}
	if o.mode().out() { // who was told to stop has not failed
		o.until = now
		o.change(Suspect, reason, now)
		return
	}
	rule := &conf.Health.Isolation
	if o.state == Healthy && now-o.since >= rule.Forget {
		o.isolations = 0
	}
	o.isolations++
	o.until = now + rule.length(o.isolations)
	o.change(Suspect, reason, now)
}

// length of the nth isolation, from 1.
func (i *Isolation) length(n int) time.Duration {
	grown := float64(i.First) * math.Pow(i.Growth, float64(n-1))
	if !(grown < float64(i.Max)) {
		return i.Max
	}
	return time.Duration(grown)
}

// change of the state. The caller holds group.mu.
func (o *Origin) change(to State, reason string, now instant) {
	o.state, o.reason, o.since = to, reason, now
	o.tell(now)
}

// tell makes an event of a mode that was not told yet. An origin that was out
// without having failed comes back by the ramp, like one that had failed: its
// caches are cold, and its connections are gone. The caller holds group.mu.
func (o *Origin) tell(now instant) {
	to := o.mode()
	if to == o.shown {
		return
	}
	if o.shown.out() && to == Healthy && o.group.conf.Load().Health.Restore.Ramp > 0 {
		o.state, o.since, o.reason = Restoring, now, "was "+string(o.shown)
		to = Restoring
	} else if o.shown.out() && to == Restoring {
		if o.since != now { // else it has just been said why
			o.reason = "was " + string(o.shown)
		}
		o.since = now
	}
	o.group.events.add(Event{Origin: o.name, From: string(o.shown), To: string(to), Reason: o.why(), At: o.group.at(now)})
	o.shown, o.toldAt = to, now
}

// settle lets happen what is due by time, and returns when something will be. The
// caller holds group.mu.
func (o *Origin) settle(conf *Options, now instant, lonely bool) instant {
	due := never
	restore := &conf.Health.Restore
	if o.state == Suspect && !o.waiting && o.passes >= restore.Passes && !o.failing {
		switch {
		case now < o.until && !lonely:
			// Probes pass, but requests failed a moment ago, and those are what
			// matters.
			due = o.until
		case restore.Hold && o.isolations > 0:
			o.waiting = true
		default:
			o.comeBack(conf, now, "probes pass")
		}
	}
	o.tell(now)
	if o.state != Restoring {
		return due
	}
	if now < o.since+restore.Ramp {
		return o.since + restore.Ramp
	}
	o.change(Healthy, "takes its whole share again", now)
	return due
}

// comeBack begins the ramp. The caller holds group.mu.
func (o *Origin) comeBack(conf *Options, now instant, reason string) {
	o.waiting = false
	o.traffic.restart(now)
	to := Restoring
	if conf.Health.Restore.Ramp == 0 {
		to = Healthy
	}
	o.state, o.reason, o.since = to, reason, now
}

// settleSilence isolates the origin if the last requests waited in vain for long
// enough; else it returns when that may be so. The caller holds group.mu.
func (o *Origin) settleSilence(conf *Options, now instant) instant {
	h := &conf.Health
	t := &o.traffic
	t.mu.Lock()
	silent, since := t.silent, t.silentSince
	t.mu.Unlock()
	if h.Silence == 0 || silent < h.Silence {
		return never
	}
	if now < since+h.SilenceTime {
		return since + h.SilenceTime
	}
	if o.group.allQuiet(o, now) {
		return now + max(h.SilenceTime/4, time.Millisecond)
	}
	o.isolate(conf, now, fmt.Sprintf("%d requests in a row without a byte", silent))
	return never
}

// allQuiet reports whether the usable origins other than o are as quiet as it is.
// Then all are slow, or what is between here and them is: without this the first
// that is judged would be isolated, and the others get its requests on top. The
// caller holds mu.
func (g *Group) allQuiet(o *Origin, now instant) bool {
	others := 0
	for _, other := range g.origins {
		if other == o || !other.usable.Load() {
			continue
		}
		if !other.overdue(now) {
			return false
		}
		others++
	}
	return others > 0
}

// NextProbe returns how long to wait before the next probe: the interval, a tenth
// more or less so that doors do not probe in step, and half of it while the origin
// is isolated or being restored.
func (o *Origin) NextProbe() time.Duration {
	g := o.group
	g.mu.Lock()
	defer g.mu.Unlock()
	every := g.conf.Load().ProbeInterval
	if o.state != Healthy {
		every /= 2
	}
	g.jitter += weyl
	return max(time.Millisecond, every*9/10+time.Duration(unit(mix(g.jitter))*float64(every/5)))
}

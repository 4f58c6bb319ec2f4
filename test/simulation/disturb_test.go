package simulation

import (
	"context"
	"math"
	"math/rand/v2"
	"syscall"
	"time"

	"postroad/internal/durable/faultfs"
)

// disturb does what may happen until ctx ends.
func (w *world) disturb(ctx context.Context) {
	rng := w.random("disturb")
	if n := len(w.plan.upsets); n == 0 || n > 5 && rng.IntN(10) == 0 {
		return // a quiet run
	}
	for {
		pause(ctx, time.Duration(rng.Int64N(int64(2*w.plan.upset))))
		if ctx.Err() != nil {
			return
		}
		total := 0
		for _, d := range w.plan.upsets {
			total += d.weight
		}
		roll := rng.IntN(total)
		for _, d := range w.plan.upsets {
			if roll -= d.weight; roll < 0 {
				d.do(ctx, w, rng)
				break
			}
		}
	}
}

type disturbance struct {
	weight int
	do     func(context.Context, *world, *rand.Rand)
}

func disturbances() []disturbance {
	return []disturbance{
		{3, cutFromHub},
		{2, hubOutage},
		{2, holdTopic},
		{1, addPartition},
		{5, pauseGateway},
		{4, pauseForwarder},
		{3, killProcess},
		{2, stopProcess},
		{2, crashHost},
		{1, cutPower},
		{1, blackOut},
		{2, fillShare},
		{8, shareFault},
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// during does something, and takes it back after a time or at the end.
func (w *world) during(ctx context.Context, d time.Duration, what string, set func(on bool)) {
	w.decide("%s for %v", what, d.Round(time.Millisecond))
	set(true)
	w.wg.Go(func() {
		pause(ctx, d)
		set(false)
		w.decide("no longer: %s", what)
	})
}

func cutFromHub(ctx context.Context, w *world, rng *rand.Rand) {
	s := w.stamps[rng.IntN(2)].name
	w.during(ctx, between(rng, time.Second, 50*time.Second), "stamp "+s+" is cut off from the hub", func(on bool) {
		w.hub.change(func() { w.hub.cut[s] = on })
	})
}

func hubOutage(ctx context.Context, w *world, rng *rand.Rand) {
	w.during(ctx, between(rng, time.Second, 30*time.Second), "the hub is away", func(on bool) {
		w.hub.change(func() { w.hub.away = on })
	})
}

func holdTopic(ctx context.Context, w *world, rng *rand.Rand) {
	topic := w.plan.topics[rng.IntN(len(w.plan.topics))]
	w.during(ctx, between(rng, time.Second, time.Minute), "topic "+topic+" is held", func(on bool) {
		w.hub.change(func() { w.hub.held[topic] = on })
	})
}

func addPartition(_ context.Context, w *world, _ *rand.Rand) {
	w.hub.change(func() { w.hub.parts = min(w.hub.parts+1, 4) })
	w.decide("one more partition")
}

// someone is a process that runs at a stamp, or nil.
func (w *world) someone(rng *rand.Rand, of func(*stamp) []*slot) *process {
	all := of(w.stamps[rng.IntN(2)])
	return all[rng.IntN(len(all))].current()
}

// steps are where a gateway is paused: between a write and its sync, between the
// sync and the look at the fence, behind it, and in a renewal.
var steps = []trap{
	{kind: faultfs.OpWrite, name: "*.seg"},
	{kind: faultfs.OpWrite, name: "*.seg", after: true},
	{kind: faultfs.OpSync, name: "*.seg", after: true},
	{kind: faultfs.OpOpen, name: "fence"},
	{kind: faultfs.OpClose, name: "fence", after: true},
	{kind: faultfs.OpWrite, name: "heartbeat"},
	{kind: faultfs.OpSync, name: "heartbeat"},
}

func pauseGateway(_ context.Context, w *world, rng *rand.Rand) {
	p := w.someone(rng, func(s *stamp) []*slot { return s.gateways })
	d, stops, step, nth := between(rng, time.Second, 45*time.Second), rng.IntN(2) == 0, rng.IntN(len(steps)+1), 1+rng.IntN(5)
	if p == nil {
		return
	}
	if step == len(steps) {
		p.pauseFor(d, stops)
		return
	}
	t := steps[step]
	t.nth, t.pause = nth, func() { p.pauseFor(d, stops) }
	p.set(&t)
}

// pauseForwarder pauses one with a clock that goes on: see the holes in
// docs/design/simulation.md.
func pauseForwarder(_ context.Context, w *world, rng *rand.Rand) {
	p := w.someone(rng, func(s *stamp) []*slot { return s.forwards })
	d := between(rng, time.Second, 45*time.Second)
	if p != nil {
		p.pauseFor(d, w.plan.stopForwarders)
	}
}

// end ends a process beside what goes on.
func (w *world) end(p *process, how string, do func()) {
	if p == nil {
		return
	}
	w.decide("%s %s", p.name, how)
	w.wg.Go(do)
}

func killProcess(_ context.Context, w *world, rng *rand.Rand) {
	p := w.someone(rng, (*stamp).slots)
	w.end(p, "is killed", func() { p.kill(false) })
}

func stopProcess(_ context.Context, w *world, rng *rand.Rand) {
	p := w.someone(rng, (*stamp).slots)
	w.end(p, "is stopped", func() { p.stop() })
}

func crashHost(_ context.Context, w *world, rng *rand.Rand) {
	s := w.stamps[rng.IntN(2)]
	host := s.hosts[rng.IntN(2)]
	w.decide("host %s crashes", host)
	for _, sl := range s.slots() {
		if p := sl.current(); sl.host == host && p != nil {
			p.host.Crash()
			w.end(p, "is gone with it", func() { p.kill(true) })
		}
	}
}

func cutPower(_ context.Context, w *world, rng *rand.Rand) {
	s := w.stamps[rng.IntN(2)]
	w.decide("the share of stamp %s loses its power", s.name)
	s.upset(w.elapsed())
	s.share.PowerCut()
}

// blackOut takes the power of a stamp's whole site.
func blackOut(_ context.Context, w *world, rng *rand.Rand) {
	s := w.stamps[rng.IntN(2)]
	w.decide("stamp %s loses its power", s.name)
	s.upset(w.elapsed())
	s.share.PowerCut()
	for _, sl := range s.slots() {
		if p := sl.current(); p != nil {
			p.host.Crash()
			w.end(p, "is gone with it", func() { p.kill(true) })
		}
	}
}

func fillShare(ctx context.Context, w *world, rng *rand.Rand) {
	s := w.stamps[rng.IntN(2)]
	room := rng.Int64N(256 << 10)
	w.during(ctx, between(rng, time.Second, 40*time.Second), "the share of stamp "+s.name+" is full", func(on bool) {
		s.upset(w.elapsed() + time.Minute)
		if on {
			s.share.SetCapacity(s.share.Used() + room)
		} else {
			s.share.SetCapacity(math.MaxInt64 / 2)
		}
	})
}

// shareFault has one operation of a process fail soon.
func shareFault(_ context.Context, w *world, rng *rand.Rand) {
	p := w.someone(rng, (*stamp).slots)
	kinds := []struct {
		fault faultfs.Fault
		kinds []faultfs.Kind
	}{
		{faultfs.LostReply(), []faultfs.Kind{faultfs.OpCreate, faultfs.OpMkdir, faultfs.OpRemove}},
		{faultfs.FailBefore(syscall.ESTALE), []faultfs.Kind{faultfs.OpOpen, faultfs.OpOpenWrite, faultfs.OpRead, faultfs.OpReadDir, faultfs.OpSync, faultfs.OpWrite, faultfs.OpClose}},
		{faultfs.FailBefore(syscall.ENOSPC), []faultfs.Kind{faultfs.OpSync, faultfs.OpCreate, faultfs.OpClose}},
		{faultfs.FailBefore(syscall.EIO), []faultfs.Kind{faultfs.OpSync, faultfs.OpWrite, faultfs.OpRead, faultfs.OpSyncDir}},
		{faultfs.FailAfter(syscall.EIO), []faultfs.Kind{faultfs.OpCreate, faultfs.OpSync, faultfs.OpWrite, faultfs.OpRemove, faultfs.OpMkdir}},
	}
	k := kinds[rng.IntN(len(kinds))]
	kind, nth := k.kinds[rng.IntN(len(k.kinds))], 1+rng.IntN(12)
	if p == nil {
		return
	}
	w.decide("%s: the %d. %s from now: %v", p.name, nth, kind, k.fault)
	p.spare()
	p.host.When(faultfs.Match{Kind: kind, Nth: nth}, k.fault)
}

// heal has everything well again: what lasts ends by itself when the disturber's
// context has ended. A trap or fault that has not sprung is taken away.
func (w *world) heal() {
	w.hub.change(func() {
		w.hub.away = false
		clear(w.hub.cut)
		clear(w.hub.held)
		clear(w.hub.far)
	})
	for _, s := range w.stamps {
		s.share.SetCapacity(math.MaxInt64 / 2)
		for _, sl := range s.slots() {
			if p := sl.current(); p != nil {
				p.set(nil)
			}
		}
	}
}

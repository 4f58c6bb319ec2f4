package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The model test drives a group by a random walk of requests, probes, faults,
// announcements, operators and reloads, and holds what it does against what an
// observer knows who sees only that: see mirror. The seed replays a walk.
func TestModel(t *testing.T) {
	walks := 20
	if testing.Short() {
		walks = 5
	}
	s := seed(t)
	for i := range walks {
		if !t.Run(fmt.Sprint(i), func(t *testing.T) { walk(t, s+uint64(i)) }) {
			t.Fatalf("walk %d: run it alone with -seed %d", i, s+uint64(i))
		}
	}
}

// mirror is what an observer knows of an origin.
type mirror struct {
	origin  *Origin
	opts    OriginOptions
	state   State // that was told
	drained bool
	held    bool
	taken   int
	said    Announcement
	flying  int
	gone    bool

	healthyAt  time.Time // when it became healthy
	isolations int
	until      time.Time
	passes     int       // since what last spoke against it; at least as many as counted
	returned   time.Time // when it last left its isolation
	ramp       float64
	rampOf     time.Time
}

func (m *mirror) percent() int { return (100 - m.taken) * m.said.percent() }

// wanted: nobody says that it should be out.
func (m *mirror) wanted() bool {
	return m.opts.Enabled && !m.held && !m.drained && !m.said.leaves() && !m.gone
}

// usable as told: the group must agree.
func (m *mirror) usable() bool {
	return (m.state == Healthy || m.state == Restoring) && m.percent() > 0
}

type model struct {
	*sim
	opts    Options
	mirrors map[string]*mirror
	judged  int       // events
	beaten  time.Time // until when nothing is hedged
	flights []modelFlight
}

type modelFlight struct {
	m     *mirror
	f     *Flight
	begun time.Time
}

func walk(t *testing.T, s uint64) {
	rng := rand.New(rand.NewPCG(s, 7))
	opts := modelOptions(rng)
	var origins []OriginOptions
	for i := range 1 + rng.IntN(5) {
		origins = append(origins, modelOrigin(string(rune('a'+i)), rng))
	}
	w := &model{opts: opts, mirrors: map[string]*mirror{}}
	w.sim = &sim{bed: newBed(t, opts, origins...), rng: rng}
	for _, o := range origins {
		w.meet(o, Healthy)
	}
	for range 3000 {
		w.move(modelStep(rng))
		w.check() // what is due happens, and is judged, before
		w.act()
		w.check()
		if t.Failed() {
			return
		}
	}
	w.heal()
}

func modelOptions(rng *rand.Rand) Options {
	o := DefaultOptions()
	h := &o.Health
	h.Window = 1 + rng.IntN(6)
	h.Unhealthy, h.Healthy = 1+rng.IntN(h.Window), 1+rng.IntN(h.Window)
	h.Silence = rng.IntN(6)
	h.Errors.Consecutive = rng.IntN(6)
	h.Isolation = Isolation{
		First: time.Duration(1+rng.IntN(3000)) * time.Millisecond, Growth: 1 + 2*rng.Float64(),
		Forget: time.Duration(rng.IntN(60)) * time.Second,
	}
	h.Isolation.Max = h.Isolation.First * time.Duration(1+rng.IntN(20))
	h.Restore = Restore{Passes: 1 + rng.IntN(3), Ramp: time.Duration(1+rng.IntN(10)) * time.Second}
	if rng.IntN(3) == 0 {
		h.PanicBelow = 0.5
	}
	o.Repeat = Repeat{Share: rng.Float64() / 10, Burst: rng.IntN(50), Refill: time.Duration(1+rng.IntN(100)) * time.Second}
	return o
}

func modelOrigin(name string, rng *rand.Rand) OriginOptions {
	return OriginOptions{Name: name, Priority: 1 + rng.IntN(3), Weight: 1 + rng.IntN(100), Enabled: rng.IntN(8) > 0}
}

func modelStep(rng *rand.Rand) time.Duration {
	if rng.IntN(20) == 0 {
		return time.Duration(rng.Int64N(int64(5 * time.Second)))
	}
	return time.Duration(rng.Int64N(int64(40 * time.Millisecond)))
}

func (w *model) meet(o OriginOptions, state State) {
	m := &mirror{origin: w.bed.origin(o.Name), opts: o.withDefaults(), state: state, healthyAt: w.clock(), until: w.clock()}
	if !o.Enabled {
		m.state = Disabled
	}
	w.mirrors[o.Name] = m
}

func (w *model) any() *mirror {
	names := make([]string, 0, len(w.mirrors))
	for n := range w.mirrors {
		names = append(names, n)
	}
	slices.Sort(names)
	return w.mirrors[names[w.rng.IntN(len(names))]]
}

// act does one thing by chance. What it knows is written down before, so that
// events find it.
func (w *model) act() {
	m := w.any()
	switch n := w.rng.IntN(100); {
	case n < 40:
		w.ask()
	case n < 70:
		w.end()
	case n < 90:
		w.probe(m)
	case n < 92:
		m.drained = w.rng.IntN(2) == 0
		w.must(w.Drain(m.opts.Name, m.drained))
	case n < 93:
		m.held = w.rng.IntN(2) == 0
		w.must(w.Hold(m.opts.Name, m.held))
	case n < 94:
		m.taken = w.rng.IntN(101)
		w.must(w.SetWeight(m.opts.Name, 100-m.taken))
	case n < 96:
		m.drained, m.held, m.isolations, m.until = false, false, 0, w.clock()
		w.must(w.Release(m.opts.Name))
	case n < 97:
		late := time.Duration(w.rng.IntN(100)) * time.Millisecond
		if late >= lateAt {
			w.beaten = latest(w.beaten, w.clock().Add(max(4*late, leastStall)))
		}
		w.Beat(late)
	case n < 98:
		w.reload()
	default:
		w.NextProbeOf(m)
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func (w *model) NextProbeOf(m *mirror) {
	if d := m.origin.NextProbe(); d <= 0 {
		w.t.Errorf("next probe after %v", d)
	}
}

func (w *model) ask() {
	ask := Ask{}
	switch w.rng.IntN(4) {
	case 0:
		ask.Affinity = []byte{byte(w.rng.IntN(256))}
	case 1:
		ask.Sticky = w.any().opts.Name
	}
	w.Posted()
	w.posted++
	for range 1 + w.rng.IntN(7) {
		ask.Hedge = len(ask.Tried) > 0 && w.rng.IntN(3) == 0
		w.check() // what is due happens, and is judged, before
		o := w.Pick(ask)
		w.judgePick(ask, o)
		if o == nil {
			if ask.Hedge {
				continue
			}
			return
		}
		if len(ask.Tried) > 0 && w.Spend() {
			w.repeats++
		}
		m := w.mirrors[o.Name()]
		ask.Tried = append(ask.Tried, o)
		m.flying++
		w.flights = append(w.flights, modelFlight{m, o.Begin(), w.clock()})
	}
}

// judgePick holds one choice against the rules.
func (w *model) judgePick(ask Ask, got *Origin) {
	t := w.t
	t.Helper()
	open, best := 0, 0 // untried and not kept out; the lowest priority of those that take their whole share
	for _, m := range w.mirrors {
		if slices.Contains(ask.Tried, m.origin) || !m.opts.Enabled || m.held {
			continue
		}
		open++
		if m.state == Healthy && m.percent() == 1e4 && (best == 0 || m.opts.Priority < best) {
			best = m.opts.Priority
		}
	}
	if got == nil {
		if open > 0 && !ask.Hedge {
			t.Errorf("nobody, though %d are untried", open)
		}
		return
	}
	m := w.mirrors[got.Name()]
	switch panics := w.Status().Panic; {
	case m == nil || m.origin != got:
		t.Errorf("%s is none of the group", got.Name())
	case slices.Contains(ask.Tried, got):
		t.Errorf("%s was tried", got.Name())
	case !m.opts.Enabled || m.held:
		t.Errorf("%s is kept out", got.Name())
	case ask.Hedge && (!m.usable() || m.said.Throttled || m.said.Fill >= fullAt || w.clock().Before(w.beaten)):
		t.Errorf("a hedge to %s, %s, %+v", got.Name(), m.state, m.said)
	case panics:
	case best > 0 && !m.usable():
		t.Errorf("%s is %s, though others take their whole share", got.Name(), m.state)
	case best > 0 && m.opts.Priority > best && !ask.Hedge && ask.Sticky != got.Name():
		t.Errorf("%s of priority %d, though one of priority %d takes its whole share", got.Name(), m.opts.Priority, best)
	}
	if len(ask.Affinity) > 0 && !ask.Hedge {
		if again := w.Pick(ask); again != got {
			t.Errorf("a key at %s, and at once at %v", got.Name(), again)
		}
	}
}

// end lets something happen to a flight.
func (w *model) end() {
	if len(w.flights) == 0 {
		return
	}
	i := w.rng.IntN(len(w.flights))
	fl := w.flights[i]
	switch w.rng.IntN(8) {
	case 0:
		fl.f.Silent()
		return
	case 1:
		fl.f.Patient()
		return
	case 2:
		fl.f.FirstByte()
		return
	}
	w.flights = slices.Delete(w.flights, i, i+1)
	r := []Result{Answered(200), Answered(202), Answered(404), Answered(503), Broken, Unreachable, Unopened, Abandoned}[w.rng.IntN(8)]
	m := fl.m
	m.flying--
	switch {
	case r == Abandoned:
	case !r.failed():
		m.passes++
	case m.state == Suspect && fl.begun.Sub(w.epoch) >= m.origin.judgedFrom():
		m.passes = 0
	}
	fl.f.End(r)
	fl.f.End(Broken) // counts for nothing
}

func (w *model) probe(m *mirror) {
	said := m.said
	if w.rng.IntN(15) == 0 {
		said = Announcement{Drain: w.rng.IntN(3) == 0, Maintenance: w.rng.IntN(4) == 0, Throttled: w.rng.IntN(4) == 0, Fill: w.rng.Float64()}
		if w.rng.IntN(2) == 0 {
			said.Weight = ptr(w.rng.IntN(101))
		}
	} else if w.rng.IntN(3) == 0 {
		said = Announcement{}
	}
	p := Probe{Took: time.Duration(1+w.rng.IntN(100)) * time.Millisecond, Said: said}
	switch {
	case w.rng.IntN(4) > 0:
		m.passes++
	case said.leaves():
		p.Err = errProbe
	default:
		p.Err = errProbe
		if w.rng.IntN(2) == 0 {
			p.Said = Announcement{} // no answer
		}
		if !w.clock().Before(w.beaten) {
			m.passes = 0
		}
	}
	if p.Err == nil || p.Said != (Announcement{}) {
		m.said = said
	}
	m.origin.Probed(p)
}

// reload changes, takes away or adds an origin.
func (w *model) reload() {
	var all []OriginOptions
	for _, n := range []string{"a", "b", "c", "d", "e"} {
		m := w.mirrors[n]
		switch {
		case m == nil && w.rng.IntN(6) == 0:
			all = append(all, modelOrigin(n, w.rng))
		case m != nil && (w.rng.IntN(8) > 0 || len(all) == 0):
			if w.rng.IntN(4) == 0 {
				m.opts = modelOrigin(n, w.rng)
			}
			all = append(all, m.opts)
		case m != nil:
			m.gone = true
		}
	}
	w.must(w.Update(w.opts, all))
	w.judgeEvents()
	for n, m := range w.mirrors {
		if m.gone {
			delete(w.mirrors, n)
		}
	}
	for _, o := range all {
		if w.mirrors[o.Name] == nil {
			w.meet(o, Suspect)
		}
	}
}

// check judges what happened since, and compares the status with what is known.
func (w *model) check() {
	st := w.Status()
	w.judgeEvents()
	usable, enabled := 0, 0
	for _, o := range st.Origins {
		m := w.mirrors[o.Name]
		if m.usable() {
			usable++
		}
		if m.opts.Enabled && !m.held {
			enabled++
		}
		w.checkOrigin(m, o)
	}
	low := usable == 0 || float64(usable) < w.opts.Health.PanicBelow*float64(enabled)
	if st.Panic != (low && enabled > 0) {
		w.t.Errorf("panic is %t with %d of %d usable", st.Panic, usable, enabled)
	}
	past := w.clock().Sub(time.Unix(1e9, 0))
	most := 2*float64(max(w.opts.Repeat.Burst, 1)) + w.opts.Repeat.Share*float64(w.posted) + float64(w.opts.Repeat.Burst)*float64(past)/float64(w.opts.Repeat.Refill)
	if float64(w.repeats) > most || st.Budget.Spent != uint64(w.repeats) || st.Budget.Tokens < 0 {
		w.t.Errorf("%d repeats, at most %.1f, %+v", w.repeats, most, st.Budget)
	}
}

func (w *model) checkOrigin(m *mirror, o OriginStatus) {
	t := w.t
	if o.State != m.state || o.Usable != m.usable() || o.InFlight != m.flying || o.Percent != m.percent()/100 {
		t.Errorf("%s: %+v, known as %+v", o.Name, o, *m)
	}
	if m.state.out() == m.wanted() {
		t.Errorf("%s is %s, wanted in: %t", o.Name, m.state, m.wanted())
	}
	if o.State != Restoring {
		m.ramp = 0
		return
	}
	if o.Since.Equal(m.rampOf) && o.Ramp < m.ramp || o.Ramp > 1 {
		t.Errorf("%s: the ramp went from %v to %v", o.Name, m.ramp, o.Ramp)
	}
	part := float64(w.clock().Sub(o.Since)) / float64(w.opts.Health.Restore.Ramp)
	if math.Abs(o.Ramp-part) > 1e-9 {
		t.Errorf("%s: the ramp is at %v after %v of its time", o.Name, o.Ramp, part)
	}
	m.ramp, m.rampOf = o.Ramp, o.Since
}

// judgeEvents judges the events since it was called last.
func (w *model) judgeEvents() {
	for ; w.judged < len(w.bed.events); w.judged++ {
		e := w.bed.events[w.judged]
		if e.Origin == "" {
			continue
		}
		m := w.mirrors[e.Origin]
		if m == nil || State(e.From) != m.state || e.From == e.To || e.Reason == "" {
			w.t.Errorf("event %+v, known as %+v", e, m)
			return
		}
		w.judgeEvent(m, e)
	}
}

func (w *model) judgeEvent(m *mirror, e Event) {
	t, iso := w.t, w.opts.Health.Isolation
	from, to := State(e.From), State(e.To)
	m.state = to
	switch {
	case to == Suspect && (from == Healthy || from == Restoring):
		if from == Healthy && e.At.Sub(m.healthyAt) >= iso.Forget {
			m.isolations = 0
		}
		m.isolations++
		length := time.Duration(min(float64(iso.Max), float64(iso.First)*math.Pow(iso.Growth, float64(m.isolations-1))))
		if length < iso.First || length > iso.Max {
			t.Errorf("%s: an isolation of %v", e.Origin, length)
		}
		m.until, m.passes = e.At.Add(length), 0
	case from == Suspect && to == Restoring:
		if e.At.Before(m.until) && !w.lonely(m, e.At) {
			t.Errorf("%s is back %v too soon", e.Origin, m.until.Sub(e.At))
		}
		if m.passes < w.opts.Health.Restore.Passes {
			t.Errorf("%s is back after %d passes", e.Origin, m.passes)
		}
		m.returned = e.At
	case from == Suspect && to == Healthy, from.out() && to == Healthy:
		t.Errorf("%s went from %s to %s without a ramp", e.Origin, from, to)
	case to == Healthy:
		m.healthyAt = e.At
	}
}

// lonely: no other one is usable, but for those that came back at the same moment.
func (w *model) lonely(m *mirror, at time.Time) bool {
	for _, other := range w.mirrors {
		if other != m && other.wanted() && other.usable() && !other.returned.Equal(at) {
			return false
		}
	}
	return true
}

// heal lets all be well: after a while every origin that may takes its share.
func (w *model) heal() {
	for _, fl := range w.flights {
		fl.m.passes++
		fl.m.flying--
		fl.f.End(Answered(200))
	}
	w.flights = nil
	for range 600 {
		w.move(time.Second)
		w.check()
		for _, m := range w.mirrors {
			m.said = Announcement{}
			m.passes++
			m.origin.Probed(Probe{Took: 10 * time.Millisecond})
			w.check()
		}
	}
	for n, m := range w.mirrors {
		want := Healthy
		switch {
		case !m.opts.Enabled:
			want = Disabled
		case m.held:
			want = Held
		case m.drained:
			want = Draining
		}
		if m.state != want {
			w.t.Errorf("%s is still %s", n, m.state)
		}
	}
}

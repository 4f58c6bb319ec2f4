package policy

import (
	"container/heap"
	"math/rand/v2"
	"testing"
	"time"
)

// The simulation lets clients, origins and a carrier of requests live on a clock of
// their own. Everything is done by one goroutine, in an order that the seed decides.
type sim struct {
	*bed
	rng    *rand.Rand
	queue  simQueue
	order  int
	began  time.Time
	truths map[string]*truth
	judge  func(*request, *Origin, bool) // each choice, may be nil

	requests, failed, hedges, repeats, posted int
	slowest                                   time.Duration
	launched                                  map[string]int
}

// truth is what an origin really is.
type truth struct {
	mode    string // "well", "dead", "hung", "failing", "vanished"
	latency time.Duration
	loss    float64 // the part of requests whose connection does not open in time
	said    Announcement
	hanging []func(answered bool)
}

type request struct {
	ask     Ask
	began   time.Time
	running int
	done    bool
}

type simEvent struct {
	at    time.Time
	order int
	do    func(late time.Duration)
}

type simQueue []simEvent

func (q simQueue) Len() int { return len(q) }
func (q simQueue) Less(i, k int) bool {
	return q[i].at.Before(q[k].at) || q[i].at.Equal(q[k].at) && q[i].order < q[k].order
}
func (q simQueue) Swap(i, k int) { q[i], q[k] = q[k], q[i] }
func (q *simQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *simQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

func newSim(t *testing.T, s uint64, opts Options, origins ...OriginOptions) *sim {
	b := newBed(t, opts, origins...)
	w := &sim{
		bed: b, rng: rand.New(rand.NewPCG(s, 3)), began: b.clock(),
		truths: map[string]*truth{}, launched: map[string]int{},
	}
	for _, o := range origins {
		w.truths[o.Name] = &truth{mode: "well", latency: 40 * time.Millisecond}
	}
	for _, o := range b.Origins() {
		w.probes(o)
	}
	return w
}

func (w *sim) after(d time.Duration, do func(late time.Duration)) {
	w.order++
	heap.Push(&w.queue, simEvent{w.clock().Add(d), w.order, do})
}

// run lets d pass.
func (w *sim) run(d time.Duration) {
	until := w.clock().Add(d)
	for len(w.queue) > 0 && !w.queue[0].at.After(until) {
		e := heap.Pop(&w.queue).(simEvent)
		now := w.clock()
		if e.at.After(now) {
			w.move(e.at.Sub(now))
			now = e.at
		}
		e.do(now.Sub(e.at))
	}
	if now := w.clock(); until.After(now) {
		w.move(until.Sub(now))
	}
}

// stall stops this machine: the clock goes on, nothing is done.
func (w *sim) stall(d time.Duration) { w.move(d) }

// load sends requests at a rate until the simulation has run for so long.
func (w *sim) load(perSecond int, until time.Duration, ask func(i int) Ask) {
	i := 0
	var next func(time.Duration)
	next = func(time.Duration) {
		i++
		w.request(ask(i))
		if w.clock().Sub(w.began) < until {
			w.after(w.about(time.Second/time.Duration(perSecond)), next)
		}
	}
	w.after(0, next)
}

func (w *sim) about(d time.Duration) time.Duration {
	return d/2 + time.Duration(w.rng.Int64N(int64(d)))
}

func (w *sim) request(ask Ask) {
	w.requests++
	w.posted++
	w.Posted()
	r := &request{ask: ask, began: w.clock()}
	if !w.launch(r, w.pick(r, false)) {
		w.failed++
	}
}

func (w *sim) pick(r *request, hedge bool) *Origin {
	ask := r.ask
	ask.Hedge = hedge
	o := w.Pick(ask)
	if w.judge != nil {
		w.judge(r, o, hedge)
	}
	return o
}

// launch is an attempt, as a carrier makes it.
func (w *sim) launch(r *request, o *Origin) bool {
	if o == nil {
		return false
	}
	r.ask.Tried = append(r.ask.Tried, o)
	r.running++
	w.launched[o.Name()]++
	f := o.Begin()
	delay, _ := w.HedgeAfter(o)
	ended := false
	end := func(result Result, byted bool) {
		if byted {
			f.FirstByte()
		}
		f.End(result)
		ended = true
		r.running--
		w.ended(r, result)
	}
	w.travel(o, end)
	var overdue func(time.Duration)
	overdue = func(late time.Duration) {
		w.Beat(late)
		if ended || r.done {
			return
		}
		f.Silent()
		if _, ok := w.HedgeAfter(o); ok && len(r.ask.Tried) < 3 {
			if to := w.pick(r, true); to != nil && w.SpendHedge(o) {
				w.hedges++
				w.launch(r, to)
				return
			}
		}
		delay *= 2
		w.after(delay, overdue)
	}
	w.after(delay, overdue)
	return true
}

// simDialTimeout is when a connection counts as not opened.
const simDialTimeout = 500 * time.Millisecond

// travel lets the truth about an origin happen to a flight.
func (w *sim) travel(o *Origin, end func(Result, bool)) {
	tr := w.truths[o.Name()]
	if tr.mode == "dead" {
		w.after(200*time.Microsecond, func(time.Duration) { end(Unreachable, false) })
		return
	}
	if tr.mode == "vanished" || tr.loss > 0 && w.rng.Float64() < tr.loss {
		w.after(simDialTimeout, func(time.Duration) { end(Unopened, false) })
		return
	}
	w.after(w.about(tr.latency), func(time.Duration) {
		switch tr.mode {
		case "dead":
			end(Broken, false)
		case "hung":
			tr.hanging = append(tr.hanging, func(answered bool) {
				if answered {
					end(Answered(202), true)
				} else {
					end(Broken, false)
				}
			})
		case "failing":
			end(Answered(500), true)
		default:
			end(Answered(202), true)
		}
	})
}

// become changes the truth; what hangs goes on or ends.
func (w *sim) become(name, mode string) {
	tr := w.truths[name]
	tr.mode = mode
	if mode == "hung" {
		return
	}
	hanging := tr.hanging
	tr.hanging = nil
	for _, h := range hanging {
		h(mode != "dead")
	}
}

func (w *sim) ended(r *request, result Result) {
	if r.done {
		return
	}
	again := result == Unreachable || result == Unopened
	if result == Broken && w.Spend() {
		w.repeats++
		again = true
	}
	if again && w.launch(r, w.pick(r, false)) {
		return
	}
	if result.failed() && r.running > 0 {
		return // the other one may still answer
	}
	r.done = true
	if result.failed() {
		w.failed++
	}
	w.slowest = max(w.slowest, w.clock().Sub(r.began))
}

// probes probes an origin for ever.
func (w *sim) probes(o *Origin) {
	const timeout = 500 * time.Millisecond
	var probe func(time.Duration)
	probe = func(time.Duration) {
		if o.gone.Load() {
			return
		}
		tr := w.truths[o.Name()]
		took, err := 2*time.Millisecond, error(nil)
		switch tr.mode {
		case "dead":
			err = errProbe
		case "hung", "vanished":
			took, err = timeout, errProbe
		}
		w.after(took, func(time.Duration) {
			said := tr.said
			if err != nil {
				said = Announcement{}
			}
			o.Probed(Probe{Err: err, Took: took, Said: said})
			w.after(o.NextProbe(), probe)
		})
	}
	w.after(0, probe)
}

// One origin stops like a process that is paused: its requests are answered by the
// other one after a hedge, it is isolated within a moment, and once it is back and
// its hanging requests end it stays.
func TestSimBlackHole(t *testing.T) {
	w := newSim(t, seed(t), DefaultOptions(), two()...)
	w.load(250, 60*time.Second, plain)
	w.run(10 * time.Second)
	before := w.hedges
	w.become("a", "hung")
	w.run(500 * time.Millisecond)
	w.is("a", Suspect)
	if n := w.hedges - before; n == 0 || n > 125 {
		t.Errorf("%d hedges", n)
	}
	launched := w.launched["a"]
	w.run(10 * time.Second)
	if n := w.launched["a"] - launched; n != 0 {
		t.Errorf("%d requests to the isolated origin", n)
	}
	w.become("a", "well")
	w.run(40 * time.Second)
	w.is("a", Healthy)
	if s := w.status("a"); s.Isolations != 1 || w.failed > 0 || w.slowest > 500*time.Millisecond {
		t.Errorf("%d isolations, %d of %d requests failed, the slowest took %v", s.Isolations, w.failed, w.requests, w.slowest)
	}
	if w.launched["a"] < launched+2000 {
		t.Errorf("%d requests to the origin that is back", w.launched["a"]-launched)
	}
}

// A network that loses a packet now and then: one connection of two hundred does
// not open in time, of a healthy origin that answers all others. It stays.
func TestSimLoss(t *testing.T) {
	w := newSim(t, seed(t), DefaultOptions(), two()...)
	w.truths["a"].loss = 0.005
	w.load(250, 60*time.Second, plain)
	w.run(62 * time.Second)
	if s := w.status("a"); s.Isolations != 0 || s.Failed < 5 || w.failed > 0 {
		t.Errorf("%d isolations after %d lost connections, %d requests failed", s.Isolations, s.Failed, w.failed)
	}
}

// A machine that is switched off refuses nothing: connections to it do not open.
func TestSimVanished(t *testing.T) {
	w := newSim(t, seed(t), DefaultOptions(), two()...)
	w.load(250, 20*time.Second, plain)
	w.run(10 * time.Second)
	w.become("a", "vanished")
	w.run(simDialTimeout + 100*time.Millisecond)
	w.is("a", Suspect)
	w.run(12 * time.Second)
	if w.failed > 0 || w.slowest > simDialTimeout+100*time.Millisecond {
		t.Errorf("%d of %d requests failed, the slowest took %v", w.failed, w.requests, w.slowest)
	}
}

// Killed and back: no request fails, and the return is gradual.
func TestSimKilled(t *testing.T) {
	w := newSim(t, seed(t), DefaultOptions(), two()...)
	w.load(250, 60*time.Second, key)
	w.run(10 * time.Second)
	w.become("a", "dead")
	w.run(100 * time.Millisecond)
	w.is("a", Suspect)
	w.run(4 * time.Second)
	w.become("a", "well")
	w.run(3 * time.Second)
	launched, part := w.launched["a"], 0
	for range 8 {
		w.run(time.Second)
		got := w.launched["a"] - launched
		if launched = w.launched["a"]; got < part-25 {
			t.Errorf("%d requests in a second of the ramp after %d", got, part)
		}
		part = got
	}
	w.run(30 * time.Second)
	w.is("a", Healthy)
	if w.failed > 0 || w.slowest > 500*time.Millisecond {
		t.Errorf("%d of %d requests failed, the slowest took %v", w.failed, w.requests, w.slowest)
	}
}

// Nothing is sent twice when all origins slow down together, when all stand still,
// or when this machine does.
func TestSimNoStorm(t *testing.T) {
	for name, trouble := range map[string]func(*sim){
		"ten times slower": func(w *sim) {
			for _, tr := range w.truths {
				tr.latency *= 10
			}
			w.run(10 * time.Second)
		},
		"all stand still": func(w *sim) {
			w.become("a", "hung")
			w.become("b", "hung")
			w.run(2 * time.Second)
			w.become("a", "well")
			w.become("b", "well")
			w.run(8 * time.Second)
		},
		"the machine stands still": func(w *sim) {
			for range 5 {
				w.stall(2 * time.Second)
				w.run(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSim(t, seed(t), DefaultOptions(), two()...)
			w.load(250, 40*time.Second, plain)
			w.run(10 * time.Second)
			before := w.hedges
			trouble(w)
			if n := w.hedges - before; n > 5 {
				t.Errorf("%d hedges", n)
			}
			w.run(5 * time.Second)
			if name == "the machine stands still" && w.status("a").Isolations+w.status("b").Isolations > 0 {
				t.Errorf("isolated for it: %+v", w.bed.events)
			}
			w.run(30 * time.Second)
			w.is("a", Healthy)
			w.is("b", Healthy)
			if w.failed > 0 {
				t.Errorf("%d of %d requests failed", w.failed, w.requests)
			}
		})
	}
}

// An origin whose probes pass and whose requests fail costs few requests in the
// long run, because each isolation is longer than the one before.
func TestSimFlapping(t *testing.T) {
	w := newSim(t, seed(t), DefaultOptions(), two()...)
	w.become("a", "failing")
	w.load(50, 20*time.Minute, plain)
	w.run(20 * time.Minute)
	if share := float64(w.launched["a"]) / float64(w.requests); share > 0.003 || w.launched["a"] < 20 {
		t.Errorf("%d of %d requests went there", w.launched["a"], w.requests)
	}
	longest := time.Duration(0)
	var out time.Time
	for _, e := range w.bed.events {
		switch {
		case e.Origin == "a" && e.To == string(Suspect):
			out = e.At
		case e.Origin == "a" && e.From == string(Suspect):
			longest = max(longest, e.At.Sub(out))
		}
	}
	if longest < time.Minute || longest > 62*time.Second {
		t.Errorf("the longest isolation took %v", longest)
	}
}

package policy

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestProbesIsolateAndRestore(t *testing.T) {
	o := DefaultOptions()
	o.Health.Window, o.Health.Unhealthy, o.Health.Healthy = 4, 2, 2
	b := newBed(t, o, two()...)
	b.fail("a")
	b.is("a", Healthy)
	b.pass("a", "a", "a")
	b.fail("a")
	b.is("a", Healthy) // the other failure is the fifth last
	b.pass("a")
	b.fail("a")
	b.is("a", Suspect)
	if s := b.status("a"); s.Reason != "probes fail: refused" || s.Isolations != 1 || !s.IsolatedUntil.Equal(b.clock().Add(2*time.Second)) {
		t.Errorf("%+v", s)
	}
	b.move(2 * time.Second)
	b.pass("a")
	b.fail("a")
	b.pass("a")
	b.is("a", Suspect)
	b.pass("a")
	b.is("a", Restoring)
	b.move(o.Health.Restore.Ramp)
	b.is("a", Healthy)
	for _, e := range [][2]string{{"healthy", "suspect"}, {"suspect", "restoring"}, {"restoring", "healthy"}} {
		if !hasEvent(b.events, "a", e[0], e[1]) {
			t.Errorf("no event %v in %+v", e, b.events)
		}
	}
}

// Requests isolate by what they meet, and only then.
func TestRequestsIsolate(t *testing.T) {
	many := func(n int, r Result) func(*bed, *Origin) {
		return func(_ *bed, o *Origin) {
			for range n {
				o.Begin().End(r)
			}
		}
	}
	mixed := func(n, of int, r Result) func(*bed, *Origin) {
		return func(_ *bed, o *Origin) {
			for i := range of {
				if i%of < of-n {
					o.Begin().End(Answered(200))
				} else {
					o.Begin().End(r)
				}
				if i%3 == 2 { // never many in a row
					o.Begin().End(Answered(404))
				}
			}
		}
	}
	for _, tc := range []struct {
		name string
		do   func(*bed, *Origin)
		want State
	}{
		{"unreachable, at once", many(1, Unreachable), Suspect},
		{"unopened: one lost packet says nothing", many(1, Unopened), Healthy},
		{"unopened, too few", many(4, Unopened), Healthy},
		{"unopened, and answers in between", func(b *bed, o *Origin) {
			for range 20 {
				many(1, Unopened)(b, o)
				many(2, Answered(200))(b, o)
			}
		}, Healthy},
		{"unopened, again and again", many(5, Unopened), Suspect},
		{"broken", many(5, Broken), Suspect},
		{"broken, too few", many(4, Broken), Healthy},
		{"500", many(5, Answered(500)), Suspect},
		{"503", many(5, Answered(503)), Suspect},
		{"507", many(5, Answered(507)), Suspect},
		{"501", many(50, Answered(501)), Healthy},
		{"505", many(50, Answered(505)), Healthy},
		{"429", many(50, Answered(429)), Healthy},
		{"abandoned", many(50, Abandoned), Healthy},
		{"an answer in between", func(b *bed, o *Origin) {
			many(4, Broken)(b, o)
			many(1, Answered(404))(b, o)
			many(4, Broken)(b, o)
		}, Healthy},
		{"ended twice", func(_ *bed, o *Origin) {
			f := o.Begin()
			for range 10 {
				f.End(Broken)
			}
		}, Healthy},
		{"half of many", func(_ *bed, o *Origin) {
			for range 15 {
				o.Begin().End(Answered(200))
				o.Begin().End(Answered(500))
			}
		}, Suspect},
		{"half of few", func(_ *bed, o *Origin) {
			for range 9 {
				o.Begin().End(Answered(200))
				o.Begin().End(Answered(500))
			}
		}, Healthy},
		{"half of many, but long ago", func(b *bed, o *Origin) {
			for range 6 {
				for range 4 {
					o.Begin().End(Answered(200))
					o.Begin().End(Answered(500))
				}
				b.move(11 * time.Second)
			}
		}, Healthy},
		{"few of many", mixed(4, 40, Broken), Healthy},
	} {
		b := newBed(t, DefaultOptions(), two()...)
		tc.do(b, b.origin("a"))
		if s := b.status("a"); s.State != tc.want || s.InFlight != 0 {
			t.Errorf("%s: %s (%s), %d in flight, want %s", tc.name, s.State, s.Reason, s.InFlight, tc.want)
		}
	}
}

// Several requests in a row without a byte isolate; anything in between that shows
// life does not.
func TestSilence(t *testing.T) {
	wait := func(b *bed, n int) (waiting []*Flight) {
		for range n {
			waiting = append(waiting, b.origin("a").Begin())
		}
		return waiting
	}
	silence := func(fs []*Flight) {
		for _, f := range fs {
			f.Silent()
			f.Silent() // counts once
		}
	}
	for _, tc := range []struct {
		name string
		do   func(*bed)
		want State
	}{
		{"five", func(b *bed) { fs := wait(b, 5); b.move(250 * time.Millisecond); silence(fs) }, Suspect},
		{"four", func(b *bed) { fs := wait(b, 4); b.move(250 * time.Millisecond); silence(fs) }, Healthy},
		{"for too short a time", func(b *bed) { fs := wait(b, 9); b.move(100 * time.Millisecond); silence(fs) }, Healthy},
		{"for too short a time, then longer", func(b *bed) {
			fs := wait(b, 9)
			b.move(100 * time.Millisecond)
			silence(fs)
			b.pass("b")
			b.is("a", Healthy)
			b.move(100 * time.Millisecond)
			b.Pick(Ask{})
		}, Suspect},
		{"a byte of another one", func(b *bed) {
			fs := wait(b, 9)
			b.move(250 * time.Millisecond)
			silence(fs[:4])
			fs[8].FirstByte()
			silence(fs[4:8])
		}, Healthy},
		{"an answer of another one", func(b *bed) {
			fs := wait(b, 9)
			b.move(250 * time.Millisecond)
			silence(fs[:4])
			fs[8].End(Answered(200))
			silence(fs[4:8])
		}, Healthy},
		{"clients that left in between", func(b *bed) {
			fs := wait(b, 9)
			b.move(250 * time.Millisecond)
			silence(fs[:4])
			fs[8].End(Abandoned)
			silence(fs[4:5])
		}, Suspect},
		{"patient ones", func(b *bed) {
			fs := wait(b, 9)
			for _, f := range fs {
				f.Patient()
			}
			b.move(time.Minute)
			silence(fs)
		}, Healthy},
		{"after the first byte", func(b *bed) {
			fs := wait(b, 9)
			for _, f := range fs {
				f.FirstByte()
			}
			b.move(time.Minute)
			silence(fs)
		}, Healthy},
		{"after the end", func(b *bed) {
			fs := wait(b, 9)
			for _, f := range fs {
				f.End(Abandoned)
			}
			b.move(time.Minute)
			silence(fs)
		}, Healthy},
		{"while this machine stood still", func(b *bed) { fs := wait(b, 9); b.move(time.Minute); b.Beat(time.Minute); silence(fs) }, Healthy},
	} {
		b := newBed(t, DefaultOptions(), two()...)
		tc.do(b)
		if s := b.status("a"); s.State != tc.want {
			t.Errorf("%s: %s (%s), want %s", tc.name, s.State, s.Reason, tc.want)
		}
	}
	o := DefaultOptions()
	o.Health.Silence = 0
	b := newBed(t, o, two()...)
	fs := wait(b, 9)
	b.move(time.Minute)
	silence(fs)
	b.is("a", Healthy)
}

// What a stopped process left hanging ends in vain long after it was restored.
// Without the look at when it began it would isolate the origin again, and its
// latencies would make hedges late.
func TestFlightsFromBeforeAnIsolation(t *testing.T) {
	b := newBed(t, quick(), two()...)
	a := b.origin("a")
	var hanging []*Flight
	for range 110 {
		hanging = append(hanging, a.Begin())
	}
	b.move(time.Second)
	b.fail("a", "a")
	b.is("a", Suspect)
	b.move(10 * time.Second)
	for _, f := range hanging[:20] {
		f.End(Answered(200))
	}
	b.pass("a")
	b.is("a", Suspect)
	b.pass("a")
	b.is("a", Healthy)
	for _, f := range hanging[20:30] {
		f.End(Broken)
	}
	for _, f := range hanging[30:31] {
		f.End(Unreachable)
	}
	for _, f := range hanging[31:50] {
		f.Silent()
	}
	before := b.status("a").HedgeSeconds
	for _, f := range hanging[50:] {
		f.FirstByte()
		f.End(Answered(500))
	}
	a.Begin().End(Broken) // the first that counts
	b.is("a", Healthy)
	if after := b.status("a").HedgeSeconds; after != before || b.status("a").InFlight != 19 {
		t.Errorf("hedges after %v instead of %v, %d in flight", after, before, b.status("a").InFlight)
	}
}

// Probes pass all the time, requests fail: what passes does not bring it back
// before its time, and each isolation is longer, up to the longest.
func TestPassingProbesDoNotOverrideRequests(t *testing.T) {
	o := quick()
	b := newBed(t, o, two()...)
	for n, seconds := range []int{2, 4, 8, 16, 32, 60, 60, 60} {
		want := time.Duration(seconds) * time.Second
		b.pass("a", "a", "a")
		for range 5 {
			b.origin("a").Begin().End(Answered(500))
		}
		if s := b.status("a"); s.State != Suspect || !s.IsolatedUntil.Equal(b.clock().Add(want)) || s.Isolations != n+1 {
			t.Fatalf("isolation %d: %+v", n+1, s)
		}
		for passed := time.Duration(0); passed < want; passed += 500 * time.Millisecond {
			b.pass("a")
			b.is("a", Suspect)
			b.move(500 * time.Millisecond)
		}
		b.is("a", Healthy) // the passes were there, the time is over
	}
	b.move(o.Health.Isolation.Forget)
	b.isolate("a")
	if s := b.status("a"); s.Isolations != 1 {
		t.Errorf("after a long time without one: %d isolations", s.Isolations)
	}
}

// Before it comes back, probes must pass in a row without a request that fails.
func TestFailingRequestsStopTheReturn(t *testing.T) {
	b := newBed(t, quick(), two()...)
	b.isolate("a")
	for range 10 {
		b.move(10 * time.Second)
		b.pass("a")
		b.origin("a").Begin().End(Answered(500))
		b.is("a", Suspect)
	}
	b.pass("a")
	b.fail("a")
	b.pass("a")
	b.is("a", Suspect)
	b.pass("a")
	b.is("a", Healthy)
}

// While it is being restored, an origin has less credit.
func TestRestoringIsIsolatedSooner(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	b.isolate("a")
	b.move(2 * time.Second)
	b.pass("a", "a")
	b.is("a", Restoring)
	b.origin("a").Begin().End(Answered(500))
	b.is("a", Restoring)
	b.origin("a").Begin().End(Answered(500))
	b.is("a", Suspect)
	if got := b.status("a").Isolations; got != 2 {
		t.Errorf("%d isolations", got)
	}
}

// Where nothing else is usable, being isolated protects nobody: panic spreads
// requests over all, and who answers comes back at once.
func TestPanic(t *testing.T) {
	b := newBed(t, quick(), two()...)
	b.isolate("a")
	if b.Status().Panic {
		t.Error("panic with a usable origin")
	}
	b.isolate("b")
	if !b.Status().Panic || !hasEvent(b.events, "", "normal", "panic") {
		t.Errorf("no panic: %+v", b.events)
	}
	near(t, "in panic", b.shares(1000, plain), map[string]float64{"a": 0.5, "b": 0.5}, 0.01)
	b.origin("b").Begin().End(Answered(200))
	b.origin("b").Begin().End(Answered(202))
	b.is("b", Healthy)
	b.is("a", Suspect)
	if b.Status().Panic || !hasEvent(b.events, "", "panic", "normal") {
		t.Error("still panic")
	}
	b.pass("a", "a")
	b.is("a", Suspect) // there is somebody else now
	b.isolate("b")
	b.is("a", Healthy)
}

func TestRestoreIsHeldForAnOperator(t *testing.T) {
	o := quick()
	o.Health.Restore.Hold = true
	b := newBed(t, o, two()...)
	b.isolate("a")
	b.move(time.Hour)
	b.pass("a", "a")
	b.is("a", Held)
	near(t, "held", b.shares(100, plain), map[string]float64{"b": 1}, 0.001)
	b.fail("a")
	b.is("a", Suspect)
	b.pass("a", "a")
	b.is("a", Held)
	b.isolate("b")
	near(t, "rather the held one, which works", b.shares(100, plain), map[string]float64{"a": 1}, 0.001)
	b.must(b.Release("a"))
	b.is("a", Healthy)
}

func TestOperatorVerbs(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	for _, err := range []error{b.Drain("x", true), b.Hold("x", true), b.Release("x"), b.SetWeight("x", 1), b.SetWeight("a", -1), b.SetWeight("a", 101)} {
		if err == nil {
			t.Error("no error")
		}
	}
	b.must(b.Drain("a", true))
	b.is("a", Draining)
	if o := b.origin("a"); !o.Healthy() || o.Usable() {
		t.Errorf("healthy %t, usable %t", o.Healthy(), o.Usable())
	}
	b.must(b.Hold("a", true))
	b.is("a", Held)
	b.must(b.Hold("a", false))
	b.is("a", Draining)
	b.must(b.Drain("a", false))
	b.is("a", Restoring) // by the ramp, its caches are cold
	b.move(10 * time.Second)
	b.is("a", Healthy)
	b.must(b.Drain("a", true))
	b.must(b.Hold("a", true))
	b.must(b.Release("a"))
	b.is("a", Restoring)
	b.isolate("a")
	b.must(b.Release("a"))
	b.is("a", Suspect)
	b.pass("a", "a")
	b.is("a", Restoring) // without waiting for the end of its isolation
	if s := b.status("a"); s.Isolations != 0 {
		t.Errorf("%d isolations", s.Isolations)
	}
}

// Since when an origin is what it is shown as, and why, is that of the word of an
// operator or of its own.
func TestSinceWhenAndWhy(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	b.pass("a", "b")
	at := func(reason string) {
		t.Helper()
		if s := b.status("a"); !s.Since.Equal(b.clock()) || s.Reason != reason {
			t.Errorf("%s since %v because %q, want since %v because %q", s.State, s.Since, s.Reason, b.clock(), reason)
		}
	}
	b.move(time.Hour)
	b.must(b.Drain("a", true))
	at("drained by an operator")
	b.move(time.Second)
	b.must(b.Release("a"))
	at("was draining")
	b.move(time.Second)
	b.must(b.Hold("a", true))
	at("held by an operator")
	b.move(time.Second)
	b.must(b.Release("a"))
	at("was held")
	b.move(time.Second)
	b.says("a", Announcement{Maintenance: true})
	at("announced maintenance")
	b.move(time.Second)
	b.pass("a")
	at("was maintenance")
}

// A stamp that stops says so, refuses, is gone, and comes back: that is no failure
// and makes no isolation longer.
func TestAnnouncedDrainIsNoFailure(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	a := b.origin("a")
	for range 3 {
		a.Probed(Probe{Err: errProbe, Said: Announcement{Drain: true}})
	}
	b.is("a", Draining)
	if !a.Healthy() {
		t.Error("not healthy, though it answers")
	}
	b.fail("a", "a", "a")
	a.Begin().End(Unreachable)
	b.is("a", Draining)
	if a.Healthy() {
		t.Error("healthy, though gone")
	}
	b.pass("a")
	b.is("a", Suspect)
	b.pass("a")
	b.is("a", Restoring)
	if s := b.status("a"); s.Isolations != 0 {
		t.Errorf("%d isolations", s.Isolations)
	}
	b.move(10 * time.Second)
	b.says("a", Announcement{Maintenance: true})
	b.is("a", Maintenance)
	b.pass("a")
	b.is("a", Restoring)
}

// A machine that stood still sees probes time out that were answered.
func TestStallExcusesOneProbe(t *testing.T) {
	o := quick()
	o.Health.Unhealthy = 1
	b := newBed(t, o, two()...)
	b.Beat(time.Second)
	b.fail("a")
	b.is("a", Healthy)
	b.fail("a")
	b.is("a", Suspect)
	b.origin("b").Begin().End(Unreachable)
	b.is("b", Healthy)
	for range 4 {
		b.origin("b").Begin().End(Unreachable)
	}
	b.is("b", Suspect)
	b = newBed(t, o, two()...)
	b.Beat(10 * time.Millisecond) // timers are never quite on time
	b.fail("a")
	b.is("a", Suspect)
}

func TestUpdate(t *testing.T) {
	b := newBed(t, DefaultOptions(), on("a", 1, 50), on("b", 2, 50), on("c", 3, 50))
	b.isolate("a")
	a, c := b.origin("a"), b.origin("c")
	bad := DefaultOptions()
	bad.Health.Window = 0
	if b.Update(bad, two()) == nil || b.Update(DefaultOptions(), nil) == nil {
		t.Error("what is not valid was taken")
	}
	b.must(b.SetWeight("b", 40))
	b.must(b.Update(DefaultOptions(), []OriginOptions{on("d", 1, 50), on("a", 3, 50), {Name: "b", Priority: 1}}))
	if got := names(b.Origins()); !slices.Equal(got, []string{"d", "b", "a"}) {
		t.Errorf("origins %v", got)
	}
	if b.origin("a") != a {
		t.Error("an origin that stays is another one")
	}
	b.is("a", Suspect)
	b.is("b", Disabled)
	b.is("d", Suspect)
	if c.Usable() || c.Healthy() {
		t.Error("an origin that is gone is usable")
	}
	f := c.Begin()
	f.FirstByte()
	f.End(Unreachable)
	for range 4 {
		c.Probed(Probe{Err: errProbe})
	}
	if hasEvent(b.events, "c", string(Healthy), string(Suspect)) {
		t.Error("an event of an origin that is gone")
	}
	b.pass("d", "d")
	b.is("d", Restoring)
	b.must(b.Update(DefaultOptions(), []OriginOptions{on("d", 1, 50), on("a", 3, 50), on("b", 1, 50)}))
	b.is("b", Restoring)
	if p := b.status("b").Percent; p != 40 {
		t.Errorf("percent %d", p)
	}
	near(t, "after", b.shares(100, func(int) Ask { return Ask{Tried: []*Origin{c}, Sticky: "c"} }), map[string]float64{"d": 0.7, "b": 0.3}, 0.05)
}

// Whoever is told of events may call the group, and is told in order.
func TestEventsMayCallTheGroup(t *testing.T) {
	var g *Group
	var told []string
	inside := false
	g, err := New(quick(), two(), Deps{Event: func(e Event) {
		if inside {
			t.Error("told while it is told")
		}
		inside = true
		defer func() { inside = false }()
		told = append(told, e.Origin+" "+e.To)
		if e.Origin == "a" && e.To == string(Suspect) {
			if err := g.Drain("b", true); err != nil {
				t.Error(err)
			}
			g.Pick(Ask{})
			g.Status()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	g.Origins()[0].Begin().End(Unreachable)
	if want := "a suspect, b draining,  panic"; strings.Join(told, ", ") != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

func TestNextProbe(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	b.isolate("b")
	different := map[time.Duration]bool{}
	for range 100 {
		d := b.origin("a").NextProbe()
		different[d] = true
		if d < 900*time.Millisecond || d > 1100*time.Millisecond {
			t.Fatalf("healthy: %v", d)
		}
		if d := b.origin("b").NextProbe(); d < 450*time.Millisecond || d > 550*time.Millisecond {
			t.Fatalf("suspect: %v", d)
		}
	}
	if len(different) < 50 {
		t.Error("no jitter")
	}
}

// Where all are silent none is isolated for it; as soon as one answers, the others
// are.
func TestSilenceOfAll(t *testing.T) {
	b := newBed(t, DefaultOptions(), two()...)
	var waiting []*Flight
	for range 6 {
		waiting = append(waiting, b.origin("a").Begin(), b.origin("b").Begin())
	}
	b.move(300 * time.Millisecond)
	for _, f := range waiting {
		f.Silent()
	}
	b.is("a", Healthy)
	b.is("b", Healthy)
	waiting[1].FirstByte()
	b.answer("b", 1, 50*time.Millisecond)
	b.is("a", Suspect)
	b.is("b", Healthy)
}

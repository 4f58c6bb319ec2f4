package policy

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// answer lets n requests be answered in took each, one after the other.
func (b *bed) answer(name string, n int, took time.Duration) {
	for range n {
		f := b.origin(name).Begin()
		b.move(took)
		f.FirstByte()
		f.End(Answered(202))
	}
}

func (b *bed) hedged(away string) string {
	o := b.Pick(Ask{Hedge: true, Tried: []*Origin{b.origin(away)}})
	if o == nil {
		return ""
	}
	return o.Name()
}

func TestHedge(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name    string
		do      func(*bed)
		opts    func(*Options)
		after   bool // what HedgeAfter says
		allowed bool // what Pick says
	}{
		{name: "both well", do: func(*bed) {}, after: true, allowed: true},
		{name: "the other is idle since long", do: func(b *bed) { b.move(time.Hour) }, after: true, allowed: true},
		{name: "switched off", do: func(*bed) {}, opts: func(o *Options) { o.Hedge.Enabled = false }},
		{name: "the other is isolated", do: func(b *bed) { b.isolate("b") }},
		{name: "the other is drained", do: func(b *bed) { b.must(b.Drain("b", true)) }},
		{name: "the other reports that it is full", do: func(b *bed) { b.says("b", Announcement{Fill: 0.9}) }},
		{name: "the other reports that it is throttled", do: func(b *bed) { b.says("b", Announcement{Throttled: true}) }},
		{name: "the other is half full", do: func(b *bed) { b.says("b", Announcement{Fill: 0.5}) }, after: true, allowed: true},
		{name: "the other is silent, too", after: true, do: func(b *bed) {
			f := b.origin("b").Begin()
			b.move(20 * ms)
			f.Silent()
		}},
		{name: "the other is quiet, too", after: true, do: func(b *bed) { b.origin("b").Begin(); b.move(20 * ms) }},
		{name: "the other was asked a moment ago", after: true, allowed: true, do: func(b *bed) { b.origin("b").Begin(); b.move(5 * ms) }},
		{name: "the other only carries one that may take long", after: true, allowed: true, do: func(b *bed) { b.origin("b").Begin().Patient(); b.move(time.Minute) }},
		{name: "the other answers another", after: true, allowed: true, do: func(b *bed) {
			b.origin("b").Begin()
			b.move(20 * ms)
			b.answer("b", 1, ms)
		}},
		{name: "both slow down", do: func(b *bed) { b.answer("b", 30, 100*ms) }},
		{name: "the other was slow, and is well again", after: true, allowed: true, do: func(b *bed) { b.answer("b", 30, 100*ms); b.answer("b", 60, 10*ms) }},
		{name: "the other was slow a while ago", after: true, allowed: true, do: func(b *bed) { b.answer("b", 30, 100*ms); b.move(slowFor) }},
		{name: "only this one is slow", after: true, allowed: true, do: func(b *bed) { b.answer("a", 30, 100*ms) }},
		{name: "this machine stood still", do: func(b *bed) { b.Beat(50 * ms) }},
		{name: "this machine stood still a while ago", after: true, allowed: true, do: func(b *bed) { b.Beat(50 * ms); b.move(200 * ms) }},
		{name: "the budget is spent", allowed: true, do: func(b *bed) {
			for b.Spend() {
				continue
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := quick()
			if tc.opts != nil {
				tc.opts(&o)
			}
			b := newBed(t, o, two()...)
			b.answer("a", 300, 10*ms)
			b.answer("b", 300, 10*ms)
			tc.do(b)
			delay, ok := b.HedgeAfter(b.origin("a"))
			if ok != tc.after || delay < 20*ms {
				t.Errorf("after %v: %t, want %t", delay, ok, tc.after)
			}
			if got := b.hedged("a"); got != "" != tc.allowed || got == "a" {
				t.Errorf("to %q, want one: %t", got, tc.allowed)
			}
		})
	}
}

// In panic there is nobody to hedge to.
func TestNoHedgeInPanic(t *testing.T) {
	b := newBed(t, quick(), two()...)
	b.isolate("a", "b")
	if _, ok := b.HedgeAfter(b.origin("a")); ok || b.hedged("a") != "" {
		t.Error("a hedge")
	}
}

func TestHedgeDelayFollowsTheQuantile(t *testing.T) {
	const ms = time.Millisecond
	o := quick()
	b := newBed(t, o, two()...)
	delay := func() time.Duration {
		d, _ := b.HedgeAfter(b.origin("a"))
		return d
	}
	if delay() != o.Hedge.Start {
		t.Errorf("at first %v", delay())
	}
	b.answer("a", fewest-1, ms)
	if delay() != o.Hedge.Start {
		t.Errorf("after a few %v", delay())
	}
	b.answer("a", 1, ms)
	if delay() != o.Hedge.Least {
		t.Errorf("when all is fast %v", delay())
	}
	b.answer("a", 64, 50*ms)
	if d := delay(); d < 100*ms || d > 125*ms {
		t.Errorf("at 50 ms %v", d)
	}
	b.answer("a", 2000, 5*time.Second)
	if delay() != o.Hedge.Most {
		t.Errorf("when all is slow %v", delay())
	}
	b.answer("a", 10*halveAt, 50*ms) // what was slow is forgotten
	if d := delay(); d < 100*ms || d > 125*ms {
		t.Errorf("at 50 ms again %v", d)
	}
	o.Hedge.Factor = 1
	b.must(b.Update(o, two()))
	if d := delay(); d < 50*ms || d > 63*ms {
		t.Errorf("with another factor %v", d)
	}
}

// Those given up are the slow ones; without them the quantile would sink and
// hedges rise.
func TestGivenUpCountsAsSlow(t *testing.T) {
	b := newBed(t, quick(), two()...)
	b.answer("a", 300, 10*time.Millisecond)
	for range 16 {
		f := b.origin("a").Begin()
		b.move(400 * time.Millisecond)
		f.End(Abandoned)
	}
	if d, _ := b.HedgeAfter(b.origin("a")); d < 800*time.Millisecond {
		t.Errorf("delay %v", d)
	}
}

// The estimate is never below the true quantile, and at most a bucket above it.
func TestQuantile(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 1))
	for range 50 {
		var l latency
		var all []time.Duration
		scale := time.Duration(1+rng.IntN(1000)) * time.Millisecond
		for range 100 + rng.IntN(halveAt-200) {
			d := time.Duration(rng.ExpFloat64() * float64(scale))
			all = append(all, d)
			l.add(d)
		}
		slices.Sort(all)
		for _, q := range []float64{0.5, 0.9, 0.99} {
			exact := all[max(0, int(float64(len(all))*q+0.999999)-1)]
			got := l.quantile(q)
			if got < exact || float64(got) > 1.26*float64(max(exact, latencyUnit)) {
				t.Errorf("quantile %v of %d: %v, exactly %v", q, len(all), got, exact)
			}
		}
	}
}

func TestBuckets(t *testing.T) {
	for b := range latencyBuckets - 1 {
		end := bucketEnd(b)
		if bucketOf(end-1) != b || bucketOf(end) != b+1 {
			t.Errorf("bucket %d ends at %v: %d below, %d there", b, end, bucketOf(end-1), bucketOf(end))
		}
	}
	for d, want := range map[time.Duration]int{-1: 0, 0: 0, 1<<63 - 1: latencyBuckets - 1} {
		if got := bucketOf(d); got != want {
			t.Errorf("%d is in bucket %d, want %d", d, got, want)
		}
	}
}

// The zero of "slow" is what is usual, also where that is slow.
func TestUsuallySlowIsNotSlow(t *testing.T) {
	b := newBed(t, quick(), two()...)
	b.answer("a", 2000, 300*time.Millisecond)
	if b.status("a").Slow {
		t.Error("slow")
	}
	b.answer("a", 30, 3*time.Second)
	if !b.status("a").Slow {
		t.Error("not slow")
	}
}

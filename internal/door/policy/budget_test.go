package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// In steady state at most the share is repeated, however much is asked for and
// however the POSTs come.
func TestBudgetInSteadyState(t *testing.T) {
	s := seed(t)
	rng := rand.New(rand.NewPCG(s, 2))
	for _, every := range []time.Duration{time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond} {
		o := quick()
		b := newBed(t, o, two()...)
		spent := 0
		for range o.Repeat.Burst { // what was saved
			b.Spend()
		}
		const posts = 100_000
		for range posts {
			b.Posted()
			b.move(time.Duration(rng.Int64N(int64(2 * every))))
			for rng.IntN(3) > 0 {
				if b.Spend() {
					spent++
				}
			}
		}
		// An advance of time is earned back, so at most one is outstanding.
		if most := 0.02*posts + 1; float64(spent) > most+b.budget.advance || float64(spent) < 0.019*posts {
			t.Errorf("every %v: %d of %d repeated, at most %.0f and %.0f in advance", every, spent, posts, most, b.budget.advance)
		}
	}
}

func TestBudgetBurst(t *testing.T) {
	o := quick()
	o.Repeat = Repeat{Share: 0.1, Burst: 20, Refill: time.Minute}
	b := newBed(t, o, two()...)
	spend := func() (n int) {
		for b.Spend() {
			n++
		}
		return n
	}
	is := func(want int, why string) {
		t.Helper()
		if got := spend(); got != want {
			t.Errorf("%s: %d", why, got)
		}
	}
	is(20, "at first")
	b.move(30 * time.Second)
	is(10, "half of the time to refill")
	b.move(time.Hour)
	is(20, "no more than the burst")
	for range 200 {
		b.Posted()
	}
	is(0, "what time gave in advance is earned first")
	for range 200 {
		b.Posted()
	}
	is(20, "then POSTs earn repeats")
	for range 10_000 {
		b.Posted()
	}
	is(20, "no more than the burst")
	s := b.Status().Budget
	if s.Posted != 10_400 || s.Spent != 90 || s.Refused != 6 || s.Burst != 20 {
		t.Errorf("%+v", s)
	}
	o.Repeat.Burst = 5
	for range 1000 {
		b.Posted()
	}
	b.must(b.Update(o, two()))
	is(5, "a smaller burst")
	o.Repeat = Repeat{Share: 0.5, Burst: 0, Refill: time.Minute}
	b.must(b.Update(o, two()))
	b.move(time.Hour)
	is(0, "no burst")
	b.Posted()
	is(0, "half a repeat")
	b.Posted()
	is(1, "a whole one")
	o.Repeat.Share = 0
	b.must(b.Update(o, two()))
	for range 1000 {
		b.Posted()
	}
	b.move(time.Hour)
	is(0, "none at all")
}

// Hedges of what is merely slow leave half the burst for a failure; those away from
// a silent origin are one.
func TestHedgesLeaveSomething(t *testing.T) {
	o := quick()
	o.Repeat.Burst = 100
	b := newBed(t, o, two()...)
	a := b.origin("a")
	n := 0
	for b.SpendHedge(a) {
		n++
	}
	if n != 50 {
		t.Errorf("%d hedges", n)
	}
	f, g := a.Begin(), a.Begin()
	f.Silent()
	if b.SpendHedge(a) {
		t.Error("one slow request counts as silence")
	}
	g.Silent()
	for b.SpendHedge(a) {
		n++
	}
	if n != 100 || b.Spend() {
		t.Errorf("%d hedges", n)
	}
	if _, ok := b.HedgeAfter(b.origin("b")); ok {
		t.Error("a hedge without a budget")
	}
}

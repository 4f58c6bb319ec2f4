package policy

import (
	"fmt"
	"testing"
	"time"
)

func benchGroup(tb testing.TB, n int) *Group {
	origins := make([]OriginOptions, n)
	for i := range origins {
		origins[i] = on(fmt.Sprint("o", i), 1, 50)
	}
	g, err := New(DefaultOptions(), origins, Deps{})
	if err != nil {
		tb.Fatal(err)
	}
	for _, o := range g.Origins() {
		for range 4 {
			o.Probed(Probe{Took: 5 * time.Millisecond})
		}
	}
	return g
}

// BenchmarkRequest is all that a request without trouble asks of the policy.
func BenchmarkRequest(b *testing.B) {
	for _, n := range []int{2, 8} {
		b.Run(fmt.Sprint(n, "origins"), func(b *testing.B) {
			g := benchGroup(b, n)
			k := []byte("vehicle-4711")
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					g.Posted()
					o := g.Pick(Ask{Affinity: k})
					g.HedgeAfter(o)
					f := o.Begin()
					f.FirstByte()
					f.End(Answered(202))
				}
			})
		})
	}
}

func BenchmarkPick(b *testing.B) {
	for name, ask := range map[string]Ask{"weight": {}, "key": {Affinity: []byte("vehicle-4711")}, "sticky": {Sticky: "o1"}, "hedge": {Hedge: true}} {
		b.Run(name, func(b *testing.B) {
			g := benchGroup(b, 4)
			b.ReportAllocs()
			for b.Loop() {
				if g.Pick(ask) == nil {
					b.Fatal("nobody")
				}
			}
		})
	}
}

// The choice allocates nothing, and a request nothing but its flight.
func TestAllocations(t *testing.T) {
	g := benchGroup(t, 4)
	tried := []*Origin{g.Origins()[0]}
	for name, tc := range map[string]struct {
		most float64
		do   func()
	}{
		"pick":  {0, func() { g.Pick(Ask{}) }},
		"key":   {0, func() { g.Pick(Ask{Affinity: []byte("abc"), Tried: tried}) }},
		"hedge": {0, func() { g.Pick(Ask{Hedge: true, Tried: tried}) }},
		"after": {0, func() { g.HedgeAfter(tried[0]) }},
		"spend": {0, func() { g.Posted(); g.Spend() }},
		"flight": {1, func() {
			f := tried[0].Begin()
			f.FirstByte()
			f.End(Answered(200))
		}},
	} {
		if got := testing.AllocsPerRun(200, tc.do); got > tc.most {
			t.Errorf("%s: %v allocations, want %v", name, got, tc.most)
		}
	}
}

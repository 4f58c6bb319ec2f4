package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestChoice(t *testing.T) {
	const ms = time.Millisecond
	three := []OriginOptions{on("a", 1, 50), on("b", 1, 100), on("c", 2, 50)}
	for _, tc := range []struct {
		name    string
		origins []OriginOptions
		opts    func(*Options)
		set     func(*bed)
		ask     func(int) Ask
		want    map[string]float64
	}{
		{name: "by weight within the lowest priority", origins: three, want: map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		{name: "weight and priority left out", origins: []OriginOptions{{Name: "a", Enabled: true}, on("b", 1, 50), on("c", 2, 50)}, want: map[string]float64{"a": 0.5, "b": 0.5}},
		{name: "disabled", origins: []OriginOptions{{Name: "a", Priority: 1}, on("b", 2, 50)}, want: map[string]float64{"b": 1}},
		{name: "a suspect leaves its share to its priority", origins: three, set: func(b *bed) { b.isolate("a") }, want: map[string]float64{"b": 1}},
		{name: "then the next priority", origins: three, set: func(b *bed) { b.isolate("a", "b") }, want: map[string]float64{"c": 1}},
		{name: "all suspect: over all, by weight, whatever the priority", origins: three, set: func(b *bed) { b.isolate("a", "b", "c") }, want: map[string]float64{"a": 0.25, "b": 0.5, "c": 0.25}},
		{name: "rather one that an operator drained than a suspect", origins: three, set: func(b *bed) { b.must(b.Drain("c", true)); b.isolate("a", "b") }, want: map[string]float64{"c": 1}},
		{name: "rather a suspect than one that announced a drain", origins: three, set: func(b *bed) { b.says("c", Announcement{Drain: true}); b.isolate("a", "b") }, want: map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		{name: "rather that one than nobody", origins: three, set: func(b *bed) {
			b.says("c", Announcement{Maintenance: true})
			b.must(b.Hold("a", true))
			b.must(b.Hold("b", true))
		}, want: map[string]float64{"c": 1}},
		{name: "drained", origins: three, set: func(b *bed) { b.must(b.Drain("b", true)) }, want: map[string]float64{"a": 1}},
		{name: "held", origins: three, set: func(b *bed) { b.must(b.Hold("b", true)) }, want: map[string]float64{"a": 1}},
		{name: "announced maintenance", origins: three, set: func(b *bed) { b.says("b", Announcement{Maintenance: true}) }, want: map[string]float64{"a": 1}},
		{name: "announced weight", origins: two(), set: func(b *bed) { b.says("b", Announcement{Weight: ptr(50)}) }, want: map[string]float64{"a": 2.0 / 3, "b": 1.0 / 3}},
		{name: "announced weight 0", origins: two(), set: func(b *bed) { b.says("b", Announcement{Weight: ptr(0)}) }, want: map[string]float64{"a": 1}},
		{name: "blue and green by percent", origins: two(), set: func(b *bed) { b.must(b.SetWeight("a", 10)); b.must(b.SetWeight("b", 90)) }, want: map[string]float64{"a": 0.1, "b": 0.9}},
		{name: "percent of the only one of a priority", origins: []OriginOptions{on("a", 1, 50), on("b", 2, 50)}, set: func(b *bed) { b.must(b.SetWeight("a", 30)) }, want: map[string]float64{"a": 0.3, "b": 0.7}},
		{name: "percent without anybody else", origins: []OriginOptions{on("a", 1, 50)}, set: func(b *bed) { b.must(b.SetWeight("a", 30)) }, want: map[string]float64{"a": 1}},
		{name: "percent 0 without anybody else", origins: []OriginOptions{on("a", 1, 50)}, set: func(b *bed) { b.must(b.SetWeight("a", 0)) }, want: map[string]float64{"a": 1}},
		{name: "within the sensitivity of the fastest", origins: two(), set: func(b *bed) { b.paced(map[string]time.Duration{"a": 10 * ms, "b": 40 * ms}) }, want: map[string]float64{"a": 0.5, "b": 0.5}},
		{name: "beyond it", origins: two(), set: func(b *bed) { b.paced(map[string]time.Duration{"a": 10 * ms, "b": 41 * ms}) }, want: map[string]float64{"a": 1}},
		{name: "sensitivity 0: only the fastest", origins: []OriginOptions{on("a", 1, 10), on("b", 1, 1000)}, opts: func(o *Options) { o.LatencySensitivity = 0 }, set: func(b *bed) { b.paced(map[string]time.Duration{"a": 10 * ms, "b": 10*ms + 1}) }, want: map[string]float64{"a": 1}},
		{name: "the slow one when the fast one fails", origins: two(), set: func(b *bed) { b.paced(map[string]time.Duration{"a": 10 * ms, "b": 90 * ms}); b.isolate("a") }, want: map[string]float64{"b": 1}},
		{name: "a slow one of the lowest priority before a fast one of the next", origins: []OriginOptions{on("a", 1, 50), on("b", 2, 50)}, set: func(b *bed) { b.paced(map[string]time.Duration{"a": 300 * ms, "b": 10 * ms}) }, want: map[string]float64{"a": 1}},
		{name: "latency does not matter to keys", origins: two(), ask: key, set: func(b *bed) { b.paced(map[string]time.Duration{"a": 10 * ms, "b": 90 * ms}) }, want: map[string]float64{"a": 0.5, "b": 0.5}},
		{name: "keys by weight", origins: three, ask: key, want: map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		{name: "keys by percent of the only one", origins: []OriginOptions{on("a", 1, 50), on("b", 2, 50)}, ask: key, set: func(b *bed) { b.must(b.SetWeight("a", 30)) }, want: map[string]float64{"a": 0.3, "b": 0.7}},
		{name: "sticky", origins: three, ask: func(int) Ask { return Ask{Sticky: "a"} }, want: map[string]float64{"a": 1}},
		{name: "sticky to a stand-in", origins: three, set: func(b *bed) { b.isolate("a", "b") }, ask: func(int) Ask { return Ask{Sticky: "c"} }, want: map[string]float64{"c": 1}},
		{name: "sticky to a stand-in for a part", origins: three, set: func(b *bed) { b.isolate("b"); b.must(b.SetWeight("a", 50)) }, ask: func(int) Ask { return Ask{Sticky: "c"} }, want: map[string]float64{"c": 1}},
		{name: "sticky to a stand-in, some are back as a whole", origins: three, set: func(b *bed) { b.isolate("a") }, ask: func(int) Ask { return Ask{Sticky: "c"} }, want: map[string]float64{"b": 1}},
		{name: "sticky to a stand-in, all are back", origins: three, ask: func(int) Ask { return Ask{Sticky: "c"} }, want: map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		{name: "sticky to a stand-in in a panic", origins: three, opts: func(o *Options) { o.Health.PanicBelow = 0.9 }, set: func(b *bed) { b.isolate("a") }, ask: func(int) Ask { return Ask{Sticky: "c"} }, want: map[string]float64{"c": 1}},
		{name: "sticky to a suspect", origins: three, ask: func(int) Ask { return Ask{Sticky: "a"} }, set: func(b *bed) { b.isolate("a") }, want: map[string]float64{"b": 1}},
		{name: "sticky to nobody", origins: three, ask: func(int) Ask { return Ask{Sticky: "x"} }, want: map[string]float64{"a": 1.0 / 3, "b": 2.0 / 3}},
		{name: "panic below a share", origins: three, opts: func(o *Options) { o.Health.PanicBelow = 0.5 }, set: func(b *bed) { b.isolate("a", "b") }, want: map[string]float64{"a": 0.25, "b": 0.5, "c": 0.25}},
		{name: "no panic above it", origins: three, opts: func(o *Options) { o.Health.PanicBelow = 0.5 }, set: func(b *bed) { b.isolate("a") }, want: map[string]float64{"b": 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := quick()
			if tc.opts != nil {
				tc.opts(&o)
			}
			b := newBed(t, o, tc.origins...)
			if tc.set != nil {
				tc.set(b)
			}
			if tc.ask == nil {
				tc.ask = plain
			}
			near(t, tc.name, b.shares(10_000, tc.ask), tc.want, 0.02)
		})
	}
}

func ptr(i int) *int { return &i }

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) says(name string, a Announcement) {
	b.origin(name).Probed(Probe{Took: 10 * time.Millisecond, Said: a})
}

// A client that came to a stand-in stays there by its cookie while the ramp of the
// first goes on, and leaves when it is at its end.
func TestStickyThroughTheRamp(t *testing.T) {
	o := quick()
	o.Health.Restore.Ramp = 10 * time.Second
	b := newBed(t, o, on("a", 1, 50), on("b", 2, 50))
	b.must(b.Hold("a", true))
	b.must(b.Release("a"))
	for step := range 12 {
		want := "b"
		if step >= 10 {
			want = "a"
		}
		if got := b.Pick(Ask{Sticky: "b"}).Name(); got != want {
			t.Errorf("after %d s: %s, want %s", step, got, want)
		}
		b.move(time.Second)
	}
	// A request that the first has failed goes back to where the client was.
	if got := b.Pick(Ask{Sticky: "b", Tried: []*Origin{b.origin("a")}}).Name(); got != "b" {
		t.Errorf("after a failed: %s", got)
	}
}

// Weighted round robin: no run of requests is far from the weights, as one of
// chance would be.
func TestChoiceIsEven(t *testing.T) {
	b := newBed(t, quick(), on("a", 1, 1), on("b", 1, 3))
	most, n := 0.0, 0.0
	for i := range 1000 {
		if b.Pick(Ask{}).Name() == "a" {
			n++
		}
		most = max(most, n-float64(i+1)/4, float64(i+1)/4-n)
	}
	if most > 4 {
		t.Errorf("%.1f requests away from the weights", most)
	}
}

// A request that failed is repeated at whoever is left, usable or not, and never at
// the same origin.
func TestTriedIsNeverPickedAgain(t *testing.T) {
	b := newBed(t, quick(), on("a", 1, 50), on("b", 1, 50), on("c", 2, 50), on("d", 3, 50), on("e", 1, 50), OriginOptions{Name: "f"}, on("g", 1, 50))
	b.isolate("b")
	b.must(b.Drain("c", true))
	b.says("d", Announcement{Drain: true})
	b.must(b.Hold("g", true))
	for _, ask := range []Ask{{}, {Affinity: []byte("k")}, {Sticky: "a"}, {Sticky: "c"}} {
		for range 100 {
			var got []string
			ask.Tried = nil
			for o := b.Pick(ask); o != nil; o = b.Pick(ask) {
				ask.Tried = append(ask.Tried, o)
				got = append(got, o.Name())
			}
			slices.Sort(got[:2])
			if want := []string{"a", "e", "c", "b", "d"}; !slices.Equal(got, want) {
				t.Fatalf("tried %v, want %v", got, want)
			}
		}
	}
}

// A key stays where it is; what fails or leaves moves only its own keys.
func TestAffinity(t *testing.T) {
	place := func(b *bed) []string {
		at := make([]string, 5000)
		for i := range at {
			at[i] = b.Pick(key(i)).Name()
		}
		return at
	}
	origins := []OriginOptions{on("a", 1, 50), on("b", 1, 50), on("c", 1, 100)}
	b := newBed(t, quick(), origins...)
	before := place(b)
	if again := place(newBed(t, quick(), origins[2], origins[0], origins[1])); !slices.Equal(before, again) {
		t.Error("another door with the same origins places keys elsewhere")
	}
	b.isolate("b")
	after := place(b)
	counts := map[string]int{}
	for i := range before {
		if before[i] == "b" {
			counts[after[i]]++
		} else if after[i] != before[i] {
			t.Fatalf("key %d moved from %s to %s, though b failed", i, before[i], after[i])
		}
	}
	if counts["a"] < 200 || counts["c"] < 500 {
		t.Errorf("the keys of b went to %v", counts)
	}
	b.move(time.Hour)
	b.pass("b", "b")
	if again := place(b); !slices.Equal(before, again) {
		t.Error("the keys did not come back")
	}
	b.must(b.SetWeight("c", 50))
	for i, now := range place(b) {
		if now != before[i] && before[i] != "c" {
			t.Fatalf("key %d moved from %s to %s, though c got less", i, before[i], now)
		}
	}
}

// The ramp admits a growing part of requests, and of keys, of which none goes back;
// the rest goes to others, also to those of the next priority.
func TestRamp(t *testing.T) {
	for _, priority := range []int{1, 2} {
		b := newBed(t, DefaultOptions(), on("a", 1, 50), on("b", priority, 50))
		b.isolate("a")
		b.move(2 * time.Second)
		b.pass("a", "a")
		b.is("a", Restoring)
		whole := 1.0
		if priority == 1 {
			whole = 0.5
		}
		mine := map[int]bool{}
		for step := range 11 {
			part := whole * float64(step) / 10
			near(t, fmt.Sprint("step ", step), b.shares(10_000, plain), map[string]float64{"a": part, "b": 1 - part}, 0.03)
			near(t, fmt.Sprint("keys at step ", step), b.shares(10_000, key), map[string]float64{"a": part, "b": 1 - part}, 0.03)
			for i := range 1000 {
				is := b.Pick(key(i)).Name() == "a"
				if mine[i] && !is {
					t.Fatalf("key %d left again at step %d", i, step)
				}
				mine[i] = is
			}
			b.move(time.Second)
		}
		b.is("a", Healthy)
	}
}

// Small differences do not move traffic, large ones do after a while.
func TestHysteresis(t *testing.T) {
	const ms = time.Millisecond
	o := quick()
	b := newBed(t, o, two()...)
	pace := func(d time.Duration) {
		for range 8 {
			b.origin("a").Probed(Probe{Took: 10 * ms})
			b.origin("b").Probed(Probe{Took: d})
		}
	}
	fast := func(want bool, why string) {
		t.Helper()
		if got := b.status("b").Fast; got != want {
			t.Fatalf("%s: among the fast ones: %t", why, got)
		}
		if got := b.shares(100, plain)["b"] > 0; got != want {
			t.Fatalf("%s: gets requests: %t", why, got)
		}
	}
	pace(30 * ms)
	fast(true, "within")
	pace(44 * ms)
	b.move(time.Minute)
	fast(true, "beyond by less than the margin")
	pace(60 * ms)
	fast(true, "beyond, but not for long")
	b.move(9 * time.Second)
	fast(true, "beyond, but not for long enough")
	pace(40 * ms)
	b.move(9 * time.Second)
	pace(60 * ms)
	b.move(9 * time.Second)
	fast(true, "within again in between")
	b.move(time.Second)
	fast(false, "beyond for long enough")
	pace(36 * ms)
	b.move(time.Minute)
	fast(false, "within by less than the margin")
	pace(34 * ms)
	fast(false, "within, but not for long")
	b.move(10 * time.Second)
	fast(true, "within for long enough")
}

// With sensitivity 0 a new fastest takes over, after margin and time.
func TestFastestChanges(t *testing.T) {
	const ms = time.Millisecond
	o := quick()
	o.LatencySensitivity = 0
	b := newBed(t, o, two()...)
	b.paced(map[string]time.Duration{"a": 20 * ms, "b": 30 * ms})
	near(t, "first", b.shares(100, plain), map[string]float64{"a": 1}, 0.001)
	for range 8 {
		b.origin("b").Probed(Probe{Took: 14 * ms})
	}
	near(t, "at once", b.shares(100, plain), map[string]float64{"a": 1}, 0.001)
	b.move(10 * time.Second)
	b.shares(1, plain)
	b.move(10 * time.Second)
	near(t, "then", b.shares(100, plain), map[string]float64{"b": 1}, 0.001)
}

package policy

import (
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one by chance")

	errProbe = errors.New("refused")
)

// bed is a group with a clock that the test moves.
type bed struct {
	*Group
	t *testing.T

	mu     sync.Mutex
	time   time.Time // guarded by mu
	events []Event   // guarded by mu
}

func newBed(t *testing.T, opts Options, origins ...OriginOptions) *bed {
	t.Helper()
	b := &bed{t: t, time: time.Unix(1e9, 0)}
	g, err := New(opts, origins, Deps{Now: b.clock, Rand: rand.New(rand.NewPCG(1, 2)), Event: b.event})
	if err != nil {
		t.Fatal(err)
	}
	b.Group = g
	return b
}

func (b *bed) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.time
}

func (b *bed) event(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, e)
}

func (b *bed) move(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.time = b.time.Add(d)
}

func (b *bed) origin(name string) *Origin {
	b.t.Helper()
	for _, o := range b.Origins() {
		if o.Name() == name {
			return o
		}
	}
	b.t.Fatalf("no origin %s", name)
	return nil
}

func (b *bed) status(name string) OriginStatus {
	b.t.Helper()
	for _, s := range b.Status().Origins {
		if s.Name == name {
			return s
		}
	}
	b.t.Fatalf("no origin %s", name)
	return OriginStatus{}
}

// is fails the test where the origin's state is another.
func (b *bed) is(name string, want State) {
	b.t.Helper()
	if s := b.status(name); s.State != want {
		b.t.Fatalf("%s is %s (%s), want %s", name, s.State, s.Reason, want)
	}
}

func (b *bed) pass(names ...string) {
	for _, n := range names {
		b.origin(n).Probed(Probe{Took: 10 * time.Millisecond})
	}
}

func (b *bed) fail(names ...string) {
	for _, n := range names {
		b.origin(n).Probed(Probe{Err: errProbe})
	}
}

// paced gives each origin enough probes of its own duration to be judged by, the
// last name first.
func (b *bed) paced(took map[string]time.Duration) {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(took))) {
		for range knownAt {
			b.origin(name).Probed(Probe{Took: took[name]})
		}
	}
}

// isolate takes an origin out at once.
func (b *bed) isolate(names ...string) {
	b.t.Helper()
	for _, n := range names {
		b.origin(n).Begin().End(Unreachable)
		b.is(n, Suspect)
	}
}

// shares is which part of n requests each origin takes.
func (b *bed) shares(n int, ask func(i int) Ask) map[string]float64 {
	b.t.Helper()
	got := map[string]float64{}
	for i := range n {
		o := b.Pick(ask(i))
		if o == nil {
			b.t.Fatal("nobody takes the request")
		}
		got[o.Name()] += 1 / float64(n)
	}
	return got
}

func plain(int) Ask { return Ask{} }

func key(i int) Ask { return Ask{Affinity: []byte{byte(i), byte(i >> 8), byte(i >> 16), 'k'}} }

// near fails the test where a share is not what it should be, or somebody else has
// one.
func near(t *testing.T, what string, got, want map[string]float64, off float64) {
	t.Helper()
	for name, w := range want {
		if g := got[name]; g < w-off || g > w+off || w == 0 && g > 0 {
			t.Errorf("%s: %s takes %.3f, want %.3f (%v)", what, name, g, w, got)
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s takes %.3f, want none", what, name, g)
		}
	}
}

// on is an enabled origin.
func on(name string, priority, weight int) OriginOptions {
	return OriginOptions{Name: name, Priority: priority, Weight: weight, Enabled: true}
}

func two() []OriginOptions { return []OriginOptions{on("a", 1, 50), on("b", 1, 50)} }

// quick are the defaults without the ramp, for tests of other things.
func quick() Options {
	o := DefaultOptions()
	o.Health.Restore.Ramp = 0
	return o
}

func names(origins []*Origin) (all []string) {
	for _, o := range origins {
		all = append(all, o.Name())
	}
	return all
}

// seed of a random test, printed.
func seed(t *testing.T) uint64 {
	t.Helper()
	s := *seedFlag
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d", s)
	return s
}

func hasEvent(events []Event, origin, from, to string) bool {
	return slices.ContainsFunc(events, func(e Event) bool { return e.Origin == origin && e.From == from && e.To == to })
}

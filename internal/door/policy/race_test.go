package policy

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Everything at once, on the clock of the machine; the race detector and what is
// counted at the end judge.
func TestConcurrentUse(t *testing.T) {
	s := seed(t)
	o := DefaultOptions()
	o.Health.Isolation.First, o.Health.Isolation.Max = time.Millisecond, 5*time.Millisecond
	o.Health.Restore.Ramp = 2 * time.Millisecond
	o.Health.SilenceTime = 0
	origins := []OriginOptions{on("a", 1, 50), on("b", 1, 50), on("c", 2, 50)}
	var told sync.Map
	g, err := New(o, origins, Deps{Rand: rand.New(rand.NewPCG(s, 4)), Event: func(e Event) { told.Store(e.Origin+e.To, true) }})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(s, uint64(n)+5))
			for range 2000 {
				if n == 0 {
					operateAtRandom(t, g, o, origins, rng)
				}
				flyAtRandom(t, g, rng)
			}
		})
	}
	wg.Wait()
	if err := g.Release("a"); err != nil {
		t.Error(err)
	}
	for _, st := range g.Status().Origins {
		if st.InFlight != 0 {
			t.Errorf("%s: %d in flight at the end", st.Name, st.InFlight)
		}
	}
	if _, ok := told.Load("a" + string(Suspect)); !ok {
		t.Error("nothing was ever isolated")
	}
}

func flyAtRandom(t *testing.T, g *Group, rng *rand.Rand) {
	ask := Ask{Hedge: rng.IntN(4) == 0}
	if rng.IntN(2) == 0 {
		ask.Affinity = []byte{byte(rng.IntN(50))}
	}
	first := g.Pick(Ask{})
	if first == nil {
		t.Error("nobody takes a request")
		return
	}
	ask.Tried = []*Origin{first}
	if o := g.Pick(ask); o == first {
		t.Error("a tried origin")
	}
	g.Posted()
	g.HedgeAfter(first)
	f := first.Begin()
	switch rng.IntN(8) {
	case 0:
		f.Silent()
	case 1:
		f.Patient()
	case 2:
		g.SpendHedge(first)
	case 3:
		g.Spend()
	case 4:
		first.Probed(Probe{Took: time.Millisecond})
	case 5:
		g.Beat(time.Duration(rng.IntN(26)) * time.Millisecond)
	case 6:
		first.NextProbe()
	}
	if rng.IntN(3) > 0 {
		f.FirstByte()
	}
	f.End([]Result{Answered(200), Answered(200), Answered(500), Broken, Unreachable, Unopened, Abandoned}[rng.IntN(7)])
}

func operateAtRandom(t *testing.T, g *Group, o Options, origins []OriginOptions, rng *rand.Rand) {
	var err error
	name := origins[rng.IntN(len(origins))].Name
	switch rng.IntN(6) {
	case 0:
		err = g.Drain(name, rng.IntN(2) == 0)
	case 1:
		err = g.SetWeight(name, rng.IntN(101))
	case 2:
		err = g.Release(name)
	case 3:
		err = g.Update(o, origins)
	case 4:
		g.Status()
	case 5:
		g.Origins()
	}
	if err != nil {
		t.Error(err)
	}
}

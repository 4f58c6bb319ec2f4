package publish

import (
	"math/rand/v2"
	"sync"
	"time"
)

// gateways are those that messages can go to, in the order of preference.
type gateways struct{ all []*peer }

// peer is one of them, with how it does.
type peer struct {
	url string
	// trial is for how long one message tries a gateway that failed before
	// another may.
	trial time.Duration

	mu sync.Mutex
	// Guarded by mu: others go first until then; it asked not to be asked before;
	// how often it failed in a row.
	until    time.Time
	asked    time.Time
	failures int
}

// Pauses of a gateway that failed: so long others go first.
const firstRest, longestRest = 500 * time.Millisecond, 10 * time.Second

func newGateways(urls []string, trial time.Duration) *gateways {
	g := &gateways{}
	for _, u := range urls {
		g.all = append(g.all, &peer{url: trimmed(u), trial: trial})
	}
	return g
}

// pick returns the first gateway that is well and has not had its turn, or else
// the first that has not had its turn; nil where all had it, or want to be left
// alone.
//
// One that failed and has rested is tried by one message; others pass it over
// until that one knows. Otherwise each of them would wait for a gateway that
// hangs.
func (g *gateways) pick(had map[*peer]bool) *peer {
	now := time.Now()
	var second *peer
	for _, one := range g.all {
		if had[one] {
			continue
		}
		if one.well(now) {
			return one
		}
		if second == nil && one.rest(now) == 0 {
			second = one
		}
	}
	return second
}

// rest is how long all of them want to be left alone.
func (g *gateways) rest() time.Duration {
	now := time.Now()
	least := g.all[0].rest(now)
	for _, one := range g.all[1:] {
		least = min(least, one.rest(now))
	}
	return least
}

func (g *peer) rest(now time.Time) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(0, g.asked.Sub(now))
}

func (g *peer) well(now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Before(g.until) {
		return false
	}
	if g.failures > 0 {
		g.until = now.Add(g.trial)
	}
	return true
}

// worked reports whether g had failed before.
func (g *peer) worked() (again bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	again = g.failures > 0
	g.until, g.asked, g.failures = time.Time{}, time.Time{}, 0
	return again
}

// failed lets a gateway rest, at least as long as it asked for. own says that it
// was the gateway that failed, and not its caller who left. It reports whether
// this is the first failure since g worked.
func (g *peer) failed(after time.Duration, own bool) (first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !own {
		return false
	}
	rest := min(firstRest<<min(g.failures, 10), longestRest)
	g.failures++
	now := time.Now()
	g.asked = now.Add(after)
	g.until = now.Add(max(after, rest/2+rand.N(rest)))
	return g.failures == 1
}

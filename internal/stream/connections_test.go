package stream

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func limits(n int) LimitOptions { return LimitOptions{Connections: n} }

// ended collects when connections were told to go.
type ended struct {
	begin time.Time
	after []time.Duration
	why   []leave
}

func (e *ended) stop(why leave) {
	e.after = append(e.after, time.Since(e.begin))
	e.why = append(e.why, why)
}

func opened(t *testing.T, c *connections, address string, stop func(leave)) *connection {
	t.Helper()
	n, err := c.open(address, stop)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Connections leave one after the other over the time that the rate gives, not at
// once, and in another order than they came.
func TestDrainAtARate(t *testing.T) {
	for name, row := range map[string]struct {
		n     int
		o     DrainOptions
		takes time.Duration
	}{
		"at the rate":                        {100, DrainOptions{Rate: 50, Timeout: time.Minute}, 2 * time.Second},
		"faster, to be done in time":         {1000, DrainOptions{Rate: 10, Timeout: 5 * time.Second}, 5 * time.Second},
		"one":                                {1, DrainOptions{Rate: 1, Timeout: time.Minute}, time.Second},
		"all at once where no time is given": {50, DrainOptions{Rate: 10, Timeout: 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newConnections(limits(10_000), AgeOptions{})
				e := ended{begin: time.Now()}
				var order []int
				for i := range row.n {
					var n *connection
					n = opened(t, c, "a", func(why leave) {
						e.stop(why)
						order = append(order, i)
						n.done()
					})
				}
				c.drain(t.Context(), row.o)
				took := time.Since(e.begin)
				if len(e.after) != row.n || took > row.takes || row.n > 1 && took < row.takes/2 {
					t.Fatalf("%d of %d ended in %v, want it to take about %v", len(e.after), row.n, took, row.takes)
				}
				// No second has more than twice its share.
				for from := time.Duration(0); row.n >= 100 && from < row.takes; from += time.Second {
					in := 0
					for _, at := range e.after {
						if at >= from && at < from+time.Second {
							in++
						}
					}
					if share := row.n * int(time.Second) / int(row.takes); in > 2*share {
						t.Errorf("%d ended within a second, the mean is %d", in, share)
					}
				}
				if row.n >= 50 && slices.IsSorted(order) {
					t.Error("they left in the order in which they came")
				}
				if _, err := c.open("a", func(leave) {}); !errors.Is(err, errClosing) {
					t.Errorf("after the drain: %v", err)
				}
			})
		})
	}
}

// A connection that does not go holds the drain up no longer than it may.
func TestDrainEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(limits(10), AgeOptions{})
		opened(t, c, "a", func(leave) {})
		begin := time.Now()
		c.drain(t.Context(), DrainOptions{Rate: 1, Timeout: 10 * time.Second})
		if took := time.Since(begin); took != 10*time.Second+drainMoment {
			t.Errorf("took %v", took)
		}
		if c.len() != 1 {
			t.Errorf("%d connections", c.len())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		begin = time.Now()
		if c.drain(ctx, DrainOptions{Rate: 1, Timeout: time.Hour}); time.Since(begin) != 0 {
			t.Errorf("a drain that was called off took %v", time.Since(begin))
		}
	})
}

// Connections end between (1-jitter) and the whole of their age, and not those
// that began together at once.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConnections(limits(1000), AgeOptions{Max: time.Hour, Jitter: 0.5})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { c.run(ctx); close(done) }()
		e := ended{begin: time.Now()}
		for range 600 {
			var n *connection
			n = opened(t, c, "a", func(why leave) { e.stop(why); n.done() })
		}
		var stays ended
		stays.begin = e.begin
		opened(t, c, "b", stays.stop) // one that does not go is told again
		<-time.After(time.Hour + 2*time.Minute)
		cancel()
		<-done
		if len(e.after) != 600 || slices.Min(e.after) < 30*time.Minute || slices.Max(e.after) > time.Hour+time.Second {
			t.Fatalf("%d ended, from %v to %v", len(e.after), slices.Min(e.after), slices.Max(e.after))
		}
		perMinute := map[time.Duration]int{}
		for _, at := range e.after {
			perMinute[at.Truncate(time.Minute)]++
		}
		for m, n := range perMinute {
			if n > 60 { // the mean is 20
				t.Errorf("%d ended in minute %v", n, m)
			}
		}
		if len(stays.after) < 2 || stays.why[0] != leaveAge {
			t.Errorf("the one that stays was told %v", stays.after)
		}
	})
}

func TestAgeWithoutLimit(t *testing.T) {
	if d := (AgeOptions{}).random(); d < 365*24*time.Hour {
		t.Errorf("ends after %v", d)
	}
}

func TestLimits(t *testing.T) {
	c := newConnections(LimitOptions{Connections: 4, ConnectionsPerUser: 2, ConnectionsPerAddress: 3}, AgeOptions{})
	open := func(address, user string, want error) *connection {
		t.Helper()
		n, err := c.open(address, func(leave) {})
		if err == nil {
			if err = n.identify(user); err != nil {
				n.done()
			}
		}
		if !errors.Is(err, want) {
			t.Fatalf("%s of %s: %v, want %v", user, address, err, want)
		}
		return n
	}
	first := open("a", "ann", nil)
	open("b", "ann", nil)
	open("c", "ann", errClientFull)
	open("a", "", nil)
	if err := first.identify("ann"); err != nil {
		t.Errorf("a token that was renewed: %v", err)
	}
	last := open("a", "ben", nil)
	open("d", "", errNodeFull)
	last.done()
	open("a", "", nil)
	first.done()
	first.done()
	open("a", "ann", nil)
	if c.len() != 4 {
		t.Errorf("%d connections", c.len())
	}
	c.byAge[0].done()
	for len(c.byAge) > 0 {
		c.byAge[0].done()
	}
	if len(c.clients) != 0 {
		t.Errorf("clients are counted that are gone: %v", c.clients)
	}
	if err := first.identify("ann"); err != nil || len(c.clients) != 0 {
		t.Errorf("a connection that is gone counts: %v, %v", err, c.clients)
	}
}

func TestPerAddress(t *testing.T) {
	c := newConnections(LimitOptions{Connections: 9, ConnectionsPerAddress: 1}, AgeOptions{})
	n := opened(t, c, "a", func(leave) {})
	if _, err := c.open("a", func(leave) {}); !errors.Is(err, errClientFull) {
		t.Errorf("a second one of an address: %v", err)
	}
	n.done()
	opened(t, c, "a", func(leave) {})
}

// snapshot returns all that are open.
func (c *connections) snapshot() []*connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone([]*connection(c.byAge))
}

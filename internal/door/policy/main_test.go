package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// handClock is a clock that tests move.
type handClock struct{ t time.Time }

func (c *handClock) now() time.Time       { return c.t }
func (c *handClock) move(d time.Duration) { c.t = c.t.Add(d) }

func TestFirst(t *testing.T) {
	c := &handClock{t: time.Unix(1e9, 0)}
	g, err := New(DefaultOptions(), []OriginOptions{{Name: "a", Enabled: true}, {Name: "b", Enabled: true}},
		Deps{Now: c.now, Rand: rand.New(rand.NewPCG(1, 2)), Event: func(e Event) { t.Logf("%+v", e) }})
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for range 1000 {
		n[g.Pick(Ask{}).Name()]++
	}
	t.Log(n)
	g.Origins()[0].Begin().End(Unreachable)
	if o := g.Pick(Ask{}); o.Name() != "b" {
		t.Fatal(o.Name())
	}
}

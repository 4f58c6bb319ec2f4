package forward_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/message"
)

// ofTopics gives the messages alternating topics.
func ofTopics(all []message.Stored, topics ...string) []message.Stored {
	for i := range all {
		all[i].Topic = topics[i%len(topics)]
	}
	return all
}

// only returns the seqs that the hub holds of a topic.
func (s *scripted) only(topic string) (out []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.log {
		if m.Topic == topic {
			out = append(out, m.Seq)
		}
	}
	return out
}

// refusing is a hub that refuses one topic while bad says so.
func refusing(topic string, bad func() bool) *scripted {
	return &scripted{answer: func(m *message.Stored, _ int) error {
		if m.Topic == topic && bad() {
			return classed("hold")
		}
		return nil
	}}
}

// DESIGN 5, hold is per topic: one refused topic neither blocks others nor pins
// segments. It waits in memory at first, and moves to the side lane after
// hold_after; later messages follow; when the hub takes it again all of it comes
// in order, and then it is sent directly.
func TestHeldTopicDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		hub := refusing("bad", bad.Load)
		st := newStore("a")
		o := forward.DefaultOptions()
		f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(ofTopics(msgs(laneA, 1, 20), "bad", "good")...)
		<-time.After(9 * time.Minute)
		if n := len(hub.only("good")); n != 10 {
			t.Fatalf("%d of 10 messages of the good topic are in the hub", n)
		}
		if st.aside() != 0 {
			t.Error("moved aside before hold_after, with room for all")
		}
		c := f.Status().Chains[0]
		if c.State != "held" || len(c.Topics) != 1 || c.Topics[0].Topic != "bad" || c.Topics[0].NextTry.IsZero() || !strings.Contains(c.Error, "hold") {
			t.Errorf("status %+v", c)
		}
		<-time.After(2 * time.Minute)
		if !st.holds((*store).settled) || st.aside() != 10 {
			t.Fatalf("after hold_after: settled %v, %d aside", st.holds((*store).settled), st.aside())
		}
		st.append(ofTopics(msgs(laneA, 21, 30), "bad", "good")...)
		<-time.After(time.Second)
		if st.aside() != 15 || !f.Status().Chains[0].Topics[0].Aside {
			t.Errorf("later ones did not follow: %d stand aside", st.aside())
		}
		bad.Store(false)
		<-time.After(61 * time.Second) // hold_interval
		if !st.holds((*store).settledSides) {
			t.Error("the side lane is not drained a minute after the hub takes the topic again")
		}
		st.append(ofTopics(msgs(laneA, 31, 40), "bad", "good")...)
		<-time.After(10 * time.Second)
		// What is sent together this hub appends in any order.
		if got := hub.only("bad"); len(got) != 20 || slices.Max(got[:15]) != 29 || slices.Min(got[15:]) != 31 {
			t.Errorf("the hub holds %v", got)
		}
		if c := f.Status().Chains[0]; st.aside() != 15 || c.State != "draining" || len(c.Topics) != 0 {
			t.Errorf("not direct again: %d aside, status %+v", st.aside(), c)
		}
	})
}

// Long before hold_after, a held topic that fills the limits makes room.
func TestHeldTopicMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := refusing("bad", func() bool { return true })
		st := newStore("a")
		o := forward.DefaultOptions()
		o.MaxInFlight = 10
		_, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(ofTopics(msgs(laneA, 1, 200), "bad", "good")...)
		<-time.After(10 * time.Second)
		if n := len(hub.only("good")); n != 100 {
			t.Errorf("%d of 100 messages of the good topic are in the hub", n)
		}
	})
}

// The same where it is another chain that waits for the room.
func TestHeldTopicMakesRoomForOtherChains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := refusing("bad", func() bool { return true })
		bad, good := newStore("bad"), newStore("good")
		o := forward.DefaultOptions()
		o.MaxInFlight = 10
		_, stop := run(t, o, forward.Deps{Source: sourceOf(bad, good), Sink: hub})
		defer stop()
		bad.append(ofTopics(msgs(laneA, 1, 9), "bad")...)
		<-time.After(time.Second)
		good.append(ofTopics(msgs(laneB, 1, 300), "good")...)
		<-time.After(10 * time.Second)
		if n := len(hub.only("good")); n != 300 {
			t.Errorf("%d of 300 messages of the good chain are in the hub", n)
		}
	})
}

// Where no side lane can be had, the topic waits and nothing is lost.
func TestHeldTopicWaitsWithoutSideLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		hub := refusing("bad", bad.Load)
		st := newStore("a")
		st.failing = func(call string) error {
			if call == "divert" {
				return errors.ErrUnsupported
			}
			return nil
		}
		_, stop := run(t, forward.DefaultOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(ofTopics(msgs(laneA, 1, 20), "bad", "good")...)
		<-time.After(time.Hour)
		bad.Store(false)
		<-time.After(2 * time.Minute)
		if got := hub.only("bad"); len(got) != 10 || !st.holds((*store).settled) {
			t.Errorf("the hub holds %v", got)
		}
	})
}

type wide struct{ classed }

func (wide) HubWide() bool { return true }

// What the hub refuses altogether opens the breaker, and moves nothing aside.
func TestHubWideRefusalOpensTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		bad.Store(true)
		hub := &scripted{answer: func(*message.Stored, int) error {
			if bad.Load() {
				return wide{classed("hold")}
			}
			return nil
		}}
		st := newStore("a")
		f, stop := run(t, forward.DefaultOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(ofTopics(msgs(laneA, 1, 20), "one", "two")...)
		open := 0
		for range 120 {
			<-time.After(time.Minute)
			if f.Status().Breaker.State == "open" {
				open++
			}
		}
		if open < 110 || st.aside() > 0 {
			t.Errorf("open in %d of 120 minutes, %d aside", open, st.aside())
		}
		bad.Store(false)
		<-time.After(2 * time.Minute)
		if n := len(hub.seqs()); n != 20 || f.Status().Breaker.State != "closed" {
			t.Errorf("%d of 20 in the hub, breaker %s", n, f.Status().Breaker.State)
		}
	})
}

// A record that fails alone for a passing reason is not dead.
func TestTransientAloneIsNotDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		tried := map[uint64]bool{}
		hub := &scripted{answer: func(m *message.Stored, n int) error {
			mu.Lock()
			defer mu.Unlock()
			first := !tried[m.Seq]
			tried[m.Seq] = true
			switch {
			case first: // with others, as far as the forwarder knows
				return classed("dead")
			case n < 10:
				return classed([]string{"retry", "hold"}[n%2])
			}
			return nil
		}}
		st := newStore("a")
		_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		all := msgs(laneA, 1, 2)
		st.append(all...)
		<-time.After(5 * time.Minute)
		if got := hub.seqs(); !slices.Equal(got, []uint64{1, 2}) || st.dead() > 0 {
			t.Errorf("the hub holds %v, %d dead letters", got, st.dead())
		}
	})
}

// Chains share a client, and so batches. What another chain's poison takes with
// it is not dead: a topic is one chain's alone while it finds out.
func TestOnlyThePoisonousChainIsDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &batching{scripted: &scripted{}}
		a, b := newStore("a"), newStore("b")
		all := msgs(laneA, 1, 300)
		for i := 10; i < len(all); i += 50 {
			all[i].Value = poison
		}
		a.append(all...)
		b.append(msgs(laneB, 1, 300)...)
		_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(a, b), Sink: hub})
		defer stop()
		<-time.After(10 * time.Minute)
		if !a.holds((*store).settled) || !b.holds((*store).settled) || a.dead() != 6 || b.dead() != 0 {
			t.Errorf("not all is settled, or %d and %d are dead letters, want 6 and 0", a.dead(), b.dead())
		}
	})
}

// batching answers everything that came within a while as one batch.
type batching struct {
	*scripted
	batch []func(poisoned bool)
	bad   bool
}

func (b *batching) Produce(m *message.Stored, _ int32, _ uint64, done func(int64, error)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := *m
	b.bad = b.bad || string(c.Value) == string(poison)
	b.batch = append(b.batch, func(poisoned bool) {
		if poisoned {
			done(-1, classed("dead"))
			return
		}
		b.mu.Lock()
		o := int64(len(b.log))
		b.log = append(b.log, c)
		b.mu.Unlock()
		done(o, nil)
	})
	if len(b.batch) == 1 {
		time.AfterFunc(5*time.Millisecond, func() {
			b.mu.Lock()
			batch, bad := b.batch, b.bad
			b.batch, b.bad = nil, false
			b.mu.Unlock()
			for _, answer := range batch {
				answer(bad)
			}
		})
	}
	return nil
}

// A lost claim ends that chain at once, and the forwarder claims again.
func TestLostClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &scripted{answer: func(*message.Stored, int) error { return nil }}
		st, other := newStore("a"), newStore("b")
		src := sourceOf(st, other)
		o := forward.DefaultOptions()
		o.MaxChains = 1
		f, stop := run(t, o, forward.Deps{Source: src, Sink: hub})
		defer stop()
		st.append(msgs(laneA, 1, 10)...)
		<-time.After(time.Second)
		src.all[0].revoke()
		st.append(msgs(laneA, 11, 11)...)
		<-time.After(6 * time.Second) // save_interval
		st.append(msgs(laneA, 12, 20)...)
		other.append(msgs(laneB, 1, 5)...)
		<-time.After(20 * time.Second)
		if n := len(hub.seqs()); n != 16 || !other.holds((*store).settled) {
			t.Errorf("%d messages in the hub, want 11 of the lost chain and 5 of the next", n)
		}
		if c := f.Status().Chains; len(c) != 1 || c[0].ID != "b" {
			t.Errorf("drained are %+v", c)
		}
	})
}

// turns hands released chains out again, in order.
type turns struct {
	queue chan *store
}

type returned struct {
	*claimed
	to chan *store
}

func (r returned) Release(ctx context.Context) error {
	err := r.claimed.Release(ctx)
	r.to <- r.s
	return err
}

func (s turns) Claim(ctx context.Context) (forward.Chain, error) {
	select {
	case st := <-s.queue:
		st.mu.Lock()
		defer st.mu.Unlock()
		return returned{&claimed{s: st, start: clone(st.progress)}, s.queue}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A live chain gets its turn although all places are taken by chains that cannot
// end.
func TestChainsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := refusing("bad", func() bool { return true })
		src := turns{make(chan *store, 10)}
		for _, id := range []string{"dead 1", "dead 2"} {
			st := newStore(id)
			st.append(ofTopics(msgs(laneA, 1, 3), "bad")...)
			st.end()
			src.queue <- st
		}
		live := newStore("live")
		live.append(ofTopics(msgs(laneB, 1, 3), "good")...)
		src.queue <- live
		o := forward.DefaultOptions()
		o.MaxChains = 2
		_, stop := run(t, o, forward.Deps{Source: src, Sink: hub})
		defer stop()
		<-time.After(5 * time.Minute)
		if !live.holds((*store).settled) {
			t.Error("the live chain had no turn in five minutes")
		}
	})
}

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

// scripted is a hub with one partition whose answers a test decides. It keeps
// no order by itself, as a sink whose turns are always new.
type scripted struct {
	answer func(m *message.Stored, n int) error // n counts what was produced

	mu   sync.Mutex
	log  []message.Stored // guarded by mu
	away error            // guarded by mu
	n    int              // guarded by mu
	two  bool             // guarded by mu: it has grown a partition, never used
}

func (s *scripted) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *scripted) seqs() (out []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.log {
		out = append(out, m.Seq)
	}
	return out
}

func (s *scripted) Watch(func(error)) {}

func (s *scripted) Probe(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.away
}

func (s *scripted) Partitions(context.Context, string) (int32, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.two {
		return 2, nil
	}
	return 1, nil
}

func (s *scripted) Partition(*message.Message, int32) int32 { return 0 }

func (s *scripted) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	out := slices.Clone(of)
	for i := range out {
		out[i].Offset = 0
		if out[i].Partition == 0 {
			out[i].Offset = int64(len(s.seqs()))
		}
	}
	return out, nil
}

func (s *scripted) ReadBack(_ context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	s.mu.Lock()
	log := slices.Clone(s.log)
	s.mu.Unlock()
	for _, m := range from {
		for o := m.Offset; m.Partition == 0 && o < int64(len(log)); o++ {
			found(log[o].Place, message.Mark{Topic: m.Topic, Offset: o})
		}
	}
	return nil, nil
}

func (s *scripted) Turn() uint64 { return 0 }

func (s *scripted) Produce(m *message.Stored, _ int32, _ uint64, done func(int64, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	n, c := s.n, *m
	go func() {
		<-time.After(5 * time.Millisecond)
		if err := s.answer(&c, n); err != nil {
			done(-1, err)
			return
		}
		s.mu.Lock()
		o := int64(len(s.log))
		s.log = append(s.log, c)
		s.mu.Unlock()
		done(o, nil)
	}()
	return nil
}

func (s *scripted) Reset() error { return nil }
func (s *scripted) Close()       {}

type classed string

func (e classed) Error() string { return "scripted: " + string(e) }
func (e classed) Class() string { return string(e) }

// What the hub gives back of the first batch after an outage is sent again
// without anything else having to come.
func TestTrialGivenBackIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &scripted{answer: func(_ *message.Stored, n int) error {
			if n == 2 {
				return classed("retry")
			}
			return nil
		}}
		st := newStore("a")
		f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(msg(laneA, 1)) // so that its topic is prepared before the outage
		<-time.After(time.Second)
		hub.set(func() { hub.away = errors.New("away") })
		<-time.After(time.Minute)
		if s := f.Status().Breaker.State; s != "open" {
			t.Fatalf("breaker %s after a minute without a hub", s)
		}
		st.append(msg(laneA, 2))
		<-time.After(time.Second)
		hub.set(func() { hub.away = nil })
		<-time.After(time.Minute)
		if got := hub.seqs(); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("a minute after the hub's return it holds %v", got)
		}
	})
}

// The same for what comes back while a topic's new partitions are adopted.
func TestGivenBackDuringLookIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &scripted{}
		hub.answer = func(_ *message.Stored, n int) error {
			if n == 2 {
				<-time.After(2 * time.Minute) // still under way when the drainer looks
				return classed("retry")
			}
			return nil
		}
		st := newStore("a")
		_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(msg(laneA, 1))
		<-time.After(time.Second)
		st.append(msg(laneA, 2))
		hub.set(func() { hub.two = true })
		<-time.After(10 * time.Minute)
		if got := hub.seqs(); !slices.Equal(got, []uint64{1, 2}) {
			t.Errorf("the hub holds %v", got)
		}
	})
}

// Sent singly, a message that fails for a passing reason is not overtaken by
// the next of its key; one that is refused for good is, by those behind it.
func TestSinglyKeepsOrder(t *testing.T) {
	for _, class := range []classed{"retry", "hold"} {
		synctest.Test(t, func(t *testing.T) {
			var underWay, alone atomic.Int32 // alone counts how often message 1 was, since a batch came back
			var batch atomic.Bool
			hub := &scripted{answer: func(m *message.Stored, _ int) error {
				underWay.Add(1)
				defer underWay.Add(-1)
				<-time.After(time.Second)
				together := underWay.Load() > 1
				<-time.After(time.Second)
				switch {
				case together: // the batch comes back for message 2
					batch.Store(true)
					return classed("dead")
				case !batch.Load(): // the topic's first may go before the others are read
					return classed("retry")
				case m.Seq == 2:
					return classed("dead")
				case m.Seq == 1 && alone.Add(1) == 1:
					return class
				}
				return nil
			}}
			st := newStore("a")
			all := msgs(laneA, 1, 3)
			for i := range all {
				all[i].Key = []byte("one key")
			}
			st.append(all...)
			_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
			defer stop()
			<-time.After(5 * time.Minute)
			if got := hub.seqs(); !slices.Equal(got, []uint64{1, 3}) {
				t.Errorf("%s: the hub holds %v, want message 1 before 3", class, got)
			}
		})
	}
}

// That progress cannot be saved shows in the chain's status, although it drains,
// until it is saved again.
func TestStatusTellsOfSaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := &scripted{answer: func(*message.Stored, int) error { return nil }}
		st := newStore("a")
		f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: hub})
		defer stop()
		st.append(msg(laneA, 1))
		<-time.After(time.Second)
		st.change(func() { st.saveErr = errDead })
		st.append(msg(laneA, 2))
		<-time.After(time.Minute)
		if c := f.Status().Chains[0]; c.State != "draining" || !strings.Contains(c.Error, errDead.Error()) {
			t.Errorf("status while saving fails: %+v", c)
		}
		st.change(func() { st.saveErr = nil })
		<-time.After(time.Minute)
		if c := f.Status().Chains[0]; c.Error != "" {
			t.Errorf("status after saving: %+v", c)
		}
	})
}

package forward_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/message"
)

// scriptedSession is a session of a hub in memory: what is produced is committed at
// once.
type scriptedSession struct {
	hub   *scripted
	known bool

	mu      sync.Mutex
	settled []message.LaneProgress // guarded by mu
	over    bool                   // guarded by mu
}

func (s *scriptedSession) Turn() uint64 { return s.hub.Turn() }
func (s *scriptedSession) Produce(m *message.Stored, p int32, turn uint64, done func(int64, error)) error {
	return s.hub.Produce(m, p, turn, done)
}
func (s *scriptedSession) Known() bool { return s.known }
func (s *scriptedSession) Record() (message.Mark, bool) {
	return message.Mark{Topic: "postroad-progress", Partition: 3, Offset: 7}, true
}

func (s *scriptedSession) Settled(lanes []message.LaneProgress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = lanes
}
func (s *scriptedSession) Hurry() {}
func (s *scriptedSession) Finish(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return nil
}
func (s *scriptedSession) Close() {}
func (s *scriptedSession) Wait()  {}

// willing is a hub that takes everything.
func willing() *scripted {
	return &scripted{answer: func(*message.Stored, int) error { return nil }}
}

// readCounted counts how often it is read back.
type readCounted struct {
	*scripted
	reads atomic.Int64
}

func (r *readCounted) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	r.reads.Add(1)
	return r.scripted.ReadBack(ctx, from, found)
}

// scriptedTransactor answers with what it is told, and remembers what it was asked.
type scriptedTransactor struct {
	answer func() (forward.Session, error)

	mu    sync.Mutex
	asked []forward.Transacting // guarded by mu
}

func (x *scriptedTransactor) Transact(ctx context.Context, o forward.Transacting) (forward.Session, error) {
	if err := o.Confirm(ctx); err != nil {
		return nil, err
	}
	x.mu.Lock()
	x.asked = append(x.asked, o)
	x.mu.Unlock()
	return x.answer()
}

// A hub without transactions: the chain is held with the reason, nothing is sent
// in another way, and it goes on by itself when the hub can.
func TestExactlyOnceRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := willing()
		st := newStore("a")
		st.append(msgs(laneA, 1, 10)...)
		var mu sync.Mutex
		can := false
		x := &scriptedTransactor{answer: func() (forward.Session, error) {
			mu.Lock()
			defer mu.Unlock()
			if !can {
				return nil, classed("hold")
			}
			return &scriptedSession{hub: hub}, nil
		}}
		o := forward.DefaultOptions()
		o.Delivery = forward.DeliveryExactlyOnce
		f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: hub, Transactor: x})
		defer stop()
		<-time.After(10 * time.Minute)
		if c := f.Status().Chains[0]; c.State != "held" || !strings.Contains(c.Error, "hold") {
			t.Errorf("status %+v", c)
		}
		if n := len(hub.seqs()); n != 0 || st.holds((*store).settled) {
			t.Errorf("%d messages were sent in another way", n)
		}
		if b := f.Status().Breaker.State; b != "closed" {
			t.Errorf("breaker %s", b)
		}
		mu.Lock()
		can = true
		mu.Unlock()
		<-time.After(2 * time.Minute)
		if n := len(hub.seqs()); n != 10 || !st.holds((*store).settled) {
			t.Errorf("%d of 10 messages were sent when it could", n)
		}
	})
}

// Without a transactor the mode is refused at once.
func TestExactlyOnceNeedsATransactor(t *testing.T) {
	o := forward.DefaultOptions()
	o.Delivery = forward.DeliveryExactlyOnce
	if _, err := forward.New(o, forward.Deps{Source: sourceOf(), Sink: willing()}); err == nil {
		t.Error("taken")
	}
}

// Who takes over from a holder that delivered exactly once and may live waits for
// nothing and reads nothing back; from one in default mode, or where the record
// is gone, it does both. The mark of the record is in saved progress only when
// the record says all.
func TestExactlyOnceTakeover(t *testing.T) {
	mark := message.Mark{Topic: "=exactly-once:postroad-progress", Partition: 3, Offset: 5}
	for name, c := range map[string]struct {
		marks []message.Mark
		known bool
		quick bool
	}{
		"from exactly-once":           {[]message.Mark{{Topic: "messages"}, mark}, true, true},
		"from default":                {[]message.Mark{{Topic: "messages"}}, true, false},
		"the record is gone":          {[]message.Mark{{Topic: "messages"}, mark}, false, false},
		"never sent to any partition": {nil, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hub := willing()
				st := newStore("a")
				st.append(msgs(laneA, 1, 10)...)
				st.progress = message.Progress{
					Lanes: []message.LaneProgress{{Lane: laneA, Next: 3}}, Marks: c.marks, Partitions: map[string]int32{"messages": 1},
				}
				src := sourceOf(st)
				src.all[0].doubtful = true
				session := &scriptedSession{hub: hub, known: c.known}
				x := &scriptedTransactor{answer: func() (forward.Session, error) { return session, nil }}
				o := forward.DefaultOptions()
				o.Delivery = forward.DeliveryExactlyOnce
				sink := &readCounted{scripted: hub}
				_, stop := run(t, o, forward.Deps{Source: src, Sink: sink, Transactor: x})
				defer stop()
				<-time.After(time.Second)
				if got := len(hub.seqs()) > 0; got != c.quick {
					t.Errorf("sent within a second: %v", got)
				}
				x.mu.Lock()
				a := x.asked[0]
				x.mu.Unlock()
				if a.Lanes[0].Next != 3 || c.quick && c.marks != nil && a.Record != (message.Mark{Topic: "postroad-progress", Partition: 3, Offset: 5}) {
					t.Errorf("asked for %+v", a)
				}
				<-time.After(time.Minute)
				if n := len(hub.seqs()); n != 8 {
					t.Errorf("%d messages were sent, want 8", n)
				}
				if n := sink.reads.Load(); (n == 0) != c.quick {
					t.Errorf("read back %d times", n)
				}
				marked := false
				st.holds(func(s *store) bool {
					for _, m := range s.progress.Marks {
						marked = marked || m == message.Mark{Topic: mark.Topic, Partition: 3, Offset: 7}
					}
					return true
				})
				if !marked {
					t.Error("saved progress does not tell of the record")
				}
			})
		})
	}
}

// A holder in default mode takes the mark of the record out of saved progress
// before it sends anything.
func TestDefaultModeTakesTheMarkOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStore("a")
		st.append(msgs(laneA, 1, 3)...)
		st.progress = message.Progress{Marks: []message.Mark{
			{Topic: "messages"}, {Topic: "=exactly-once:postroad-progress", Partition: 3, Offset: 5},
		}, Partitions: map[string]int32{"messages": 1, "=exactly-once:postroad-progress": 0}}
		sent := &scripted{}
		sent.answer = func(*message.Stored, int) error {
			if !st.holds(func(s *store) bool {
				return len(s.progress.Marks) == 1 && len(s.progress.Partitions) == 1 && s.saves > 0
			}) {
				return errors.New("the mark is still there")
			}
			return nil
		}
		_, stop := run(t, forward.DefaultOptions(), forward.Deps{Source: sourceOf(st), Sink: sent})
		defer stop()
		<-time.After(time.Minute)
		if n := len(sent.seqs()); n != 3 {
			t.Errorf("%d of 3 messages were sent", n)
		}
	})
}

// A chain that is over leaves no record in the hub.
func TestExactlyOnceFinishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := willing()
		st := newStore("a")
		st.append(msgs(laneA, 1, 3)...)
		st.end()
		session := &scriptedSession{hub: hub}
		o := forward.DefaultOptions()
		o.Delivery = forward.DeliveryExactlyOnce
		_, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: hub, Transactor: &scriptedTransactor{
			answer: func() (forward.Session, error) { return session, nil },
		}})
		defer stop()
		<-time.After(time.Minute)
		session.mu.Lock()
		defer session.mu.Unlock()
		if !session.over || len(session.settled) == 0 || session.settled[0].Next != 4 {
			t.Errorf("over %v, settled %v", session.over, session.settled)
		}
	})
}

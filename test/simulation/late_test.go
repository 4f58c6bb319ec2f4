package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"testing"
	"time"

	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/message"
)

// Window implements forward.Log.
func (l *link) Window() int { return l.hub.w.plan.window }

// Since implements forward.Log. Nothing is ever removed from this hub.
func (l *link) Since(_ context.Context, of []message.Mark, t time.Time) ([]message.Span, map[int]bool, error) {
	l.p.stand()
	var out []message.Span
	from := t.Sub(l.hub.w.began)
	for _, m := range of {
		if err := l.hub.refusesPart(l.p.stamp.name, part{m.Topic, m.Partition}); err != nil {
			return nil, nil, err
		}
		l.hub.mu.Lock()
		log := l.hub.logs[part{m.Topic, m.Partition}]
		first := 0
		for first < len(log) && log[first].given < from {
			first++
		}
		out = append(out, message.Span{Topic: m.Topic, Partition: m.Partition, From: int64(first), To: int64(len(log))})
		l.hub.mu.Unlock()
	}
	return out, nil, nil
}

// Copies implements forward.Log. It takes its time, and breaks off now and then.
func (l *link) Copies(_ context.Context, of []message.Span, found func(message.Copy)) ([]message.Mark, error) {
	l.p.stand()
	for _, s := range of {
		if err := l.hub.refusesPart(l.p.stamp.name, part{s.Topic, s.Partition}); err != nil {
			return nil, err
		}
		l.hub.mu.Lock()
		log := l.hub.logs[part{s.Topic, s.Partition}]
		l.hub.mu.Unlock()
		for o := s.From; o < s.To; o++ {
			if l.hub.chance(1) && l.hub.chance(10) {
				return nil, errAway
			}
			found(message.Copy{
				ID: log[o].id, Repeat: log[o].marked, Produced: l.hub.w.began.Add(log[o].given),
				At: message.Mark{Topic: s.Topic, Partition: s.Partition, Offset: o},
			})
		}
		<-time.After(l.hub.delay(20 * time.Millisecond))
	}
	return nil, nil
}

// grace is how long a message may wait in a forwarder's client beyond late_after
// before it is taken back: while the hub begins to answer, for a pause that nobody
// noticed, and on its way.
const grace = 5*time.Second + 2*landLimit + 15*time.Second

// judgeLate: two copies of one request that lie further apart than W are shown
// both. That may be where the later one was not late when it was sent, or nobody
// could see the first by then.
func (w *world) judgeLate(p part, log []record, before, s showing, c *counts) error {
	after := w.plan.forward.LateAfter
	late := s.given-s.accepted.Sub(w.began) > after+time.Second
	switch {
	case !late && s.at-s.given > after+grace:
		return fmt.Errorf("%v: %q is shown twice, at %d and %d: the later copy waited for %v in the client of %s",
			p, short(s.value), before.offset, s.offset, s.at-s.given, s.by.name)
	case !late:
		c.young++
		return nil
	}
	// Records are appended in the order of time.
	end := int64(sort.Search(len(log), func(i int) bool { return log[i].at >= s.given }))
	if before.offset < end-int64(w.plan.window)/4 {
		return fmt.Errorf("%v: %q is shown twice, at %d and %d, %d records and %v apart, accepted %v before it was sent: %s should have found the first",
			p, short(s.value), before.offset, s.offset, s.offset-before.offset, s.at-before.at, s.given-s.accepted.Sub(w.began), s.by.name)
	}
	c.raced++
	return nil
}

// cutOff has stamps cut off from the hub often, beyond W, and clients repeat a lot.
func cutOff(p *plan) {
	only(cutFromHub)(p)
	p.upset, p.deaf = 15*time.Second, 40
	p.clients, p.messages, p.pace, p.topics = 4, 120, 300*time.Millisecond, p.topics[:1]
	p.forward.LateAfter = 5 * time.Second
}

// oneCutOff has a stamp cut off from one partition for long.
func oneCutOff(p *plan) {
	cutOff(p)
	p.upsets, p.messages = []disturbance{{1, cutFromLeader}}, 200
	p.upset, p.leastParts = 20*time.Second, 2
}

func cutFromLeader(ctx context.Context, w *world, rng *rand.Rand) {
	to := reach{w.stamps[rng.IntN(2)].name, part{w.plan.topics[rng.IntN(len(w.plan.topics))], rng.Int32N(2)}}
	w.during(ctx, between(rng, 50*time.Second, 90*time.Second), fmt.Sprintf("stamp %s cannot reach the leader of %v", to.stamp, to.to), func(on bool) {
		w.hub.change(func() { w.hub.far[to] = on })
	})
}

// A stamp is cut off for longer than readers look back, while clients lose answers
// and repeat at the other one: each request is shown once.
func TestLateTwins(t *testing.T) { lateTwins(t, 3) }

// The same where a stamp cannot reach the leader of one partition, and goes on with
// the others.
func TestLateTwinsOfOnePartition(t *testing.T) { lateTwinsOf(t, 1, oneCutOff) }

func lateTwins(t *testing.T, n uint64) { lateTwinsOf(t, n, cutOff) }

func lateTwinsOf(t *testing.T, n uint64, options func(*plan)) {
	first, n := seeds(t, n)
	var sum counts
	for seed := first; seed < first+n; seed++ {
		v := simulate(t, seed, sabotage{options: options})
		sum.add(v.counts)
		if v.err != nil {
			t.Logf("%s", v.log)
			t.Fatalf("POSTROAD_SIMULATION_SEED=%d: %v", seed, v.err)
		}
	}
	t.Logf("%d seeds: %v", n, sum)
	if n > 1 && sum.leftOut == 0 {
		t.Error("no late twin was ever left out: the runs show nothing")
	}
}

// unreadLog is of who reads nothing.
type unreadLog struct{ *link }

func (unreadLog) Copies(context.Context, []message.Span, func(message.Copy)) ([]message.Mark, error) {
	return nil, nil
}

func TestTwinWithoutLateRead(t *testing.T) {
	caught(t, 40, sabotage{twins: func(l *link) forward.Log { return unreadLog{l} }, options: cutOff}, twice)
}

// A forwarder that does not look for late twins at all.
func TestTwinThatDoesNotLook(t *testing.T) {
	caught(t, 40, sabotage{twins: func(*link) forward.Log { return nil }, options: cutOff}, twice)
}

// belatedLog is of who reads from a minute on after the message was accepted (a
// forwarder begins five minutes before it).
type belatedLog struct{ *link }

func (l belatedLog) Since(ctx context.Context, of []message.Mark, t time.Time) ([]message.Span, map[int]bool, error) {
	return l.link.Since(ctx, of, t.Add(6*time.Minute))
}

func TestTwinReadFromWrongTime(t *testing.T) {
	caught(t, 40, sabotage{twins: func(l *link) forward.Log { return belatedLog{l} }, options: cutOff}, twice)
}

// lastingLink takes nothing back of what it was given.
type lastingLink struct{ *link }

func (lastingLink) Reset() error { return nil }

func TestTwinThatWaitsInTheClient(t *testing.T) {
	long := func(ctx context.Context, w *world, rng *rand.Rand) {
		name := w.stamps[rng.IntN(2)].name
		w.during(ctx, between(rng, 50*time.Second, 90*time.Second), "stamp "+name+" is cut off from the hub for long", func(on bool) {
			w.hub.change(func() { w.hub.cut[name] = on })
		})
	}
	caught(t, 40, sabotage{sink: func(l *link) forward.Sink { return lastingLink{l} }, options: func(p *plan) {
		cutOff(p)
		p.upsets, p.upset, p.forward.MaxInFlight, p.messages = []disturbance{{1, long}}, 8*time.Second, 500, 400
	}}, twice)
}

// markless forgets which requests were repeats.
type markless struct{ gateway.Store }

func (f markless) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	own := append([]message.Message(nil), msgs...)
	for i := range own {
		own[i].Repeat = false
	}
	return f.Store.Append(ctx, own)
}

func TestTwinWithoutMark(t *testing.T) {
	caught(t, 40, sabotage{store: func(s gateway.Store) gateway.Store { return markless{s} }, options: cutOff}, twice)
}

package forward_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/message"
)

// outage is a hub that can be away: then what is produced waits in its client, and
// comes back when that is reset. What landed or not is certain.
type outage struct {
	*scripted
	since   func() time.Time // until when a client given up had a connection; nil for a sink that does not know
	waiting []func()         // guarded by mu
	resets  int              // guarded by mu
}

func (o *outage) gone() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.away
}

func (o *outage) Partitions(ctx context.Context, topic string) (int32, error) {
	if err := o.gone(); err != nil {
		return 0, err
	}
	return o.scripted.Partitions(ctx, topic)
}

func (o *outage) Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error) {
	if err := o.gone(); err != nil {
		return nil, err
	}
	return o.scripted.Ends(ctx, of)
}

func (o *outage) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	if err := o.gone(); err != nil {
		return nil, err
	}
	return o.scripted.ReadBack(ctx, from, found)
}

func (o *outage) Produce(m *message.Stored, p int32, turn uint64, done func(int64, error)) error {
	if o.gone() == nil {
		return o.scripted.Produce(m, p, turn, done)
	}
	o.set(func() { o.waiting = append(o.waiting, func() { done(-1, errAway) }) })
	return nil
}

func (o *outage) Reset() error {
	var back []func()
	o.set(func() { back, o.waiting, o.resets = o.waiting, nil, o.resets+1 })
	for _, f := range back {
		f()
	}
	return nil
}

// knowing is one that knows for how long something may have been under way.
type knowing struct{ *outage }

func (k knowing) GivenUp() time.Time { return k.since() }

// outageTopics is how many topics there are, each with messages in every batch.
const outageTopics = 3

// lived drives a forwarder through an outage of the hub, under load from before, and
// returns how long after the hub's return the breaker closed and all was
// forwarded.
func lived(t *testing.T, lasts time.Duration, knows bool, options func(*forward.Options)) (closed, drained time.Duration) {
	t.Helper()
	began := time.Now()
	hub := &outage{scripted: &scripted{answer: func(*message.Stored, int) error { return nil }}}
	hub.since = func() time.Time { return began }
	o := forward.DefaultOptions()
	o.MaxInFlight, o.Batch = 200, 50
	options(&o)
	var sink forward.Sink = hub
	if knows {
		sink = knowing{hub}
	}
	st := newStore("live")
	f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: sink})
	defer stop()
	seq := uint64(0)
	load := func(n int) {
		for range n {
			seq++
			m := msg(laneA, seq)
			m.Topic = fmt.Sprintf("topic-%d", seq%outageTopics)
			st.append(m)
		}
	}
	load(100)
	<-time.After(time.Minute)
	began = time.Now()
	hub.set(func() { hub.away = errors.New("away") })
	for time.Since(began) < lasts {
		load(10)
		<-time.After(100 * time.Millisecond)
	}
	if s := f.Status().Breaker.State; s != "open" {
		t.Fatalf("breaker %s after %v without a hub", s, lasts)
	}
	back := time.Now()
	hub.set(func() { hub.away = nil })
	var all sync.WaitGroup
	poll := func(what string, took *time.Duration, cond func() bool) {
		for time.Since(back) < 10*time.Minute {
			if cond() {
				*took = time.Since(back)
				return
			}
			<-time.After(10 * time.Millisecond)
		}
		t.Errorf("not %s ten minutes after the return: %+v", what, f.Status())
	}
	all.Go(func() { poll("closed", &closed, func() bool { return f.Status().Breaker.State == "closed" }) })
	all.Go(func() { poll("drained", &drained, func() bool { return len(hub.seqs()) >= int(seq) }) })
	all.Wait()
	if n := len(hub.seqs()); n != int(seq) {
		t.Errorf("%d messages in the hub, %d were sent", n, seq)
	}
	if hub.resets == 0 {
		t.Error("nothing was taken back from the client")
	}
	return closed, drained
}

// After an outage long enough for what is under way to be taken back, draining goes
// on as soon as after a short one (F3).
func TestReturnAfterReset(t *testing.T) { returnAfterReset(t, 2) }

func returnAfterReset(t *testing.T, tries int) {
	t.Helper()
	for _, row := range []struct {
		name    string
		lasts   time.Duration
		knows   bool
		options func(*forward.Options)
	}{
		{"long ago", 30 * time.Second, false, func(o *forward.Options) { o.RefreshAfter, o.TakeoverWait = 5*time.Second, 3*time.Second }},
		{"just now", 10 * time.Minute, true, func(*forward.Options) {}},
		{"full", 30 * time.Second, false, func(o *forward.Options) {
			o.RefreshAfter, o.TakeoverWait, o.MaxInFlight = 5*time.Second, 3*time.Second, 20
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			for range tries {
				synctest.Test(t, func(t *testing.T) {
					closed, drained := lived(t, row.lasts, row.knows, row.options)
					if closed > 5*time.Second || drained > 6*time.Second {
						t.Errorf("breaker closed %v and all forwarded %v after the hub's return", closed, drained)
					}
				})
			}
		})
	}
}

// The twin, whose sink does not know how long ago it last had a connection, has to
// wait for what may be under way, and must be found slow.
func TestReturnAfterResetIsMeasured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if _, drained := lived(t, 10*time.Minute, false, func(*forward.Options) {}); drained <= 6*time.Second {
			t.Errorf("all forwarded %v after the return, without waiting for what may be under way", drained)
		}
	})
}

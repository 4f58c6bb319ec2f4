package forward

import (
	"context"
	"fmt"
	"math"
	"time"

	"postroad/internal/message"
)

// worker has one topic of a chain while it is not plain sending: until its
// partitions are looked up, after messages came back, and for as long as the
// hub refuses it. Other topics of the chain go on meanwhile.
type worker struct {
	*drainer
	sender
	t        *topic
	turn     uint64    // the sink's; taken anew only with nothing of the topic in flight
	round    uint64    // the topic's at the last repair: what came back before was looked at then
	fails    int       // tries in a row that came to nothing
	began    time.Time // of the trouble; zero while all is well
	held     time.Time // since when the hub refuses the topic; zero while it does not
	divertAt time.Time // not before this, after moving to the side lane failed
}

// work is a worker's life.
func (d *drainer) work(ctx context.Context, t *topic) {
	w := &worker{drainer: d, sender: sender{breaker: d.f.breaker}, t: t, turn: t.turn}
	defer func() { w.endTrial(ctx.Err()) }()
	err := w.settled(ctx) // why it was called, if something came back
	for ctx.Err() == nil {
		if err != nil {
			w.backOff(ctx, err)
		} else if w.well(); d.flight.resume(t, w.turn) {
			return
		}
		before := d.flight.doneOf(t)
		if err = w.attempt(ctx); err == nil {
			w.endTrial(nil)
		} else if d.flight.doneOf(t) > before && classOf(err) == classRetry {
			w.fails = 0 // something got through: begin with short waits again
		}
	}
}

// well forgets the trouble there was.
func (w *worker) well() {
	if !w.held.IsZero() {
		w.log.Info("the hub takes messages of the topic again", "topic", w.t.name)
	}
	w.fails, w.began, w.held = 0, time.Time{}, time.Time{}
}

// attempt tries to send all that waits. The error is why it did not come to it;
// nothing of the topic is in flight then.
func (w *worker) attempt(ctx context.Context) error {
	// Not with the trial in its hands, if there is one: others may be able to send.
	if _, doubtful := w.flight.condition(w.t); doubtful {
		if err := w.f.afterReset(ctx); err != nil {
			return err
		}
	}
	if err := w.pass(ctx, passer{}); err != nil {
		return err
	}
	if w.flight.isAside(w.t) {
		return w.drainAside(ctx)
	}
	broken, _ := w.flight.condition(w.t)
	if broken {
		if err := w.repair(ctx); err != nil {
			return err
		}
		if class, _ := w.flight.trouble(w.t, 0); class == classDead {
			back, _, err := w.withoutTwins(ctx, w.flight.waiting(w.t, math.MaxInt, math.MaxInt64))
			if err != nil {
				return err
			}
			if err := w.singly(ctx, back); err != nil {
				return err
			}
		}
	}
	return w.sendWaiting(ctx, broken)
}

// sendWaiting sends what waits: late messages in several batches, each once it was
// looked for twins of it. With careful it waits for the answers to each. The error
// is why something came back, or ctx's.
func (w *worker) sendWaiting(ctx context.Context, careful bool) error {
	for more := true; more; {
		err := w.pass(ctx, passer{})
		if err != nil {
			return err
		}
		var slots []*slot
		slots, more, err = w.withoutTwins(ctx, w.flight.waiting(w.t, math.MaxInt, math.MaxInt64))
		if err != nil {
			return err
		}
		if err := w.sendAll(ctx, slots); err != nil {
			return err
		}
		_, failed, _ := w.flight.toll(w.t)
		if !careful && failed == 0 && w.trial == nil {
			continue
		}
		if err := w.settled(ctx); err != nil {
			return err
		}
		w.endTrial(nil)
		w.well()
	}
	return nil
}

// repair makes the topic fit for being sent to: nothing is in flight, its
// partitions are known and their marks saved, and what of it is in the hub
// although it came back, or because the last holder sent it, is found.
func (w *worker) repair(ctx context.Context) error {
	if err := w.quiet(ctx); err != nil {
		return err
	}
	changed, err := w.prepareTopic(ctx, w.t)
	if err != nil {
		return refusal(err)
	}
	if changed {
		if err := w.saveInsisting(ctx); err != nil {
			return err
		}
	}
	w.turn = w.out.Turn()
	if _, doubtful := w.flight.condition(w.t); doubtful {
		if err := w.readBack(ctx); err != nil {
			return err
		}
	}
	w.round = w.flight.nextRound(w.t)
	return nil
}

// readBack finds which of the topic's messages are in the hub: those that came
// back although they had landed, as they must where an answer was lost, and those
// that a last holder sent.
func (w *worker) readBack(ctx context.Context) error {
	if err := w.f.afterReset(ctx); err != nil {
		return err
	}
	w.flight.beginReadBack(w.t)
	defer w.flight.endReadBack(w.t)
	lost, err := w.f.readBack(ctx, w.flight.marksOf(w.t), func(p message.Place, at message.Mark) {
		w.flight.match(w.t, p, at)
	})
	if err != nil {
		return refusal(fmt.Errorf("look for what is in the hub already: %w", err))
	}
	w.tellLost(lost)
	w.flight.readBackDone(w.t)
	return nil
}

// heldError is an error of class hold, whatever its cause is.
type heldError struct{ error }

func (e heldError) Unwrap() error { return e.error }
func (e heldError) Class() string { return classHold }

// refusal: what the hub will never say about a topic as a whole is no fault of
// its messages, and must not make dead letters of them.
func refusal(err error) error {
	if classOf(err) == classDead {
		return heldError{err}
	}
	return err
}

// partition maps a message by the count that the worker looked up.
func (w *worker) partition(s *slot) int32 {
	return w.f.deps.Sink.Partition(&s.msg.Message, w.flight.count(w.t))
}

// sendAll gives messages to the sink, in order. The error is ctx's.
func (w *worker) sendAll(ctx context.Context, slots []*slot) error {
	count := w.flight.count(w.t)
	for _, s := range slots {
		partition := w.f.deps.Sink.Partition(&s.msg.Message, count)
		for !w.send(s, partition, false) {
			if err := w.t.gate.await(ctx); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// send gives one message to the sink, unless another chain has the topic for
// itself.
func (w *worker) send(s *slot, partition int32, alone bool) bool {
	w.flight.mu.Lock()
	ok := w.flight.lift(s, partition, w.turn, alone)
	w.flight.mu.Unlock()
	if ok {
		w.produce(s)
	}
	return ok
}

// settled waits for all answers. The error is why messages came back since the last
// repair, or ctx's. What came back before and was not sent again says nothing about
// the hub of now.
func (w *worker) settled(ctx context.Context) error {
	if err := w.quiet(ctx); err != nil {
		return err
	}
	_, err := w.flight.trouble(w.t, w.round)
	return err
}

// quiet waits until the sink has answered everything of the topic, and ends a
// trial that takes too long. The error is ctx's.
func (w *worker) quiet(ctx context.Context) error {
	w.hurry()
	for {
		if sent, _, _ := w.flight.toll(w.t); sent == 0 {
			return nil
		}
		var late <-chan time.Time
		if w.trial != nil {
			t := time.NewTimer(w.f.opts.TrialTimeout)
			defer t.Stop()
			late = t.C
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			w.endTrial(errTrial)
		case <-w.t.wake:
		}
	}
}

// backOff tells of an error and waits before the next try.
//
// What concerns the hub as a whole opens the breaker, so that nothing is moved
// about because of it. What a person must change for the topic holds it. So does
// what should pass by itself and has not for hold_after, while the hub answers
// (a partition without a leader): the others must not wait for it for ever.
func (w *worker) backOff(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	class := classOf(err)
	w.f.metrics.refused.WithLabelValues(class).Inc()
	w.endTrial(err)
	w.f.note(fmt.Errorf("topic %q: %w", w.t.name, err))
	now := time.Now()
	if w.began.IsZero() {
		w.began = now
	}
	lasting := now.Sub(w.began) >= w.f.opts.HoldAfter && !w.f.breaker.shut.Load()
	state, delay := stateRecovering, retryDelay(w.fails)
	switch {
	case hubWide(err):
		w.f.breaker.trip(err)
	case class == classHold || class == classRetry && lasting:
		state, delay = stateHeld, holdDelay(w.fails, w.f.opts.HoldInterval)
		if w.held.IsZero() {
			w.held = w.began
		}
		w.log.Error("the hub refuses messages, the topic is held", "topic", w.t.name, "class", class, "err", err,
			"next_try_in", delay.Round(time.Millisecond))
	case class == classRetry:
		w.f.breaker.kick()
		w.log.Debug("trying again", "topic", w.t.name, "err", err, "in", delay)
	}
	w.fails++
	w.flight.tell(w.t, state, err, w.began, now.Add(delay))
	w.linger(ctx, now.Add(delay), state == stateHeld)
}

// linger waits until a time and meanwhile keeps what waits of the topic from
// standing in the way.
func (w *worker) linger(ctx context.Context, until time.Time, held bool) {
	for ctx.Err() == nil {
		w.makeRoom(ctx, held)
		now := time.Now()
		if !now.Before(until) {
			return
		}
		next := until
		if due := later(w.began.Add(w.f.opts.HoldAfter), w.divertAt); held && due.After(now) && due.Before(next) {
			next = due
		}
		timer := time.NewTimer(next.Sub(now))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.t.nudge:
		case <-w.t.wake:
		}
		timer.Stop()
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// makeRoom moves what waits to the side lane where that is due, see divert.
// While the hub is away altogether, waiting costs nobody anything.
func (w *worker) makeRoom(ctx context.Context, held bool) {
	if _, failed, ready := w.flight.toll(w.t); failed+ready == 0 || w.f.breaker.shut.Load() || time.Now().Before(w.divertAt) {
		return
	}
	aside, pressed := w.flight.isAside(w.t), w.flight.pressed(w.t)
	due := held && time.Since(w.began) >= w.f.opts.HoldAfter
	if !(aside && (held || pressed) || held && (due || pressed)) {
		return
	}
	if err := w.divert(ctx); err != nil && ctx.Err() == nil {
		w.divertAt = time.Now().Add(holdDelay(2, w.f.opts.HoldInterval))
		w.f.note(err)
		w.log.Error("could not move messages aside, they wait in memory", "topic", w.t.name, "err", err)
	}
}

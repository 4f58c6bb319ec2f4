package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"postroad/internal/message"
)

// divert moves what waits of the topic to its side lane, so that it neither
// blocks other topics nor keeps segments from being removed.
//
// It happens after hold_after, or before, as soon as the waiting messages stand
// in the way: when the chain may read no more because of them, or holds room
// that another chain waits for. A held topic under load fills the limits within
// seconds, and waiting the ten minutes out would stop all the others.
func (w *worker) divert(ctx context.Context) error {
	for {
		slots := w.flight.waiting(w.t, w.f.opts.Batch, batchBytes)
		if len(slots) == 0 {
			return nil
		}
		msgs := make([]message.Stored, len(slots))
		for i, s := range slots {
			msgs[i] = s.msg
		}
		if err := w.chain.Divert(ctx, w.t.name, msgs); err != nil {
			w.claimed(err)
			if !errors.Is(err, errors.ErrUnsupported) {
				w.flight.setAside(w.t) // any of them may have been moved, and come first then
			}
			return fmt.Errorf("move messages of topic %q to a side lane: %w", w.t.name, err)
		}
		if !w.flight.isAside(w.t) {
			w.log.Warn("messages of the topic are moved to a side lane until the hub takes them", "topic", w.t.name)
		}
		w.flight.moved(w.t, slots)
		// A successor that does not know of it moves them again.
		if err := w.saveInsisting(ctx); err != nil {
			return err
		}
	}
}

// drainAside sends what stands in the topic's side lanes, in order, a first one
// to see whether the hub takes it and then batch by batch. What is read of the
// topic meanwhile waits, or follows to the side lane where it stands in the way.
// When nothing is left the topic is direct again.
func (w *worker) drainAside(ctx context.Context) error {
	if err := w.repair(ctx); err != nil {
		return err
	}
	if class, _ := w.flight.trouble(w.t, 0); class == classDead {
		back, _, err := w.withoutTwins(ctx, w.flight.sideBatch(w.t))
		if err != nil {
			return err
		}
		if err := w.singly(ctx, back); err != nil {
			return err
		}
	}
	for limit := 1; ; {
		batch := w.flight.sideBatch(w.t)
		if len(batch) == 0 {
			msgs, err := w.chain.NextHeld(ctx, w.t.name, limit)
			if errors.Is(err, io.EOF) {
				w.flight.asideOver(w.t)
				w.log.Info("all that was moved to side lanes is settled", "topic", w.t.name)
				return w.saveInsisting(ctx)
			}
			if err != nil {
				w.claimed(err)
				return fmt.Errorf("read the side lane of topic %q: %w", w.t.name, err)
			}
			w.flight.addSide(w.t, msgs)
			size := 1
			for i := range msgs {
				size += msgs[i].Size()
			}
			limit = max(1, min(w.f.opts.Batch, 4*limit, batchBytes*len(msgs)/size))
			continue
		}
		batch, _, err := w.withoutTwins(ctx, batch)
		if err != nil {
			return err
		}
		if err := w.sendAll(ctx, batch); err != nil {
			return err
		}
		if err := w.settled(ctx); err != nil {
			return err
		}
		w.endTrial(nil)
		if w.flight.pressed(w.t) {
			if err := w.divert(ctx); err != nil {
				return err
			}
		}
	}
}

// setAside has a topic's side lanes drained before anything is sent to it.
func (f *flight) setAside(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.aside = true
}

// moved notes that messages stand in a side lane now. What may be in the hub of
// them all the same is looked for from their topic's pin when it is sent again.
func (f *flight) moved(t *topic, slots []*slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.aside = true
	f.metrics.diverted.Add(float64(len(slots)))
	for _, s := range slots {
		if s.part != nil && s.err != nil && classOf(s.err) == classRetry && !f.exact {
			s.part.pin = min(s.part.pin, s.low)
			t.unread = true
		}
		f.unwait(s)
		f.settle(s, moved, "")
	}
}

// addSide takes in messages of a side lane, which the topic's worker sends. What
// is in the hub already is settled at once.
func (f *flight) addSide(t *topic, msgs []message.Stored) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range msgs {
		m := &msgs[i]
		at := m.Stands()
		l := f.laneOf(at)
		l.side = true
		if at.Seq <= l.last {
			continue
		}
		if at.Seq > l.last+1 {
			l.board.skip(l.last+1, at.Seq)
		}
		l.last = at.Seq
		s := &slot{side: true}
		s.done = func(offset int64, err error) { f.answered(s, offset, err) }
		s.reset(f, m, t, l, int64(m.Size())+slotOverhead)
		s.side = true
		f.budget.force(&f.use, 1, s.size)
		f.sides[t] = append(f.sides[t], s)
		if !m.Replay && (t.landed.has(m.Place) || t.seen.has(m.Place)) {
			f.metrics.duplicates.Inc()
			f.settle(s, landed, "")
		}
	}
}

// sideBatch returns the messages of side lanes under way that are not settled.
func (f *flight) sideBatch(t *topic) []*slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*slot
	for _, s := range f.sides[t] {
		if s.state != slotSettled {
			out = append(out, s)
		}
	}
	return out
}

// sawAside remembers that a message of a side lane is in the hub. It may stand in
// the chain's own lane above the watermark, too: because it was moved from there a
// moment ago, or because the last holder died between Divert and Save; then it may
// have been read already, or is yet to come. The caller holds mu.
func (f *flight) sawAside(s *slot) {
	t, p := s.topic, s.msg.Place
	if t.seen == nil {
		t.seen = places{}
	}
	t.seen.add(p)
	l := f.laneNamed(p.Lane)
	if l == nil || p.Seq < l.next {
		return
	}
	if s.part != nil {
		at := s.low
		if s.tries == 1 && s.offset >= 0 {
			at = s.offset
		}
		s.part.pin = min(s.part.pin, at)
	}
	if p.Seq > l.last {
		f.know(t, p)
	}
}

// asideOver notes that all of a topic's side lanes is settled.
func (f *flight) asideOver(t *topic) {
	for _, s := range f.waiting(t, math.MaxInt, math.MaxInt64) {
		f.settleSeen(s)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	t.aside, t.landed, t.seen = false, nil, nil
	f.version++
	f.unpin(t)
}

// settleSeen settles a message that waits if a copy from a side lane is in the
// hub.
func (f *flight) settleSeen(s *slot) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := s.topic; !s.msg.Replay && t.seen.has(s.msg.Place) {
		f.unwait(s)
		t.found++
		s.found = true
		f.metrics.duplicates.Inc()
		f.settle(s, landed, "")
	}
}

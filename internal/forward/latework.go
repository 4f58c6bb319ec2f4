package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postroad/internal/message"
)

var errLateAnew = errors.New("the partition is another one now")

// withoutTwins settles those of a topic's waiting messages of which another copy
// is in the hub, and returns the others, in order: as many as may be sent before
// it is looked again; more says that this is not all. It is for who has nothing but
// those to send now.
func (w *worker) withoutTwins(ctx context.Context, slots []*slot) (send []*slot, more bool, err error) {
	l := w.f.late
	oldest := w.lateOf(slots)
	if len(oldest) == 0 {
		return slots, false, nil
	}
	// At most a batch is under way that was not seen in the log: what another
	// stamp sends after the look is to stand within W of it.
	if sent, _, _ := w.flight.toll(w.t); sent > 0 && sent+len(slots) > l.batch {
		if err := w.quiet(ctx); err != nil {
			return nil, true, err
		}
	}
	if len(slots) > l.batch {
		slots, more = slots[:l.batch], true
		if oldest = w.lateOf(slots); len(oldest) == 0 {
			return slots, more, nil
		}
	}
	t, err := w.lookBack(ctx, oldest)
	if err != nil {
		w.flight.lookUpAnew(w.t)
		return nil, true, refusal(fmt.Errorf("look for what another stamp has sent: %w", err))
	}
	defer t.leave()
	send = slots[:0]
	for _, s := range slots {
		if !l.due(&s.msg) {
			send = append(send, s)
			continue
		}
		id := w.partition(s)
		if at, looked := oldest[id]; !looked || s.msg.Accepted().Before(at) {
			more = true // it became late meanwhile, and the log was not read for it
			break
		}
		p := t.parts[id]
		offset, found, unsure := p.twin(&s.msg)
		if found {
			l.duplicates.Add(1)
			w.flight.settleTwin(s, message.Mark{Topic: s.msg.Topic, Partition: id, Offset: offset})
			continue
		}
		if s.msg.Late = unsure; unsure {
			l.unsure.Add(1)
			l.metrics.lateUnsure.Inc()
		}
		send = append(send, s)
	}
	return send, more, nil
}

// lateOf returns when the oldest late message for each partition was accepted.
func (w *worker) lateOf(slots []*slot) map[int32]time.Time {
	if w.f.late == nil {
		return nil
	}
	var oldest map[int32]time.Time
	for _, s := range slots {
		if !w.f.late.due(&s.msg) {
			continue
		}
		if oldest == nil {
			oldest = map[int32]time.Time{}
		}
		id, at := w.partition(s), s.msg.Accepted()
		if known, ok := oldest[id]; !ok || at.Before(known) {
			oldest[id] = at
		}
	}
	return oldest
}

// lookBack reads the hub until nothing is left to be read, and returns what is
// known of the topic, for the caller alone. Meanwhile it does not hold the right to
// send the first batch after an outage: a read may take minutes, and others may
// have something to send.
//
// Where others write faster than it is read it ends all the same: what is sent then
// is marked, for a copy may stand in what was not read.
func (w *worker) lookBack(ctx context.Context, oldest map[int32]time.Time) (*lateTopic, error) {
	l, began, long, yielded := w.f.late, time.Now(), false, false
	var gap pursuit
	for {
		t, gave, err := w.enterLate(ctx)
		if err != nil {
			return nil, err
		}
		yielded = yielded || gave
		ahead, near, err := l.plan(ctx, t, oldest)
		if sent, _, _ := w.flight.toll(w.t); err == nil && len(ahead) > 0 && sent > 0 {
			// What is not read may be what we have just sent: the answers will say.
			t.leave()
			if err := w.quiet(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if err == nil && gap.vain(ahead) {
			for _, s := range ahead {
				t.parts[s.Partition].overtaken()
			}
			ahead = nil
		}
		if err == nil && len(ahead)+len(near) == 0 && !yielded {
			if long {
				w.log.Info("read what other stamps have sent", "topic", t.name, "took", time.Since(began).Round(time.Millisecond))
			}
			return t, nil
		}
		if err == nil {
			long = long || len(ahead) > 0 && ahead[0].To-ahead[0].From > l.distance
			w.yieldTrial()
			err = l.read(ctx, t, ahead, near)
		}
		t.leave()
		if err != nil && !errors.Is(err, errLateAnew) {
			return nil, err
		}
		if err := w.pass(ctx, passer{}); err != nil {
			return nil, err
		}
		yielded = false
	}
}

// pursuit is reading on until little is left to be read.
type pursuit struct {
	least int64 // that was unread before any read, so far
	tries int   // reads since
}

// lateTries is how often it is read on where that brings the end no nearer.
const lateTries = 3

// vain takes note of what is unread and reports whether to read on is in vain.
func (p *pursuit) vain(ahead []message.Span) bool {
	left := int64(0)
	for _, s := range ahead {
		left += s.To - s.From
	}
	if p.least == 0 || left < p.least {
		p.least, p.tries = left, 0
		return false
	}
	p.tries++
	return p.tries > lateTries
}

// enterLate enters the topic; yielded says that others may have the trial now.
// Nobody waits with it in his hands for somebody who may wait for it.
func (w *worker) enterLate(ctx context.Context) (t *lateTopic, yielded bool, err error) {
	if t := w.f.late.tryEnter(w.t.name); t != nil {
		return t, false, nil
	}
	yielded = w.yieldTrial()
	t, err = w.f.late.enter(ctx, w.t.name)
	return t, yielded, err
}

func (w *worker) yieldTrial() bool {
	if w.trial == nil {
		return false
	}
	w.trial.giveBack()
	w.trial = nil
	return true
}

// lookUpAnew has a topic's partitions looked up before the next try: it may be gone.
func (f *flight) lookUpAnew(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.stale = true
}

// settleTwin settles a message of which another copy is in the hub. Progress need
// not keep that copy in view: a successor that reads the message again looks, too.
func (f *flight) settleTwin(s *slot, at message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unwait(s)
	s.part, s.partition, s.offset, s.twin = nil, at.Partition, at.Offset, true
	f.metrics.twins.Inc()
	f.settle(s, landed, "")
}

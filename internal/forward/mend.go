package forward

import (
	"context"
	"fmt"
	"time"

	"postroad/internal/message"
)

// takeOver finds out what of the chain is in the hub already. The hub must
// answer for that, where the last holder wrote to any partition. The error is
// ctx's.
func (d *drainer) takeOver(ctx context.Context) error {
	p := d.chain.Progress()
	d.flight.restore(p)
	d.turn = d.f.deps.Sink.Turn()
	if len(p.Marks) == 0 {
		return nil
	}
	next := make(map[string]uint64, len(p.Lanes))
	for _, l := range p.Lanes {
		next[l.Lane] = max(l.Next, 1)
	}
	return d.insist(ctx, func() error {
		known, n, began := places{}, 0, time.Now()
		lost, err := d.f.deps.Sink.ReadBack(ctx, p.Marks, func(at message.Place, _ message.Mark) {
			if from, ours := next[at.Lane]; ours && at.Seq >= from && known.add(at) {
				n++
			}
		})
		if err != nil {
			return err
		}
		d.flight.remember(known, n)
		d.tellLost(lost)
		d.log.Info("read back what is in the hub", "partitions", len(p.Marks), "messages", n, "took", time.Since(began).Round(time.Millisecond))
		return nil
	})
}

// tellLost notes marks that were out of range.
func (d *drainer) tellLost(lost []message.Mark) {
	if len(lost) == 0 {
		return
	}
	d.flight.lower(lost)
	d.f.metrics.lost.Add(float64(len(lost)))
	d.log.Warn("partitions could not be read back from where they should; what is not seen is sent again", "partitions", len(lost), "topic", lost[0].Topic)
}

// mend deals with messages that the sink gave back, where there are any: it
// waits for all answers, reads back which of them are in the hub nevertheless,
// and sends the others again, in order, until none is left. The error is ctx's.
func (d *drainer) mend(ctx context.Context) error {
	tried := false
	var hindered error // why the last try did not come to sending all of it
	for fails := 0; ; fails++ {
		if _, failed, _ := d.flight.counters(); failed == 0 {
			if tried {
				d.become(stateDraining, nil, time.Time{})
			}
			return nil
		}
		tried = true
		if err := d.quiet(ctx); err != nil {
			return err
		}
		class, err := d.flight.trouble()
		d.f.metrics.refused.WithLabelValues(class).Inc()
		d.tellDead()
		as := class
		if class == classDead && fails == 0 {
			as = classRetry // one by one, most of them will be taken
		}
		if hindered != nil {
			as, err = classOf(hindered), hindered
		}
		if err := d.backOff(ctx, as, err, fails); err != nil {
			return err
		}
		if err := d.pass(ctx); err != nil {
			return err
		}
		before := d.flight.settledCount()
		if hindered = d.sendAgain(ctx, class == classDead); hindered != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			d.endTrial(hindered)
		}
		if err := d.judge(ctx); err != nil {
			return err
		}
		if d.flight.settledCount() > before {
			fails = -1 // something got through: begin with short waits again
		}
	}
}

// tellDead logs, once each, messages that the hub refuses for good.
func (d *drainer) tellDead() {
	for _, s := range d.flight.givenBack() {
		if !s.told && classOf(s.err) == classDead && s.alone {
			s.told = true
			d.log.Error("the hub will never take this message; its chain is held", "lane", s.msg.Lane, "seq", s.msg.Seq,
				"id", s.msg.ID.String(), "topic", s.msg.Topic, "bytes", s.msg.Message.Size(), "err", s.err)
		}
	}
}

// sendAgain sends the messages that were given back, all at once or, where
// singly is set, each after the answer to the one before. The error says why
// some of them were not sent.
func (d *drainer) sendAgain(ctx context.Context, singly bool) error {
	back := d.flight.givenBack()
	topics := map[string]bool{}
	for _, s := range back {
		topics[s.msg.Topic] = true
	}
	// A topic may have been made anew, or have other partitions now. Nothing is
	// in flight, so a new count can be adopted.
	for topic := range topics {
		if err := d.prepareTopic(ctx, topic); err != nil {
			return err
		}
	}
	if err := d.saveInsisting(ctx); err != nil {
		return err
	}
	if err := d.settleLanded(ctx, back); err != nil {
		return err
	}
	d.turn = d.f.deps.Sink.Turn()
	if singly {
		return d.sendSingly(ctx, back)
	}
	for _, s := range back {
		if s.state == slotFailed { // else found in the hub; nothing else changes it while the sink has nothing
			d.relift(s, false)
		}
	}
	return nil
}

// relift gives a message that was given back to the sink again.
func (d *drainer) relift(s *slot, alone bool) {
	d.flight.relift(s, d.f.deps.Sink.Partition(&s.msg.Message, d.counts[s.msg.Topic]), alone)
	d.produce(s)
}

// sendSingly sends each message after the answer to the one before, with a turn
// of its own, so that what the hub will never take does not take its neighbours
// back. What fails for another reason will be taken in time: its partition waits
// for it, since with a new turn the sink would let later messages overtake. The
// error is the first such reason.
func (d *drainer) sendSingly(ctx context.Context, back []*slot) (hindered error) {
	waiting := map[partKey]bool{}
	for _, s := range back {
		if s.state != slotFailed {
			continue
		}
		to := partKey{s.msg.Topic, d.f.deps.Sink.Partition(&s.msg.Message, d.counts[s.msg.Topic])}
		if waiting[to] {
			continue
		}
		d.relift(s, true)
		if err := d.quiet(ctx); err != nil {
			return err
		}
		// Nothing is in flight: the slot is ours to read.
		if s.state == slotFailed && classOf(s.err) != classDead {
			waiting[to] = true
			if hindered == nil {
				hindered = s.err
			}
		}
		d.turn = d.f.deps.Sink.Turn()
	}
	return hindered
}

// settleLanded reads back which of the messages are in the hub although the
// sink gave them back, as it must where an answer was lost.
func (d *drainer) settleLanded(ctx context.Context, back []*slot) error {
	byPlace := make(map[message.Place]*slot, len(back))
	for _, s := range back {
		byPlace[s.msg.Place] = s
	}
	lost, err := d.f.deps.Sink.ReadBack(ctx, d.flight.marks(), func(p message.Place, at message.Mark) {
		if s := byPlace[p]; s != nil {
			d.flight.settleFound(s, at)
			delete(byPlace, p)
		}
	})
	if err != nil {
		return fmt.Errorf("look for what is in the hub already: %w", err)
	}
	d.tellLost(lost)
	return nil
}

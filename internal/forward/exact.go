package forward

import (
	"context"
	"errors"
	"time"

	"postroad/internal/message"
)

// Delivery modes.
const (
	// DeliveryDefault: at least once in the topic, once at readers.
	DeliveryDefault = "default"
	// DeliveryExactlyOnce: once in the topic, too.
	DeliveryExactlyOnce = "exactly-once"
)

// Transactor makes what exactly-once delivery needs beside a Sink: for each chain
// a way into the hub by transactions.
type Transactor interface {
	// Transact takes the chain over in the hub: whoever sent for it before can
	// add nothing any more when it returns, and what is in the hub of the chain is
	// known. An error of class hold says what the hub cannot do, or does not allow.
	Transact(ctx context.Context, o Transacting) (Session, error)
}

// Transacting says how a chain is to be sent.
type Transacting struct {
	// Chain names the chain, Hub the hub, see message.Progress.
	Chain, Hub string
	// Topic keeps the record of what is in the hub.
	Topic string
	// Interval and Messages are after how long and after how many messages a
	// transaction is committed.
	Interval time.Duration
	Messages int
	// Lanes are how far the chain is by the queue's own progress.
	Lanes []message.LaneProgress
	// Record, where it has a topic, is where the record of the chain was.
	Record message.Mark
	// Confirm is to be asked before the chain is taken over in the hub, again
	// after each failure: an error says that it is not ours.
	Confirm func(ctx context.Context) error
	// Stale is for how long a message may wait for its outcome before it is given
	// back, once it is certain that it is not in the hub; 0 for ever.
	Stale time.Duration
	// Ended hears of the outcome of each transaction: committed, aborted, failed.
	Ended func(outcome string)
}

// OffsetThere is the offset with which a Session answers for a message that it did
// not send because it is in the hub already.
const OffsetThere = -2

// Session sends one chain. Turn and Produce are as a Sink's, but that an error
// means, until Close, that the message is certainly not in the hub, and that only
// the partitions are given back in which the hub refused something: whatever else
// was in the same transaction is sent again by the session.
type Session interface {
	outlet
	// Known reports whether the hub had a record of the chain at the beginning.
	Known() bool
	// Record is where the record of the chain stands now.
	Record() (at message.Mark, ok bool)
	// Settled tells what progress the queue has saved.
	Settled(lanes []message.LaneProgress)
	// Hurry has what was produced committed soon.
	Hurry()
	// Finish removes the record of a chain of which all is settled.
	Finish(ctx context.Context) error
	// Close gives back all that has no outcome; Wait returns when that is done.
	// Neither waits for the hub.
	Close()
	Wait()
}

// outlet is where a drainer's messages go: the Sink, or the chain's Session.
type outlet interface {
	Turn() uint64
	Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error
}

// recordMark is the name under which saved progress says where the record of the
// chain stands in the hub. It is no topic's name. That it is there says that all
// that was sent for the chain since stands in that record: a holder that sends in
// another way takes it out, durably, before it sends anything.
const recordMark = "=exactly-once:"

// takeRecord takes the mark of the record out of saved progress; ok is false
// where there is none.
func takeRecord(p *message.Progress) (at message.Mark, ok bool) {
	marks := p.Marks[:0:0]
	for _, m := range p.Marks {
		if len(m.Topic) > len(recordMark) && m.Topic[:len(recordMark)] == recordMark {
			at, ok = message.Mark{Topic: m.Topic[len(recordMark):], Partition: m.Partition, Offset: m.Offset}, true
			continue
		}
		marks = append(marks, m)
	}
	if ok {
		p.Marks = marks
		counts := make(map[string]int32, len(p.Partitions))
		for topic, n := range p.Partitions {
			if topic != recordMark+at.Topic {
				counts[topic] = n
			}
		}
		p.Partitions = counts
	}
	return at, ok
}

// exact is what a drainer has in exactly-once mode.
type exact struct {
	session Session
	// sure says that all that was sent for the chain stands in the record or is
	// settled by saved progress.
	sure bool
	// record is where the record was at takeover, while sure.
	record message.Mark
	// entered says that what had to be read back at takeover was, or is left to
	// workers.
	entered bool
}

func (d *drainer) isExact() bool { return d.f.opts.Delivery == DeliveryExactlyOnce }

// session is nil in default mode, and until the chain is taken over in the hub.
func (d *drainer) session() Session {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.exact.session
}

// enter is the takeover in exactly-once mode. It returns whether the record of the
// chain says all that the last holder sent, so that nothing has to be waited for
// and read back. It does not where the last holder delivered in default mode,
// where the record is gone, or stands in another topic than the settings name. The
// error is ctx's.
func (d *drainer) enter(ctx context.Context, p message.Progress, at message.Mark, was bool) (sure bool, err error) {
	d.mu.Lock()
	d.exact.sure, d.exact.record = was, at
	d.mu.Unlock()
	s, err := d.openSession(ctx, Transacting{
		Chain: d.chain.ID(), Hub: d.flight.hub, Topic: d.f.opts.ProgressTopic,
		Interval: d.f.opts.CommitInterval, Messages: d.f.opts.CommitMessages,
		Lanes: p.Lanes, Record: at, Confirm: d.confirm,
		Stale: d.stale(),
		Ended: func(outcome string) { d.f.metrics.transactions.WithLabelValues(outcome).Inc() },
	})
	if err != nil {
		return false, err
	}
	// A chain that was never sent to any partition has nothing in the hub.
	sure = was && s.Known() || len(p.Marks) == 0
	d.mu.Lock()
	d.exact.session, d.exact.sure, d.out = s, sure, s
	d.mu.Unlock()
	d.log.Info("took the chain over in the hub", "record", s.Known(), "sure", sure)
	return sure, nil
}

// stale is when what waits in the session may have got a twin in the hub that must
// be looked for.
func (d *drainer) stale() time.Duration {
	if d.f.late == nil {
		return 0
	}
	return d.f.opts.LateAfter
}

// entered ends the takeover.
func (d *drainer) entered() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.exact.entered = true
}

// openSession tries until the hub gives the chain to us. What it refuses until
// somebody changes something holds the chain. The error is ctx's.
func (d *drainer) openSession(ctx context.Context, o Transacting) (Session, error) {
	for fails := 0; ; fails++ {
		if err := d.main.pass(ctx, passer{}); err != nil {
			return nil, err
		}
		s, err := d.f.deps.Transactor.Transact(ctx, o)
		if ctx.Err() != nil {
			if err == nil {
				s.Close()
				s.Wait()
			}
			return nil, ctx.Err()
		}
		d.main.endTrial(err)
		if err == nil {
			d.become(stateTakingOver, nil)
			return s, nil
		}
		d.f.note(err)
		delay := retryDelay(fails)
		if classOf(err) == classRetry {
			d.f.breaker.kick()
			d.become(stateTakingOver, err)
			d.log.Debug("could not take the chain over in the hub", "err", err)
		} else {
			delay = holdDelay(fails, d.f.opts.HoldInterval)
			d.become(stateHeld, err)
			d.log.Error("exactly-once delivery is not possible, the chain is held", "err", err, "next_try_in", delay.Round(time.Millisecond))
		}
		if err := sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
}

// confirm makes sure that the claim is ours: by a save, which says so after its
// sync. Taking the chain over in the hub without that would throw out who has it
// by right.
func (d *drainer) confirm(ctx context.Context) error {
	d.flight.touch()
	return d.save(ctx)
}

// markRecord adds to progress that is to be saved where the record is, once that
// and the progress say everything. whole says that nothing that was read back is
// unsettled in p.
func (d *drainer) markRecord(p *message.Progress, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	x := &d.exact
	at, ok := x.record, x.record.Topic != ""
	if x.session != nil {
		x.sure = x.sure || whole && x.entered
		at, ok = x.session.Record()
	}
	if ok && x.sure {
		p.Marks = append(p.Marks, message.Mark{Topic: recordMark + at.Topic, Partition: at.Partition, Offset: at.Offset})
	}
}

// recalled reports whether all that was read back is settled below the watermark, or
// was nothing, so that a successor need not read it back.
func (f *flight) recalled() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		if t.unread || t.pending > 0 || t.found > 0 || t.aside && t.landed != nil {
			return false
		}
	}
	return true
}

// trust takes what side lanes hold as known by the record: nothing is to be read
// back.
func (f *flight) trust() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.topics {
		t.unread = false
	}
}

// hurry has the hub's answers come soon, where they wait for a commit.
func (d *drainer) hurry() {
	if s := d.session(); s != nil {
		s.Hurry()
	}
}

// closeSession ends a session: nothing is sent under it any more when it returns.
// over says that the chain is settled, and that this is saved.
func (d *drainer) closeSession(ctx context.Context, over bool) {
	s := d.session()
	if s == nil {
		return
	}
	if over {
		if err := s.Finish(ctx); err != nil && !errors.Is(err, context.Canceled) {
			d.log.Warn("could not remove the record of a chain that is over; it stays in the hub", "err", err)
		}
	}
	s.Close()
	s.Wait()
}

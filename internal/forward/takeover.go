package forward

import (
	"context"
	"time"

	"postroad/internal/message"
)

// takeOver finds out what of the chain is in the hub already. The hub must
// answer for that, where the last holder wrote to any partition; topics for which
// it does not are left to their workers, and do not stop the others. The error is
// ctx's.
//
// Topics with messages in side lanes are left to theirs, too: what is in the hub
// of a side lane is known by the place where each message was first stored, and
// not by where it stands, so all that the topic's log holds from the marks on is
// remembered until the side lanes are drained.
func (d *drainer) takeOver(ctx context.Context) error {
	p, held := d.ofThisHub(d.chain.Progress()), d.chain.Held()
	record, exactly := takeRecord(&p)
	d.flight.restore(p, held)
	switch {
	case d.isExact():
		sure, err := d.enter(ctx, p, record, exactly)
		if err != nil {
			return err
		}
		defer d.entered()
		if sure {
			d.flight.trust()
			return nil
		}
	case exactly:
		// From here on the record does not say all that is sent, and a later holder
		// must not take it for that.
		d.flight.touch()
		if err := d.saveInsisting(ctx); err != nil {
			return err
		}
	}
	if len(p.Marks) == 0 {
		return nil
	}
	if err := d.awaitStragglers(ctx); err != nil {
		return err
	}
	isHeld := map[string]bool{}
	for _, topic := range held {
		isHeld[topic] = true
	}
	byTopic, all := map[string][]message.Mark{}, []message.Mark(nil)
	for _, m := range p.Marks {
		if !isHeld[m.Topic] {
			byTopic[m.Topic] = append(byTopic[m.Topic], m)
			all = append(all, m)
		}
	}
	if len(all) == 0 {
		return nil
	}
	if done, err := d.readMarks(ctx, all); done || err != nil {
		return err
	}
	for topic, marks := range byTopic {
		done, err := d.readMarks(ctx, marks)
		if err != nil {
			return err
		}
		if !done {
			d.flight.leaveUnread(topic)
		}
	}
	return nil
}

// ofThisHub drops what saved progress knows of another hub: its offsets mean
// nothing here, and to look for messages by them would find the wrong ones. How
// far the lanes are stays: what is settled went to the hub of then.
func (d *drainer) ofThisHub(p message.Progress) message.Progress {
	if p.Hub == d.flight.hub {
		return p
	}
	if len(p.Marks) > 0 {
		d.f.metrics.lost.Add(float64(len(p.Marks)))
		d.log.Warn("progress is of another hub, what was under way is sent to this one", "was", p.Hub, "is", d.flight.hub, "partitions", len(p.Marks))
	}
	p.Marks, p.Partitions = nil, nil
	return p
}

// awaitStragglers waits until what the last holder sent has landed or never
// will. Where it fell because its heartbeat stood still it may be alive, and its
// requests on their way: what landed behind the end of reading back would be sent
// twice. The produce timeout bounds how long the hub works at one. Where the
// holder is known to be dead there is nothing to wait for but what its kernel
// still had to send, which takes less than starting up does; readers drop that.
func (d *drainer) awaitStragglers(ctx context.Context) error {
	if !d.chain.Doubtful() {
		return nil
	}
	d.log.Info("waiting for what the last holder may have under way", "wait", d.f.opts.TakeoverWait)
	if err := sleep(ctx, d.f.opts.TakeoverWait); err != nil {
		return err
	}
	// Who was paused meanwhile, or taken for dead in its turn, must not begin to
	// send: saving is how it learns of that.
	d.flight.touch()
	return d.saveInsisting(ctx)
}

// takeoverTries is how often the read-back of a topic is tried at takeover,
// while the hub answers, before it is left to a worker.
const takeoverTries = 3

// readMarks reads partitions back; done is false where the hub answers, but not
// for this. The error is ctx's.
func (d *drainer) readMarks(ctx context.Context, marks []message.Mark) (done bool, err error) {
	for fails := 0; ; fails++ {
		if err := d.f.afterReset(ctx); err != nil {
			return false, err
		}
		if err := d.main.pass(ctx, passer{}); err != nil {
			return false, err
		}
		if err := d.f.afterReset(ctx); err != nil {
			return false, err
		}
		n, began := 0, time.Now()
		lost, err := d.f.readBack(ctx, marks, func(at message.Place, where message.Mark) {
			n++
			d.flight.found(at, where)
		})
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		d.main.endTrial(err)
		if err == nil {
			d.tellLost(lost)
			d.log.Info("read back what is in the hub", "partitions", len(marks), "messages", n, "took", time.Since(began).Round(time.Millisecond))
			return true, nil
		}
		d.f.note(err)
		switch {
		case hubWide(err):
			d.f.breaker.trip(err)
		case classOf(err) != classRetry, fails+1 >= takeoverTries && !d.f.breaker.shut.Load():
			return false, nil
		}
		d.f.breaker.kick()
		d.become(stateTakingOver, err)
		if err := sleep(ctx, retryDelay(fails)); err != nil {
			return false, err
		}
	}
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

// maxReads is how many read-backs run at a time: each has a connection and
// buffers of its own, and all topics may want one at once.
const maxReads = 4

// readBack is the sink's, with few at a time.
func (f *Forwarder) readBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	select {
	case f.reads <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-f.reads }()
	return f.deps.Sink.ReadBack(ctx, from, found)
}

// afterReset waits, where the client was replaced a moment ago, until what the
// old one had under way has landed or never will. To the hub we are then a last
// holder of ourselves: the new client has another producer id, by which the hub
// cannot tell that a late request of the old one and what is sent again are the
// same. Where records came back one by one no request of theirs is under way: the
// client fails none that it has sent before the answer came.
//
// It counts from when the old client last had a connection, where the sink knows
// that: after a long outage there is nothing to wait for when the hub is back.
func (f *Forwarder) afterReset(ctx context.Context) error {
	for {
		wait := f.opts.TakeoverWait - time.Since(time.Unix(0, f.resetAt.Load()))
		if wait <= 0 {
			return nil
		}
		// In small steps: reset may find that there is less to wait for.
		if err := sleep(ctx, min(wait, resetLook)); err != nil {
			return err
		}
	}
}

// resetLook is how often afterReset looks again.
const resetLook = 100 * time.Millisecond

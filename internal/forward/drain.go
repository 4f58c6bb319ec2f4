package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"postroad/internal/message"
)

// drainer drains one chain. Its goroutines: run, which alone gives messages to
// the sink; read, one batch ahead; keep, which saves progress.
type drainer struct {
	f      *Forwarder
	chain  Chain
	log    *slog.Logger
	flight *flight

	// Owned by run.
	turn   uint64
	trial  *trial           // the right to send the first batch after an outage
	counts map[string]int32 // partitions of the topics that are prepared

	batches chan batch

	saveMu sync.Mutex // serialises taking progress and saving it
	saved  uint64     // guarded by saveMu: version last saved

	mu      sync.Mutex
	state   string    // guarded by mu, and all below
	err     error     // why it is not draining
	next    time.Time // of the next try
	saveErr error     // of the last try to save progress
}

type batch struct {
	msgs []message.Stored
	err  error
}

const (
	stateTakingOver = "taking over"
	stateDraining   = "draining"
	stateRecovering = "recovering"
	stateHeld       = "held"
	stateStopping   = "stopping"
)

func newDrainer(f *Forwarder, c Chain) *drainer {
	inFlight := f.deps.InFlight
	d := &drainer{
		f: f, chain: c, log: f.log.With("chain", c.ID()),
		flight:  newFlight(f.opts, f.metrics, f.board, inFlight, &f.total),
		counts:  map[string]int32{},
		batches: make(chan batch),
		state:   stateTakingOver,
	}
	return d
}

// become notes the state for the status.
func (d *drainer) become(state string, err error, next time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.err, d.next = state, err, next
}

func (d *drainer) status() ChainStatus {
	lane, next := d.flight.watermark()
	sent, _, _ := d.flight.counters()
	d.mu.Lock()
	defer d.mu.Unlock()
	s := ChainStatus{ID: d.chain.ID(), State: d.state, Lane: lane, NextSeq: next, InFlight: sent, NextTry: d.next}
	switch {
	case d.err != nil && d.saveErr != nil:
		s.Error = fmt.Sprintf("%v; %v", d.err, d.saveErr)
	case d.err != nil:
		s.Error = d.err.Error()
	case d.saveErr != nil:
		s.Error = d.saveErr.Error()
	}
	return s
}

// saving notes for the status how the last try to save progress went.
func (d *drainer) saving(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saveErr = err
}

// run drains until the chain is over or ctx ends, and gives the claim up.
func (d *drainer) run(ctx context.Context) {
	defer d.flight.release()
	inner, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	err := d.takeOver(inner)
	if err == nil {
		d.become(stateDraining, nil, time.Time{})
		wg.Go(func() { d.read(inner) })
		wg.Go(func() { d.keep(inner) })
		err = d.loop(inner)
	}
	d.endTrial(err)
	cancel()
	wg.Wait()
	d.stop(err == nil)
}

// loop feeds what read brings. It returns nil when the chain is over and all
// of it settled, or ctx's error.
func (d *drainer) loop(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.flight.wake:
			if err := d.mend(ctx); err != nil {
				return err
			}
		case <-look.C:
			if err := d.look(ctx); err != nil {
				return err
			}
		case b := <-d.batches:
			switch {
			case errors.Is(b.err, io.EOF):
				return d.settleAll(ctx)
			case b.err != nil:
				d.f.note(b.err)
				d.log.Error("could not read the chain", "err", b.err)
			default:
				if err := d.feed(ctx, b.msgs); err != nil {
					return err
				}
			}
		}
	}
}

// batchBytes is about how much read takes from the queue at a time.
const batchBytes = 4 << 20

// read brings batches until the chain is over or ctx ends.
func (d *drainer) read(ctx context.Context) {
	limit := min(64, d.f.opts.Batch)
	for fails := 0; ; {
		msgs, err := d.chain.Next(ctx, limit)
		if ctx.Err() != nil {
			return
		}
		select {
		case d.batches <- batch{msgs, err}:
		case <-ctx.Done():
			return
		}
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			if sleep(ctx, holdDelay(fails, 10*time.Second)) != nil {
				return
			}
			fails++
			continue
		}
		fails = 0
		size := 1
		for i := range msgs {
			size += msgs[i].Size()
		}
		// As many as make up batchBytes, going by what just came, and at most
		// four times as many as last time.
		limit = max(1, min(d.f.opts.Batch, 4*limit, batchBytes*len(msgs)/size))
	}
}

// feed gives messages to the sink, in order. The error is ctx's.
func (d *drainer) feed(ctx context.Context, msgs []message.Stored) error {
	if err := d.prepare(ctx, msgs); err != nil {
		return err
	}
	if err := d.pass(ctx); err != nil {
		return err
	}
	for i := range msgs {
		if err := d.send(ctx, &msgs[i]); err != nil {
			return err
		}
	}
	return d.judge(ctx)
}

// pass waits until the breaker lets a batch through. Where that is the first
// one after an outage the drainer holds the trial until endTrial. The error is
// ctx's.
func (d *drainer) pass(ctx context.Context) error {
	if d.trial != nil {
		return nil
	}
	t, err := d.f.breaker.pass(ctx)
	d.trial = t
	return err
}

// endTrial ends the trial, if the drainer holds it: err is nil where the hub is
// back, even if only to refuse what it is sent.
func (d *drainer) endTrial(err error) {
	if d.trial == nil {
		return
	}
	if err != nil && classOf(err) != classRetry {
		err = nil
	}
	d.trial.end(err)
	d.trial = nil
}

// judge waits, where the drainer holds a trial, for the answers and ends it.
// The error is ctx's.
func (d *drainer) judge(ctx context.Context) error {
	if d.trial == nil {
		return nil
	}
	if err := d.quiet(ctx); err != nil {
		return err
	}
	_, err := d.flight.trouble()
	d.endTrial(err)
	return nil
}

// send gives one message to the sink, once there is room. The error is ctx's.
func (d *drainer) send(ctx context.Context, m *message.Stored) error {
	for {
		partition := d.f.deps.Sink.Partition(&m.Message, d.counts[m.Topic])
		s, v := d.flight.take(m, partition)
		switch v {
		case taken:
			d.produce(s)
			return nil
		case passed:
			return nil
		case noRoom:
			if err := d.await(ctx); err != nil {
				return err
			}
		case wait:
			if err := d.mend(ctx); err != nil {
				return err
			}
		}
	}
}

// produce gives a slot that is lifted to the sink.
func (d *drainer) produce(s *slot) {
	if err := d.f.deps.Sink.Produce(&s.msg, s.partition, d.turn, s.done); err != nil {
		s.done(-1, err)
	}
}

// quiet waits until the sink has answered everything. Where messages were given
// back it leaves a token in wake: it may have taken the one that told of them,
// nothing tells of them again, and loop must come to mend. The error is ctx's.
func (d *drainer) quiet(ctx context.Context) error {
	for {
		if sent, failed, _ := d.flight.counters(); sent == 0 {
			if failed > 0 {
				signal(d.flight.wake)
			}
			return nil
		}
		if err := d.await(ctx); err != nil {
			return err
		}
	}
}

var errTrial = errors.New("the first batch was not answered in time")

// await waits for the flight to change, and ends a trial that takes too long.
// The error is ctx's.
func (d *drainer) await(ctx context.Context) error {
	var late <-chan time.Time
	if d.trial != nil {
		t := time.NewTimer(d.f.opts.TrialTimeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		d.endTrial(errTrial)
	case <-d.flight.wake:
	}
	return nil
}

// settleAll waits until everything read is in the hub. The error is ctx's.
func (d *drainer) settleAll(ctx context.Context) error {
	for {
		if err := d.mend(ctx); err != nil {
			return err
		}
		if _, _, used := d.flight.counters(); used == 0 {
			return nil
		}
		if err := d.quiet(ctx); err != nil {
			return err
		}
	}
}

// prepare makes every partition that the messages may go to fit for being
// written to: its end is saved before the first record. The error is ctx's.
func (d *drainer) prepare(ctx context.Context, msgs []message.Stored) error {
	for i := range msgs {
		topic := msgs[i].Topic
		if _, ok := d.counts[topic]; ok {
			continue
		}
		err := d.insist(ctx, func() error { return d.prepareTopic(ctx, topic) })
		if err != nil {
			return err
		}
		if err := d.saveInsisting(ctx); err != nil {
			return err
		}
	}
	return nil
}

// callTimeout bounds a question to the hub, so that a dead connection leads to
// another try.
const callTimeout = 15 * time.Second

// prepareTopic looks a topic up and takes its partitions and their ends into
// the progress, which the caller must save before it sends to them. Nothing may
// be in flight to the topic.
func (d *drainer) prepareTopic(ctx context.Context, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := d.f.deps.Sink.Partitions(ctx, topic)
	if err != nil {
		return err
	}
	var ends []message.Mark
	if missing := d.flight.missing(topic, n); len(missing) > 0 {
		if ends, err = d.f.deps.Sink.Ends(ctx, missing); err != nil {
			return err
		}
	}
	d.flight.adopt(topic, n, ends)
	d.counts[topic] = n
	return nil
}

// insist repeats act, which asks the hub something, until it succeeds. The
// error is ctx's.
func (d *drainer) insist(ctx context.Context, act func() error) error {
	for fails := 0; ; fails++ {
		if err := d.pass(ctx); err != nil {
			return err
		}
		err := act()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.endTrial(err)
		if err == nil {
			if fails > 0 {
				d.become(stateDraining, nil, time.Time{})
			}
			return nil
		}
		if err := d.backOff(ctx, classOf(err), err, fails); err != nil {
			return err
		}
	}
}

// lookEvery is how often a drainer looks whether its topics have changed.
const lookEvery = time.Minute

// look adopts changed partition counts, with nothing in flight, and moves the
// marks of partitions that the chain has not written to for a while, so that a
// successor need not read what others wrote there meanwhile. What fails is left
// for the next time. The error is ctx's.
func (d *drainer) look(ctx context.Context) error {
	if d.f.breaker.shut.Load() {
		return nil
	}
	for topic, before := range d.counts {
		qctx, cancel := context.WithTimeout(ctx, callTimeout)
		n, err := d.f.deps.Sink.Partitions(qctx, topic)
		cancel()
		if err != nil || n == before {
			continue
		}
		d.log.Info("topic has another number of partitions", "topic", topic, "before", before, "partitions", n)
		if err := d.quiet(ctx); err != nil {
			return err
		}
		delete(d.counts, topic) // prepare looks it up before the next message
	}
	qctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if idle := d.flight.idleParts(); len(idle) > 0 {
		if ends, err := d.f.deps.Sink.Ends(qctx, idle); err == nil {
			d.flight.raise(ends)
		}
	}
	return nil
}

// backOff tells of an error and waits before the next try. The error is ctx's.
func (d *drainer) backOff(ctx context.Context, class string, err error, fails int) error {
	d.endTrial(err)
	d.f.note(err)
	state, delay := stateRecovering, retryDelay(fails)
	if class != classRetry {
		state, delay = stateHeld, holdDelay(fails, d.f.opts.HoldInterval)
		d.log.Error("the hub refuses messages, the chain is held", "class", class, "err", err, "next_try_in", delay.Round(time.Millisecond))
	} else {
		d.f.breaker.kick()
		d.log.Debug("trying again", "err", err, "in", delay)
	}
	d.become(state, err, time.Now().Add(delay))
	return sleep(ctx, delay)
}

package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"postroad/internal/message"
)

// drainer drains one chain. Its goroutines: run, which gives messages to the
// sink while all goes well; a worker for each topic with which it does not, or
// that is new; read, one batch ahead; keep, which saves progress.
type drainer struct {
	f      *Forwarder
	chain  Chain
	log    *slog.Logger
	flight *flight
	cancel context.CancelFunc
	began  time.Time
	yield  chan struct{} // has a token when another chain should have its turn

	// Owned by run.
	main    sender
	out     outlet // where messages go; set at takeover
	last    *topic // of the last message
	count   int32  // its partitions
	workers sync.WaitGroup

	batches chan batch

	// lostMu is held for reading while a message is given to the sink, so that
	// none is once lost is set.
	lostMu sync.RWMutex
	lost   error // guarded by lostMu: why the claim is not ours any more

	saveMu sync.Mutex // serialises taking progress and saving it
	saved  uint64     // guarded by saveMu: version last saved

	mu      sync.Mutex
	state   string // guarded by mu, and all below
	err     error  // why it is not draining
	saveErr error  // of the last try to save progress
	exact   exact
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
	return &drainer{
		f: f, chain: c, log: f.log.With("chain", c.ID()), flight: newFlight(f), began: time.Now(),
		yield: make(chan struct{}, 1), main: sender{breaker: f.breaker}, out: f.deps.Sink, batches: make(chan batch), state: stateTakingOver,
	}
}

// become notes the state for the status.
func (d *drainer) become(state string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.err = state, err
}

func (d *drainer) status() ChainStatus {
	lane, next := d.flight.watermark()
	sent, _ := d.flight.counters()
	topics := d.flight.topicStates()
	slices.SortFunc(topics, cmpHeld)
	d.mu.Lock()
	defer d.mu.Unlock()
	s := ChainStatus{ID: d.chain.ID(), State: d.state, Lane: lane, NextSeq: next, InFlight: sent, Topics: topics}
	err := d.err
	if d.state == stateDraining && len(topics) > 0 {
		s.State, s.NextTry = topics[0].State, topics[0].NextTry
		if topics[0].Error != "" {
			err = fmt.Errorf("topic %q: %s", topics[0].Topic, topics[0].Error)
		}
	}
	switch {
	case err != nil && d.saveErr != nil:
		s.Error = fmt.Sprintf("%v; %v", err, d.saveErr)
	case err != nil:
		s.Error = err.Error()
	case d.saveErr != nil:
		s.Error = d.saveErr.Error()
	}
	return s
}

// errYield ends draining so that another chain has its turn.
var errYield = errors.New("it is another chain's turn")

// run drains until the chain is over, the claim is lost, or ctx ends, and gives
// the claim up.
func (d *drainer) run(ctx context.Context) {
	defer d.flight.release()
	inner, cancel := context.WithCancel(ctx)
	d.cancel = cancel
	var wg sync.WaitGroup
	err := d.takeOver(inner)
	began := err == nil
	if began {
		d.become(stateDraining, nil)
		wg.Go(func() { d.read(inner) })
		wg.Go(func() { d.keep(inner) })
		err = d.loop(inner)
	}
	d.main.endTrial(err)
	cancel()
	wg.Wait()
	d.workers.Wait()
	d.stop(ctx, err == nil, began)
}

// loop feeds what read brings. It returns nil when the chain is over and all
// of it settled, errYield, or ctx's error.
func (d *drainer) loop(ctx context.Context) error {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	d.attend(ctx)
	for over := false; ; {
		if _, open := d.flight.counters(); over && !open {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.yield:
			return errYield
		case <-d.flight.wake:
			d.attend(ctx)
		case <-look.C:
			d.look(ctx)
		case b := <-d.batches:
			switch {
			case errors.Is(b.err, io.EOF):
				over = true
			case b.err != nil:
				d.claimed(b.err)
				d.f.note(b.err)
				d.log.Error("could not read the chain", "err", b.err)
			default:
				over = false
				if err := d.feed(ctx, b.msgs); err != nil {
					return err
				}
			}
		}
	}
}

// attend does what a token in wake asks for beside looking for room.
func (d *drainer) attend(ctx context.Context) {
	for _, t := range d.flight.called() {
		d.workers.Go(func() { d.work(ctx, t) })
	}
	d.flight.giveWay()
}

// batchBytes is about how much is taken from the queue, or moved aside, at a
// time.
const batchBytes = 4 << 20

// overEvery is how often a chain that was read to its end is looked at for more.
const overEvery = time.Second

// read brings batches until ctx ends.
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
			// Another lane of it may come as long as the claim is held: one that a
			// living gateway has opened and that was not in the list yet. A topic
			// that is held may keep the claim for days.
			if sleep(ctx, overEvery) != nil {
				return
			}
			continue
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
		// four times as many as last time. With many chains each reads less
		// ahead: what is read is not counted against the limits yet.
		bytes := max(64<<10, batchBytes/max(1, int(d.f.budget.active.Load())))
		limit = max(1, min(d.f.opts.Batch, 4*limit, bytes*len(msgs)/size))
	}
}

// feed gives messages to the sink, in order. The error is ctx's or errYield.
func (d *drainer) feed(ctx context.Context, msgs []message.Stored) error {
	// While it waits, topics of which something comes back get their workers: who
	// repairs them is who can show that the hub is back.
	held := d.main.trial
	err := d.main.pass(ctx, passer{d.flight.wake, func() { d.attend(ctx) }, d.flight.ailing})
	if err != nil {
		return err
	}
	if d.main.trial != held {
		d.flight.beginTrial()
	}
	for i := range msgs {
		if err := d.send(ctx, &msgs[i]); err != nil {
			return err
		}
	}
	return d.judge(ctx)
}

// judge waits, where run holds a trial, for the answers and ends it. The error
// is ctx's or errYield.
func (d *drainer) judge(ctx context.Context) error {
	for d.main.trial != nil {
		d.hurry()
		if d.rule() {
			break
		}
		if err := d.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rule ends run's trial by what was answered under it, or gives it back where
// nothing was sent: what came back before, because the client was reset in the
// outage, says nothing about the hub of now, and only its topics' workers can send
// it. It reports false where answers are still to come.
func (d *drainer) rule() bool {
	if d.main.trial == nil {
		return true
	}
	outcome, err := d.flight.trialOutcome()
	switch outcome {
	case trialOpen:
		return false
	case trialEmpty:
		if d.flight.ailing() {
			d.main.trial.giveBack()
			d.main.trial = nil
			return true
		}
	}
	d.main.endTrial(err)
	return true
}

// send gives one message to the sink, or leaves it to its topic's worker, once
// there is room. The error is ctx's or errYield.
func (d *drainer) send(ctx context.Context, m *message.Stored) error {
	if d.last == nil || d.last.name != m.Topic {
		d.last = d.flight.topicOf(m.Topic)
		d.count = d.flight.count(d.last)
	}
	for {
		partition := int32(0)
		if d.count > 0 {
			partition = d.f.deps.Sink.Partition(&m.Message, d.count)
		}
		s, v := d.flight.take(m, d.last, partition, d.count)
		switch v {
		case taken:
			d.produce(s)
			return nil
		case passed:
			return nil
		case kept:
			d.attend(ctx)
			return nil
		case again:
			d.count = d.flight.count(d.last)
		case noRoom:
			d.attend(ctx)
			d.rule() // what there is no room for shows nothing
			if err := d.await(ctx); err != nil {
				return err
			}
		}
	}
}

// produce gives a slot that is lifted to the sink, while the claim is ours.
func (d *drainer) produce(s *slot) {
	d.lostMu.RLock()
	defer d.lostMu.RUnlock()
	err := d.lost
	if err == nil {
		err = d.out.Produce(&s.msg, s.partition, s.turn, s.done)
	}
	if err != nil {
		s.done(-1, err)
	}
}

var errTrial = errors.New("the first batch was not answered in time")

// await waits for the flight to change, and ends a trial that takes too long.
// The error is ctx's or errYield.
func (d *drainer) await(ctx context.Context) error {
	var late <-chan time.Time
	if d.main.trial != nil {
		t := time.NewTimer(d.f.opts.TrialTimeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-d.yield:
		return errYield
	case <-late:
		d.main.endTrial(errTrial)
	case <-d.flight.wake:
		d.attend(ctx)
	}
	return nil
}

// callTimeout bounds a question to the hub, so that a dead connection leads to
// another try.
const callTimeout = 15 * time.Second

// prepareTopic looks a topic up and takes its partitions and their ends into
// the progress; where that has changed the caller must save it before it sends
// to them. Nothing of the topic may be in flight.
func (d *drainer) prepareTopic(ctx context.Context, t *topic) (changed bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	n, err := d.f.deps.Sink.Partitions(ctx, t.name)
	if err != nil {
		d.renew(t, err)
		return false, err
	}
	var ends []message.Mark
	if missing := d.flight.missing(t, n); len(missing) > 0 {
		if ends, err = d.f.deps.Sink.Ends(ctx, missing); err != nil {
			return false, err
		}
	}
	return d.flight.adopt(t, n, ends), nil
}

// lookEvery is how often a drainer looks whether its topics have changed.
const lookEvery = time.Minute

// look leaves topics with changed partition counts to workers, which adopt them
// with nothing in flight, and moves the marks of partitions that the chain has
// not written to for a while, so that a successor need not read what others wrote
// there meanwhile. What fails is left for the next time.
func (d *drainer) look(ctx context.Context) {
	if d.f.breaker.shut.Load() {
		return
	}
	for topic, before := range d.flight.direct() {
		qctx, cancel := context.WithTimeout(ctx, callTimeout)
		n, err := d.f.deps.Sink.Partitions(qctx, topic)
		cancel()
		if staleClient(err) {
			d.flight.refresh(topic) // its worker replaces the client
			continue
		}
		if err != nil || n == before {
			continue
		}
		d.log.Info("topic has another number of partitions", "topic", topic, "before", before, "partitions", n)
		d.flight.refresh(topic)
	}
	d.attend(ctx)
	qctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if idle := d.flight.idleParts(); len(idle) > 0 {
		if ends, err := d.f.deps.Sink.Ends(qctx, idle); err == nil {
			d.flight.raise(ends)
		}
	}
}

// sender is one goroutine's dealings with the breaker.
type sender struct {
	breaker *breaker
	trial   *trial // the right to send the first batch after an outage
}

// pass waits until the breaker lets a batch through. Where that is the first
// after an outage, its answers decide. The error is ctx's.
func (s *sender) pass(ctx context.Context, who passer) error {
	if s.trial != nil {
		return nil
	}
	t, err := s.breaker.pass(ctx, who)
	s.trial = t
	return err
}

// endTrial ends the trial, if there is one: err is nil where the hub is back,
// even if only to refuse what it is sent.
func (s *sender) endTrial(err error) {
	if s.trial == nil {
		return
	}
	if err != nil && classOf(err) != classRetry && !hubWide(err) {
		err = nil
	}
	s.trial.end(err)
	s.trial = nil
}

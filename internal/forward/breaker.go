package forward

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// breaker stands around draining. Its one goroutine, watch, probes the hub
// where something went wrong and, while it is open, until it answers; it alone
// drives gobreaker's state machine, so that "open" ends with an answer and not
// with a time.
type breaker struct {
	opts  Options
	log   *slog.Logger
	probe func(context.Context) error
	cb    *gobreaker.TwoStepCircuitBreaker[struct{}]
	shut  atomic.Bool   // not closed: the fast path of pass
	kicks chan struct{} // holds at most one wish for a probe
	trips chan error    // holds at most one error that opens it
	ended chan struct{} // the trial ended
	spoke atomic.Int64  // when the hub last answered anything, in Unix nanoseconds
	mute  atomic.Int64  // when something last went wrong instead
	gauge func(gobreaker.State)

	mu      sync.Mutex
	state   gobreaker.State // guarded by mu, and all below
	cause   error           // why it is not closed
	since   time.Time       // of this state
	next    time.Time       // of the next probe while open
	trial   *trial          // of half-open, while nobody has taken it
	waiting int             // callers in pass
	changed chan struct{}   // closed and replaced when state or trial change
	lastErr error           // of any time
	lastAt  time.Time       // of lastErr
}

func newBreaker(opts Options, log *slog.Logger, probe func(context.Context) error, gauge func(gobreaker.State)) *breaker {
	b := &breaker{
		opts: opts, log: log, probe: probe, gauge: gauge,
		kicks: make(chan struct{}, 1), trips: make(chan error, 1), ended: make(chan struct{}, 1), changed: make(chan struct{}),
		state: gobreaker.StateClosed, since: time.Now(),
	}
	b.cb = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:          "hub",
		MaxRequests:   1,
		Timeout:       time.Nanosecond, // watch decides when a trial is due
		ReadyToTrip:   func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= opts.TripAfter },
		OnStateChange: func(_ string, _, to gobreaker.State) { b.enter(to) },
	})
	gauge(gobreaker.StateClosed)
	return b
}

// kick asks for a probe, because something went wrong or nothing comes.
func (b *breaker) kick() {
	signal(b.kicks)
}

// trip opens the breaker whatever probes say: the hub answers, and refuses all
// that it is sent.
func (b *breaker) trip(err error) {
	if b.shut.Load() {
		return
	}
	select {
	case b.trips <- err:
	default:
	}
}

// report hears of every exchange with the hub.
func (b *breaker) report(err error) {
	if err == nil {
		b.spoke.Store(time.Now().UnixNano())
		return
	}
	b.mute.Store(time.Now().UnixNano())
	b.kick()
}

// answers reports whether the hub has answered a moment ago, and nothing has gone
// wrong since.
func (b *breaker) answers() bool {
	spoke := b.spoke.Load()
	return spoke > b.mute.Load() && time.Since(time.Unix(0, spoke)) < time.Second
}

// heardWithin reports whether the hub has answered anything of late.
func (b *breaker) heardWithin(d time.Duration) bool {
	return time.Since(time.Unix(0, b.spoke.Load())) < d
}

// enter follows gobreaker into a state.
func (b *breaker) enter(to gobreaker.State) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state, b.since, b.next = to, time.Now(), time.Time{}
	own := ownFault(b.cause)
	if to == gobreaker.StateClosed {
		b.cause = nil
	}
	b.shut.Store(to != gobreaker.StateClosed)
	b.wake()
	b.gauge(to)
	switch to {
	case gobreaker.StateOpen:
		if own {
			b.log.Warn("this process may not send now, breaker open", "err", b.cause)
		} else {
			b.log.Warn("hub is away, breaker open", "err", b.cause)
		}
	case gobreaker.StateHalfOpen:
		b.log.Info("hub answers, breaker half-open")
	case gobreaker.StateClosed:
		if own {
			b.log.Info("this process may send again, breaker closed")
		} else {
			b.log.Info("hub is back, breaker closed")
		}
	}
}

// wake lets everybody in pass look again. The caller holds mu.
func (b *breaker) wake() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// fail notes why.
func (b *breaker) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lastErr, b.lastAt = err, time.Now()
	b.cause = err
}

// watch runs until ctx ends.
func (b *breaker) watch(ctx context.Context) {
	for ctx.Err() == nil {
		switch b.current() {
		case gobreaker.StateClosed:
			b.watchClosed(ctx)
		case gobreaker.StateOpen:
			b.watchOpen(ctx)
		case gobreaker.StateHalfOpen:
			b.watchTrial(ctx)
		}
	}
}

// untakenTrial is how long a trial that was given back waits for somebody who has
// something to send: longer than a worker waits between two tries.
const untakenTrial = 1500 * time.Millisecond

// watchTrial waits for the end of the trial. Where nobody takes it the probe was the
// trial, unless the hub answers probes and refuses what it is sent.
func (b *breaker) watchTrial(ctx context.Context) {
	timer := time.NewTimer(untakenTrial)
	defer timer.Stop()
	select {
	case <-b.ended:
	case <-ctx.Done():
	case <-timer.C:
		b.mu.Lock()
		left, cause := b.trial, b.cause
		b.trial = nil
		b.mu.Unlock()
		if classOf(cause) == classRetry {
			cause = nil
		}
		if left != nil {
			left.end(cause)
		}
	}
}

// probeSpacing is the time between probes that decide whether to open.
const probeSpacing = 250 * time.Millisecond

// watchClosed waits for a kick and probes; each failure leads to another probe
// until the hub answers or the breaker opens.
func (b *breaker) watchClosed(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case err := <-b.trips:
		b.fail(err)
		for b.current() == gobreaker.StateClosed {
			done, allowed := b.cb.Allow()
			if allowed != nil {
				return
			}
			done(err)
		}
		return
	case <-b.kicks:
	}
	err := b.try(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		b.fail(err)
	}
	done, allowed := b.cb.Allow()
	if allowed != nil {
		return
	}
	done(err)
	if b.current() != gobreaker.StateClosed {
		return // the wait of an open breaker is enough
	}
	if err != nil {
		b.kick()
	}
	b.pause(ctx, rand.N(probeSpacing)+1) // also bounds how often kicks become probes
}

// watchOpen waits a random time, probes, and on an answer lets one batch try.
func (b *breaker) watchOpen(ctx context.Context) {
	limit := b.opts.ProbeInterval
	b.mu.Lock()
	if classOf(b.cause) == classHold {
		limit = max(limit, b.opts.HoldInterval)
	}
	d := rand.N(limit) + 1
	b.next = time.Now().Add(d)
	b.mu.Unlock()
	if !b.pause(ctx, d) {
		return
	}
	if err := b.try(ctx); err != nil {
		if ctx.Err() == nil {
			b.fail(err)
		}
		return
	}
	done, err := b.cb.Allow() // the state is half-open from here
	if err != nil {
		return
	}
	t := &trial{b: b, done: done}
	b.mu.Lock()
	idle := b.waiting == 0
	if !idle {
		b.trial = t
		b.wake()
	}
	b.mu.Unlock()
	if idle { // nobody has anything to send: the probe was the trial
		t.end(nil)
	}
}

// try is one probe.
func (b *breaker) try(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.opts.ProbeTimeout)
	defer cancel()
	return b.probe(ctx)
}

func (b *breaker) pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (b *breaker) current() gobreaker.State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// passer is who waits in pass.
type passer struct {
	wake   <-chan struct{} // may be nil; has a token when attend is to be called
	attend func()
	// unfit, if not nil, says that the caller would send nothing now that could
	// show whether the hub is back. Then it takes no trial.
	unfit func() bool
}

// pass waits until a batch may be sent. Where it is the first after an outage
// it comes with a trial, which the caller must end or give back. The error is ctx's.
func (b *breaker) pass(ctx context.Context, who passer) (*trial, error) {
	if !b.shut.Load() {
		return nil, nil //nolint:nilnil // no trial is the usual case
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting++
	defer func() { b.waiting-- }()
	for {
		if b.state == gobreaker.StateClosed {
			return nil, nil //nolint:nilnil // no trial is the usual case
		}
		if t := b.trial; t != nil && (who.unfit == nil || !who.unfit()) {
			b.trial = nil
			return t, nil
		}
		changed := b.changed
		b.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-changed:
		case <-who.wake:
			who.attend()
		}
		b.mu.Lock()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// trial is the right to send one batch while the breaker is half-open.
type trial struct {
	b    *breaker
	done func(error)
}

// end tells how the batch went; on nil the breaker closes.
func (t *trial) end(err error) {
	if err != nil {
		t.b.fail(err)
	}
	t.done(err)
	signal(t.b.ended)
}

// giveBack leaves the trial to somebody else: nothing was sent under it, so it has
// shown nothing.
func (t *trial) giveBack() {
	t.b.mu.Lock()
	defer t.b.mu.Unlock()
	t.b.trial = t
	t.b.wake()
}

// BreakerStatus is the state of the breaker.
type BreakerStatus struct {
	// State is closed, open or half-open.
	State string `json:"state"`
	// Cause is why it is not closed. Own says that it lies in this process, and
	// that the hub was not asked.
	Cause string `json:"cause,omitempty"`
	Own   bool   `json:"own,omitempty"`
	// Since is when this state began.
	Since time.Time `json:"since,omitzero"`
	// NextTry is when the hub is probed next, while open.
	NextTry time.Time `json:"next_try,omitzero"`
}

func (b *breaker) status() BreakerStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := BreakerStatus{State: b.state.String(), Since: b.since, NextTry: b.next}
	if b.state != gobreaker.StateClosed && b.cause != nil {
		s.Cause, s.Own = b.cause.Error(), ownFault(b.cause)
	}
	return s
}

// lastFailure returns the last error of a probe or trial, and when it was.
func (b *breaker) lastFailure() (time.Time, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lastAt, b.lastErr
}

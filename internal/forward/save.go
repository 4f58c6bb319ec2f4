package forward

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"

	"postroad/internal/message"
)

// save makes the present progress durable, once, where it changed since the
// last time. What was saved before stays valid where it fails: the next holder
// then sends, or finds, a little more.
func (d *drainer) save(ctx context.Context) error {
	d.saveMu.Lock()
	defer d.saveMu.Unlock()
	whole := d.isExact() && d.flight.recalled()
	p, version := d.flight.progress(true)
	if d.isExact() {
		d.markRecord(&p, whole)
	}
	// While messages are under way it is saved although nothing has changed: that
	// is how the holder learns that the claim is lost, and a hub that does not
	// answer must not keep it from that.
	if sent, _ := d.flight.counters(); version == d.saved && sent == 0 {
		return nil
	}
	if err := d.chain.Save(ctx, p); err != nil {
		d.f.metrics.saveErrors.Inc()
		d.saving(fmt.Errorf("save progress: %w", err))
		d.claimed(err)
		return err
	}
	d.saving(nil)
	d.f.metrics.saves.Inc()
	if s := d.session(); s != nil {
		s.Settled(p.Lanes)
	}
	d.saved = version
	return nil
}

// keep saves progress every interval and whenever enough was settled, until ctx
// ends.
func (d *drainer) keep(ctx context.Context) {
	tick := time.NewTicker(d.f.opts.SaveInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-d.flight.due:
		}
		if d.saveInsisting(ctx) != nil {
			return
		}
	}
}

// saving notes for the status how the last try to save progress went.
func (d *drainer) saving(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saveErr = err
}

// claimed looks whether an error of the chain says that somebody else has it
// now. Then nothing more of it may be sent: the successor reads the hub back once
// and sends what is missing, and whatever landed behind that would be there
// twice. So the door to the sink is shut, and what is under way taken back; that
// this disturbs the forwarder's other chains, which read back and mend, is the
// price.
func (d *drainer) claimed(err error) {
	if !errors.Is(err, message.ErrClaimLost) {
		return
	}
	d.lostMu.Lock()
	first := d.lost == nil
	if first {
		d.lost = err
	}
	d.lostMu.Unlock()
	if !first {
		return
	}
	d.f.metrics.claimsLost.Inc()
	d.log.Warn("somebody else drains the chain now, it is given up", "err", err)
	if d.isExact() {
		d.cancel()
		if s := d.session(); s != nil {
			s.Close() // what it still has under way its successor finds in the record, or not
		}
		return
	}
	if sent, _ := d.flight.counters(); sent > 0 {
		d.f.reset()
	}
	d.cancel()
}

func (d *drainer) isLost() bool {
	d.lostMu.RLock()
	defer d.lostMu.RUnlock()
	return d.lost != nil
}

// saveInsisting repeats save until it succeeds. The error is ctx's.
func (d *drainer) saveInsisting(ctx context.Context) error {
	for fails := 0; ; fails++ {
		err := d.save(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, message.ErrClaimLost) {
			return err // and ctx has ended
		}
		d.f.note(err)
		d.log.Error("could not save progress, trying again", "err", err, "fails", fails+1)
		if err := sleep(ctx, holdDelay(fails, 10*time.Second)); err != nil {
			return err
		}
	}
}

// stopTimeout bounds each of the last steps.
const stopTimeout = 5 * time.Second

// stop ends draining: over says that the whole chain is settled. What is in
// flight gets drain_timeout, unless the hub is away; then it is taken back from
// the sink, so that nothing is sent any more when the claim is given up.
func (d *drainer) stop(whole context.Context, over, began bool) {
	d.become(stateStopping, nil)
	lost := d.isLost()
	if !over {
		d.land(lost, whole.Err() != nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	saved := false
	if !lost && began { // else there is nothing new, see Chain.Doubtful
		err := d.save(ctx)
		if saved = err == nil; !saved {
			d.log.Error("could not save progress at the end; the next holder goes on from what was saved before", "err", err)
		}
	}
	d.closeSession(ctx, over && saved)
	if err := d.chain.Release(ctx); err != nil {
		d.log.Error("could not give up the claim", "err", err)
	}
	d.log.Info("stopped draining", "whole", over, "lost", lost)
}

// land waits for what is in flight. Where the forwarder as a whole ends, the sink
// is closed if it takes too long, else its connection is only replaced.
func (d *drainer) land(lost, ending bool) {
	timeout := d.f.opts.DrainTimeout
	if lost || d.f.breaker.current() != gobreaker.StateClosed {
		timeout = 0
	}
	d.hurry()
	if d.landed(timeout) {
		return
	}
	sent, _ := d.flight.counters()
	d.log.Warn("giving messages back to the queue that the hub has not answered", "in_flight", sent)
	switch s := d.session(); {
	case s != nil:
		s.Close()
	case ending:
		d.f.deps.Sink.Close()
	default:
		d.f.reset()
	}
	if !d.landed(stopTimeout) {
		d.log.Error("the client did not give messages back")
	}
}

// landed waits until nothing is in flight, and reports whether that is so in
// time.
func (d *drainer) landed(within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for {
		if sent, _ := d.flight.counters(); sent == 0 {
			return true
		}
		select {
		case <-timer.C:
			return false
		case <-d.flight.wake:
		}
	}
}

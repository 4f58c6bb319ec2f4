package forward

import (
	"context"
	"fmt"
	"time"

	"github.com/sony/gobreaker/v2"
)

// save makes the present progress durable, once, where it changed since the
// last time. What was saved before stays valid where it fails: the next holder
// then sends, or finds, a little more.
func (d *drainer) save(ctx context.Context) error {
	d.saveMu.Lock()
	defer d.saveMu.Unlock()
	p, version := d.flight.progress()
	if version == d.saved {
		return nil
	}
	if err := d.chain.Save(ctx, p); err != nil {
		d.f.metrics.saveErrors.Inc()
		d.saving(fmt.Errorf("save progress: %w", err))
		return err
	}
	d.saving(nil)
	d.f.metrics.saves.Inc()
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
// flight gets drain_timeout, unless the hub is away; then the sink is closed,
// so that nothing is sent any more when the claim is given up.
func (d *drainer) stop(over bool) {
	d.become(stateStopping, nil, time.Time{})
	if !over {
		d.land()
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := d.save(ctx); err != nil {
		d.log.Error("could not save progress at the end; the next holder goes on from what was saved before", "err", err)
	}
	if err := d.chain.Release(ctx); err != nil {
		d.log.Error("could not give up the claim", "err", err)
	}
	d.log.Info("stopped draining", "whole", over)
}

func (d *drainer) land() {
	timeout := d.f.opts.DrainTimeout
	if d.f.breaker.current() != gobreaker.StateClosed {
		timeout = 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if d.quiet(ctx) == nil {
		return
	}
	sent, _, _ := d.flight.counters()
	d.log.Warn("the hub did not answer in time, giving messages back to the queue", "in_flight", sent)
	d.f.deps.Sink.Close()
	ctx, cancel = context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := d.quiet(ctx); err != nil {
		d.log.Error("the client did not give messages back", "err", err)
	}
}

package gateway

import (
	"context"
	"errors"
	"time"
)

// keysRetryAfter is when keys are loaded again after an error.
const keysRetryAfter = time.Minute

// errKeysFull says that there is room for no further key.
var errKeysFull = errors.New("idempotency.max_keys is reached")

// LoadKeys loads the idempotency keys of earlier processes, so that a repeat of
// a request that one of them has stored gets that one's answer. The gateway
// serves meanwhile: a repeat that comes before its key is stored again, under
// the same dedupe id. It returns when all are loaded, or ctx has ended; what
// could not be read is tried again.
func (g *Gateway) LoadKeys(ctx context.Context) {
	for g.deps.Keys != nil {
		err := g.loadKeys(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		g.deps.Log.Warn("idempotency keys of earlier processes not all loaded, trying again", "after", keysRetryAfter, "err", err)
		timer := time.NewTimer(keysRetryAfter)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
	g.keysLoaded.Store(true)
}

// loadKeys loads once. The newest keys come first: when the index is full the
// rest is older than what it has.
func (g *Gateway) loadKeys(ctx context.Context) error {
	began, n, full := time.Now(), 0, 0
	err := g.deps.Keys.Keys(ctx, g.deps.Now().Add(-g.opts.Idempotency.Retention), func(k StoredKey) error {
		e := keyEntry{hash: k.Hash, digest: k.Digest, id: k.ID, seq: k.First.Seq, time: k.Time.UnixMicro(), state: keyStored}
		if e.setLane(k.First.Lane); e.state != keyStored {
			return nil // a place that could not be given again
		}
		n++
		if g.index.load(e) {
			return nil
		}
		g.metrics.evicted.Inc()
		if full++; full >= keyShards {
			return errKeysFull
		}
		return nil
	})
	if errors.Is(err, errKeysFull) {
		g.deps.Log.Warn("only the newest idempotency keys of earlier processes are remembered", "max_keys", g.opts.Idempotency.MaxKeys)
		err = nil
	}
	if err == nil {
		g.deps.Log.Info("idempotency keys of earlier processes loaded", "keys", n, "remembered", g.index.loaded(), "took", time.Since(began).Round(time.Millisecond))
	}
	return err
}

// keysReady is a gauge of whether LoadKeys is done.
func (g *Gateway) keysReady() float64 {
	if g.keysLoaded.Load() {
		return 1
	}
	return 0
}

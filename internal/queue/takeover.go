package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// loadChains reads which lanes are in the directory and groups them by the
// process run that wrote them. It reads one small file a lane.
func (q *Queue) loadChains() ([]*chain, error) {
	entries, err := q.deps.FS.ReadDir(q.at.lanes())
	if err != nil {
		return nil, fmt.Errorf("list lanes: %w", err)
	}
	var chains []*chain
	byID := make(map[string]*chain)
	for _, e := range entries { // in order of names, which is that of creation
		if !e.IsDir() || !message.ValidLane(e.Name()) {
			q.deps.Log.Warn("not a lane, left alone", "name", e.Name())
			continue
		}
		l, err := q.loadLane(e.Name())
		if err != nil {
			return nil, err
		}
		c := byID[l.info.Owner.Process]
		if c == nil {
			c = newChain(q, l.info.Owner.Process)
			byID[c.id] = c
			chains = append(chains, c)
		}
		l.chain = c
		c.lanes = append(c.lanes, l)
	}
	return chains, nil
}

// loadLane reads a lane's file. A lane without one was cut short while it was
// made, or is damaged: it becomes a chain of its own whose owner nobody knows,
// so that its heartbeat decides, and whatever it holds is drained. An error of
// reading is neither: taken for it, everything in the lane would be sent again,
// since its progress is kept under its chain's name.
func (q *Queue) loadLane(id string) (*lane, error) {
	l := &lane{id: id}
	l.settled.Store(1)
	b, err := durable.ReadFile(q.deps.FS, q.at.laneFile(id, laneFileName), 1<<16)
	if err != nil && !missing(err) && !errors.Is(err, durable.ErrTooLong) {
		return nil, fmt.Errorf("who wrote lane %s: %w", id, err)
	}
	if err == nil {
		err = json.Unmarshal(b, &l.info)
	}
	if err != nil || !message.ValidLane(l.info.Owner.Process) || l.info.Lane != id { // the process names a directory
		q.deps.Log.Warn("lane without a readable identity", "lane", id, "err", err)
		l.info = laneInfo{Lane: id, Owner: owner{Process: id}}
	}
	return l, nil
}

// takeOver waits until the chain's process is known to be dead, ends its lanes
// and offers the chain. It tries again until ctx ends.
func (q *Queue) takeOver(ctx context.Context, c *chain) {
	for _, l := range c.snapshot() {
		for {
			err := q.sealLane(ctx, l)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			q.deps.Log.Error("lane not taken over, trying again", "lane", l.id, "err", err)
			if !pause(ctx, time.Second) {
				return
			}
		}
	}
	c.finish()
	q.reading <- struct{}{}
	whole, err := q.forwardedWhole(c)
	<-q.reading
	if err != nil {
		q.deps.Log.Error("chain not read through, a forwarder will", "chain", c.id, "err", err)
	}
	if !whole {
		q.offer(c)
	}
}

// forwardedWhole reports whether nothing of the chain is left to forward, by
// its progress and its lanes behind that. Chains are kept for replay long after
// they are drained; offering each again at every start would make the forwarder
// read the hub for nothing.
//
// What it reads may not be on stable storage: its writer may have been killed
// before the sync. So nothing counts as settled, and is removed, before a claim
// has written it anew.
func (q *Queue) forwardedWhole(c *chain) (bool, error) {
	if !durable.Exists(q.deps.FS, q.at.chain(c.id)) {
		return false, nil
	}
	epochs, err := q.epochs(c.id)
	if err != nil {
		return false, err
	}
	progress, _, err := q.lastProgress(c.id, epochs)
	if err != nil {
		return false, err
	}
	next := make(map[string]uint64)
	for _, l := range progress.Lanes {
		next[l.Lane] = l.Next
	}
	for _, l := range c.snapshot() {
		r := newLaneReader(c, l, max(1, next[l.id]))
		_, err := r.messages()
		r.close()
		if !errors.Is(err, io.EOF) {
			return false, err
		}
	}
	claim, err := q.acquire(c)
	if err != nil {
		return false, err
	}
	return true, claim.Release(context.Background()) // which offers it, should anything be left
}

// sealLane ends a lane of another process, once that process is dead.
func (q *Queue) sealLane(ctx context.Context, l *lane) error {
	fence := q.at.laneFile(l.id, fenceFileName)
	empty, err := allZero(q.deps.FS, fence)
	if errors.Is(err, errCutShort) { // filled as an empty one is
		empty, err = true, nil
	}
	switch {
	case missing(err):
		// Not made before its writer died: no message was ever acknowledged
		// there, and none will be, since the create that follows is exclusive.
		if err := durable.WriteNew(q.deps.FS, fence, note("ended by process "+q.self.Process)); err != nil {
			return fmt.Errorf("make fence: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read fence: %w", err)
	case empty:
		if err := q.awaitDeath(ctx, l); err != nil {
			return err
		}
		if err := durable.Overwrite(q.deps.FS, fence, note("ended by process "+q.self.Process)); err != nil {
			return fmt.Errorf("write fence: %w", err)
		}
		q.deps.Log.Info("lane of a dead process ended", "lane", l.id, "pid", l.info.Owner.PID)
	}
	b, err := readHeartbeat(q.deps.FS, q.at.laneFile(l.id, heartbeatFileName))
	if err != nil && !missing(err) {
		return fmt.Errorf("read heartbeat: %w", err)
	}
	if h, ok := decodeHeartbeat(b); ok {
		l.raise(h.durable)
	}
	l.chain.seal(l)
	return nil
}

// awaitDeath returns once the lane's process is dead: at once where this host
// can tell, else when its heartbeat has shown one value for TTL and margin.
//
// The time runs from the return of the first read of that value to the start
// of the last one, by this process's clock; a pause of its own between two
// reads longer than a quarter of TTL restarts it. Without that a watcher that
// is itself suspended would wake, read the same value twice, and end a lane
// whose writer is well.
func (q *Queue) awaitDeath(ctx context.Context, l *lane) error {
	if l.info.Owner.deadFor(q.self) {
		return nil
	}
	name := path.Join(q.at.lane(l.id), heartbeatFileName)
	q.deps.Log.Info("waiting for the heartbeat of a lane to stand still", "lane", l.id, "host", l.info.Owner.Host, "pid", l.info.Owner.PID)
	var seen []byte
	var since, last time.Duration
	for first := true; ; first = false {
		began := q.deps.Elapsed()
		b, err := readHeartbeat(q.deps.FS, name)
		if err != nil && !missing(err) {
			return fmt.Errorf("read heartbeat: %w", err)
		}
		if !first && began-last <= q.opts.TTL/4 && bytes.Equal(b, seen) {
			if began-since >= q.opts.TTL+q.opts.TakeoverMargin {
				return nil
			}
		} else {
			seen, since = b, q.deps.Elapsed()
		}
		last = q.deps.Elapsed()
		if !pause(ctx, q.opts.TTL/20) {
			return ctx.Err()
		}
	}
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

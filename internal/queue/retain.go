package queue

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"time"

	"postroad/internal/wal"
)

// retainInterval is how often forwarded segments are looked at.
const retainInterval = time.Minute

// retainLoop removes what was forwarded and kept for Options.Retain, and before
// that where room is short; it keeps the ballast.
func (q *Queue) retainLoop(ctx context.Context) {
	var retain, room time.Duration
	processes := make(map[string]stillness)
	for first := true; ; first = false {
		if now := q.deps.Elapsed(); first || now >= retain {
			q.retainAll()
			if err := q.tidyProcesses(processes); err != nil {
				q.deps.Log.Warn("heartbeats of dead processes not removed", "err", err)
			}
			retain = now + retainInterval
		}
		if began := q.deps.Elapsed(); first || began >= room {
			if err := q.tendRoom(ctx); err != nil && ctx.Err() == nil {
				q.deps.Log.Warn("room not seen to, trying again", "err", err)
			}
			room = began + 10*(q.deps.Elapsed()-began) // on a slow share, a tenth of the time
		}
		if !pause(ctx, roomInterval) {
			return
		}
	}
}

func (q *Queue) retainAll() {
	for _, c := range q.chains() {
		if !c.isOurs() {
			continue
		}
		for _, l := range c.snapshot() {
			if err := q.retain(l); err != nil {
				q.deps.Log.Warn("forwarded segments not removed", "lane", l.id, "err", err)
			}
		}
	}
	q.retainAside()
}

// isOurs reports whether this process may remove what was forwarded of the chain:
// it holds its claim and has saved the progress itself, or nothing of the chain
// is left to forward.
func (c *chain) isOurs() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held || c.drained
}

// retain removes the lane's segments of which every message is settled, by
// progress that is on stable storage, and was written longer than Retain ago;
// and the lane itself with the last of them, once it has ended.
func (q *Queue) retain(l *lane) error {
	for f, err := range q.forwardedOf(l) {
		if err != nil || q.deps.Now().Sub(f.written) < q.opts.Retain {
			return err
		}
		if f.part == theLast {
			continue // goes with its lane
		}
		if _, _, err := q.removeForwarded(f); err != nil {
			return err
		}
	}
	return nil
}

// removeEnded removes a lane that was read to its end and is settled whole; with
// the last lane of a chain its claims, once nobody holds one.
func (q *Queue) removeEnded(f forwarded) (removed bool, err error) {
	l := f.lane
	l.chain.mu.Lock()
	last := len(l.chain.lanes) == 1
	ended := l.done() && l.chain.isOver() && (l.chain.drained || !last)
	l.chain.mu.Unlock()
	if !ended {
		return false, nil
	}
	if grown, err := q.grewAfterItsEnd(l); err != nil || grown {
		return false, err
	}
	q.coverKeys(l, f.below, f.written)
	var claim *Claim
	if last {
		if claim, err = q.claimToRemove(l.chain); claim == nil || err != nil {
			return false, err
		}
	}
	if err := q.removeLane(l, last); err != nil {
		if claim != nil {
			err = errors.Join(err, claim.Release(context.Background()))
		}
		return false, err
	}
	q.keys.forgetLane(l.id)
	l.chain.dropLane(l)
	q.known.dropLane(l)
	if claim != nil {
		claim.removed()
	}
	q.deps.Log.Info("forwarded lane removed", "lane", l.id)
	return true, nil
}

// removed ends a claim whose files are gone with its chain, which is looked after
// again where another lane of it came meanwhile.
func (c *Claim) removed() {
	c.present.claims.Add(-1)
	c.chain.mu.Lock()
	left := len(c.chain.lanes) > 0
	if left {
		c.chain.drained = false
	}
	c.chain.mu.Unlock()
	if left {
		c.chain.q.tendLater(c.chain)
	}
}

// claimToRemove claims a chain whose last lane is to be removed, with its claims:
// somebody else may have claimed it since it was drained here, and have opened
// or found another lane of it. It returns nil where the chain is not to go.
func (q *Queue) claimToRemove(c *chain) (*Claim, error) {
	c.begin() // or it would be claimed beside this
	claim, err := q.acquire(c, fallen{})
	if errors.Is(err, errHeld) {
		c.mu.Lock()
		c.drained = false
		c.mu.Unlock()
		q.tendLater(c)
		return nil, nil
	}
	if err != nil {
		q.tendLater(c)
		return nil, err
	}
	c.mu.Lock()
	gone := len(c.lanes) == 1 && !c.unmet && c.isOver() && c.lanes[0].done()
	c.mu.Unlock()
	if !gone {
		c.mu.Lock()
		c.drained = false
		c.mu.Unlock()
		return nil, claim.Release(context.Background())
	}
	return claim, claim.file.close()
}

// grewAfterItsEnd looks right before a lane is removed whether anything was
// written behind the end that was read, and has it drained: a writer that slept
// through its own end writes once more before it finds the fence. Nobody was told
// that it is kept, but it is there.
func (q *Queue) grewAfterItsEnd(l *lane) (bool, error) {
	if l.own {
		return false, nil
	}
	r := newLookup(l, l.settled.Load())
	defer r.close()
	msgs, err := r.messages()
	if errors.Is(err, io.EOF) || missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	q.deps.Log.Error("a lane grew after its end, draining what came", "lane", l.id, "seq", msgs[0].Stands().Seq)
	q.metrics.grown.Inc()
	c := l.chain
	c.mu.Lock()
	l.ended, c.drained = false, false
	c.mu.Unlock()
	if ctx := q.running.Load(); ctx != nil {
		q.lookAfter(*ctx, c)
	}
	return true, nil
}

// lastWritten is when the lane got its last group, or was made.
func (q *Queue) lastWritten(l *lane) (time.Time, error) {
	if !l.lastWritten.IsZero() {
		return l.lastWritten, nil
	}
	numbers, err := q.segments(l.id)
	if err != nil && !missing(err) { // removed by another process
		return time.Time{}, err
	}
	last := l.info.Created
	for _, n := range slices.Backward(numbers) {
		seg, err := wal.OpenReader(q.deps.FS, path.Join(q.at.lane(l.id), wal.Name(n)))
		if err != nil {
			continue // blank, or damaged and set aside
		}
		for {
			g, err := seg.Next()
			if err != nil {
				break
			}
			last = g.Written
		}
		if err := seg.Close(); err != nil {
			return time.Time{}, err
		}
		if last.After(l.info.Created) {
			break
		}
	}
	l.lastWritten = last
	return last, nil
}

// removeLane removes a lane's files, and with the last one of a chain its claims.
// Each step is durable before the next: after a power cut messages without their
// progress would be forwarded again, and claims without a lane would never be
// looked at. The fence goes last, since as long as any of the lane is there a
// writer that came back from a pause must find itself fenced.
func (q *Queue) removeLane(l *lane, last bool) error {
	numbers, err := q.segments(l.id)
	if err != nil && !missing(err) {
		return err
	}
	messages := []string{heartbeatFileName} // which says how many there were
	for _, n := range numbers {
		messages = append(messages, wal.Name(n))
	}
	if err := q.removeFrom(q.at.lane(l.id), messages); err != nil {
		return err
	}
	if last {
		if err := q.removeClaims(l.chain.id); err != nil {
			return err
		}
	}
	for _, name := range []string{laneFileName, fenceFileName} {
		if err := q.removeFrom(q.at.lane(l.id), []string{name}); err != nil {
			return err
		}
	}
	return q.removeFrom(q.at.lanes(), []string{l.id})
}

// isRemoved reports whether a lane's directory is surely gone. A host may remember
// for a minute that a name was not there; so it is made, which succeeds only where
// it is not there.
func (q *Queue) isRemoved(lane string) bool {
	dir := q.at.lane(lane)
	if err := q.deps.FS.Mkdir(dir); err != nil {
		return false
	}
	if err := q.deps.FS.Remove(dir); err != nil { // an empty lane, which is removed in time
		q.deps.Log.Warn("directory of a lane that is gone not removed", "lane", lane, "err", err)
	}
	q.deps.Log.Warn("a lane was removed by another process", "lane", lane)
	return true
}

// removeClaims removes a chain's claims.
func (q *Queue) removeClaims(chain string) error {
	entries, err := q.deps.FS.ReadDir(q.at.chain(chain))
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if err := q.removeFrom(q.at.chain(chain), names); err != nil {
		return err
	}
	return q.removeFrom(q.at.claims(), []string{chain})
}

// removeFrom removes files or empty directories from a directory, as far as they
// are there, and returns once that is durable.
func (q *Queue) removeFrom(dir string, names []string) error {
	for _, name := range names {
		if err := q.deps.FS.Remove(path.Join(dir, name)); err != nil && !missing(err) {
			return err
		}
	}
	if err := q.deps.FS.SyncDir(dir); err != nil && !missing(err) {
		return err
	}
	return nil
}

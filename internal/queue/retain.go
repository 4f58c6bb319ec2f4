package queue

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"time"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// retainInterval is how often forwarded segments are looked at.
const retainInterval = time.Minute

// retainLoop removes what was forwarded and kept for Options.Retain.
func (q *Queue) retainLoop(ctx context.Context) {
	for {
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
		if !pause(ctx, retainInterval) {
			return
		}
	}
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
	numbers, err := q.segments(l.id)
	if err != nil && !missing(err) { // removed before, as far as it came
		return err
	}
	settled := l.settled.Load()
	for i, n := range numbers[:max(0, len(numbers)-1)] {
		following, err := q.openSegment(l.id, numbers[i+1])
		if errors.Is(err, wal.ErrBlank) {
			break
		}
		if errors.Is(err, message.ErrDamaged) {
			continue // once it is removed itself, the one behind it tells
		}
		if err != nil {
			return err
		}
		h := following.Header
		following.Close()
		if h.First > settled || q.deps.Now().Sub(h.Created) < q.opts.Retain {
			return nil
		}
		if err := q.deps.FS.Remove(path.Join(q.at.lane(l.id), wal.Name(n))); err != nil {
			return err
		}
		l.index.drop(numbers[i+1])
		q.deps.Log.Debug("forwarded segment removed", "lane", l.id, "segment", n)
	}
	return q.retainEnded(l)
}

// retainEnded removes a lane that was read to its end, settled whole, and whose
// last message is older than Retain; with the last lane of a chain its claims,
// once nobody holds one.
func (q *Queue) retainEnded(l *lane) error {
	l.chain.mu.Lock()
	last := len(l.chain.lanes) == 1
	ended := l.done() && l.chain.isOver() && (l.chain.drained || !last)
	l.chain.mu.Unlock()
	if !ended {
		return nil
	}
	written, err := q.lastWritten(l)
	if err != nil || q.deps.Now().Sub(written) < q.opts.Retain {
		return err
	}
	if grown, err := q.grewAfterItsEnd(l); err != nil || grown {
		return err
	}
	if err := q.removeLane(l, last); err != nil {
		return err
	}
	l.chain.dropLane(l)
	q.known.dropLane(l)
	q.deps.Log.Info("forwarded lane removed", "lane", l.id)
	return nil
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
	if err != nil {
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

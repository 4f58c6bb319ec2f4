package queue

import (
	"context"
	"errors"
	"fmt"
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

// retain removes the lane's segments of which every message is settled, by
// progress that is on stable storage, and was written longer than Retain ago;
// and the lane itself with the last of them, once it has ended.
func (q *Queue) retain(l *lane) error {
	numbers, err := q.segments(l.id)
	if err != nil {
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
// last message is older than Retain.
func (q *Queue) retainEnded(l *lane) error {
	l.chain.mu.Lock()
	ended := l.done() && l.chain.over
	l.chain.mu.Unlock()
	if !ended {
		return nil
	}
	last, err := q.lastWritten(l)
	if err != nil || q.deps.Now().Sub(last) < q.opts.Retain {
		return err
	}
	if err := q.removeLane(l); err != nil {
		return err
	}
	l.chain.mu.Lock()
	l.chain.lanes = slices.DeleteFunc(l.chain.lanes, func(x *lane) bool { return x == l })
	empty := len(l.chain.lanes) == 0
	l.chain.mu.Unlock()
	q.deps.Log.Info("forwarded lane removed", "lane", l.id)
	if empty {
		return q.removeClaims(l.chain.id)
	}
	return nil
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

// removeLane removes a lane's files: the fence last, since as long as any of it
// is there a writer that came back from a pause must find itself fenced. Each
// step is durable before the next: after a power cut segments without their
// fence would look like a lane that is alive, and be forwarded again.
func (q *Queue) removeLane(l *lane) error {
	numbers, err := q.segments(l.id)
	if err != nil {
		return err
	}
	var segments []string
	for _, n := range numbers {
		segments = append(segments, wal.Name(n))
	}
	dir := q.at.lane(l.id)
	for _, step := range [][]string{segments, {heartbeatFileName, laneFileName}, {fenceFileName}} {
		for _, name := range step {
			if err := q.deps.FS.Remove(path.Join(dir, name)); err != nil && !missing(err) {
				return err
			}
		}
		if err := q.deps.FS.SyncDir(dir); err != nil {
			return err
		}
	}
	if err := q.deps.FS.Remove(dir); err != nil {
		return err
	}
	return q.deps.FS.SyncDir(q.at.lanes())
}

// removeClaims removes a chain's claims, once its lanes are gone for good.
func (q *Queue) removeClaims(chain string) error {
	dir := q.at.chain(chain)
	entries, err := q.deps.FS.ReadDir(dir)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := q.deps.FS.Remove(path.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove %s: %w", e.Name(), err)
		}
	}
	return q.deps.FS.Remove(dir)
}

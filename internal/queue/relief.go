package queue

import (
	"context"
	"errors"
	"iter"
	"path"
	"slices"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// forwarded is a part of a lane of which every message is settled by saved
// progress.
type forwarded struct {
	lane    *lane
	part    part
	number  uint64    // of the segment
	next    uint64    // of the one behind it
	below   uint64    // the seq below which all of it stands
	written time.Time // when the last message of it was, or later
}

// part is what of a lane was forwarded.
type part int

const (
	// aSegment has another one behind it.
	aSegment part = iota
	// theLast segment of a lane that has ended. Its lane may have to stay, as
	// one of a process that lives, with nothing but its small files.
	theLast
	// theLane itself.
	theLane
)

// forwardedOf gives what could be removed of the lane, in order. A segment is
// settled by where the one behind it begins, and was last written when that was
// begun.
func (q *Queue) forwardedOf(l *lane) iter.Seq2[forwarded, error] {
	return func(yield func(forwarded, error) bool) {
		numbers, err := q.segments(l.id)
		if err != nil && !missing(err) { // removed before, as far as it came
			yield(forwarded{}, err)
			return
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
				yield(forwarded{}, err)
				return
			}
			h := following.Header
			following.Close()
			if h.First > settled || !yield(forwarded{l, aSegment, n, numbers[i+1], h.First, h.Created}, nil) {
				return
			}
		}
		q.endOf(l, numbers, yield)
	}
}

// endOf gives the end of a lane that was read and settled to it.
func (q *Queue) endOf(l *lane, numbers []uint64, yield func(forwarded, error) bool) {
	l.chain.mu.Lock()
	done := l.done()
	l.chain.mu.Unlock()
	if !done {
		return
	}
	written, err := q.lastWritten(l)
	if err != nil {
		yield(forwarded{}, err)
		return
	}
	below := l.durable.Load() + 1
	for _, n := range numbers { // one, and such as are blank or damaged
		if !yield(forwarded{l, theLast, n, n + 1, below, written}, nil) {
			return
		}
	}
	yield(forwarded{l, theLane, 0, 0, below, written}, nil)
}

// removeForwarded removes it and reports how many bytes of segments that were,
// and whether anything was.
func (q *Queue) removeForwarded(f forwarded) (bytes int64, removed bool, err error) {
	if f.part == theLane {
		removed, err := q.removeEnded(f)
		return 0, removed, err
	}
	if f.part == theLast {
		if grown, err := q.grewAfterItsEnd(f.lane); err != nil || grown {
			return 0, false, err
		}
	}
	q.coverKeys(f.lane, f.below, f.written)
	name := path.Join(q.at.lane(f.lane.id), wal.Name(f.number))
	bytes = q.lengthOf(name)
	err = q.deps.FS.Remove(name)
	if missing(err) { // by another process, or listed twice
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	q.use.free(bytes)
	f.lane.index.drop(f.next)
	q.deps.Log.Debug("forwarded segment removed", "lane", f.lane.id, "segment", f.number)
	return bytes, true, nil
}

// lengthOf is the length of a file, as far as it can be told; 0 otherwise.
func (q *Queue) lengthOf(name string) int64 {
	f, err := q.deps.FS.Open(name)
	if err != nil {
		return 0
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0
	}
	return size
}

// tendRoom sees to it that there is room: forwarded messages go before their
// time where it is short, and the ballast comes back where it is ample.
func (q *Queue) tendRoom(ctx context.Context) error {
	space, err := q.deps.FS.Space(q.opts.Dir)
	if err != nil {
		return err
	}
	if q.isShort(space) {
		return q.relieve(ctx)
	}
	return q.keepBallast(ctx, space)
}

// isShort reports whether free space is below the relief mark, with the ballast
// in its place, or the quota is.
func (q *Queue) isShort(space durable.Space) bool {
	mark := q.reliefMark()
	if space.Free < mark+q.opts.BallastBytes {
		mark += q.ballastMissing()
	}
	return space.Free < mark || q.quotaShort(0)
}

// quotaShort reports whether the quota has no room for n bytes beside what lets
// writers go on.
func (q *Queue) quotaShort(n int64) bool {
	quota := q.opts.QuotaBytes
	return quota > 0 && q.use.bytes()+n+2*q.opts.SegmentBytes > quota
}

// relieve removes forwarded segments before their time, the oldest first, until
// there is room: what is kept for replay yields to what is yet to be accepted.
// What is not settled by progress on stable storage stays, whatever the price.
func (q *Queue) relieve(ctx context.Context) error {
	candidates, err := q.allForwarded(ctx)
	var count, bytes int64
	var newest time.Time
	for _, f := range candidates {
		space, spaceErr := q.deps.FS.Space(q.opts.Dir)
		if spaceErr != nil || ctx.Err() != nil || !q.isShort(space) {
			err = errors.Join(err, spaceErr)
			break
		}
		n, removed, removeErr := q.removeForwarded(f)
		err = errors.Join(err, removeErr)
		if removed && q.deps.Now().Sub(f.written) < q.opts.Retain {
			count, bytes, newest = count+1, bytes+n, f.written
		}
	}
	if count == 0 {
		return err
	}
	q.cut.Store(&newest)
	q.metrics.cutBytes.Add(float64(bytes))
	q.deps.Log.Warn("forwarded messages removed before their time, for want of room",
		"parts", count, "bytes", bytes, "replay_reaches_back", q.deps.Now().Sub(newest).Round(time.Second).String(), "retain", q.opts.Retain.String())
	return err
}

// replayMissing is how much of the time for which forwarded messages are to be
// kept is missing now.
func (q *Queue) replayMissing() time.Duration {
	cut := q.cut.Load()
	if cut == nil {
		return 0
	}
	return max(0, q.opts.Retain-q.deps.Now().Sub(*cut))
}

// allForwarded lists what could be removed of the chains that are ours, the
// oldest first. With an error the list is what could be looked at.
func (q *Queue) allForwarded(ctx context.Context) (found []forwarded, err error) {
	for _, c := range q.chains() {
		if !c.isOurs() {
			continue
		}
		for _, l := range c.snapshot() {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			for f, ferr := range q.forwardedOf(l) {
				if ferr != nil {
					err = errors.Join(err, ferr)
					break
				}
				found = append(found, f)
			}
		}
	}
	slices.SortStableFunc(found, func(a, b forwarded) int { return a.written.Compare(b.written) })
	return found, err
}

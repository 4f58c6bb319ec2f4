package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// request is one Append on its way through the committer.
type request struct {
	frames *wal.Frames
	// key is what is indexed of the request; nil where it has no client's key.
	key *keyRecord
	// place and err are set before the batch's done is closed.
	place message.Place
	err   error
}

// batch is what one sync makes durable.
type batch struct {
	requests []*request
	bytes    int64
	done     chan struct{}
}

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// keepFrames is how large a buffer is kept for the next request, in bytes.
const keepFrames = 1 << 20

var framesPool = sync.Pool{New: func() any { return new(wal.Frames) }}

// Append makes all messages durable as one group, all or none, and returns the
// place of the first; the others follow with consecutive seqs. The messages are
// not used after it returns.
//
// Errors match message.ErrTooLarge (the group fits no segment), ErrInvalid (a
// message without id, topic or time, which could not be read back), ErrNotStored
// (surely not stored: closing, no lane, too much waiting, ctx ended in time),
// ErrFull (surely not stored: no space) or ErrOutcomeUnknown (written, but the
// sync or the check after it failed, or ctx ended meanwhile).
func (q *Queue) Append(ctx context.Context, msgs []message.Message) (message.Place, error) {
	for i := range msgs {
		if err := storable(&msgs[i]); err != nil {
			return message.Place{}, fmt.Errorf("message %d of %d: %w", i+1, len(msgs), err)
		}
	}
	frames := framesPool.Get().(*wal.Frames)
	for i := range msgs {
		frames.Add(&msgs[i])
	}
	frames.Close()
	if frames.Count() == 0 || frames.Size() > wal.GroupHeaderSize+wal.MaxGroupFrames {
		err := fmt.Errorf("a request of %d messages and %d bytes: 1 message and %d bytes are the limits: %w",
			frames.Count(), frames.Size(), wal.MaxGroupFrames, message.ErrTooLarge)
		release(frames)
		return message.Place{}, err
	}
	r := &request{frames: frames, key: keyOf(msgs)}
	b, err := q.join(r)
	if err != nil {
		release(frames)
		return message.Place{}, err
	}
	select {
	case <-b.done:
	case <-ctx.Done():
		if q.leave(r) {
			release(frames)
			return message.Place{}, fmt.Errorf("%w: %w", message.ErrNotStored, context.Cause(ctx))
		}
		// The committer may still be reading the frames: not released.
		return message.Place{}, fmt.Errorf("%w: %w", message.ErrOutcomeUnknown, context.Cause(ctx))
	}
	release(frames)
	return r.place, r.err
}

// storable refuses what message.Decode would: a message that was acknowledged and
// cannot be read back is lost.
func storable(m *message.Message) error {
	switch {
	case m.ID.IsZero():
		return fmt.Errorf("no id: %w", message.ErrInvalid)
	case !message.ValidTopic(m.Topic):
		return fmt.Errorf("topic %q: %w", m.Topic, message.ErrInvalid)
	case time.UnixMicro(m.Time.UnixMicro()).IsZero():
		return fmt.Errorf("no time: %w", message.ErrInvalid)
	}
	return nil
}

func release(f *wal.Frames) {
	if f.Cap() <= keepFrames {
		f.Reset()
		framesPool.Put(f)
	}
}

// join adds a request to the batch that is being gathered.
func (q *Queue) join(r *request) (*batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.refuse != nil {
		return nil, q.refuse
	}
	b := q.gathering
	if len(b.requests) > 0 && b.bytes+r.frames.Size() > q.opts.MaxPendingBytes {
		return nil, fmt.Errorf("%d bytes wait for the disk, %d are the limit: %w", b.bytes, q.opts.MaxPendingBytes, message.ErrNotStored)
	}
	b.requests = append(b.requests, r)
	b.bytes += r.frames.Size()
	if len(b.requests) == 1 {
		select {
		case q.kick <- struct{}{}:
		default:
		}
	}
	return b, nil
}

// leave takes a request back; false says that the committer has it.
func (q *Queue) leave(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.gathering
	i := slices.Index(b.requests, r)
	if i < 0 {
		return false
	}
	b.requests = slices.Delete(b.requests, i, i+1)
	b.bytes -= r.frames.Size()
	return true
}

// commitLoop is the one committer: gather, write once, sync once, check the
// fence, answer all. While a batch is being synced the next one gathers. It
// ends when stop is closed, with everything answered and the lane closed.
func (q *Queue) commitLoop(stop <-chan struct{}) {
	for {
		select {
		case <-q.kick:
			q.gather()
			q.commit(q.take(nil))
		case <-q.reopen.C:
			switch {
			case q.writer == nil:
				q.tryOpen()
			case q.stuck:
				_ = q.nextSegment() // Ready reports it
			}
		case <-stop:
			q.commit(q.take(fmt.Errorf("the queue is closing: %w", message.ErrNotStored)))
			q.endLane("closed by its writer")
			return
		}
	}
}

// gatherRounds bounds how often the committer lets others go first.
const gatherRounds = 8

// gather lets requests that are about to be appended join the batch: as long as
// it grows, whoever can run goes before the committer. A sync costs the same for
// one request as for a hundred, and under load those that were answered by the
// last one are only waiting for a processor. On an idle system it costs nothing.
func (q *Queue) gather() {
	for last, round := 0, 0; round < gatherRounds; round++ {
		q.mu.Lock()
		n := len(q.gathering.requests)
		q.mu.Unlock()
		if n == last {
			return
		}
		last = n
		runtime.Gosched()
	}
}

// take starts a new batch and returns the one gathered so far; refuse, where
// set, is what later callers are told.
func (q *Queue) take(refuse error) *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.gathering
	q.gathering = newBatch()
	if refuse != nil {
		q.refuse = refuse
	}
	return b
}

// commit makes a batch durable and answers its callers.
func (q *Queue) commit(b *batch) {
	defer close(b.done)
	if len(b.requests) == 0 {
		return
	}
	if q.writer != nil {
		if err := q.writer.alive(); err != nil { // nothing of b is written yet
			q.failLane(err)
		}
	}
	if q.writer == nil && !q.tryOpen() {
		b.fail(0, q.noLane)
		return
	}
	if err := q.tight(); err != nil {
		b.fail(0, err)
		return
	}
	from := 0
	for from < len(b.requests) {
		n, err := q.commitSome(b.requests[from:])
		from += n
		if err != nil {
			b.fail(from, err)
			return
		}
	}
	q.metrics.committed(b)
}

func (b *batch) fail(from int, err error) {
	for _, r := range b.requests[from:] {
		r.err = err
	}
}

// commitBytes is how much is written by one write at the most, but for a group
// that is larger by itself.
const commitBytes = 8 << 20

// commitSome writes and syncs as many requests as fit one write and the
// segment, and returns how many have their answer. With an error, those beyond
// them have not been written at all.
func (q *Queue) commitSome(requests []*request) (int, error) {
	w := q.writer
	now := q.deps.Now()
	first, n := w.next, 0
	durable := w.lane.durable.Load()
	for _, r := range requests {
		size := r.frames.Size()
		if !w.seg.Fits(size) || n > 0 && int64(w.seg.Added())+size > commitBytes {
			break
		}
		at := w.seg.Add(r.frames, w.next, durable, now)
		w.lane.index.add(indexEntry{w.next, w.seg.Header.Number, at, now, w.bytes})
		w.bytes += size
		r.place = message.Place{Lane: w.lane.id, Seq: w.next}
		w.next += uint64(r.frames.Count())
		n++
	}
	if n == 0 {
		return 0, q.nextSegment()
	}
	began := time.Now()
	written := w.seg.Pending() // still there after Commit
	err := w.seg.Commit()
	if err == nil {
		err = w.confirm()
	}
	q.metrics.sync.Observe(time.Since(began).Seconds())
	if err != nil {
		for _, r := range requests[:n] {
			r.place, r.err = message.Place{}, errLaneEnded
		}
		q.failLane(err)
		return n, q.afterFailure()
	}
	q.metrics.messages.Add(float64(w.next - first))
	if q.deps.Part.drains() {
		q.own.recent.add(w.lane.id, first, w.next-1, written)
	}
	w.lane.appended.Store(w.bytes)
	w.lane.durable.Store(w.next - 1)
	q.keys.committed(w, requests[:n])
	q.deps.Synced(n)
	q.own.grown()
	return n, nil
}

// nextSegment makes room for what does not fit. A full disk leaves the lane as it
// is, to be tried again, by a timer as well: nobody sends anything to a queue
// that is not ready. After any other error the file may be there or not, and the
// lane with it: a new lane begins, and nothing was written of what waits.
func (q *Queue) nextSegment() error {
	err := q.writer.roll()
	q.becomeWary(err)
	q.stuck = errors.Is(err, message.ErrFull)
	switch {
	case q.stuck:
		q.reopen.Reset(reopenInterval)
	case err != nil:
		q.failLane(err)
		return q.afterFailure()
	}
	q.setTrouble(err)
	return err
}

// afterFailure opens the next lane for the requests that were not written, or
// says why there is none.
func (q *Queue) afterFailure() error {
	if q.tryOpen() {
		return nil
	}
	return q.noLane
}

// reopenInterval is how often a lane is tried for while there is none.
const reopenInterval = time.Second

// tryOpen opens a lane behind the last one, or sets noLane; not more often than
// every reopenInterval, since an attempt that fails half-way leaves files. Owned
// by the committer.
func (q *Queue) tryOpen() bool {
	now := q.deps.Elapsed()
	if q.noLane != nil && now-q.lastTry < reopenInterval {
		return false
	}
	q.lastTry = now
	w, err := q.openLane(q.lastLane)
	q.becomeWary(err)
	if err != nil {
		q.noteNoLane(err)
		q.noLane = fmt.Errorf("no lane: %w: %w", message.ErrNotStored, err)
		if errors.Is(err, message.ErrFull) {
			q.noLane = err
		}
		q.setTrouble(q.noLane)
		q.reopen.Reset(reopenInterval)
		return false
	}
	q.writer, q.lastLane, q.noLane = w, w.lane.id, nil
	q.beating.Store(w)
	q.known.addLane(w.lane)
	if q.own.addLane(w.lane) && q.deps.Part.drains() { // not before: a claim of no lane would never be removed
		q.own.begin()
		q.offer(q.own)
	}
	q.setTrouble(nil)
	q.deps.Log.Info("lane opened", "lane", w.lane.id, "predecessor", w.lane.info.Predecessor)
	return true
}

// setTrouble sets what Ready reports.
func (q *Queue) setTrouble(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.trouble = err
}

// failLane ends the current lane because it cannot be trusted any further.
func (q *Queue) failLane(why error) {
	q.becomeWary(why)
	q.deps.Log.Error("lane ended", "lane", q.writer.lane.id, "err", why)
	q.metrics.lanesFailed.Inc()
	q.endLane("ended by its writer: " + why.Error())
}

// endLane closes the current lane, if there is one. Owned by the committer.
func (q *Queue) endLane(reason string) {
	w := q.writer
	if w == nil {
		return
	}
	q.beating.Store(nil)
	q.beatMu.Lock() // let a renewal in progress end
	err := w.close(reason)
	q.beatMu.Unlock()
	if err != nil {
		q.deps.Log.Warn("lane not closed cleanly, a successor waits for its heartbeat", "lane", w.lane.id, "err", err)
	}
	q.writer, q.stuck = nil, false
	q.own.seal(w.lane)
}

// beatLoop renews the heartbeat of the current lane until stop is closed.
func (q *Queue) beatLoop(stop <-chan struct{}) {
	tick := time.NewTicker(q.opts.HeartbeatInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			q.keepPresence()
			q.beatMu.Lock()
			if w := q.beating.Load(); w != nil {
				if err := w.renew(); err != nil {
					q.deps.Log.Error("heartbeat not renewed", "lane", w.lane.id, "err", err)
				}
			}
			q.beatMu.Unlock()
		case <-stop:
			return
		}
	}
}

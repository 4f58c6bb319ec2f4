package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// Room on the file system, from the top down:
//
//	relief     below it draining processes remove forwarded segments early
//	reserve    below it no segment is made: 507
//	half of it below it a segment that grows is not written to either: 507
//	ballast    what a draining process deletes when even its own small files
//	           do not fit
//
// Each keeps the one below it for who needs it more: history yields to new
// messages, new messages to the draining of old ones. The scenario behind it is
// a share that is full to the last byte with a backlog on it, and every process
// dead: who starts then must seal, claim, drain and remove, or the stamp stands
// still until somebody comes.

// roomInterval is how often the room is looked at.
const roomInterval = time.Second

// reliefMark is how much free space, in bytes, lets forwarded messages stay.
// It is above what a writer needs to go on, so that writers are not refused
// for the sake of what is kept for replay.
func (q *Queue) reliefMark() int64 { return 2 * (q.opts.ReserveBytes + q.opts.SegmentBytes) }

// room reports message.ErrFull where the file system lacks room for a segment
// of n bytes beside the reserve, or the quota does. Once it was full it asks
// for a segment more: or it would be full again at once.
func (q *Queue) room(n int64) error {
	margin := int64(0)
	if q.wary.Load() {
		margin = q.opts.SegmentBytes
	}
	space, err := q.deps.FS.Space(q.opts.Dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", q.opts.Dir, err)
	}
	if reserve := q.opts.ReserveBytes + q.ballastMissing(); space.Free < n+margin+reserve {
		return fmt.Errorf("disk full: %d bytes free, a segment of %d and the reserve of %d are needed: %w",
			space.Free, n+margin, reserve, message.ErrFull)
	}
	if quota := q.opts.QuotaBytes; quota > 0 {
		if used := q.use.bytes(); used+n+margin > quota {
			return fmt.Errorf("quota full: %d bytes used, quota_bytes is %d, a segment of %d is needed: %w",
				used, quota, n+margin, message.ErrFull)
		}
	}
	return nil
}

// room is Queue.room for this lane's next segment. A lane of messages that are
// moved out of a chain may have the reserve and the ballast, whatever the quota
// says: one poisoned message on a full disk would otherwise hold up all behind
// it, and with them the removal that makes room.
func (w *writer) room(n int64) error {
	if !w.aside {
		return w.q.room(n)
	}
	enough := func() error {
		space, err := w.q.deps.FS.Space(w.q.opts.Dir)
		if err == nil && space.Free < n {
			err = fmt.Errorf("%d bytes free, a segment of %d is needed: %w", space.Free, n, syscall.ENOSPC)
		}
		return err
	}
	if err := w.q.onBallast(enough); err != nil {
		return fmt.Errorf("room for messages that are moved: %w", asFull(err))
	}
	return nil
}

// isFull reports whether an error says that a disk or a quota of the file
// system is full. Shares may say so only at the sync.
func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// asFull makes errors.Is(err, message.ErrFull) true for a full disk or quota.
func asFull(err error) error {
	if isFull(err) {
		return fmt.Errorf("%w: %w", message.ErrFull, err)
	}
	return err
}

// becomeWary takes note that there was no space where there should have been:
// free space as the file system tells it cannot be trusted, since a quota of a
// user or a share does not show in it. Until a lane has opened again its first
// segment is filled with zeros, so that a lack shows there, where it costs
// nobody anything, and not at the sync of somebody's message.
//
// With nil it is over: there was space.
func (q *Queue) becomeWary(err error) {
	switch {
	case err == nil:
		q.wary.Store(false)
	case isFull(err), errors.Is(err, message.ErrFull):
		q.wary.Store(true)
	}
}

// fillsZero reports whether a lane that opens now fills its segments.
func (q *Queue) fillsZero() bool { return q.zeroFill || q.wary.Load() }

// roomLoop looks at the room for this process's own lane until ctx ends.
func (q *Queue) roomLoop(ctx context.Context) {
	for {
		q.lookAtRoom()
		if !pause(ctx, roomInterval) {
			return
		}
	}
}

// lookAtRoom decides whether segments that grow may be written to. A segment
// that was not filled ahead takes its space as it grows, long after room was
// asked for; so do those of other gateways on the share, and what else lives
// there. The half of the reserve that is left is for those who drain.
func (q *Queue) lookAtRoom() {
	space, err := q.deps.FS.Space(q.opts.Dir)
	if err != nil {
		return // the writer will meet it
	}
	reserve := q.opts.ReserveBytes
	if space.Free < reserve+q.opts.BallastBytes {
		reserve += q.ballastMissing()
	}
	switch short := q.short.Load(); {
	case short == nil && space.Free < reserve/2:
		err := fmt.Errorf("disk full: %d bytes free, half of the reserve of %d is needed: %w", space.Free, reserve, message.ErrFull)
		q.short.Store(&err)
		q.deps.Log.Warn("disk nearly full, nothing is accepted", "free_bytes", space.Free, "reserve_bytes", reserve)
	case short != nil && space.Free >= reserve:
		q.short.Store(nil)
		q.deps.Log.Info("the reserve is back", "free_bytes", space.Free)
	}
}

// tight reports why the current lane may not grow now, or nil.
func (q *Queue) tight() error {
	short, w := q.short.Load(), q.beating.Load()
	if short == nil || w == nil || w.fill {
		return nil
	}
	return *short
}

// use is how many bytes the directory takes: by the last walk, and what this
// process has made since.
type use struct {
	mu     sync.Mutex
	walked int64 // guarded by mu, as all below
	added  int64
	at     time.Time // when the last walk began
	// planned are segments of this process that are not yet as long as they
	// may grow, by name; only the last two made are.
	planned [2]plannedSegment
}

type plannedSegment struct {
	name string
	size int64
}

func (u *use) bytes() int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.walked + u.added
}

// plan counts a segment of this process as long as it may grow.
func (u *use) plan(name string, size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.added += size
	u.planned[0], u.planned[1] = u.planned[1], plannedSegment{name, size}
}

// free takes note of what was removed.
func (u *use) free(size int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.added -= size
}

// measured takes note of a walk. What was added while it went on may have been
// counted by it or not: it is counted, once more at the most, until the next.
func (u *use) measured(total, before int64, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.walked, u.at = total, at
	u.added -= before
}

// began starts a walk: what has been added up to now will be in it.
func (u *use) began() (before int64, planned map[string]int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	planned = make(map[string]int64)
	for _, p := range u.planned {
		planned[p.name] = p.size
	}
	return u.added, planned
}

// measureInterval is the least time between two walks through the directory; on
// a slow share they are further apart, so that they take a tenth of the time.
const measureInterval = 10 * time.Second

// measureLoop measures the use of the directory until ctx ends, where there is
// a quota. Between two walks a process knows what it made itself, and not what
// others did: with several gateways the quota may be exceeded by what they
// write in that time.
func (q *Queue) measureLoop(ctx context.Context) {
	if q.opts.QuotaBytes == 0 {
		return
	}
	for {
		began := q.deps.Elapsed()
		if err := q.measure(ctx); err != nil && ctx.Err() == nil {
			q.deps.Log.Warn("use of the directory not measured", "err", err)
		}
		if !pause(ctx, max(measureInterval, 9*(q.deps.Elapsed()-began))) {
			return
		}
	}
}

func (q *Queue) measure(ctx context.Context) error {
	before, planned := q.use.began()
	at := q.deps.Now()
	total, err := q.walk(ctx, q.opts.Dir, planned)
	if err != nil {
		return err
	}
	q.use.measured(total, before, at)
	return nil
}

// walk adds up the lengths of the files below a directory. What disappears
// meanwhile is not there.
func (q *Queue) walk(ctx context.Context, dir string, planned map[string]int64) (int64, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	entries, err := q.deps.FS.ReadDir(dir)
	if missing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var total int64
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		measure := func() (int64, error) { return length(e) }
		if e.IsDir() {
			measure = func() (int64, error) { return q.walk(ctx, name, planned) }
		}
		n, err := measure()
		if err != nil {
			return 0, fmt.Errorf("measure %s: %w", name, err)
		}
		total += max(n, planned[name])
	}
	return total, nil
}

func length(e fs.DirEntry) (int64, error) {
	info, err := e.Info()
	if missing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// plan counts the segment that is to be made against the quota.
func (w *writer) plan(number uint64, size int64) {
	w.q.use.plan(path.Join(w.dir, wal.Name(number)), size)
}

// SpaceStatus is the room a queue has.
type SpaceStatus struct {
	// UsedBytes is what the directory takes, measured at UsedAt and counted on
	// from there for what this process makes; 0 where there is no quota.
	UsedBytes int64     `json:"used_bytes,omitempty"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	// QuotaBytes and ReserveBytes are the options; no quota is 0.
	QuotaBytes   int64 `json:"quota_bytes,omitempty"`
	ReserveBytes int64 `json:"reserve_bytes"`
	// Ballast says that the ballast is there.
	Ballast bool `json:"ballast"`
	// ReplayMissingSeconds is how much of the time that forwarded messages are
	// to be kept for replay is missing, since they were removed for room.
	ReplayMissingSeconds float64 `json:"replay_missing_seconds,omitempty"`
}

func (q *Queue) spaceStatus() SpaceStatus {
	s := SpaceStatus{
		QuotaBytes: q.opts.QuotaBytes, ReserveBytes: q.opts.ReserveBytes,
		Ballast: durable.Exists(q.deps.FS, q.at.ballast()), ReplayMissingSeconds: q.replayMissing().Seconds(),
	}
	if s.QuotaBytes > 0 {
		q.use.mu.Lock()
		s.UsedBytes, s.UsedAt = q.use.walked+q.use.added, q.use.at
		q.use.mu.Unlock()
	}
	return s
}

// noteNoLane logs why there is no lane, once for a lack of space: it is asked
// for every second, for as long as the disk stays full.
func (q *Queue) noteNoLane(err error) {
	if errors.Is(err, message.ErrFull) && errors.Is(q.noLane, message.ErrFull) {
		return
	}
	q.deps.Log.Warn("no lane to write to", "err", err)
}

// space registers the metrics about room.
func (m *metrics) space(q *Queue, f promauto.Factory) {
	m.cutBytes = f.NewCounter(prometheus.CounterOpts{
		Name: "postroad_queue_removed_early_bytes_total", Help: "Bytes of forwarded messages removed before queue.retain was over, for want of room.",
	})
	m.ballastDropped = f.NewCounter(prometheus.CounterOpts{
		Name: "postroad_queue_ballast_deleted_total", Help: "How often the ballast was deleted because a forwarder found no space.",
	})
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("postroad_queue_reserve_bytes", "Free space below which nothing is accepted (queue.reserve_bytes).",
		func() float64 { return float64(q.opts.ReserveBytes) })
	gauge("postroad_queue_quota_bytes", "How much the directory may take (queue.quota_bytes); 0 means no quota.",
		func() float64 { return float64(q.opts.QuotaBytes) })
	gauge("postroad_queue_used_bytes", "What the directory takes; 0 where there is no quota.",
		func() float64 { return float64(q.spaceStatus().UsedBytes) })
	gauge("postroad_queue_ballast", "Whether the ballast is there.", func() float64 { return number(q.spaceStatus().Ballast) })
	gauge("postroad_queue_replay_missing_seconds", "How much of queue.retain is missing, since messages were removed for want of room.",
		func() float64 { return q.replayMissing().Seconds() })
	gauge("postroad_queue_full", "Whether nothing is accepted for want of room.",
		func() float64 { return number(errors.Is(q.Ready(), message.ErrFull)) })
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

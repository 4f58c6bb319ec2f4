package queue

import (
	"context"
	"errors"
	"io"
	"math"
	"path"
	"time"

	"postroad/internal/wal"
)

// keyScan reads the keys of a gap from a lane's segments. It decides nothing
// about the lane: what it cannot read costs keys, and is for the lane's readers
// to set aside.
type keyScan struct {
	q     *Queue
	ctx   context.Context
	gap   keyGap
	since time.Time
	yield func(keyRecord) bool

	// durable is the highest seq that is known to have been acknowledged.
	durable uint64
	// waiting are keys of groups of which that is not known yet: a later
	// group's header tells.
	waiting []waitingKey
	// next is the first seq behind the last group that was read, end that of
	// the segment that comes next.
	next, end uint64
}

type waitingKey struct {
	keyRecord
	last uint64 // seq of the group's last message
}

// keyMostWaiting bounds the keys that wait; groups of one sync do not hold more.
const keyMostWaiting = 1 << 17

// keysOfLane hands out the keys of the groups in a gap that are known to have
// been acknowledged: at or below the durable seq that the heartbeat, another
// group's header or the beginning of a segment tells. Those behind it may not
// even be on stable storage: a repeat of one that was answered with its place
// would be lost by the next power cut.
func (q *Queue) keysOfLane(ctx context.Context, gap keyGap, since time.Time, yield func(keyRecord) bool) error {
	s := keyScan{q: q, ctx: ctx, gap: gap, since: since, yield: yield}
	b, err := readHeartbeat(q.deps.FS, q.at.laneFile(gap.lane, heartbeatFileName))
	if err != nil {
		return err
	}
	if h, ok := decodeHeartbeat(b); ok {
		s.durable = h.durable
	}
	numbers, err := q.segments(gap.lane)
	if missing(err) {
		return nil // the lane was removed meanwhile
	}
	if err != nil {
		return err
	}
	segments, err := s.headers(numbers)
	if err != nil {
		return err
	}
	var errs []error
	for i, h := range segments {
		if h.First > gap.to || ctx.Err() != nil {
			break
		}
		if i+1 < len(segments) && (segments[i+1].First <= gap.from+1 || segments[i+1].Created.Before(since)) {
			continue // all of it is told of, or too old
		}
		if s.next, s.end = h.First, math.MaxUint64; i+1 < len(segments) {
			s.end = segments[i+1].First
		}
		goOn, err := s.segment(h)
		if err != nil && !missing(err) {
			errs = append(errs, err)
		}
		if !goOn {
			break
		}
	}
	return errors.Join(errs...)
}

// headers reads those of all segments that can be read. A segment is begun only
// once all before it was acknowledged.
func (s *keyScan) headers(numbers []uint64) (headers []wal.Header, err error) {
	for _, n := range numbers {
		seg, err := s.q.openSegment(s.gap.lane, n)
		if unreadable(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		h := seg.Header
		seg.Close()
		if h.First > 0 {
			s.durable = max(s.durable, h.First-1)
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// segment reads one segment, or the part of it that the gap is in, and reports
// whether to go on.
func (s *keyScan) segment(h wal.Header) (goOn bool, err error) {
	seg, err := wal.OpenReader(s.q.deps.FS, path.Join(s.q.at.lane(s.gap.lane), wal.Name(h.Number)))
	if err != nil {
		return true, err
	}
	defer seg.Close()
	for s.ctx.Err() == nil {
		g, err := seg.Next()
		if err != nil {
			more, err := s.passOver(seg, err)
			if err != nil || !more {
				return true, err
			}
			continue
		}
		s.durable = max(s.durable, g.Durable)
		s.next = max(s.next, g.Last()+1)
		if g.First > s.gap.from && g.First <= s.gap.to {
			s.keep(&g)
		}
		if !s.release() {
			return false, nil
		}
		if g.First > s.gap.to && len(s.waiting) == 0 {
			return false, nil
		}
	}
	return false, s.ctx.Err()
}

// passOver moves behind what is no valid group, and reports whether another one
// was found. Nothing is looked for behind the last seq that was acknowledged.
func (s *keyScan) passOver(seg *wal.Reader, cause error) (more bool, err error) {
	var bad *wal.InvalidError
	switch {
	case errors.As(cause, &bad) && bad.Known:
		seg.SeekTo(bad.Offset + bad.Size)
		s.next = max(s.next, bad.First+uint64(bad.Count))
		return true, nil
	case !errors.Is(cause, io.EOF) && bad == nil:
		return false, cause
	case s.next > s.durable || s.next >= s.end:
		return false, nil
	}
	_, err = seg.FindNext(s.next)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// keep remembers a group's key until the group is known to be acknowledged.
func (s *keyScan) keep(g *wal.Group) {
	msgs, err := g.Messages()
	if err != nil {
		return // sound checksums around what does not decode: for the lane's readers
	}
	k := keyOf(msgs)
	if k == nil || len(s.waiting) >= keyMostWaiting || time.UnixMicro(k.time).Before(s.since) {
		return
	}
	k.seq = g.First
	s.waiting = append(s.waiting, waitingKey{*k, g.Last()})
}

// release hands out the keys of groups that are known to be acknowledged by now,
// and reports whether to go on.
func (s *keyScan) release() bool {
	n := 0
	for ; n < len(s.waiting) && s.waiting[n].last <= s.durable; n++ {
		if !s.yield(s.waiting[n].keyRecord) {
			return false
		}
	}
	s.waiting = append(s.waiting[:0], s.waiting[n:]...)
	return true
}

package queue

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"

	"github.com/oklog/ulid/v2"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// errNothingYet says that a lane has no further group for now.
var errNothingYet = errors.New("nothing yet")

// laneReader hands out the messages of one lane in order and decides what an
// invalid group means:
//
//   - in a lane that may still grow, behind its last durable group: wait;
//   - at or below the last known durable seq: damage, which costs messages that
//     were acknowledged; set aside with its bytes, alarmed, the rest goes on;
//   - behind the durable seq of a sealed lane: an undecidable tail, whose
//     callers were never answered; set aside and reported.
//
// Without the middle case one flipped bit would end the lane, and everything
// behind it would be lost; without the last a torn write at a power cut would
// raise a false alarm.
type laneReader struct {
	chain *chain
	lane  *lane
	seg   *wal.Reader // nil between segments
	// number is the segment to read, or being read; 0 means to find the one
	// that holds next.
	number uint64
	next   uint64 // the seq expected next
	// read is the last seq that was handed out.
	read uint64
	// known is what was settled about the lane before the segment was opened
	// anew, because of an invalid group; nil where none was met.
	known *known
	// stale says that the segment was read to where nothing more stood, and is
	// to be opened anew before it is read again: what another host has written
	// since shows only then.
	stale bool
	// lookup says that nobody drains by this reader: it sets nothing aside and
	// does not say that the lane has ended.
	lookup bool
	// holds, where set, is asked before anything is set aside: by one whose claim
	// was lost, what its successor has removed would be taken for damaged.
	holds func() error
	// skipped says that a lookup came by something that is to be set aside.
	skipped bool
}

func newLaneReader(c *chain, l *lane, from uint64) *laneReader {
	return &laneReader{chain: c, lane: l, next: from, read: from - 1}
}

// newLookup returns a reader for one who only wants to see.
func newLookup(l *lane, from uint64) *laneReader {
	return &laneReader{chain: l.chain, lane: l, next: from, read: from - 1, lookup: true}
}

func (r *laneReader) close() {
	if r.seg != nil {
		r.seg.Close() // opened for reading: nothing to lose
		r.seg = nil
	}
}

// nextMessages returns the messages of the next group from r.next on, errNothingYet, or
// io.EOF at the end of a sealed lane, which it then marks as ended.
func (r *laneReader) nextMessages() ([]message.Stored, error) {
	if r.lane.own && !r.lookup {
		if stored := r.fromMemory(); len(stored) > 0 {
			r.close() // should it read files again, it looks for the place
			r.number, r.known, r.stale = 0, nil, false
			return stored, nil
		}
	}
	g, err := r.group()
	if err != nil {
		return nil, err
	}
	msgs, err := g.Messages()
	if err != nil {
		// Sound checksums around frames that do not decode: written so.
		return nil, r.undecodable(g, err)
	}
	return r.appendFrom(make([]message.Stored, 0, len(msgs)), g.First, msgs), nil
}

// undecodable sets aside a group that passed its checksums.
func (r *laneReader) undecodable(g wal.Group, err error) error {
	r.next = g.Last() + 1
	return r.setAside(g.Offset, g.Offset+g.Size, g.First, g.Last(), err.Error())
}

// messages is nextMessages, with groups that were set aside passed over. A lane
// that was removed has ended: who removed it had drained it, while this process
// slept or looked at an old list, and would else wait for it for ever.
func (r *laneReader) messages() ([]message.Stored, error) {
	for {
		msgs, err := r.nextMessages()
		if missing(err) && !r.lookup && r.chain.isSealed(r.lane) && r.chain.q.isRemoved(r.lane.id) {
			r.close()
			return nil, r.end()
		}
		if err != nil || len(msgs) > 0 {
			return msgs, err
		}
	}
}

// known is what a reader knows of a lane at one moment.
type known struct {
	sealed bool
	last   uint64 // the durable seq
	ahead  ahead
}

// live reports whether another process may be writing to the lane.
func (r *laneReader) live(sealed bool) bool { return !r.lane.own && !sealed }

// group returns the next valid group that reaches r.next.
//
// Of this process's own lane, groups up to the durable seq: what is behind it is
// being written. Of another's, every valid group, acknowledged or not.
func (r *laneReader) group() (wal.Group, error) {
	for {
		sealed := r.chain.isSealed(r.lane)
		// What has to be there is settled before it is looked for: a writer
		// that goes on meanwhile must not be taken for damage.
		last := r.lane.durable.Load()
		if r.lane.own && !sealed && r.next > last {
			return wal.Group{}, errNothingYet
		}
		if r.seg == nil {
			if err := r.open(sealed, last); err != nil {
				return wal.Group{}, err
			}
			continue
		}
		if r.stale {
			if err := r.lookAgain(sealed); err != nil {
				return wal.Group{}, err
			}
			continue
		}
		g, err := r.seg.Next()
		if err != nil {
			if err := r.invalid(err, sealed); err != nil {
				return wal.Group{}, err
			}
			continue
		}
		r.known = nil
		if g.Last() < r.next {
			continue
		}
		r.lane.raise(g.Durable)
		if g.First > r.next {
			if err := r.gap(g.Offset, g.Offset, g.First); err != nil {
				return wal.Group{}, err
			}
		}
		if !r.lane.own {
			r.lane.index.add(indexEntry{seq: g.First, segment: r.seg.Header.Number, offset: g.Offset, written: g.Written})
		}
		return g, nil
	}
}

// open opens segment r.number, or the one that r.next is in.
func (r *laneReader) open(sealed bool, last uint64) error {
	offset := int64(wal.HeaderSize)
	if r.number == 0 {
		var err error
		if r.number, offset, err = r.locate(); err != nil {
			return err
		}
	}
	seg, err := r.openSegment(r.number)
	if err == nil {
		r.seg = seg
		seg.SeekTo(offset)
		if seg.HeaderDamaged {
			r.chain.q.deps.Log.Warn("one of two segment headers is damaged", "lane", r.lane.id, "segment", r.number)
		}
		return nil
	}
	if !unreadable(err) {
		return err
	}
	next, aheadErr := r.ahead()
	if aheadErr != nil {
		return aheadErr
	}
	if r.live(sealed) && next.number == 0 {
		return errNothingYet // it is made when its first group is written, or the list is old
	}
	if missing(err) {
		if seg, err := r.surely(r.number); err == nil {
			return seg.Close() // the next try opens it
		} else if !unreadable(err) {
			return err
		}
	}
	next.skipped = append([]uint64{r.number}, next.skipped...)
	return r.goOn(place{clean: true}, sealed, last, next)
}

func (r *laneReader) openSegment(number uint64) (*wal.Reader, error) {
	return r.chain.q.openSegment(r.lane.id, number)
}

// openSegment opens a lane's segment. One that says that it belongs elsewhere is
// damaged for this lane.
func (q *Queue) openSegment(id string, number uint64) (*wal.Reader, error) {
	seg, err := wal.OpenReader(q.deps.FS, path.Join(q.at.lane(id), wal.Name(number)))
	if err != nil {
		return nil, err
	}
	if lane := ulid.ULID(seg.Header.Lane).String(); lane != id || seg.Header.Number != number {
		seg.Close()
		return nil, fmt.Errorf("segment header: it is segment %d of lane %s: %w", seg.Header.Number, lane, message.ErrDamaged)
	}
	return seg, nil
}

// unreadable reports whether a segment's error says that nothing can be read of
// it, now or later.
func unreadable(err error) bool {
	return missing(err) || errors.Is(err, wal.ErrBlank) || errors.Is(err, message.ErrDamaged)
}

// lookAgain takes note of what is known of the lane and then opens the segment
// anew, so that all of that is to be found there.
//
// In this order, since a share's caches show another host's writes only to an
// open that comes after them: a heartbeat that says 100, read after a segment
// that then showed 90, would make damage of the last ten.
func (r *laneReader) lookAgain(sealed bool) error {
	k := &known{sealed: sealed, last: r.lane.durable.Load()}
	var err error
	if k.ahead, err = r.ahead(); err != nil {
		return err
	}
	if k.ahead.number != 0 {
		k.last = max(k.last, k.ahead.first-1)
	}
	r.known, r.stale = k, false
	return r.reopen()
}

// invalid deals with the place where no valid group is. cause is io.EOF, where
// zero bytes or none stand there, or a *wal.InvalidError; others are returned.
func (r *laneReader) invalid(cause error, sealed bool) error {
	var bad *wal.InvalidError
	if !errors.Is(cause, io.EOF) && !errors.As(cause, &bad) {
		return cause
	}
	if r.known == nil { // it may have been a read beside a write, or an old view
		return r.lookAgain(sealed)
	}
	k := *r.known
	r.known = nil
	if !k.sealed && k.ahead.number == 0 && r.next > k.last || // nothing has to be there
		!k.sealed && bad != nil && bad.Known && bad.First > k.last { // it is being written
		r.stale = true
		return errNothingYet
	}
	if bad != nil && bad.Known {
		return r.damagedGroup(bad)
	}
	at := r.seg.Offset()
	blank, err := r.seg.FindNext(r.next)
	if err == nil {
		return r.gapBefore(at)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	if r.live(k.sealed) && k.ahead.number == 0 {
		// The next segment may be there and not yet in the list: only once the
		// lane is sealed can it be told that there is none.
		r.stale = true
		return errNothingYet
	}
	size, err := r.seg.Size()
	if err != nil {
		return err
	}
	return r.goOn(place{at, size, blank && bad == nil}, k.sealed, k.last, k.ahead)
}

// damagedGroup passes over a group whose header is sound and whose frames are
// not: exactly its seqs are concerned, and what is missing before it.
func (r *laneReader) damagedGroup(bad *wal.InvalidError) error {
	end := bad.Offset + bad.Size
	r.seg.SeekTo(end)
	first, last := r.next, bad.First+uint64(bad.Count)-1
	if last < first {
		return nil // settled before
	}
	r.next = last + 1
	return r.setAside(bad.Offset, end, first, last, bad.Reason)
}

// gapBefore reports the bytes between at and the header that was found.
func (r *laneReader) gapBefore(at int64) error {
	found := r.seg.Offset()
	g, err := r.seg.Next()
	first := g.First
	var bad *wal.InvalidError
	switch {
	case err == nil:
		r.lane.raise(g.Durable)
	case errors.As(err, &bad) && bad.Known: // the next round reports it
		first = bad.First
	default:
		r.seg.SeekTo(at)
		return err
	}
	r.seg.SeekTo(found)
	return r.gap(at, found, first)
}

// gap sets aside the seqs from r.next to before first.
func (r *laneReader) gap(from, to int64, first uint64) error {
	lost := r.next
	r.next = first
	if first <= lost {
		return nil
	}
	return r.setAside(from, to, lost, first-1, "no valid group for these seqs")
}

// place is the part of a segment behind its last valid group.
type place struct {
	from, to int64
	// clean says that nothing but zero bytes stands there.
	clean bool
}

// ahead is what follows a segment: the next one whose header can be read, its
// first seq, and the segments before it, all of them where there is none.
type ahead struct {
	number, first uint64
	skipped       []uint64
}

// goOn goes on where a segment has no further group: to the next segment that
// can be read, or to the end of the lane. What is missing in between, and what
// stands there and cannot be read, is set aside.
func (r *laneReader) goOn(rest place, sealed bool, last uint64, next ahead) error {
	first := r.next
	if next.number != 0 {
		last = next.first - 1
	}
	r.next = max(first, last+1)
	switch {
	case next.number != 0 && r.next == first: // nothing is missing
		r.close()
		r.number = next.number
		return nil
	case next.number != 0:
		err := r.setAsideRest(rest, first, next.skipped)
		r.close()
		r.number = next.number
		return err
	case !sealed: // in this process's own lane: damage now, and more may follow
		if r.seg != nil {
			next.skipped = nil
		}
		return r.setAsideRest(rest, first, next.skipped[:min(1, len(next.skipped))])
	}
	err := r.setAsideRest(rest, first, next.skipped)
	r.close()
	return errors.Join(err, r.end())
}

// setAsideRest reports the seqs from first to before r.next, with the bytes of
// rest and of the segments that cannot be read. At the end of a lane there may
// be none, and bytes nevertheless: of a group that was never acknowledged.
func (r *laneReader) setAsideRest(rest place, first uint64, segments []uint64) error {
	last, reason := r.next-1, "no valid group for these seqs"
	missing := last >= first
	if !missing {
		last, reason = first, "the writer stopped here; nobody was told that this was kept"
	}
	reported := false
	for _, n := range segments {
		content, err := r.setAsideSegment(n, first, last)
		if err != nil {
			return err
		}
		reported = reported || content
	}
	if rest.clean && (reported || !missing) {
		return nil
	}
	return r.setAside(rest.from, rest.to, first, last, reason)
}

// end marks the lane as read to its end and returns io.EOF.
func (r *laneReader) end() error {
	if !r.lookup {
		r.chain.mu.Lock()
		r.lane.raise(r.read) // not r.next-1: an undecidable tail does not become damage
		r.lane.ended, r.lane.read = true, r.read
		r.lane.settleEnd()
		r.chain.mu.Unlock()
	}
	return io.EOF
}

// reopen opens the segment anew. Where its header cannot be read any more, open
// decides what that means.
func (r *laneReader) reopen() error {
	at := r.seg.Offset()
	r.close()
	seg, err := r.openSegment(r.number)
	if unreadable(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reopen segment: %w", err)
	}
	seg.SeekTo(at)
	r.seg = seg
	return nil
}

func (r *laneReader) segmentName(number uint64) string {
	return path.Join(r.chain.q.at.lane(r.lane.id), wal.Name(number))
}

// locate returns the number of the segment that holds r.next, or of the first
// one there is, and an offset at or before its group.
func (r *laneReader) locate() (number uint64, offset int64, err error) {
	if e, ok := r.lane.index.find(r.next); ok {
		return e.segment, e.offset, nil
	}
	numbers, err := r.chain.q.segments(r.lane.id)
	if err != nil {
		return 0, 0, err
	}
	found := uint64(1)
	if len(numbers) > 0 {
		found = numbers[0]
	}
	for _, n := range numbers {
		seg, err := r.openSegment(n)
		if err != nil {
			continue // blank or damaged: an earlier one leads there
		}
		first := seg.Header.First
		seg.Close()
		if first > r.next {
			break
		}
		found = n
	}
	return found, wal.HeaderSize, nil
}

// ahead looks for the segments behind r.number. A segment is begun only once all
// before it was acknowledged, so that its header says so too.
//
// What the list does not name may be there all the same. Behind the last segment
// of a lane that has ended, of another process, a segment made and never begun is
// the proof that none follows; where there is none it is made, which succeeds
// only where there is none.
func (r *laneReader) ahead() (next ahead, err error) {
	numbers, err := r.chain.q.segments(r.lane.id)
	if err != nil {
		return ahead{}, err
	}
	sealed, proof := r.chain.isSealed(r.lane), r.lane.own || r.lookup
	last := r.number
	for _, n := range numbers {
		if n <= r.number {
			continue
		}
		for last+1 < n { // not in the list: removed, or the list was read while segments came
			last++
			if seg, err := r.surely(last); err == nil {
				return r.found(last, seg, next)
			} else if !unreadable(err) {
				return ahead{}, err
			}
		}
		seg, err := r.openSegment(n)
		switch {
		case err == nil:
			return r.found(n, seg, next)
		case !unreadable(err):
			return ahead{}, err
		}
		proof = proof || errors.Is(err, wal.ErrBlank)
		next.skipped = append(next.skipped, n)
		last = n
	}
	if sealed && !proof {
		if seg, err := r.surely(last + 1); err == nil {
			return r.found(last+1, seg, next)
		} else if !unreadable(err) {
			return ahead{}, err
		}
	}
	return next, nil
}

// found completes what follows with a segment that can be read.
func (r *laneReader) found(number uint64, seg *wal.Reader, next ahead) (ahead, error) {
	next.number, next.first = number, max(1, seg.Header.First)
	r.lane.raise(next.first - 1)
	return next, seg.Close()
}

// surely opens a segment, and where it seems to be missing makes sure of it: a
// host may remember for a minute that a name was not there. What is made in its
// place is blank, and removed with the lane.
func (r *laneReader) surely(number uint64) (*wal.Reader, error) {
	seg, err := r.openSegment(number)
	if !missing(err) || r.lane.own || r.lookup {
		return seg, err
	}
	f, made := r.chain.q.deps.FS.Create(r.segmentName(number))
	switch {
	case made == nil:
		_ = f.Close() // nothing was written
		return nil, fmt.Errorf("segment %d: %w", number, wal.ErrBlank)
	case !errors.Is(made, fs.ErrExist):
		return nil, fmt.Errorf("make sure that segment %d is missing: %w", number, made)
	}
	seg, err = r.openSegment(number)
	if missing(err) {
		return nil, fmt.Errorf("segment %d is there and cannot be opened yet", number)
	}
	return seg, err
}

// segments lists the numbers of a lane's segments in order.
func (q *Queue) segments(lane string) ([]uint64, error) {
	entries, err := q.deps.FS.ReadDir(q.at.lane(lane))
	if err != nil {
		return nil, fmt.Errorf("list lane %s: %w", lane, err)
	}
	var numbers []uint64
	for _, e := range entries {
		if digits, ok := strings.CutSuffix(e.Name(), ".seg"); ok {
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil && n > 0 && n < math.MaxInt64 {
				numbers = append(numbers, n)
			}
		}
	}
	return numbers, nil
}

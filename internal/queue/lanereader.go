package queue

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"

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
	// retried says that an invalid group was already read twice.
	retried bool
	// lookup says that nobody drains by this reader: it sets nothing aside and
	// does not say that the lane has ended.
	lookup bool
}

func newLaneReader(c *chain, l *lane, from uint64) *laneReader {
	return &laneReader{chain: c, lane: l, next: from}
}

// newLookup returns a reader for one who only wants to see.
func newLookup(l *lane, from uint64) *laneReader {
	return &laneReader{chain: l.chain, lane: l, next: from, lookup: true}
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
	g, err := r.group()
	if err != nil {
		return nil, err
	}
	msgs, err := g.Messages()
	if err != nil {
		// Sound checksums around frames that do not decode: written so.
		return nil, r.undecodable(g, err)
	}
	stored := make([]message.Stored, 0, len(msgs))
	for i, m := range msgs {
		seq := g.First + uint64(i)
		if seq >= r.next { // a claim may begin in the middle of a group
			stored = append(stored, message.Stored{Place: message.Place{Lane: r.lane.id, Seq: seq}, Message: m})
		}
	}
	r.next = g.Last() + 1
	return stored, nil
}

// undecodable sets aside a group that passed its checksums.
func (r *laneReader) undecodable(g wal.Group, err error) error {
	r.next = g.Last() + 1
	return r.setAside(g.Offset, g.Offset+g.Size, g.First, g.Last(), err.Error())
}

// messages is nextMessages, with groups that were set aside passed over.
func (r *laneReader) messages() ([]message.Stored, error) {
	for {
		msgs, err := r.nextMessages()
		if err != nil || len(msgs) > 0 {
			return msgs, err
		}
	}
}

// group returns the next valid group that reaches r.next.
func (r *laneReader) group() (wal.Group, error) {
	for {
		sealed := r.chain.isSealed(r.lane)
		if !sealed && r.next > r.lane.durable.Load() {
			return wal.Group{}, errNothingYet
		}
		if r.seg == nil {
			if err := r.open(sealed); err != nil {
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
		r.retried = false
		if g.Last() < r.next {
			continue
		}
		if g.First > r.next {
			if err := r.gap(g.Offset, g.Offset, g.First); err != nil {
				return wal.Group{}, err
			}
		}
		if !r.lane.own {
			r.lane.index.add(indexEntry{seq: g.First, segment: r.seg.Header.Number, offset: g.Offset, written: g.Written})
		}
		r.lane.raise(g.Durable)
		return g, nil
	}
}

// open opens segment r.number, or the one that r.next is in.
func (r *laneReader) open(sealed bool) error {
	offset := int64(wal.HeaderSize)
	if r.number == 0 {
		var err error
		if r.number, offset, err = r.locate(); err != nil {
			return err
		}
	}
	seg, err := wal.OpenReader(r.chain.q.deps.FS, r.segmentName(r.number))
	switch {
	case err == nil:
		r.seg = seg
		seg.SeekTo(offset)
		if seg.HeaderDamaged {
			r.chain.q.deps.Log.Warn("one of two segment headers is damaged", "lane", r.lane.id, "segment", r.number)
		}
		return nil
	case !missing(err) && !errors.Is(err, wal.ErrBlank) && !errors.Is(err, message.ErrDamaged):
		return err
	case !sealed && !errors.Is(err, message.ErrDamaged):
		return errNothingYet
	}
	return r.unreadableSegment(err)
}

// unreadableSegment passes over a segment of which nothing can be read: the end
// of a sealed lane where none follows.
func (r *laneReader) unreadableSegment(cause error) error {
	later, first, err := r.laterSegment()
	if err != nil {
		return err
	}
	if errors.Is(cause, message.ErrDamaged) {
		if err := r.setAsideSegment(cause); err != nil {
			return err
		}
	}
	if later == 0 {
		return r.end()
	}
	if first > r.next {
		if err := r.gap(0, 0, first); err != nil {
			return err
		}
	}
	r.number = later
	return nil
}

// invalid deals with the place where no valid group is. cause is io.EOF, where
// zero bytes or none stand there, or a *wal.InvalidError; others are returned.
func (r *laneReader) invalid(cause error, sealed bool) error {
	var bad *wal.InvalidError
	if !errors.Is(cause, io.EOF) && !errors.As(cause, &bad) {
		return cause
	}
	if !r.retried { // it may have been a read beside a write: once more, reopened
		r.retried = true
		return r.reopen()
	}
	r.retried = false
	at := r.seg.Offset()
	if bad != nil && bad.Known && bad.First == r.next {
		// The header is sound: exactly these seqs are concerned.
		r.seg.SeekTo(at + bad.Size)
		r.next = bad.First + uint64(bad.Count)
		return r.setAside(at, at+bad.Size, bad.First, r.next-1, bad.Reason)
	}
	blank, err := r.seg.FindNext(r.next)
	if err == nil {
		return r.gapBefore(at)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return r.endOfSegment(at, blank && bad == nil, sealed)
}

// gapBefore reports the bytes between at and the valid group that was found.
func (r *laneReader) gapBefore(at int64) error {
	found := r.seg.Offset()
	g, err := r.seg.Next()
	if err != nil {
		// Its header passes and its frames do not: the next round reports it.
		r.seg.SeekTo(found)
		return nil
	}
	r.seg.SeekTo(found)
	return r.gap(at, found, g.First)
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

// endOfSegment goes on where a segment has no further group from at on.
func (r *laneReader) endOfSegment(at int64, clean, sealed bool) error {
	later, first, err := r.laterSegment()
	if err != nil {
		return err
	}
	size, err := r.seg.Size()
	if err != nil {
		return err
	}
	switch {
	case later != 0:
		if first > r.next {
			err = r.gap(at, size, first)
		}
		r.close()
		r.number = later
		return err
	case !sealed:
		// In this process's own lane, at or below its durable seq: damage now.
		return r.gap(at, size, r.lane.durable.Load()+1)
	}
	if last := r.lane.durable.Load(); r.next <= last {
		err = r.gap(at, size, last+1)
	} else if !clean {
		err = r.setAside(at, size, r.next, r.next, "the writer stopped here; nobody was told that this was kept")
	}
	r.close()
	return errors.Join(err, r.end())
}

// end marks the lane as read to its end and returns io.EOF, or the error of
// setting damage aside.
func (r *laneReader) end() error {
	last := r.lane.durable.Load()
	if r.next <= last { // nothing at all is there for these
		if err := r.gap(0, 0, last+1); err != nil {
			return err
		}
	}
	if !r.lookup {
		r.chain.mu.Lock()
		r.lane.durable.Store(r.next - 1)
		r.lane.ended = true
		r.chain.mu.Unlock()
	}
	return io.EOF
}

func (r *laneReader) reopen() error {
	at := r.seg.Offset()
	r.close()
	seg, err := wal.OpenReader(r.chain.q.deps.FS, r.segmentName(r.number))
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
		seg, err := wal.OpenReader(r.chain.q.deps.FS, r.segmentName(n))
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

// laterSegment returns the next segment behind r.number whose header can be
// read, and its first seq; 0 where there is none.
func (r *laneReader) laterSegment() (number, first uint64, err error) {
	numbers, err := r.chain.q.segments(r.lane.id)
	if err != nil {
		return 0, 0, err
	}
	for _, n := range numbers {
		if n <= r.number {
			continue
		}
		seg, err := wal.OpenReader(r.chain.q.deps.FS, r.segmentName(n))
		if errors.Is(err, wal.ErrBlank) || errors.Is(err, message.ErrDamaged) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		first := seg.Header.First
		return n, first, seg.Close()
	}
	return 0, 0, nil
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

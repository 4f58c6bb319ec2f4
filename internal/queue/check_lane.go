package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// LaneDetail is a lane with everything in it that was looked at.
type LaneDetail struct {
	LaneView
	SegmentList []SegmentView `json:"segment_list"`
	GroupList   []GroupView   `json:"group_list,omitempty"`
	Findings    []Finding     `json:"findings"`
	// Removed is how many messages retention has taken away.
	Removed uint64 `json:"removed_messages"`
}

// SegmentView is a segment that was read through.
type SegmentView struct {
	Number uint64 `json:"number"`
	// Bytes is the file's length, Used what header and groups take of it.
	Bytes   int64     `json:"bytes"`
	Used    int64     `json:"used_bytes"`
	Begun   time.Time `json:"begun,omitzero"`
	Written time.Time `json:"written,omitzero"` // of the last group
	// FirstSeq and LastSeq are of its sound groups; 0 where there is none.
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	Groups   uint64 `json:"groups"`
	Messages uint64 `json:"messages"`
	// State is "sound", "blank" (made ahead and not begun) or what is wrong.
	State string `json:"state"`
}

// GroupView is a sound frame group.
type GroupView struct {
	Segment  uint64    `json:"segment"`
	Offset   int64     `json:"offset"`
	Bytes    int64     `json:"bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	Written  time.Time `json:"written"`
	// Durable is the lane's durable seq when the group was written.
	Durable uint64 `json:"durable_seq"`
}

// Want says what a walk through a lane keeps beside its segments.
type Want struct {
	// Groups asks for the list of groups.
	Groups bool
}

// laneWalk reads a lane from its first segment to its end and judges what it
// finds by the rules of docs/design/queue-format.md, "What a reader concludes".
type laneWalk struct {
	v      *Inspector
	want   *Want
	out    *LaneDetail
	sealed bool
	// durable is the highest seq that heartbeat, groups and segments say is
	// acknowledged; settled the seq below which all is forwarded.
	durable, settled uint64
	next             uint64 // the seq expected next
	suspects         []suspect
	// opens are suspects of which it is not known yet which seqs they concern:
	// those up to the next sound group.
	opens []int
	// hole says that a segment is not there between the last one and this.
	hole bool
}

// suspect is something that is no sound group.
type suspect struct {
	segment     uint64
	from, to    int64
	first, last uint64 // first 0 where no seq is concerned
	reason      string
	unread      bool
}

// walkLane walks through one lane; nil where it is gone.
func (v *Inspector) walkLane(ctx context.Context, id string, want *Want) (*LaneDetail, error) {
	if want == nil {
		want = &Want{}
	}
	// The fence before the heartbeat, and that before the segments: what a live
	// lane gets meanwhile is above the durable seq that is asked for, and a
	// sealed one gets nothing.
	view, err := v.laneView(id)
	if err != nil || view.Lane == "" {
		return nil, err
	}
	c, err := v.chainView(view.Chain)
	if err != nil {
		return nil, err
	}
	view.settle(c)
	files, err := v.laneFiles(id)
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w := &laneWalk{
		v: v, want: want, sealed: view.State == LaneSealed, durable: view.DurableSeq,
		settled: max(1, view.SettledBelow), next: 1,
		out: &LaneDetail{LaneView: view, Findings: []Finding{}, SegmentList: []SegmentView{}},
	}
	for i, n := range files.segments {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		w.hole = w.hole || i == 0 && n > 1 || i > 0 && n != files.segments[i-1]+1
		w.segment(n)
	}
	w.finish(len(files.segments) > 0)
	w.smallFiles()
	return w.out, nil
}

func (w *laneWalk) raise(seq uint64) { w.durable = max(w.durable, seq) }

func (w *laneWalk) file(segment uint64) string {
	return path.Join("lanes", w.out.Lane, wal.Name(segment))
}

func (w *laneWalk) find(severity string, s suspect) {
	f := Finding{
		Severity: severity, File: w.file(s.segment), Lane: w.out.Lane, Segment: s.segment,
		Offset: s.from, Bytes: max(0, s.to-s.from), FirstSeq: s.first, LastSeq: s.last, Text: s.reason,
		Forwarded: s.first > 0 && s.last < w.settled,
	}
	if s.segment == 0 {
		f.File = path.Join("lanes", w.out.Lane)
	}
	w.out.Findings = append(w.out.Findings, f)
}

// open notes a suspect whose seqs the next sound group tells.
func (w *laneWalk) open(s suspect) {
	w.opens = append(w.opens, len(w.suspects))
	w.suspects = append(w.suspects, s)
}

// advance goes on at a seq where something sound begins: those before it that
// were not read are missing.
func (w *laneWalk) advance(to uint64, at suspect) {
	switch {
	case to <= w.next:
	case len(w.opens) > 0:
		for _, i := range w.opens {
			w.suspects[i].first, w.suspects[i].last = w.next, to-1
		}
	case w.hole && to <= w.settled:
		w.out.Removed += to - w.next
	default:
		at.first, at.last = w.next, to-1
		at.reason = "no valid group for " + seqs(at.first, at.last)
		if w.hole {
			at.reason = "the segment with " + seqs(at.first, at.last) + " is missing"
		}
		w.suspects = append(w.suspects, at)
	}
	w.opens, w.hole = w.opens[:0], false
	w.next = max(w.next, to)
}

// segment reads one segment through.
func (w *laneWalk) segment(number uint64) {
	view := SegmentView{Number: number, State: "sound"}
	seg, err := w.openSegment(number)
	switch {
	case missing(err): // removed since it was listed
		w.hole = true
		return
	case errors.Is(err, wal.ErrBlank):
		view.State = w.blank(number)
	case errors.Is(err, message.ErrDamaged):
		view.State = err.Error()
		w.open(suspect{segment: number, to: w.size(number), reason: "the whole segment cannot be read: " + err.Error()})
	case err != nil:
		view.State = err.Error()
		w.open(suspect{segment: number, to: w.size(number), reason: err.Error(), unread: true})
	}
	if err != nil {
		view.Bytes = w.size(number)
		w.out.SegmentList = append(w.out.SegmentList, view)
		return
	}
	defer seg.Close()
	if seg.HeaderDamaged {
		view.State = "one copy of the header is damaged"
		w.find(SeverityWarning, suspect{
			segment: number, to: wal.HeaderSize,
			reason: "one of the two copies of the segment's header is damaged, or something stands beside them; no message is concerned",
		})
	}
	first := max(1, seg.Header.First)
	if len(w.out.SegmentList) > 0 || number > 1 {
		w.raise(first - 1) // a segment is begun only once all before it was acknowledged
	}
	w.advance(first, suspect{segment: number})
	view.Begun = seg.Header.Created
	w.groups(seg, &view)
	if view.Bytes, err = seg.Size(); err != nil {
		view.Bytes = view.Used
	}
	w.out.SegmentList = append(w.out.SegmentList, view)
}

// openSegment opens a segment. One that says that it belongs elsewhere is
// damaged for this lane.
func (w *laneWalk) openSegment(number uint64) (*wal.Reader, error) {
	seg, err := wal.OpenReader(w.v.fsys, path.Join(w.v.at.lane(w.out.Lane), wal.Name(number)))
	if err != nil {
		return nil, err
	}
	if lane := ulid.ULID(seg.Header.Lane).String(); lane != w.out.Lane || seg.Header.Number != number {
		seg.Close()
		return nil, fmt.Errorf("it is segment %d of lane %s: %w", seg.Header.Number, lane, message.ErrDamaged)
	}
	return seg, nil
}

// groups reads the groups of a segment.
func (w *laneWalk) groups(seg *wal.Reader, view *SegmentView) {
	view.Used = seg.Offset()
	for {
		g, err := seg.Next()
		var bad *wal.InvalidError
		switch {
		case err == nil:
			w.group(g, view)
		case errors.As(err, &bad) && bad.Known:
			w.badFrames(bad, view.Number)
			seg.SeekTo(bad.Offset + bad.Size)
		case errors.Is(err, io.EOF) || bad != nil:
			if !w.search(seg, bad) {
				return
			}
		default: // the disk does not give it
			w.open(suspect{segment: view.Number, from: seg.Offset(), to: w.size(view.Number), reason: err.Error(), unread: true})
			return
		}
		view.Used = seg.Offset()
	}
}

// group takes a sound one.
func (w *laneWalk) group(g wal.Group, view *SegmentView) {
	at := suspect{segment: view.Number, from: g.Offset, to: g.Offset}
	if g.Last() < w.next || g.First < w.next {
		w.find(SeverityWarning, suspect{
			segment: view.Number, from: g.Offset, to: g.Offset + g.Size,
			reason: seqs(g.First, g.Last()) + " stand here a second time",
		})
	}
	w.advance(g.First, at)
	w.raise(g.Durable)
	w.next = max(w.next, g.Last()+1)
	if _, err := g.Messages(); err != nil { // written so, under sound checksums
		w.suspects = append(w.suspects, suspect{
			segment: view.Number, from: g.Offset, to: g.Offset + g.Size, first: g.First, last: g.Last(), reason: err.Error(),
		})
		return
	}
	view.Groups++
	view.Messages += uint64(g.Count)
	view.Written = g.Written
	if view.FirstSeq == 0 {
		view.FirstSeq = g.First
	}
	view.LastSeq = g.Last()
	if w.want.Groups {
		w.out.GroupList = append(w.out.GroupList, GroupView{
			Segment: view.Number, Offset: g.Offset, Bytes: g.Size, FirstSeq: g.First, LastSeq: g.Last(),
			Written: g.Written, Durable: g.Durable,
		})
	}
}

// badFrames takes a group whose header is sound and whose frames are not.
func (w *laneWalk) badFrames(bad *wal.InvalidError, segment uint64) {
	w.advance(bad.First, suspect{segment: segment, from: bad.Offset, to: bad.Offset})
	last := bad.First + uint64(bad.Count) - 1
	w.next = max(w.next, last+1)
	w.suspects = append(w.suspects, suspect{
		segment: segment, from: bad.Offset, to: bad.Offset + bad.Size, first: bad.First, last: last, reason: bad.Reason,
	})
}

// search looks behind a place without a sound group header for the next one, and
// reports whether there is one to go on at. bad is nil where the place is blank.
func (w *laneWalk) search(seg *wal.Reader, bad *wal.InvalidError) bool {
	at, number := seg.Offset(), seg.Header.Number
	reason := "zero bytes where a group should stand"
	if bad != nil {
		reason = bad.Reason
	}
	blank, err := seg.FindNext(w.next)
	switch {
	case err == nil:
		w.open(suspect{segment: number, from: at, to: seg.Offset(), reason: reason})
		return true
	case !errors.Is(err, io.EOF):
		w.open(suspect{segment: number, from: at, to: w.size(number), reason: err.Error(), unread: true})
	case bad != nil || !blank:
		w.open(suspect{segment: number, from: at, to: w.size(number), reason: reason})
	}
	return false
}

// blank tells what a segment without a header is, and notes it where something
// stands in it.
func (w *laneWalk) blank(number uint64) string {
	empty, err := w.allZero(number)
	switch {
	case err != nil:
		w.open(suspect{segment: number, to: w.size(number), reason: err.Error(), unread: true})
		return err.Error()
	case !empty:
		w.open(suspect{segment: number, to: w.size(number), reason: "the segment's header is all zero, although something stands behind it"})
		return "the header is missing"
	}
	return "blank"
}

func (w *laneWalk) allZero(number uint64) (bool, error) {
	f, err := w.v.fsys.Open(path.Join(w.v.at.lane(w.out.Lane), wal.Name(number)))
	if err != nil {
		return false, err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(chunk)) {
		n, err := f.ReadAt(chunk, at)
		if _, some := noteText(chunk[:n]); some {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// size is the length of a segment, 0 where it cannot be told.
func (w *laneWalk) size(number uint64) int64 {
	var f durable.File
	f, err := w.v.fsys.Open(path.Join(w.v.at.lane(w.out.Lane), wal.Name(number)))
	if err != nil {
		return 0
	}
	defer f.Close()
	n, err := f.Size()
	if err != nil {
		return 0
	}
	return n
}

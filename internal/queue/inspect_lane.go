package queue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// laneFiles is a lane's directory as it was listed.
type laneFiles struct {
	segments []uint64 // in order
	bytes    int64    // of the segments
	marks    []mark   // of a dead lane
}

// laneFiles lists a lane's directory.
func (v *Inspector) laneFiles(id string) (laneFiles, error) {
	var l laneFiles
	entries, err := v.fsys.ReadDir(v.at.lane(id))
	if err != nil {
		return l, fmt.Errorf("list lane %s: %w", id, err)
	}
	for _, e := range entries {
		if n, ok := segmentNumber(e.Name()); ok {
			l.segments = append(l.segments, n)
			if info, err := e.Info(); err == nil { // else removed since
				l.bytes += info.Size()
			}
		}
		if m, ok := parseMark(e.Name()); ok {
			l.marks = append(l.marks, m)
		}
	}
	return l, nil
}

// segmentNumber reads the name of a segment.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 63)
	return n, ok && err == nil && n > 0
}

// readInfo reads a lane's file. A lane without a readable one is a chain of its
// own, as for those who drain it.
func (v *Inspector) readInfo(id string) (laneInfo, error) {
	var info laneInfo
	b, err := v.readSmall(v.at.laneFile(id, laneFileName))
	if err == nil {
		switch err = json.Unmarshal(b, &info); {
		case err != nil:
			err = fmt.Errorf("%w: %w", message.ErrDamaged, err)
		case info.Lane != id || !message.ValidLane(info.Owner.Process):
			err = fmt.Errorf("it is of lane %q: %w", info.Lane, message.ErrDamaged)
		}
	}
	if err != nil {
		return laneInfo{Lane: id, Owner: owner{Process: id}}, err
	}
	return info, nil
}

// laneView looks at one lane; the zero LaneView where it is gone. System calls:
// for each of lane, fence and heartbeat open, pread, close; open, getdents and a
// stat for each segment; where the oldest segments are gone open, pread, close.
func (v *Inspector) laneView(id string) (LaneView, error) {
	view := LaneView{Lane: id}
	info, err := v.readInfo(id)
	if err != nil {
		view.note(laneFileName, err)
	}
	view.take(info, v.ownerView(info.Owner))
	fence, err := v.readSmall(v.at.laneFile(id, fenceFileName))
	if err != nil {
		view.note(fenceFileName, err)
	}
	var ended bool
	view.Ended, ended = noteText(fence)
	switch {
	case ended:
		view.State = LaneSealed
	case len(fence) < noteSize || len(view.Trouble) > 0:
		view.State = LaneUnfinished
	default:
		view.State = LaneLive
	}
	beat, err := v.readSmall(v.at.laneFile(id, heartbeatFileName))
	if err != nil {
		view.note(heartbeatFileName, err)
	}
	if h, ok := decodeHeartbeat(beat); ok {
		view.DurableSeq = h.durable
	}
	files, err := v.laneFiles(id)
	if missing(err) {
		return LaneView{}, nil
	}
	if err != nil {
		return LaneView{}, err
	}
	view.Segments, view.Bytes = len(files.segments), files.bytes
	if len(files.segments) > 0 {
		view.FirstSeq = v.firstSeq(id, files.segments[0])
	}
	if view.Kind == KindDead {
		view.OpenLetters = view.DurableSeq - covered(files.marks, view.DurableSeq)
	}
	return view, nil
}

// take fills in what the lane's file says.
func (l *LaneView) take(info laneInfo, by OwnerView) {
	l.Kind, l.Chain, l.Topic = info.Kind, info.Owner.Process, info.Topic
	switch {
	case l.Kind == "":
		l.Kind = KindAccepted
	case l.Kind == kindSide && message.ValidLane(info.Of):
		l.Chain = info.Of
	}
	l.Predecessor, l.Stamp, l.Owner, l.Created = info.Predecessor, info.Stamp, by, info.Created
}

func (l *LaneView) note(file string, err error) {
	text := err.Error()
	var pe *fs.PathError
	switch {
	case missing(err):
		text = "missing"
	case errors.As(err, &pe):
		text = pe.Err.Error()
	}
	l.Trouble = append(l.Trouble, file+": "+text)
}

// noteText is what a fence or revocation says; ended reports that it is not
// empty.
func noteText(b []byte) (text string, ended bool) {
	if len(bytes.Trim(b, "\x00")) == 0 {
		return "", false
	}
	return strings.ToValidUTF8(string(bytes.Trim(b, "\x00 \n")), "\uFFFD"), true
}

// firstSeq is the first seq of a lane's oldest segment. Only where the first one
// is gone has a header to be read.
func (v *Inspector) firstSeq(id string, number uint64) uint64 {
	if number == 1 {
		return 1
	}
	seg, err := wal.OpenReader(v.fsys, path.Join(v.at.lane(id), wal.Name(number)))
	if err != nil {
		return 0
	}
	seg.Close()
	return seg.Header.First
}

// ownerView says whether a process of this machine is still there.
func (v *Inspector) ownerView(o owner) OwnerView {
	view := OwnerView{Process: o.Process, Host: o.Host, PID: o.PID}
	v.mu.Lock()
	defer v.mu.Unlock()
	if view.State = v.seen[o]; view.State != "" {
		return view
	}
	view.State = OwnerUnknown
	switch {
	case o.deadFor(v.self):
		view.State = OwnerGone
	case o.PID > 0 && o.Host == v.self.Host && o.BootID == v.self.BootID && o.PIDNamespace == v.self.PIDNamespace:
		view.State = OwnerRunning
	}
	v.seen[o] = view.State
	return view
}

// reports reads what is in quarantine/.
func (v *Inspector) reports(ctx context.Context) ([]SetAside, error) {
	entries, err := v.fsys.ReadDir(v.at.quarantine())
	if missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list quarantine: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			names = append(names, e.Name())
		}
	}
	all := make([]SetAside, len(names))
	err = each(ctx, len(names), func(_ context.Context, i int) error {
		b, err := durable.ReadFile(v.fsys, path.Join(v.at.quarantine(), names[i]), 1<<20)
		if err == nil {
			err = json.Unmarshal(b, &all[i])
		}
		if err != nil { // cut short while it was made
			all[i] = SetAside{Lane: strings.TrimSuffix(names[i], ".json"), Reason: "the report cannot be read: " + err.Error()}
		}
		return nil
	})
	return all, err
}

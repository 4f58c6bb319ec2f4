package queue

import (
	"path"
	"slices"
)

// finish judges what was found, once the lane's durable seq is known.
func (w *laneWalk) finish(any bool) {
	tails := slices.Clone(w.opens)
	switch {
	case w.next > w.durable:
	case len(w.opens) > 0:
		w.advance(w.durable+1, suspect{})
		tails = nil
	case !any || w.hole:
		// Its last segments are gone: by retention, if all is settled.
		w.hole = true
		w.advance(w.durable+1, suspect{})
	default:
		last := w.out.SegmentList[len(w.out.SegmentList)-1]
		w.advance(w.durable+1, suspect{segment: last.Number, from: last.Used, to: last.Bytes})
	}
	for i, s := range w.suspects {
		w.judge(s, slices.Contains(tails, i))
	}
	if w.out.Kind != KindDead {
		w.out.DurableSeq = w.durable
		w.out.settleAt(w.settled)
	}
}

// settleAt counts again what is not forwarded.
func (l *LaneView) settleAt(settled uint64) {
	l.Unforwarded = max(l.DurableSeq+1, settled) - settled
}

// judge decides what a suspect is. tail says that nothing sound stands behind it.
func (w *laneWalk) judge(s suspect, tail bool) {
	switch {
	case s.unread:
		w.find(SeverityUnread, s)
	case s.first > 0 && s.first <= w.durable:
		w.find(SeverityDamage, s)
	case (s.first > 0 || tail) && !w.sealed: // it may be in the middle of being written
	case s.first > 0 || tail:
		s.reason = "undecidable tail, nobody was told that it is kept: " + s.reason
		w.find(SeverityNotice, s)
	default: // between sound groups that follow each other
		s.reason = "something stands where nothing belongs; no message is concerned: " + s.reason
		w.find(SeverityWarning, s)
	}
}

// smallFiles judges the lane's own files.
func (w *laneWalk) smallFiles() {
	v, id := w.v, w.out.Lane
	warn := func(severity, name, text string) {
		w.out.Findings = append(w.out.Findings, Finding{Severity: severity, Lane: id, File: path.Join("lanes", id, name), Text: text})
	}
	// Of a lane that is being made or removed any of them may be missing: it
	// holds no group then.
	holds := slices.ContainsFunc(w.out.SegmentList, func(s SegmentView) bool { return s.Groups > 0 })
	if _, err := v.readInfo(id); err != nil && holds {
		warn(SeverityWarning, laneFileName, "cannot be read: "+err.Error()+"; what the lane holds is sent again from its beginning")
	}
	b, err := v.readSmall(v.at.laneFile(id, fenceFileName))
	switch text, ended := noteText(b); {
	case err != nil && holds:
		warn(SeverityWarning, fenceFileName, "cannot be read: "+err.Error())
	case err == nil && len(b) != noteSize && holds:
		warn(SeverityWarning, fenceFileName, "cut short")
	case ended && (b[0] == 0 || text == "" || b[len(b)-1] != '\n'):
		warn(SeverityWarning, fenceFileName, "filled with something that no process writes; the lane counts as sealed all the same")
	}
	b, err = v.readSmall(v.at.laneFile(id, heartbeatFileName))
	switch {
	case err != nil && holds:
		warn(SeverityWarning, heartbeatFileName, "cannot be read: "+err.Error()+"; what was acknowledged last may pass for a tail")
	case err == nil:
		w.heartbeat(b, holds, warn)
	}
}

// heartbeat judges the slots of a heartbeat file.
func (w *laneWalk) heartbeat(b []byte, holds bool, warn func(severity, name, text string)) {
	_, sound := decodeHeartbeat(b)
	if !sound {
		if holds {
			warn(SeverityWarning, heartbeatFileName, "no slot is sound; what was acknowledged last may pass for a tail")
		}
		return
	}
	for at := 0; at < heartbeatSize; at += heartbeatSlot {
		slot := b[min(at, len(b)):min(at+heartbeatSlot, len(b))]
		if _, ok := decodeHeartbeat(slot); ok {
			continue
		}
		if _, written := noteText(slot); written {
			warn(SeverityNotice, heartbeatFileName, "one of two slots is not sound: damaged, or torn when its writer was killed")
		}
	}
}

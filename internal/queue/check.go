package queue

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
)

// The severities of a finding, the worst first.
const (
	// SeverityDamage: messages that were acknowledged are damaged or missing.
	SeverityDamage = "damage"
	// SeverityUnread: something could not be read, so nothing is known of it.
	SeverityUnread = "unread"
	// SeverityWarning: something is damaged that cost no message.
	SeverityWarning = "warning"
	// SeverityNotice: worth knowing, and as it may be.
	SeverityNotice = "notice"
)

// Finding is one thing that a check found.
type Finding struct {
	Severity string `json:"severity"`
	// File is the path below the queue's directory.
	File    string `json:"file"`
	Lane    string `json:"lane,omitempty"`
	Segment uint64 `json:"segment,omitempty"`
	// Offset and Bytes say where in the file, where that is known.
	Offset int64 `json:"offset,omitempty"`
	Bytes  int64 `json:"bytes,omitempty"`
	// FirstSeq and LastSeq are the messages concerned; 0 where none is known.
	FirstSeq uint64 `json:"first_seq,omitempty"`
	LastSeq  uint64 `json:"last_seq,omitempty"`
	// Forwarded says that all of them were settled before: what is damaged is
	// the copy that is kept for replay.
	Forwarded bool   `json:"forwarded,omitempty"`
	Text      string `json:"text"`
}

// same reports whether two looks found the same thing.
func (f Finding) same(g Finding) bool {
	f.Text, g.Text, f.Forwarded, g.Forwarded = "", "", false, false
	return f == g
}

// CheckReport is what a check looked at and found.
type CheckReport struct {
	Dir      string `json:"dir"`
	Lanes    int    `json:"lanes"`
	Chains   int    `json:"chains"`
	Segments int    `json:"segments"`
	Groups   uint64 `json:"groups"`
	Messages uint64 `json:"messages"`
	// Bytes is what was read of segments.
	Bytes int64 `json:"bytes"`
	// Lost is how many acknowledged messages are damaged or missing; Unsent is
	// how many of them no progress says to be settled.
	Lost   uint64 `json:"lost_messages"`
	Unsent uint64 `json:"lost_unforwarded_messages"`
	// Findings are the worst first, then by lane and place.
	Findings []Finding `json:"findings"`
}

// Count is how many findings have a severity.
func (r *CheckReport) Count(severity string) (n int) {
	for _, f := range r.Findings {
		if f.Severity == severity {
			n++
		}
	}
	return n
}

// Check verifies every frame group of every lane by both its checksums, and
// every heartbeat, fence, claim and progress file. It may run beside processes
// that work in the directory: the durable seq of a lane is read first and what
// it covers after that, and anything wrong is looked at a second time, with all
// files opened anew, before it is a finding. What retention removes meanwhile,
// below the chain's settled progress, is not missed.
func (v *Inspector) Check(ctx context.Context) (CheckReport, error) {
	r := CheckReport{Dir: v.at.dir, Findings: []Finding{}}
	ids, others, err := v.laneIDs()
	if err != nil {
		return r, err
	}
	for _, name := range others {
		r.Findings = append(r.Findings, Finding{Severity: SeverityNotice, File: name, Text: "not a lane, left alone by everybody"})
	}
	var mu sync.Mutex
	err = each(ctx, len(ids), func(ctx context.Context, i int) error {
		d, err := v.verifyLane(ctx, ids[i], nil)
		if err != nil || d == nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		r.add(d)
		return nil
	})
	if err != nil {
		return r, err
	}
	more, chains, err := v.checkFiles(ctx)
	if err != nil {
		return r, err
	}
	r.Chains = chains
	r.Findings = append(r.Findings, more...)
	sortFindings(r.Findings)
	return r, nil
}

// add takes what was found in one lane.
func (r *CheckReport) add(d *LaneDetail) {
	r.Lanes++
	r.Segments += len(d.SegmentList)
	for _, s := range d.SegmentList {
		r.Groups += s.Groups
		r.Messages += s.Messages
		r.Bytes += s.Used
	}
	r.Findings = append(r.Findings, d.Findings...)
	lost, unsent := lostSeqs(d.Findings, d.SettledBelow)
	r.Lost, r.Unsent = r.Lost+lost, r.Unsent+unsent
}

// lostSeqs counts the seqs of one lane that its findings of damage concern, each
// once, and those of them at or above settled.
func lostSeqs(findings []Finding, settled uint64) (lost, unsent uint64) {
	var marks []mark
	for _, f := range findings {
		if f.Severity == SeverityDamage && f.FirstSeq > 0 {
			marks = append(marks, mark{first: f.FirstSeq, last: f.LastSeq})
		}
	}
	const all = 1<<64 - 2
	lost = covered(marks, all)
	return lost, lost - covered(marks, max(settled, 1)-1)
}

func sortFindings(all []Finding) {
	order := []string{SeverityDamage, SeverityUnread, SeverityWarning, SeverityNotice}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(order, a.Severity), slices.Index(order, b.Severity)),
			cmp.Compare(a.Lane, b.Lane), cmp.Compare(a.Segment, b.Segment),
			cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.File, b.File),
		)
	})
}

// verifyLane walks through a lane, and through it again where anything seems
// wrong: a group that was being written, a segment begun or removed meanwhile
// look like damage once, and not twice. nil where the lane is gone.
func (v *Inspector) verifyLane(ctx context.Context, id string, want *Want) (*LaneDetail, error) {
	first, err := v.walkLane(ctx, id, want)
	if err != nil || first == nil || len(first.Findings) == 0 {
		return first, err
	}
	second, err := v.walkLane(ctx, id, want)
	if err != nil || second == nil {
		return second, err
	}
	second.Findings = slices.DeleteFunc(second.Findings, func(f Finding) bool {
		return !slices.ContainsFunc(first.Findings, f.same)
	})
	return second, nil
}

// seqs writes which messages are concerned.
func seqs(first, last uint64) string {
	if first == last {
		return fmt.Sprintf("message %d", first)
	}
	return fmt.Sprintf("messages %d to %d", first, last)
}

package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"postroad/internal/durable"
	"postroad/internal/wal"
)

// setAsideInfo is what stands beside the bytes of what could not be read.
type setAsideInfo struct {
	Lane     string `json:"lane"`
	Segment  uint64 `json:"segment"`
	Offset   int64  `json:"offset"`
	Bytes    int    `json:"bytes"`
	FirstSeq uint64 `json:"first_seq"`
	LastSeq  uint64 `json:"last_seq"`
	// Kind is "damage" (acknowledged messages are concerned) or "undecidable
	// tail" (nobody was told that they were kept).
	Kind   string    `json:"kind"`
	Reason string    `json:"reason"`
	Found  time.Time `json:"found"`
}

// setAside copies [from, to) of the open segment to quarantine/, without the
// zero bytes at its end, and reports the seqs concerned. The segment itself is
// left as it is until its retention ends. Doing it again changes nothing.
func (r *laneReader) setAside(from, to int64, first, last uint64, reason string) error {
	if r.lookup {
		r.skipped = true
		return nil
	}
	if err := r.stillHolds(); err != nil {
		return err
	}
	r.learn(first)
	var b []byte
	if r.seg != nil {
		var err error
		if b, err = r.seg.Bytes(from, to); err != nil { // a bad sector, perhaps: the seqs are reported all the same
			reason += "; its bytes cannot be read: " + err.Error()
		}
	}
	return r.chain.q.setAside(bytes.TrimRight(b, "\x00"), setAsideInfo{
		Lane: r.lane.id, Segment: r.number, Offset: from, FirstSeq: first, LastSeq: last,
		Kind: r.kind(first), Reason: reason,
	})
}

func (r *laneReader) stillHolds() error {
	if r.holds == nil {
		return nil
	}
	return r.holds()
}

// learn reads on, without moving, for a group that was written when first was
// known to be durable: a heartbeat that is a few seconds old does not say so,
// and an acknowledged message must not pass for one that nobody was told of.
func (r *laneReader) learn(first uint64) {
	if r.seg == nil || first <= r.lane.durable.Load() {
		return
	}
	at := r.seg.Offset()
	defer r.seg.SeekTo(at)
	for first > r.lane.durable.Load() {
		g, err := r.seg.Next()
		var bad *wal.InvalidError
		switch {
		case err == nil:
			r.lane.raise(g.Durable)
		case errors.As(err, &bad) && bad.Known:
			r.seg.SeekTo(bad.Offset + bad.Size)
		default:
			if _, err := r.seg.FindNext(first); err != nil {
				_, _ = r.ahead() // which raises as well
				return
			}
		}
	}
}

func (r *laneReader) kind(first uint64) string {
	if first <= r.lane.durable.Load() {
		return "damage"
	}
	return "undecidable tail"
}

// setAsideSegment sets aside a whole segment whose header cannot be read, as
// long as anything stands in it, and reports whether it does: one that was made
// ahead and never begun is blank.
func (r *laneReader) setAsideSegment(number, first, last uint64) (content bool, err error) {
	name := r.segmentName(number)
	switch blank, err := r.blankFile(name); {
	case missing(err) || err == nil && blank:
		return false, nil
	case err != nil:
		return false, err
	case r.lookup:
		r.skipped = true
		return true, nil
	}
	if err := r.stillHolds(); err != nil {
		return true, err
	}
	b, err := durable.ReadFile(r.chain.q.deps.FS, name, 1<<31)
	if err != nil {
		return false, err
	}
	return true, r.chain.q.setAside(bytes.TrimRight(b, "\x00"), setAsideInfo{
		Lane: r.lane.id, Segment: number, FirstSeq: first, LastSeq: last,
		Kind: r.kind(first), Reason: "the segment's header cannot be read",
	})
}

// blankFile reports whether a file holds zero bytes only.
func (r *laneReader) blankFile(name string) (bool, error) {
	f, err := r.chain.q.deps.FS.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for at := int64(0); ; at += int64(len(chunk)) {
		n, err := f.ReadAt(chunk, at)
		if len(bytes.TrimLeft(chunk[:n], "\x00")) > 0 {
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

func (q *Queue) setAside(b []byte, info setAsideInfo) error {
	info.Bytes, info.Found = len(b), q.deps.Now().UTC()
	q.metrics.setAside.WithLabelValues(info.Kind).Add(float64(info.LastSeq - info.FirstSeq + 1))
	log := q.deps.Log.Error
	if info.Kind == "damage" {
		q.damaged.Add(info.LastSeq - info.FirstSeq + 1)
	} else {
		log = q.deps.Log.Warn
	}
	log("set aside what could not be read", "kind", info.Kind, "lane", info.Lane, "segment", info.Segment,
		"offset", info.Offset, "bytes", info.Bytes, "first_seq", info.FirstSeq, "last_seq", info.LastSeq, "reason", info.Reason)
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	name := path.Join(q.at.quarantine(), fmt.Sprintf("%s.%d.%d", info.Lane, info.Segment, info.Offset))
	if err := q.keepCopy(name, b, append(text, '\n')); err != nil {
		// The bytes stay where they are; only the copy is missing.
		q.deps.Log.Error("no copy of what was set aside", "file", name, "err", err)
	}
	return nil
}

// keepCopy writes the bytes and then what they are. A report that is there whole
// is left as it is; one that a crash cut short is made anew.
func (q *Queue) keepCopy(name string, b, text []byte) error {
	fsys := q.deps.FS
	if old, err := durable.ReadFile(fsys, name+".json", 1<<20); err == nil && json.Valid(old) {
		return nil
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{name + ".bytes", b}, {name + ".json", text}} {
		err := durable.WriteNew(fsys, f.name, f.content)
		if errors.Is(err, fs.ErrExist) {
			if err = fsys.Remove(f.name); err == nil {
				err = durable.WriteNew(fsys, f.name, f.content)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

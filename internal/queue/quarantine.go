package queue

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"postroad/internal/durable"
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
		return nil
	}
	var b []byte
	if r.seg != nil {
		var err error
		if b, err = r.seg.Bytes(from, to); err != nil {
			return err
		}
	}
	return r.chain.q.setAside(bytes.TrimRight(b, "\x00"), setAsideInfo{
		Lane: r.lane.id, Segment: r.number, Offset: from, FirstSeq: first, LastSeq: last,
		Kind: r.kind(first), Reason: reason,
	})
}

func (r *laneReader) kind(first uint64) string {
	if first <= r.lane.durable.Load() {
		return "damage"
	}
	return "undecidable tail"
}

// setAsideSegment sets aside a whole segment whose header cannot be read.
func (r *laneReader) setAsideSegment(cause error) error {
	if r.lookup {
		return nil
	}
	b, err := durable.ReadFile(r.chain.q.deps.FS, r.segmentName(r.number), 1<<31)
	if err != nil {
		return err
	}
	return r.chain.q.setAside(b, setAsideInfo{
		Lane: r.lane.id, Segment: r.number, FirstSeq: r.next, LastSeq: r.next,
		Kind: r.kind(r.next), Reason: cause.Error(),
	})
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
	name := path.Join(q.at.quarantine(), fmt.Sprintf("%s.%d.%d", info.Lane, info.Segment, info.Offset))
	text, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name    string
		content []byte
	}{{name + ".bytes", b}, {name + ".json", append(text, '\n')}} {
		if err := durable.WriteNew(q.deps.FS, f.name, f.content); err != nil && !errors.Is(err, fs.ErrExist) {
			// The bytes stay where they are; only the copy is missing.
			q.deps.Log.Error("no copy of what was set aside", "file", f.name, "err", err)
		}
	}
	return nil
}

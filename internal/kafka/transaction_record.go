package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"postroad/internal/message"
)

// inHub is what a chain's record in the hub says: which of its messages are in
// the hub. For each lane there is a floor, below which the queue's own progress
// says that everything is settled, and above it runs of seqs that are in the hub.
// What the record says stays true whatever comes later; it only gets to know more.
//
// A message below the floor was settled, which is not the same: it may have been
// moved to a side lane, or be a dead letter.
type inHub map[string]*laneInHub

type laneInHub struct {
	floor uint64
	runs  []run // ascending, not touching, none below floor
}

// run is seqs [from, to).
type run struct{ from, to uint64 }

// raise notes that everything of a lane below next is settled.
func (h inHub) raise(lane string, next uint64) {
	l := h[lane]
	if l == nil {
		l = &laneInHub{}
		h[lane] = l
	}
	if next <= l.floor {
		return
	}
	l.floor = next
	n := 0
	for n < len(l.runs) && l.runs[n].to <= next {
		n++
	}
	if l.runs = slices.Delete(l.runs, 0, n); len(l.runs) > 0 {
		l.runs[0].from = max(l.runs[0].from, next)
	}
}

// add notes that a message is in the hub. Of lanes that are not known, and below
// the floor, nothing is noted.
func (h inHub) add(p message.Place) {
	l := h[p.Lane]
	if l == nil || p.Seq < l.floor {
		return
	}
	n := len(l.runs)
	if n > 0 && l.runs[n-1].to == p.Seq { // nearly always
		l.runs[n-1].to++
		return
	}
	i := sort.Search(n, func(i int) bool { return l.runs[i].to >= p.Seq }) // the first that holds or touches it
	switch {
	case i == n || p.Seq+1 < l.runs[i].from:
		l.runs = slices.Insert(l.runs, i, run{p.Seq, p.Seq + 1})
	case p.Seq+1 == l.runs[i].from:
		l.runs[i].from = p.Seq
	case p.Seq == l.runs[i].to:
		l.runs[i].to++
		if i+1 < n && l.runs[i+1].from == l.runs[i].to {
			l.runs[i].to = l.runs[i+1].to
			l.runs = slices.Delete(l.runs, i+1, i+2)
		}
	}
}

// has reports whether a message is known to be in the hub.
func (h inHub) has(p message.Place) bool {
	l := h[p.Lane]
	if l == nil {
		return false
	}
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].to > p.Seq })
	return i < len(l.runs) && l.runs[i].from <= p.Seq
}

// holds reports whether a message need not be sent: it is in the hub, or was
// settled and the queue's progress has lost that. A copy in a side lane need not
// if the message is in the hub from where it stood first; a replay has no copies.
func (h inHub) holds(m *message.Stored) bool {
	at := m.Stands()
	if l := h[at.Lane]; l != nil && at.Seq < l.floor || h.has(at) {
		return true
	}
	return at != m.Place && !m.Replay && h.has(m.Place)
}

// take notes that a message was sent: where it stands, and where it was first
// stored, since it may be read from there again.
func (h inHub) take(m *message.Stored) {
	at := m.Stands()
	if h[at.Lane] == nil {
		h[at.Lane] = &laneInHub{}
	}
	h.add(at)
	if at != m.Place && !m.Replay {
		h.add(m.Place)
	}
}

// clone is for trying what is to be committed.
func (h inHub) clone() inHub {
	out := make(inHub, len(h))
	for lane, l := range h {
		out[lane] = &laneInHub{floor: l.floor, runs: slices.Clone(l.runs)}
	}
	return out
}

// join adds what another record knows.
func (h inHub) join(o inHub) {
	for lane, l := range o {
		h.raise(lane, l.floor)
		for _, r := range l.runs {
			h.addRun(lane, r)
		}
	}
}

// addRun is add for many.
func (h inHub) addRun(lane string, r run) {
	l := h[lane]
	if r.from = max(r.from, l.floor); r.from >= r.to {
		return
	}
	first := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].to >= r.from })
	last := first
	for last < len(l.runs) && l.runs[last].from <= r.to {
		r.from, r.to = min(r.from, l.runs[last].from), max(r.to, l.runs[last].to)
		last++
	}
	l.runs = slices.Replace(l.runs, first, last, r)
}

// recordVersion is the first byte of a record. Then, all numbers unsigned
// varints: count of lanes, and for each the length of its id, the id, the floor,
// count of runs, and for each run the distance from the end of the one before (of
// the first: from the floor) and its length.
const recordVersion = 1

func (h inHub) encode() []byte {
	lanes := make([]string, 0, len(h))
	for lane := range h {
		lanes = append(lanes, lane)
	}
	slices.Sort(lanes)
	b := binary.AppendUvarint([]byte{recordVersion}, uint64(len(lanes)))
	for _, lane := range lanes {
		l := h[lane]
		b = binary.AppendUvarint(b, uint64(len(lane)))
		b = append(b, lane...)
		b = binary.AppendUvarint(b, l.floor)
		b = binary.AppendUvarint(b, uint64(len(l.runs)))
		end := l.floor
		for _, r := range l.runs {
			b = binary.AppendUvarint(b, r.from-end)
			b = binary.AppendUvarint(b, r.to-r.from)
			end = r.to
		}
	}
	return b
}

var errRecord = errors.New("not a record of a chain's progress")

// decodeInHub reads what encode wrote, or anybody else.
func decodeInHub(b []byte) (inHub, error) {
	if len(b) == 0 || b[0] != recordVersion {
		return nil, fmt.Errorf("%w: unknown version", errRecord)
	}
	r := recordReader{left: b[1:]}
	h := inHub{}
	for range r.count() {
		lane := string(r.bytes(r.count()))
		l := &laneInHub{floor: r.number()}
		end := l.floor
		for range r.count() {
			from := r.sum(end, r.number())
			to := r.sum(from, r.number())
			if to == from || len(l.runs) > 0 && from == end {
				r.bad = true
			}
			l.runs = append(l.runs, run{from, to})
			end = to
		}
		if lane == "" || h[lane] != nil {
			r.bad = true
		}
		if r.bad {
			break
		}
		h[lane] = l
	}
	if r.bad || len(r.left) > 0 {
		return nil, fmt.Errorf("%w: damaged", errRecord)
	}
	return h, nil
}

// recordReader takes numbers and strings off bytes; bad says that they were not there.
type recordReader struct {
	left []byte
	bad  bool
}

func (r *recordReader) number() uint64 {
	n, w := binary.Uvarint(r.left)
	if w <= 0 {
		r.bad, r.left = true, nil
		return 0
	}
	r.left = r.left[w:]
	return n
}

// count is a number of things of which each takes at least a byte.
func (r *recordReader) count() uint64 {
	n := r.number()
	if n > uint64(len(r.left)) {
		r.bad, r.left = true, nil
		return 0
	}
	return n
}

func (r *recordReader) bytes(n uint64) []byte {
	if n > uint64(len(r.left)) {
		r.bad, r.left = true, nil
		return nil
	}
	b := r.left[:n]
	r.left = r.left[n:]
	return b
}

func (r *recordReader) sum(a, b uint64) uint64 {
	if b > math.MaxUint64-a {
		r.bad = true
		return math.MaxUint64
	}
	return a + b
}

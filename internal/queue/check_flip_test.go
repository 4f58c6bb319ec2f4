package queue

import (
	"fmt"
	"math/rand/v2"
	"path"
	"testing"

	"postroad/internal/durable/faultfs"
	"postroad/internal/wal"
)

// base is a sealed lane of several segments on a disk of its own, with what
// stands where.
type base struct {
	q      *rawQueue
	lane   string
	groups []GroupView
	number map[uint64]int64 // length of each segment
}

// makeBase writes a lane of a shape by chance.
func makeBase(t *testing.T, rng *rand.Rand, seed uint64) base {
	q := newRawQueue(t, faultfs.New(seed), "queue")
	l := q.lane(q.newID(), laneInfo{})
	l.zero = rng.IntN(2) == 0
	for range 12 + rng.IntN(30) {
		l.add(randomGroup(rng)...)
		if rng.IntN(10) == 0 {
			l.beat()
		}
	}
	live := rng.IntN(3) == 0
	if live {
		l.beat() // a live lane whose heartbeat knows all of it
	} else {
		l.seal()
	}
	q.claim(l.info.Owner.Process, 1, "")
	d, err := q.inspect().Lane(t.Context(), l.id, Want{Groups: true})
	q.must(err)
	b := base{q: q, lane: l.id, groups: d.GroupList, number: map[uint64]int64{}}
	for _, s := range d.SegmentList {
		b.number[s.Number] = s.Bytes
	}
	return b
}

// Show: one byte flipped in each of 1,000 segments, among those that hold
// acknowledged messages, is found 1,000 times and concerns just the messages of
// its group; and nothing is found where nothing was flipped.
func TestCheckFindsEveryFlip(t *testing.T) {
	rng := inspectRandom(t)
	var bases []base
	for i := range 25 {
		b := makeBase(t, rng, uint64(i))
		if r := b.q.check(); len(r.Findings) != 0 {
			t.Fatalf("false alarm in sound lane %d: %+v", i, r.Findings)
		}
		bases = append(bases, b)
	}
	found := 0
	const flips = 1000
	for i := range flips {
		b := bases[i%len(bases)]
		g := b.groups[rng.IntN(len(b.groups))]
		at := g.Offset + rng.Int64N(g.Bytes)
		if i%3 == 0 { // headers are small and would hardly be hit
			at = g.Offset + rng.Int64N(wal.GroupHeaderSize)
		}
		by := byte(1 + rng.IntN(255))
		name := path.Join(b.q.at.lane(b.lane), wal.Name(g.Segment))
		b.q.flip(name, at, by)
		r := b.q.check()
		if err := foundJust(r, b.lane, g); err != nil {
			t.Errorf("flip %d, segment %d of %d groups, byte %d: %v", i, g.Segment, len(b.groups), at, err)
		} else {
			found++
		}
		b.q.flip(name, at, by) // as it was
	}
	if found != flips {
		t.Fatalf("%d of %d flips found", found, flips)
	}
	for i, b := range bases {
		if r := b.q.check(); len(r.Findings) != 0 {
			t.Errorf("lane %d after all is as it was: %+v", i, r.Findings)
		}
	}
}

// foundJust reports whether a check found damage of just the messages of g.
func foundJust(r CheckReport, lane string, g GroupView) error {
	if len(r.Findings) != 1 {
		return fmt.Errorf("%d findings: %+v", len(r.Findings), r.Findings)
	}
	f := r.Findings[0]
	if f.Severity != SeverityDamage || f.Lane != lane || f.FirstSeq != g.FirstSeq || f.LastSeq != g.LastSeq {
		return fmt.Errorf("found %+v, want damage of messages %d to %d", f, g.FirstSeq, g.LastSeq)
	}
	if want := g.LastSeq - g.FirstSeq + 1; r.Lost != want || r.Unsent != want {
		return fmt.Errorf("%d lost, %d of them unsent, want %d", r.Lost, r.Unsent, want)
	}
	return nil
}

// A flip in either copy of a segment's header, or in the rest of its 4096 bytes,
// is reported and costs nothing. Only both copies together do.
func TestCheckFlippedHeader(t *testing.T) {
	rng := inspectRandom(t)
	b := makeBase(t, rng, 7)
	name := path.Join(b.q.at.lane(b.lane), wal.Name(1))
	for _, at := range []int64{0, 8, 12, 13, 20, 35, 47, 60, 63, 64, 2047, 2048, 2050, 2111, 2112, 4095, rng.Int64N(4096)} {
		by := byte(1 + rng.IntN(255))
		b.q.flip(name, at, by)
		r := b.q.check()
		if len(r.Findings) != 1 || r.Findings[0].Severity != SeverityWarning || r.Lost != 0 {
			t.Errorf("byte %d flipped by %#x: %+v", at, by, r.Findings)
		}
		b.q.flip(name, at, by)
	}
	b.q.flip(name, 20, 1)
	b.q.flip(name, 2048+60, 1)
	var last uint64
	for _, g := range b.groups {
		if g.Segment == 1 {
			last = g.LastSeq
		}
	}
	r := b.q.check()
	if len(r.Findings) != 1 || r.Findings[0].Severity != SeverityDamage || r.Lost != last || r.Findings[0].LastSeq != last {
		t.Errorf("both copies: %d lost of the %d messages of the segment: %+v", r.Lost, last, r.Findings)
	}
}

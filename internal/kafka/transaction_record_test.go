package kafka

import (
	"bytes"
	"encoding/binary"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"postroad/internal/message"
)

const sideLane = "01HZZZZZZZZZZZZZZZZZZZZZZS"

// sane reports whether the runs are as laneInHub says.
func (h inHub) sane() bool {
	for _, l := range h {
		end := l.floor
		for i, r := range l.runs {
			if r.from < end || i > 0 && r.from == end || r.to <= r.from {
				return false
			}
			end = r.to
		}
	}
	return true
}

// Whatever is noted in whatever order: the record says that, and nothing else.
func TestRecordAgainstAModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		h, other := inHub{}, inHub{}
		h.raise(lane, 1)
		other.raise(lane, 1)
		in, floor := map[uint64]bool{}, uint64(1)
		for range rng.IntN(120) {
			seq := 1 + rng.Uint64N(60)
			switch rng.IntN(8) {
			case 0:
				floor = max(floor, seq/3)
				h.raise(lane, seq/3)
			case 1:
				other.add(message.Place{Lane: lane, Seq: seq})
				h.join(other)
				in[seq] = true
			case 2:
				b, err := decodeInHub(h.encode())
				if err != nil || !bytes.Equal(b.encode(), h.encode()) {
					t.Fatalf("read back as %v, %v, was %v", b, err, h)
				}
				h = b.clone()
			default:
				h.add(message.Place{Lane: lane, Seq: seq})
				in[seq] = true
			}
			// What the other knows comes again with the next join.
			maps.DeleteFunc(in, func(seq uint64, _ bool) bool { return seq < floor })
			if !h.sane() {
				t.Fatalf("runs %v above floor %d", h[lane].runs, floor)
			}
			for seq := range uint64(70) {
				if got := h.has(message.Place{Lane: lane, Seq: seq}); got != in[seq] {
					t.Fatalf("seq %d: %v, floor %d, runs %v", seq, got, floor, h[lane].runs)
				}
			}
		}
	}
}

// A message below the floor was settled, but that says nothing of its copy in a
// side lane; one that is in the hub does.
func TestRecordOfMovedMessages(t *testing.T) {
	t.Parallel()
	at := func(seq, side uint64, replay bool) *message.Stored {
		m := stored(seq)
		m.At, m.Replay = message.Place{Lane: sideLane, Seq: side}, replay
		return &m
	}
	h := inHub{}
	h.raise(lane, 10)
	h.add(message.Place{Lane: lane, Seq: 12})
	own := stored(9)
	for name, c := range map[string]struct {
		m    *message.Stored
		want bool
	}{
		"below the floor":                   {&own, true},
		"moved from below the floor":        {at(9, 1, false), false},
		"moved from above, not in the hub":  {at(11, 2, false), false},
		"moved, and in the hub from before": {at(12, 3, false), true},
		"replayed":                          {at(12, 4, true), false},
	} {
		if got := h.holds(c.m); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	h.take(at(11, 2, false))
	h.take(at(13, 5, true))
	for _, c := range []struct {
		p    message.Place
		want bool
	}{
		{message.Place{Lane: sideLane, Seq: 2}, true},
		{message.Place{Lane: lane, Seq: 11}, true},
		{message.Place{Lane: sideLane, Seq: 5}, true},
		{message.Place{Lane: lane, Seq: 13}, false},
	} {
		if h.has(c.p) != c.want {
			t.Errorf("%v: %v", c.p, !c.want)
		}
	}
}

// The largest record that forward's limits allow stays below what any hub takes.
func TestRecordStaysSmall(t *testing.T) {
	t.Parallel()
	h := inHub{}
	h.raise(lane, 1)
	const inFlight = 262144 // forward's limit in this mode
	for seq := uint64(2); seq < inFlight; seq += 2 {
		h.add(message.Place{Lane: lane, Seq: seq})
	}
	if n := len(h.encode()); n > 300000 {
		t.Errorf("%d bytes", n)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	h := inHub{}
	h.raise(lane, 5)
	h.add(message.Place{Lane: lane, Seq: 7})
	h.add(message.Place{Lane: lane, Seq: 9})
	f.Add(h.encode())
	f.Add([]byte{recordVersion, 0})
	f.Add(binary.AppendUvarint([]byte{recordVersion}, 1<<60))
	f.Add(slices.Concat([]byte{recordVersion, 1, 1, 'x'}, bytes.Repeat([]byte{0xff}, 9), []byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeInHub(b)
		if err != nil {
			return
		}
		if !h.sane() {
			t.Fatalf("took %x for %v", b, h)
		}
		again, err := decodeInHub(h.encode())
		if err != nil || !bytes.Equal(again.encode(), h.encode()) {
			t.Fatalf("%v became %v, %v", h, again, err)
		}
	})
}

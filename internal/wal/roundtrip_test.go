package wal

import (
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"postroad/internal/message"
)

// randomGroups makes n groups of messages of every shape, seqs from first on.
func randomGroups(rng *rand.Rand, n int, first uint64) []group {
	var groups []group
	for range n {
		g := group{first: first, durable: first - 1, written: randomTime(rng)}
		for range 1 + rng.IntN(4)*rng.IntN(4) {
			g.msgs = append(g.msgs, randomMessage(rng))
		}
		first = g.last() + 1
		groups = append(groups, g)
	}
	return groups
}

func randomTime(rng *rand.Rand) time.Time {
	return time.UnixMicro(1_700_000_000_000_000 + rng.Int64N(1<<50)).UTC()
}

func randomBytes(rng *rand.Rand, most int) []byte {
	b := make([]byte, rng.IntN(most+1))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func randomMessage(rng *rand.Rand) message.Message {
	m := message.Message{
		ID: message.ID{0: 1, 8: byte(rng.Uint32()), 9: byte(rng.Uint32())}, Topic: "t" + string(rune('a'+rng.IntN(26))),
		Value: randomBytes(rng, 1<<rng.IntN(14)), Time: randomTime(rng),
	}
	some := func() bool { return rng.IntN(3) == 0 }
	if some() {
		m.Key = randomBytes(rng, 40)
	}
	for some() {
		m.Headers = append(m.Headers, message.Header{Name: string(randomBytes(rng, 20)), Value: randomBytes(rng, 300)})
	}
	if some() {
		m.Principal, m.TraceParent = "someone", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	}
	if some() {
		m.KeyHash, m.Digest, m.Repeat = message.Hash{1, byte(rng.Uint32())}, message.Hash{2}, some()
	}
	if some() {
		m.Origin = &message.Origin{Stamp: "cloud", Place: message.Place{Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: rng.Uint64()}, Time: randomTime(rng)}
	}
	return m
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 1))
		groups := randomGroups(rng, 1+rng.IntN(60), 1+rng.Uint64N(1<<40))
		b, offsets := segment(t, goldenHeader, groups)
		if rng.IntN(2) == 0 { // zero-filled ahead
			b = append(b, make([]byte, 64<<10)...)
		}
		r, err := OpenReader(oneFile{b: &b}, "")
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i, want := range groups {
			if r.Offset() != offsets[i] {
				t.Fatalf("seed %d: group %d at %d, written at %d", seed, i, r.Offset(), offsets[i])
			}
			g, err := r.Next()
			if err != nil {
				t.Fatalf("seed %d: group %d: %v", seed, i, err)
			}
			sameGroup(t, g, want)
			if t.Failed() {
				t.Fatalf("seed %d: group %d", seed, i)
			}
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Fatalf("seed %d: behind the last group: %v", seed, err)
		}
	}
}

// TestReaderFollowsAWriter reads a segment group by group while it grows, from
// the buffer it read ahead before the rest was there.
func TestReaderFollowsAWriter(t *testing.T) {
	for _, zeroed := range []int{0, 1 << 20} {
		rng := rand.New(rand.NewPCG(7, uint64(zeroed)))
		groups := randomGroups(rng, 50, 1)
		whole, offsets := segment(t, goldenHeader, groups)
		b := append([]byte(nil), whole[:HeaderSize]...)
		b = append(b, make([]byte, zeroed)...)
		r, err := OpenReader(oneFile{b: &b}, "")
		if err != nil {
			t.Fatal(err)
		}
		write := func(to int64) {
			if to > int64(len(b)) {
				b = append(b, make([]byte, to-int64(len(b)))...)
			}
			copy(b, whole[:to])
		}
		for i, want := range groups {
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Fatalf("group %d before it is written: %v", i, err)
			}
			write(offsets[i] + 1 + rng.Int64N(offsets[i+1]-offsets[i]-1)) // a part of it
			if g, err := r.Next(); err == nil && offsets[i+1]-g.Offset-g.Size != 0 {
				t.Fatalf("group %d half written: %v", i, g)
			} else if err != nil && !errors.Is(err, message.ErrDamaged) && !errors.Is(err, io.EOF) {
				t.Fatalf("group %d half written: %v", i, err)
			} else if err == nil {
				continue // only zero bytes of filling were missing
			}
			write(offsets[i+1])
			g, err := r.Next()
			if err != nil {
				t.Fatalf("group %d: %v", i, err)
			}
			sameGroup(t, g, want)
		}
	}
}

package message

import (
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the random tests; 0 takes one by chance")

// randomly returns a source whose seed is printed.
func randomly(t testing.TB) *rand.Rand {
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

type record struct {
	id     ID
	offset int64
}

// naive is the rule as it is written: a record at offset o is a duplicate iff
// one of the offsets [o−W, o) holds the same id.
type naive struct {
	w  int64
	at map[ID][]int64 // every offset that was given
}

func (n *naive) seen(id ID, offset int64) bool {
	holds := func(o int64) bool { return o >= offset-n.w && o < offset }
	duplicate := slices.ContainsFunc(n.at[id], holds)
	n.at[id] = append(n.at[id], offset)
	return duplicate
}

// differs feeds the records to a Window of size w and returns the first one
// that it decides otherwise than the rule for size ruled, or -1.
func differs(w, ruled int, records []record) int {
	window, rule := NewWindow(w), naive{w: int64(ruled), at: map[ID][]int64{}}
	for i, r := range records {
		if window.Seen(r.id, r.offset) != rule.seen(r.id, r.offset) {
			return i
		}
	}
	return -1
}

// fewIDs returns n ids, some of which differ in no bit that a hash table of
// this size would look at.
func fewIDs(rng *rand.Rand, n int) []ID {
	ids := make([]ID, n)
	for i := range ids {
		binary.BigEndian.PutUint64(ids[i][:], rng.Uint64())
		low := rng.Uint64()
		if rng.IntN(2) == 0 {
			low = low&^0xffff | uint64(rng.IntN(4))
		}
		binary.BigEndian.PutUint64(ids[i][8:], low)
	}
	return ids
}

// stream returns records of few distinct ids at ascending offsets with gaps.
func stream(rng *rand.Rand, n, distinct, gap int) []record {
	ids := fewIDs(rng, distinct)
	records := make([]record, n)
	offset := rng.Int64N(1 << 40)
	for i := range records {
		records[i] = record{ids[rng.IntN(len(ids))], offset}
		offset += 1 + rng.Int64N(int64(gap))
	}
	return records
}

func TestWindowFollowsTheRule(t *testing.T) {
	rng := randomly(t)
	for _, w := range []int{0, 1, 2, 3, 7, 100, 255, 256, 257, 600, 1000, 32768} {
		for _, distinct := range []int{1, 2, 10, 300, 3000} {
			for _, gap := range []int{1, 2, 50} {
				records := stream(rng, 2000, distinct, gap)
				if i := differs(w, w, records); i >= 0 {
					t.Fatalf("W %d, %d ids, gaps up to %d: record %d of offset %d is decided wrongly",
						w, distinct, gap, i, records[i].offset)
				}
			}
		}
	}
}

// A reader that began elsewhere, or skipped what it may, decides alike once it
// has seen W offsets.
func TestWindowDecidesAlikeFromAnyStart(t *testing.T) {
	rng := randomly(t)
	const w = 500
	records := stream(rng, 5000, 400, 3)
	whole := NewWindow(w)
	late := NewWindow(w)
	begin := 1000
	for i, r := range records {
		want := whole.Seen(r.id, r.offset)
		if i < begin {
			continue
		}
		got := late.Seen(r.id, r.offset)
		if r.offset-records[begin].offset >= w && got != want {
			t.Fatalf("record %d at offset %d: a reader from record %d says %v, another %v", i, r.offset, begin, got, want)
		}
	}
}

// The check that finds nothing wrong above finds every wrong W.
func TestWindowOfAnotherSizeIsFoundOut(t *testing.T) {
	rng := randomly(t)
	for _, row := range []struct{ w, ruled int }{{0, 1}, {1, 0}, {99, 100}, {101, 100}, {0, 32768}, {500, 1000}} {
		records := stream(rng, 3000, row.ruled+50, 1)
		if row.ruled > 3000 {
			records = stream(rng, 3000, 100, 1)
		}
		if differs(row.w, row.ruled, records) < 0 {
			t.Errorf("a window of %d passes for one of %d", row.w, row.ruled)
		}
	}
}

func TestWindowEdge(t *testing.T) {
	a, b := ID{15: 1}, ID{15: 2}
	for _, row := range []struct {
		w    int
		at   []record
		want string // one letter a record: d for duplicate
	}{
		{3, []record{{a, 10}, {a, 13}, {a, 17}}, ".d."},
		{3, []record{{a, 10}, {a, 14}}, ".."},
		{1, []record{{a, 10}, {a, 11}, {b, 12}, {a, 13}}, ".d.."},
		{0, []record{{a, 10}, {a, 11}}, ".."},
		{-5, []record{{a, 10}, {a, 11}}, ".."},
		// Duplicates count as holders: each makes the next one a duplicate.
		{2, []record{{a, 10}, {a, 12}, {a, 14}, {a, 16}}, ".ddd"},
		{5, []record{{a, 0}, {b, 1}, {a, 5}, {b, 7}}, "..d."},
		// The same offset again: it does not make itself a duplicate.
		{5, []record{{a, 10}, {a, 10}, {b, 10}, {b, 11}}, "...."},
		// An offset below the last is answered from what is in view, also
		// where the id stands above it too, and is not recorded.
		{9, []record{{a, 10}, {b, 12}, {a, 14}, {a, 12}, {a, 10}, {b, 13}, {b, 11}}, "..dd.d."},
	} {
		window, got := NewWindow(row.w), ""
		for _, r := range row.at {
			if window.Seen(r.id, r.offset) {
				got += "d"
			} else {
				got += "."
			}
		}
		if got != row.want {
			t.Errorf("W %d, %v: %s, want %s", row.w, row.at, got, row.want)
		}
	}
}

// Holds answers as Seen would for the next offset, and changes no later answer.
func TestWindowHolds(t *testing.T) {
	rng := randomly(t)
	for _, w := range []int{0, 1, 3, 100, 600} {
		records := stream(rng, 2000, 300, 3)
		ids := fewIDs(rng, 5)
		asked, plain := NewWindow(w), NewWindow(w)
		rule := naive{w: int64(w), at: map[ID][]int64{}}
		for i, r := range records {
			id := records[rng.IntN(i+1)].id
			if rng.IntN(4) == 0 {
				id = ids[rng.IntN(len(ids))]
			}
			want := slices.ContainsFunc(rule.at[id], func(o int64) bool { return o >= r.offset-int64(w) && o < r.offset })
			if got := asked.Holds(id, r.offset); got != want {
				t.Fatalf("W %d, record %d: holds %v, want %v", w, i, got, want)
			}
			rule.seen(r.id, r.offset)
			if asked.Seen(r.id, r.offset) != plain.Seen(r.id, r.offset) {
				t.Fatalf("W %d: asking changed the answer about record %d", w, i)
			}
		}
	}
}

// DESIGN: the full 128-bit id is compared, in at most 32 bytes an entry.
func TestWindowMemory(t *testing.T) {
	rng := randomly(t)
	window := NewWindow(DefaultWindow)
	for offset := range int64(3 * DefaultWindow) {
		var id ID
		binary.BigEndian.PutUint64(id[8:], rng.Uint64())
		window.Seen(id, offset)
		if window.Len() > DefaultWindow {
			t.Fatalf("%d records in view of a window of %d", window.Len(), DefaultWindow)
		}
	}
	if window.Len() != DefaultWindow {
		t.Errorf("%d records in view, want all %d", window.Len(), DefaultWindow)
	}
	if got, most := window.Bytes(), 32*DefaultWindow; got > most {
		t.Errorf("%d bytes for %d entries, at most %d", got, DefaultWindow, most)
	}
	if few := NewWindow(DefaultWindow).Bytes(); few > 32*windowStart {
		t.Errorf("%d bytes without an entry", few)
	}
}

// Ids are compared whole: that two share all the bits the table looks at
// makes neither a duplicate.
func TestWindowComparesWholeIDs(t *testing.T) {
	window := NewWindow(1000)
	for i := range 500 {
		id := ID{15: 7}
		binary.BigEndian.PutUint32(id[:], uint32(i))
		if window.Seen(id, int64(i)) {
			t.Fatalf("id %d of 500 that share their low bits is taken for another", i)
		}
	}
}

func FuzzWindow(f *testing.F) {
	f.Add(uint16(3), []byte{1, 2, 1, 2, 1, 0xff, 3})
	f.Add(uint16(300), []byte{0, 0, 16, 0, 1, 5})
	f.Fuzz(func(t *testing.T, w uint16, steps []byte) {
		if len(steps) > 2000 {
			return
		}
		records := make([]record, len(steps))
		offset := int64(0)
		for i, s := range steps { // low half: id, high half: gap
			offset += 1 + int64(s>>4)
			records[i] = record{ID{0: 1, 15: s & 15}, offset}
		}
		if i := differs(int(w), int(w), records); i >= 0 {
			t.Errorf("record %d is decided wrongly", i)
		}
	})
}

func ExampleWindow() {
	window := NewWindow(100)
	id := DeriveID("site", "messages", "key", Hash{1}, 0)
	fmt.Println(window.Seen(id, 1000), window.Seen(id, 1100), window.Seen(id, 1201))
	// Output: false true false
}

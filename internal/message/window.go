package message

import "encoding/binary"

// DefaultWindow is the look-back W in offsets where a topic sets none.
const DefaultWindow = 32768

// Window decides which records of one partition are duplicates, by the one
// rule that every reader of Postroad's follows: a record at offset o is a
// duplicate iff one of the offsets [o−W, o) of its partition holds the same
// dedupe id. W counts offsets, not records, so all readers that have seen
// those offsets decide alike, wherever they began and whatever they skipped.
//
// Without it a message that was sent again (after a lost acknowledgement, by a
// successor, at another stamp) would be shown twice.
//
// A record that must never make another a duplicate (no id, marked as a
// replay, aborted) is not given to Seen; for a replay Holds asks.
//
// A Window belongs to the one goroutine that reads the partition. It takes 32
// bytes an entry when full, 24 for id and offset, 8 for the hash table, and
// has room for W entries, rounded up to a power of two.
type Window struct {
	w int64
	// entries is a ring in order of offset; entry i of the stream stands at
	// i % len(entries), and [tail, head) are in use.
	entries    []windowEntry
	head, tail uint64
	// index is an open-addressing table, twice the ring, of 1 + position in
	// entries; it names the newest entry of each id.
	index []uint32
}

type windowEntry struct {
	id     ID
	offset int64
}

const windowStart = 256 // entries, a power of two

// NewWindow returns a window that looks back w offsets; w of 0 or below finds
// nothing.
func NewWindow(w int) *Window {
	return &Window{w: int64(max(w, 0)), entries: make([]windowEntry, windowStart), index: make([]uint32, 2*windowStart)}
}

// Seen records that id stands at offset and reports whether it is a duplicate.
// Offsets are given in ascending order. One at or below the last is not
// recorded, and answered by the rule as far as its offsets are still in view.
func (w *Window) Seen(id ID, offset int64) bool {
	if w.w == 0 {
		return false
	}
	if w.head > w.tail && w.at(w.head-1).offset >= offset {
		return w.seenBelow(id, offset)
	}
	// What offset-W holds decides here and never again, so it is dropped
	// first: W entries are enough.
	duplicate := false
	for w.tail < w.head && w.at(w.tail).offset <= offset-w.w {
		oldest := w.at(w.tail)
		duplicate = duplicate || oldest.offset == offset-w.w && oldest.id == id
		w.drop()
	}
	if w.head-w.tail == uint64(len(w.entries)) {
		w.grow()
	}
	slot, found := w.find(id)
	*w.at(w.head) = windowEntry{id, offset}
	w.index[slot] = uint32(w.head%uint64(len(w.entries))) + 1
	w.head++
	return duplicate || found
}

// seenBelow answers for an offset that has been passed. The index knows only
// the newest entry of an id, which may stand above it.
func (w *Window) seenBelow(id ID, offset int64) bool {
	if _, found := w.find(id); !found {
		return false
	}
	for i := w.head; i > w.tail; i-- {
		e := w.at(i - 1)
		if e.offset < offset-w.w {
			return false
		}
		if e.offset < offset && e.id == id {
			return true
		}
	}
	return false
}

// Holds reports whether a record of id at offset, which is above that of the
// last Seen, would be a duplicate, and records nothing.
func (w *Window) Holds(id ID, offset int64) bool {
	slot, found := w.find(id)
	return found && w.entries[w.index[slot]-1].offset >= offset-w.w
}

// Len returns how many records the next offset may find: at most W.
func (w *Window) Len() int { return int(w.head - w.tail) }

// Bytes returns the memory held, in bytes.
func (w *Window) Bytes() int { return 24*len(w.entries) + 4*len(w.index) }

func (w *Window) at(i uint64) *windowEntry { return &w.entries[i%uint64(len(w.entries))] }

// find returns the index slot of id, or the empty slot where it belongs.
func (w *Window) find(id ID) (slot uint64, found bool) {
	mask := uint64(len(w.index) - 1)
	for slot = windowHash(id) & mask; w.index[slot] != 0; slot = (slot + 1) & mask {
		if w.entries[w.index[slot]-1].id == id {
			return slot, true
		}
	}
	return slot, false
}

// windowHash needs no mixing: dedupe ids are hashes. The last eight bytes hold
// only the two fixed bits of the variant, at the top.
func windowHash(id ID) uint64 { return binary.BigEndian.Uint64(id[8:]) }

// drop forgets the oldest entry, and its id if no newer entry holds it.
func (w *Window) drop() {
	pos := uint32(w.tail%uint64(len(w.entries))) + 1
	slot, found := w.find(w.at(w.tail).id)
	w.tail++
	if !found || w.index[slot] != pos {
		return
	}
	// Close the gap: move back every later entry of the run that may stand in
	// it, so that find never stops short.
	mask := uint64(len(w.index) - 1)
	for next := (slot + 1) & mask; w.index[next] != 0; next = (next + 1) & mask {
		home := windowHash(w.entries[w.index[next]-1].id) & mask
		if (next-home)&mask >= (next-slot)&mask {
			w.index[slot] = w.index[next]
			slot = next
		}
	}
	w.index[slot] = 0
}

func (w *Window) grow() {
	bigger := Window{w: w.w, entries: make([]windowEntry, 2*len(w.entries)), index: make([]uint32, 2*len(w.index))}
	for i := w.tail; i < w.head; i++ {
		e := *w.at(i)
		slot, _ := bigger.find(e.id)
		bigger.entries[bigger.head] = e
		bigger.head++
		bigger.index[slot] = uint32(bigger.head)
	}
	*w = bigger
}

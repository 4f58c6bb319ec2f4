package forward

import (
	"bytes"
	"cmp"
	"slices"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// idRoom is how many more ids may be kept, of all partitions together.
type idRoom struct{ left atomic.Int64 }

func (r *idRoom) take() bool {
	if r.left.Add(-1) >= 0 {
		return true
	}
	r.left.Add(1)
	return false
}

func (r *idRoom) give(n int) { r.left.Add(int64(n)) }

// ids is a set of dedupe ids of one partition with the offsets at which they
// stand. It is added to about in the order of producing and forgets its oldest
// first. An entry takes 24 bytes. It belongs to who holds its past's mu.
type ids struct {
	room   *idRoom
	blocks []idBlock // the last one is added to, the others are sorted
}

type idBlock struct {
	entries []idAt
	sorted  bool
	newest  time.Time // when the last of them was produced
}

type idAt struct {
	id     message.ID
	offset int64
}

func compareIDs(a, b idAt) int {
	if c := bytes.Compare(a.id[:], b.id[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.offset, b.offset)
}

// idBlockSize is how many ids are forgotten at a time.
const idBlockSize = 1 << 15

// add reports whether there was room.
func (s *ids) add(id message.ID, offset int64, produced time.Time) bool {
	if !s.room.take() {
		return false
	}
	n := len(s.blocks)
	if n == 0 || len(s.blocks[n-1].entries) == idBlockSize {
		if n > 0 {
			s.blocks[n-1].sort()
		}
		s.blocks = append(s.blocks, idBlock{})
		n++
	}
	b := &s.blocks[n-1]
	b.entries, b.sorted = append(b.entries, idAt{id, offset}), false
	if produced.After(b.newest) {
		b.newest = produced
	}
	return true
}

func (b *idBlock) sort() {
	if !b.sorted {
		slices.SortFunc(b.entries, compareIDs)
		b.sorted = true
	}
}

// find returns the lowest offset at which an id is known to stand.
func (s *ids) find(id message.ID) (offset int64, ok bool) {
	for i := range s.blocks {
		b := &s.blocks[i]
		b.sort()
		at, _ := slices.BinarySearchFunc(b.entries, idAt{id, -1}, compareIDs)
		if at < len(b.entries) && b.entries[at].id == id {
			return b.entries[at].offset, true
		}
	}
	return 0, false
}

// dropOldest forgets the oldest block, if all of it was produced before a time,
// and returns how late the last of it was.
func (s *ids) dropOldest(before time.Time) (newest time.Time, ok bool) {
	if len(s.blocks) == 0 || !s.blocks[0].newest.Before(before) {
		return time.Time{}, false
	}
	newest = s.blocks[0].newest
	s.room.give(len(s.blocks[0].entries))
	s.blocks[0] = idBlock{}
	s.blocks = s.blocks[1:]
	return newest, true
}

// clear forgets all.
func (s *ids) clear() {
	for i := range s.blocks {
		s.room.give(len(s.blocks[i].entries))
	}
	s.blocks = nil
}

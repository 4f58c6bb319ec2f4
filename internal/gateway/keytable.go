package gateway

import (
	"cmp"
	"encoding/binary"
	"unsafe"

	"github.com/oklog/ulid/v2"

	"postroad/internal/message"
)

// keyTable holds the keys of one shard in order of age, found by key and by
// dedupe id. It takes keyEntrySize bytes a key, 11 to 22 more for the two
// tables of slots, and holds no pointers per key for the garbage collector.
//
// Entries stand in a ring of chunks, each allocated when the ring's head
// enters it and released when its tail has left it. A key that is added again
// gets a new entry; the old one is then found by nobody and goes in its turn.
type keyTable struct {
	chunks     []*[chunkLen]keyEntry
	head, tail uint64 // entries [tail, head) of the stream, entry i at i % ring
	keys, ids  slots
	max        int
}

// keyEntry is one key.
type keyEntry struct {
	hash   message.Hash
	digest message.Hash
	// id is the dedupe id of the request's first message.
	id message.ID
	// lane is the lane's 128 bits; seq is the place of the first message.
	lane ulid.ULID
	seq  uint64
	// time is when the request was accepted, in microseconds since 1970.
	time  int64
	state keyState
}

const (
	keyEntrySize = uint64(unsafe.Sizeof(keyEntry{}))
	// chunkLen makes a chunk fill 8 KiB, a size the allocator has.
	chunkLen = 8192 / keyEntrySize
)

// newer reports whether e was accepted after another entry of its key. Two of
// one microsecond are told apart by their places, so that the order in which
// they are loaded makes no difference.
func (e *keyEntry) newer(than *keyEntry) bool {
	return cmp.Or(cmp.Compare(e.time, than.time), e.lane.Compare(than.lane), cmp.Compare(e.seq, than.seq)) > 0
}

// setLane records the lane. One that is no lane id makes the entry unknown, so
// that a repeat is stored again and not answered with a wrong place.
func (e *keyEntry) setLane(lane string) {
	var err error
	if e.lane, err = ulid.ParseStrict(lane); err != nil {
		e.state = keyUnknown
	}
}

func (e *keyEntry) place() message.Place {
	return message.Place{Lane: e.lane.String(), Seq: e.seq}
}

func newKeyTable(most int) keyTable {
	most = max(most, 1)
	return keyTable{chunks: make([]*[chunkLen]keyEntry, uint64(most)/chunkLen+2), max: most}
}

func (t *keyTable) len() int { return int(t.head - t.tail) }

// ring is how many positions there are. It is over max by more than a chunk,
// so head and tail never share a chunk from different sides.
func (t *keyTable) ring() uint64 { return uint64(len(t.chunks)) * chunkLen }

// at returns the entry at a position of the ring.
func (t *keyTable) at(pos uint64) *keyEntry { return &t.chunks[pos/chunkLen][pos%chunkLen] }

// byKey and byID return the newest entry, or nil. It is valid until the next
// change of the table.
func (t *keyTable) byKey(hash message.Hash) *keyEntry {
	if _, pos, ok := t.keys.find(hash64(hash), t.sameKey(hash)); ok {
		return t.at(pos)
	}
	return nil
}

func (t *keyTable) byID(id message.ID) *keyEntry {
	if _, pos, ok := t.ids.find(hash64(id), t.sameID(id)); ok {
		return t.at(pos)
	}
	return nil
}

func (t *keyTable) sameKey(hash message.Hash) func(uint64) bool {
	return func(pos uint64) bool { return t.at(pos).hash == hash }
}

func (t *keyTable) sameID(id message.ID) func(uint64) bool {
	return func(pos uint64) bool { return t.at(pos).id == id }
}

// hash64 takes the last bytes, which are random in hashes and ids alike but
// for two bits at the top.
func hash64[T ~[16]byte](h T) uint64 { return binary.BigEndian.Uint64(h[8:]) }

// add makes e the newest entry and reports whether the oldest was dropped to
// make room.
func (t *keyTable) add(e keyEntry) (evicted bool) {
	if t.len() >= t.max {
		t.drop()
		evicted = true
	}
	pos := t.head % t.ring()
	if t.chunks[pos/chunkLen] == nil {
		t.chunks[pos/chunkLen] = new([chunkLen]keyEntry)
	}
	*t.at(pos) = e
	t.head++
	t.keys.put(hash64(e.hash), pos, t.sameKey(e.hash), func(p uint64) uint64 { return hash64(t.at(p).hash) })
	t.ids.put(hash64(e.id), pos, t.sameID(e.id), func(p uint64) uint64 { return hash64(t.at(p).id) })
	return evicted
}

// expire drops the entries at the tail that were accepted before oldest, in
// microseconds. An entry that was added late stays until its elders are gone.
func (t *keyTable) expire(oldest int64) {
	for t.head > t.tail && t.at(t.tail%t.ring()).time < oldest {
		t.drop()
	}
}

// drop forgets the entry at the tail.
func (t *keyTable) drop() {
	pos := t.tail % t.ring()
	e := t.at(pos)
	t.keys.remove(hash64(e.hash), pos, t.sameKey(e.hash), func(p uint64) uint64 { return hash64(t.at(p).hash) })
	t.ids.remove(hash64(e.id), pos, t.sameID(e.id), func(p uint64) uint64 { return hash64(t.at(p).id) })
	t.tail++
	if t.tail%chunkLen == 0 || t.tail == t.head {
		t.release(pos / chunkLen)
	}
}

// pop forgets the entry that was added last.
func (t *keyTable) pop() {
	pos := (t.head - 1) % t.ring()
	e := t.at(pos)
	t.keys.remove(hash64(e.hash), pos, t.sameKey(e.hash), func(p uint64) uint64 { return hash64(t.at(p).hash) })
	t.ids.remove(hash64(e.id), pos, t.sameID(e.id), func(p uint64) uint64 { return hash64(t.at(p).id) })
	t.head--
	if t.head%chunkLen == 0 || t.tail == t.head {
		t.release(pos / chunkLen)
	}
}

// last returns the entry that was added last, or nil.
func (t *keyTable) last() *keyEntry {
	if t.head == t.tail {
		return nil
	}
	return t.at((t.head - 1) % t.ring())
}

// release frees a chunk that the tail has left, and the one it stands in when
// nothing is left; the next add then allocates it again.
func (t *keyTable) release(chunk uint64) { t.chunks[chunk] = nil }

// slots is an open-addressing table of positions. Slot values are positions
// plus one; zero is empty. What is compared and hashed is the owner's.
type slots struct {
	table []uint32
	used  int
}

const slotsStart = 16

// find returns the slot that holds a position for which same holds, or the
// empty slot where one belongs.
func (s *slots) find(hash uint64, same func(pos uint64) bool) (slot, pos uint64, ok bool) {
	if len(s.table) == 0 {
		return 0, 0, false
	}
	mask := uint64(len(s.table) - 1)
	for slot = hash & mask; s.table[slot] != 0; slot = (slot + 1) & mask {
		if pos = uint64(s.table[slot] - 1); same(pos) {
			return slot, pos, true
		}
	}
	return slot, 0, false
}

// put sets or replaces a position. At most three quarters of the slots are in
// use.
func (s *slots) put(hash, pos uint64, same func(uint64) bool, rehash func(uint64) uint64) {
	if (s.used+1)*4 > len(s.table)*3 {
		s.grow(rehash)
	}
	slot, _, ok := s.find(hash, same)
	if !ok {
		s.used++
	}
	s.table[slot] = uint32(pos) + 1
}

// remove takes a position out, unless a newer one stands for the same.
func (s *slots) remove(hash, pos uint64, same func(uint64) bool, rehash func(uint64) uint64) {
	slot, now, ok := s.find(hash, same)
	if !ok || now != pos {
		return
	}
	s.used--
	// Close the gap: move back what may stand in it, so that find never stops
	// short of an entry.
	mask := uint64(len(s.table) - 1)
	for next := (slot + 1) & mask; s.table[next] != 0; next = (next + 1) & mask {
		home := rehash(uint64(s.table[next]-1)) & mask
		if (next-home)&mask >= (next-slot)&mask {
			s.table[slot] = s.table[next]
			slot = next
		}
	}
	s.table[slot] = 0
}

func (s *slots) grow(rehash func(uint64) uint64) {
	bigger := make([]uint32, max(slotsStart, 2*len(s.table)))
	mask := uint64(len(bigger) - 1)
	for _, v := range s.table {
		if v == 0 {
			continue
		}
		slot := rehash(uint64(v-1)) & mask
		for bigger[slot] != 0 {
			slot = (slot + 1) & mask
		}
		bigger[slot] = v
	}
	s.table = bigger
}

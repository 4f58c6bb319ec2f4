package live

import "sort"

// ring holds the newest records of a partition that are history, bounded in
// records and bytes. The zero value holds nothing.
type ring struct {
	// from is the offset from which on every record that is history is here.
	from       int64
	entries    []ringEntry // a circle of a power of two
	head, tail uint64      // [tail, head) are in use, entry i stands at i % len
	bytes      int64
	maxRecords int
	maxBytes   int64
}

type ringEntry struct {
	record *Record
	ruling ruling
	// hash is of the key: looking for one key's records touches no others.
	hash uint32
}

func (r *ring) len() int { return int(r.head - r.tail) }

func (r *ring) at(i uint64) *ringEntry { return &r.entries[i&uint64(len(r.entries)-1)] }

// push adds a record above all others and lets the oldest go.
func (r *ring) push(rec *Record, u ruling, hash uint32) {
	n := recordBytes(rec)
	for r.head > r.tail && (r.len() >= r.maxRecords || r.bytes+n > r.maxBytes) {
		r.drop()
	}
	if r.maxRecords == 0 || n > r.maxBytes {
		r.from = rec.Offset + 1
		return
	}
	if r.len() == len(r.entries) {
		r.grow()
	}
	*r.at(r.head) = ringEntry{rec, u, hash}
	r.head++
	r.bytes += n
}

func (r *ring) drop() {
	e := r.at(r.tail)
	r.from = e.record.Offset + 1
	r.bytes -= recordBytes(e.record)
	*e = ringEntry{}
	r.tail++
}

func (r *ring) grow() {
	bigger := make([]ringEntry, max(16, 2*len(r.entries)))
	for i := r.tail; i < r.head; i++ {
		bigger[i&uint64(len(bigger)-1)] = *r.at(i)
	}
	r.entries = bigger
}

// clear forgets everything; what comes next begins at from.
func (r *ring) clear(from int64) {
	clear(r.entries)
	r.head, r.tail, r.bytes, r.from = 0, 0, 0, from
}

// since returns the index of the first entry at or above offset.
func (r *ring) since(offset int64) uint64 {
	n := sort.Search(r.len(), func(i int) bool { return r.at(r.tail+uint64(i)).record.Offset >= offset })
	return r.tail + uint64(n)
}

// recordBytes is what bounds in bytes count of a record.
func recordBytes(r *Record) int64 { return int64(len(r.Key) + len(r.Value)) }

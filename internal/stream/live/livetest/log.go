package livetest

import (
	"encoding/binary"
	"sync"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
)

// Log is a hub's log in memory. It is a live.Log by its own View. Its methods are
// safe for concurrent use; those about a topic that was not made do nothing.
type Log struct {
	*View

	mu     sync.Mutex
	topics map[string]*topic
	made   uint64        // topics ever made, which give them their ids
	minted uint64        // dedupe ids ever minted
	moved  chan struct{} // closed and replaced whenever something changes
}

type topic struct {
	id         [16]byte
	compacted  bool
	partitions []*partition
}

type partition struct {
	slots []slot // by offset
	start int64
	// stable is the end for readers of committed records where a transaction is
	// open; -1 where none is.
	stable int64
}

// slot is what stands at an offset: a committed record, or nothing a reader sees.
type slot struct {
	record    live.Record
	committed bool
	at        time.Time
}

func (p *partition) end() int64 {
	if p.stable >= 0 {
		return p.stable
	}
	return int64(len(p.slots))
}

// NewLog returns a log without topics.
func NewLog() *Log {
	l := &Log{topics: map[string]*topic{}, moved: make(chan struct{})}
	l.View = l.NewView()
	return l
}

// change runs fn under the lock and wakes everybody who waits.
func (l *Log) change(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
	close(l.moved)
	l.moved = make(chan struct{})
}

func (l *Log) onPartition(name string, p int32, fn func(*partition)) {
	l.change(func() {
		if t := l.topics[name]; t != nil && p >= 0 && int(p) < len(t.partitions) {
			fn(t.partitions[p])
		}
	})
}

// Make makes a topic, anew where there is one of that name: its id is another and
// its records are gone.
func (l *Log) Make(name string, partitions int32) {
	l.change(func() {
		l.made++
		t := &topic{}
		binary.BigEndian.PutUint64(t.id[:], l.made)
		l.topics[name] = t
		t.raise(partitions)
	})
}

// Raise gives a topic more partitions.
func (l *Log) Raise(name string, partitions int32) {
	l.change(func() {
		if t := l.topics[name]; t != nil {
			t.raise(partitions)
		}
	})
}

func (t *topic) raise(partitions int32) {
	for len(t.partitions) < int(partitions) {
		t.partitions = append(t.partitions, &partition{stable: -1})
	}
}

// Delete removes a topic.
func (l *Log) Delete(name string) { l.change(func() { delete(l.topics, name) }) }

// SetCompacted says whether the hub calls a topic compacted.
func (l *Log) SetCompacted(name string, compacted bool) {
	l.change(func() {
		if t := l.topics[name]; t != nil {
			t.compacted = compacted
		}
	})
}

// Append appends a record to its Partition and returns its offset, or -1 where
// there is no such partition. A zero Timestamp becomes now, a zero Accepted the
// Timestamp.
func (l *Log) Append(name string, r live.Record) int64 {
	offset := int64(-1)
	l.onPartition(name, r.Partition, func(p *partition) {
		if r.Timestamp.IsZero() {
			r.Timestamp = time.Now()
		}
		if r.Accepted.IsZero() {
			r.Accepted = r.Timestamp
		}
		offset = int64(len(p.slots))
		r.Offset = offset
		p.slots = append(p.slots, slot{record: r, committed: true, at: r.Timestamp})
	})
	return offset
}

// Send appends a message with a new dedupe id to the partition of its key, and
// returns the record as it stands in the log.
func (l *Log) Send(name, key, value string) live.Record {
	r := live.Record{Key: []byte(key), Value: []byte(value), ID: l.Mint(), HasID: true, Timestamp: time.Now()}
	r.Accepted = r.Timestamp
	r.Partition = message.PartitionOf(r.Key, max(1, int32(l.Partitions(name))))
	r.Offset = l.Append(name, r)
	return r
}

// Mint returns a dedupe id that no other record of the log has.
func (l *Log) Mint() message.ID {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.minted++
	return ID(l.minted)
}

// ID returns the n-th dedupe id. Those of Send are made in turn from 1.
func ID(n uint64) message.ID {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	h := message.NewHasher("postroad livetest id")
	h.Bytes(b[:])
	return message.ID(h.Sum())
}

// Abort appends n offsets of a transaction that was aborted, and the marker that
// ends it.
func (l *Log) Abort(name string, p int32, n int) {
	l.onPartition(name, p, func(p *partition) {
		for range n + 1 {
			p.slots = append(p.slots, slot{at: time.Now()})
		}
	})
}

// Mark appends one marker.
func (l *Log) Mark(name string, p int32) { l.Abort(name, p, 0) }

// Open begins a transaction: what is appended from now on is not to be seen until
// Commit.
func (l *Log) Open(name string, p int32) {
	l.onPartition(name, p, func(p *partition) {
		if p.stable < 0 {
			p.stable = int64(len(p.slots))
		}
	})
}

// Commit ends what Open began, with a marker.
func (l *Log) Commit(name string, p int32) {
	l.onPartition(name, p, func(p *partition) {
		if p.stable >= 0 {
			p.stable = -1
			p.slots = append(p.slots, slot{at: time.Now()})
		}
	})
}

// Truncate removes what stands below start, as retention does. The start never
// goes back, nor beyond the end.
func (l *Log) Truncate(name string, p int32, start int64) {
	l.onPartition(name, p, func(p *partition) {
		p.start = max(p.start, min(start, int64(len(p.slots))))
	})
}

// Partitions is the count of a topic's partitions, 0 where there is no topic.
func (l *Log) Partitions(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.topics[name]; t != nil {
		return len(t.partitions)
	}
	return 0
}

// All returns every committed record that a partition ever held, removed ones
// included, and the offset after the last of all.
func (l *Log) All(name string, p int32) (records []live.Record, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.topics[name]
	if t == nil || p < 0 || int(p) >= len(t.partitions) {
		return nil, 0
	}
	slots := t.partitions[p].slots
	for i := range slots {
		if slots[i].committed {
			records = append(records, slots[i].record)
		}
	}
	return records, int64(len(slots))
}

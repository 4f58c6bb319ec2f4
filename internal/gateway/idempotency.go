package gateway

import (
	"sync"
	"time"

	"postroad/internal/message"
)

// keyIndex remembers the idempotency keys of clients: which request came under
// a key and where its messages are, so that a repeat gets the first answer. It
// keeps the place and the digest and not the answer, which is built again from
// the repeated request.
//
// Keys are forgotten after the retention, and the oldest of a shard early when
// the shard is full; a repeat after that is stored again and readers, who know
// the dedupe id, show it once. An index that refused new keys when full would
// turn away messages for the sake of an answer.
//
// It lives in memory. What an earlier process was asked under a key is loaded
// after this one has begun to take messages, and stands in tables of its own:
// it comes about newest first, and what this process was asked counts more.
type keyIndex struct {
	shards    [keyShards]keyShard
	retention time.Duration
	// evicted counts keys that were forgotten before their time.
	evicted func()
}

// keyShards spreads the lock; a power of two.
const keyShards = 16

type keyShard struct {
	mu sync.Mutex
	// All below is guarded by mu. table holds what this process was asked,
	// loaded what earlier ones were; together they have at most max keys. busy
	// holds the keys in progress.
	table, loaded keyTable
	max           int
	busy          map[message.Hash]struct{}
}

// byKey and byID return what is known of a key or dedupe id, or nil. It is valid
// until the next change. Entries that are too old may stand between younger ones.
func (s *keyShard) byKey(hash message.Hash, oldest int64) *keyEntry {
	if e := s.table.byKey(hash); e != nil {
		return e
	}
	return young(s.loaded.byKey(hash), oldest)
}

func (s *keyShard) byID(id message.ID, oldest int64) *keyEntry {
	if e := young(s.table.byID(id), oldest); e != nil && e.state == keyStored {
		return e
	}
	return young(s.loaded.byID(id), oldest)
}

func young(e *keyEntry, oldest int64) *keyEntry {
	if e == nil || e.time < oldest {
		return nil
	}
	return e
}

// expire forgets keys that were accepted before oldest, in microseconds: those
// of this process in order of age, those of earlier ones about so.
func (s *keyShard) expire(oldest int64) {
	s.table.expire(oldest)
	for e := s.loaded.last(); e != nil && e.time < oldest; e = s.loaded.last() {
		s.loaded.pop()
	}
}

// add makes e the newest entry and reports whether another one was dropped to
// make room: of the loaded ones, while there are any.
func (s *keyShard) add(e keyEntry) (evicted bool) {
	if s.loaded.len() > 0 && s.table.len()+s.loaded.len() >= s.max {
		s.loaded.pop()
		evicted = true
	}
	return s.table.add(e) || evicted
}

// load adds an entry of an earlier process, unless something newer is known, and
// reports whether there was room.
func (s *keyShard) load(e keyEntry) bool {
	if s.table.byKey(e.hash) != nil {
		return true
	}
	if known := s.loaded.byKey(e.hash); known != nil && !e.newer(known) {
		return true
	}
	if s.table.len()+s.loaded.len() >= s.max {
		return false
	}
	s.loaded.add(e)
	return true
}

// keyState is what is known of a key.
type keyState uint8

const (
	// keyFree: nothing; the request is to be stored.
	keyFree keyState = iota
	// keyStored: a request under the key is stored.
	keyStored
	// keyUnknown: a request under the key may be stored.
	keyUnknown
)

// known is what begin finds out about a key.
type known struct {
	state keyState
	// first and time are set with keyStored.
	first message.Place
	time  time.Time
}

func newKeyIndex(o IdempotencyOptions, evicted func()) *keyIndex {
	x := &keyIndex{retention: o.Retention, evicted: evicted}
	for i := range x.shards {
		most := max(o.MaxKeys/keyShards, 1)
		x.shards[i] = keyShard{table: newKeyTable(most), loaded: newKeyTable(most), max: most, busy: make(map[message.Hash]struct{})}
	}
	return x
}

func (x *keyIndex) shard(hash message.Hash) *keyShard { return &x.shards[hash[0]%keyShards] }

// begin looks a key up. With keyFree and keyUnknown the key is in progress
// from now on and the caller must call end. The errors are errKeyBusy, and
// errKeyReused where the key was used for a request of another digest. A key
// in progress is busy whatever the other digest: if that request fails, the
// key is free.
func (x *keyIndex) begin(hash, digest message.Hash, now time.Time) (known, error) {
	s := x.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	oldest := now.Add(-x.retention).UnixMicro()
	s.expire(oldest)
	if _, busy := s.busy[hash]; busy {
		return known{}, errKeyBusy
	}
	e := s.byKey(hash, oldest)
	switch {
	case e == nil:
		s.busy[hash] = struct{}{}
		return known{state: keyFree}, nil
	case e.state == keyUnknown:
		// Another body is let through as well: the first may not be stored,
		// and the dedupe ids differ.
		s.busy[hash] = struct{}{}
		return known{state: keyUnknown}, nil
	case e.digest != digest:
		return known{}, errKeyReused
	}
	return known{state: keyStored, first: e.place(), time: time.UnixMicro(e.time).UTC()}, nil
}

// end settles a key that begin put in progress. An entry of state keyFree is
// not remembered.
func (x *keyIndex) end(e keyEntry) {
	s := x.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, e.hash)
	if e.state == keyFree {
		return
	}
	if s.add(e) {
		x.evicted()
	}
}

// find looks for a dedupe id: that of the first message of a stored request
// under a client's key.
func (x *keyIndex) find(id message.ID, now time.Time) (message.Place, bool) {
	oldest := now.Add(-x.retention).UnixMicro()
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		e := s.byID(id, oldest)
		found := e != nil
		var p message.Place
		if found {
			p = e.place()
		}
		s.mu.Unlock()
		if found {
			return p, true
		}
	}
	return message.Place{}, false
}

// load remembers a key of an earlier process and reports whether there was room.
// A key that this process knows, or has in progress, is its own affair.
func (x *keyIndex) load(e keyEntry) bool {
	s := x.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(e)
}

// len returns how many keys are remembered, those of earlier processes included.
func (x *keyIndex) len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += s.table.len() + s.loaded.len()
		s.mu.Unlock()
	}
	return n
}

// loaded returns how many keys of earlier processes are remembered.
func (x *keyIndex) loaded() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += s.loaded.len()
		s.mu.Unlock()
	}
	return n
}

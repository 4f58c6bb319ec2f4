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
// It lives in memory and dies with the process.
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
	// table and busy are guarded by mu. busy holds the keys in progress.
	table keyTable
	busy  map[message.Hash]struct{}
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
		x.shards[i] = keyShard{table: newKeyTable(o.MaxKeys / keyShards), busy: make(map[message.Hash]struct{})}
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
	s.table.expire(now.Add(-x.retention).UnixMicro())
	if _, busy := s.busy[hash]; busy {
		return known{}, errKeyBusy
	}
	e := s.table.byKey(hash)
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
	if s.table.add(e) {
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
		e := s.table.byID(id)
		found := e != nil && e.state == keyStored && e.time >= oldest
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

// len returns how many keys are remembered.
func (x *keyIndex) len() int {
	n := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += s.table.len()
		s.mu.Unlock()
	}
	return n
}

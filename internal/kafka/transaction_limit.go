package kafka

import (
	"errors"
	"fmt"
	"maps"

	"github.com/twmb/franz-go/pkg/kerr"
)

// teller tells a session's client how large a batch of each topic may be. The client
// keeps what it was told, so it is replaced where that has changed: two clients
// cannot have one transactional id.
type teller struct {
	limits *limits
	rooms  map[string]int32 // what is wanted instead of some topics' limits
	stale  bool             // other rooms are wanted by now; used by the loop

	// Guarded by limits.mu.
	told    map[string]int32
	version uint64 // of the limits, when they were last compared
}

// newTeller is for a new client.
func (x *Session) newTeller() *teller {
	l := x.sink.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	return &teller{limits: l, rooms: maps.Clone(x.rooms), told: map[string]int32{}, version: l.version}
}

// limit answers the client's question.
func (b *teller) limit(topic string) int32 {
	if topic == "" { // of the settings as a whole
		return b.limits.most
	}
	b.limits.mu.Lock()
	defer b.limits.mu.Unlock()
	n, met := b.told[topic]
	if !met {
		n = b.lockedOf(topic)
		b.told[topic] = n
	}
	return n
}

// lockedOf is what a topic's limit is now. The caller holds limits.mu.
func (b *teller) lockedOf(topic string) int32 {
	return max(b.limits.lockedOf(topic), b.rooms[topic])
}

// current reports whether the client was told what still holds.
func (b *teller) current() bool {
	b.limits.mu.Lock()
	defer b.limits.mu.Unlock()
	if b.stale || b.version == b.limits.version {
		return !b.stale
	}
	for topic, told := range b.told {
		if told != b.lockedOf(topic) {
			return false
		}
	}
	b.version = b.limits.version
	return true
}

// toldOf is what the client was told of a topic.
func (b *teller) toldOf(topic string) int32 {
	b.limits.mu.Lock()
	defer b.limits.mu.Unlock()
	return b.told[topic]
}

// resize learns from what was too large in a transaction. A record above its
// topic's limit is refused by the client, before compression: that is for the hub to
// say. Then the topic gets room for it, and the error says that all is to be
// sent again by another client; the record's partition is taken out of those that
// are given back. Where the hub has refused a batch of several records, the limit is
// learned, or the room taken away: what is then sent alone gets it again.
func (x *Session) resize(t *txn, from map[partitionKey]*isle) (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	count, bytes := map[partitionKey]int{}, map[partitionKey]int{}
	for _, w := range t.tries {
		if !w.answered || !errors.Is(w.err, kerr.MessageTooLarge) {
			continue
		}
		topic, size := w.e.key.topic, batchBytes(&w.rec)
		if told := x.by.toldOf(topic); size > int(told) && told < x.sink.limits.most {
			x.rooms[topic], x.by.stale = x.sink.limits.roomFor(size), true
			delete(from, w.e.key)
			err = fmt.Errorf("a record of %d bytes before compression needs a client that makes batches of that size", size)
			continue
		}
		count[w.e.key]++
		bytes[w.e.key] += size
	}
	for key, n := range count {
		if n < 2 {
			continue
		}
		told := x.by.toldOf(key.topic)
		if x.rooms[key.topic] == told {
			delete(x.rooms, key.topic)
			x.by.stale = true
		}
		x.sink.limits.refused(key.topic, told, bytes[key])
	}
	return err
}

package message

import "time"

// Message is one message as the gateway accepted it. It is stored, drained and
// relayed as it stands; only the forwarder adds the postroad-* record headers.
type Message struct {
	// ID is the dedupe id: readers show each id once. See DeriveID.
	ID ID
	// Topic is the hub topic, valid by ValidTopic.
	Topic string
	// Key orders and partitions messages; nil means the message has none,
	// which is not the same as an empty key.
	Key []byte
	// Value is the payload, carried byte for byte.
	Value []byte
	// Headers travel with the record in this order; names may repeat.
	// CloudEvents attributes stand here as the Kafka binding names them
	// (ce_id, ce_source, content-type, …).
	Headers []Header
	// Time is when the gateway accepted the message, in UTC with microseconds.
	Time time.Time
	// Principal is the configured name of the client, equal on all stamps.
	Principal string
	// KeyHash is the hash of the client's idempotency key. The zero value
	// means that the key was minted or belongs to this message alone, and is
	// not indexed.
	KeyHash Hash
	// Digest is the digest of the request (or of the message, where the
	// message has a key of its own).
	Digest Hash
	// Repeat marks an attempt after the first: another copy may exist.
	Repeat bool
	// Origin is set on a relayed message: where it was first accepted.
	Origin *Origin
	// TraceParent is the W3C trace context of the accepting request, or empty.
	TraceParent string
	// Moved is set on a message that stands in the queue a second time (in a
	// side lane, as a dead letter, released or replayed): the place at which
	// this stamp first stored it, which stays its place to the hub.
	Moved *Place
	// Replay marks a message that is sent again because a hub lost it. Its
	// record is not shown to live subscribers, and makes no other a duplicate.
	Replay bool
	// Reason is why a dead letter is one.
	Reason string
}

// Header is one record header.
type Header struct {
	Name  string
	Value []byte
}

// Origin names the place at which a relayed message was first accepted.
type Origin struct {
	Stamp string
	Place Place
	Time  time.Time
}

// Size is what message.max_bytes limits: key, headers and value, in bytes.
func (m *Message) Size() int {
	n := len(m.Key) + len(m.Value)
	for _, h := range m.Headers {
		n += len(h.Name) + len(h.Value)
	}
	return n
}

// MaxTopicLen is the longest topic name Kafka takes, in bytes.
const MaxTopicLen = 249

// ValidTopic reports whether name is a topic by Kafka's rule: 1 to 249 of
// [A-Za-z0-9._-], and neither "." nor "..".
func ValidTopic(name string) bool {
	if name == "" || len(name) > MaxTopicLen || name == "." || name == ".." {
		return false
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

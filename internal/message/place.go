package message

import (
	"fmt"
	"strconv"
	"strings"
)

// Place is where a stamp keeps a message: the seq-th message of a lane.
// Seqs start at 1 and have no gaps within a lane.
type Place struct {
	Lane string
	Seq  uint64
}

// Stored is a message with its place in the queue.
type Stored struct {
	// Place is where the stamp first stored the message. It is the message's
	// identity to the hub, and stays when the message is moved.
	Place
	Message
	// At is where a moved message stands now, else zero. See Stands.
	At Place
	// Late says, on its way to the hub and nowhere else, that the hub may have
	// held and dropped another copy by now.
	Late bool
}

// StoredAt is the message that was read at a place.
func StoredAt(at Place, m Message) Stored {
	s := Stored{Place: at, Message: m}
	if m.Moved != nil {
		s.Place, s.At = *m.Moved, at
	}
	return s
}

// Stands is where the message stands in the lane it was read from: what
// progress counts by.
func (s *Stored) Stands() Place {
	if s.At.Lane == "" {
		return s.Place
	}
	return s.At
}

// Receipt names an accepted message so that it is found at once.
type Receipt struct {
	ID ID
	Place
}

// String writes the receipt as "<dedupe id>.<lane>.<seq>".
func (r Receipt) String() string {
	b := make([]byte, 0, 36+1+26+1+20)
	b = r.ID.append(b)
	b = append(b, '.')
	b = append(b, r.Lane...)
	b = append(b, '.')
	return string(strconv.AppendUint(b, r.Seq, 10))
}

// ParseReceipt reads what Receipt.String writes; the error names the part that
// is wrong and matches ErrInvalid.
func ParseReceipt(s string) (Receipt, error) {
	id, rest, ok := strings.Cut(s, ".")
	lane, seq, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return Receipt{}, fmt.Errorf("receipt %q: want <dedupe id>.<lane>.<seq>: %w", s, ErrInvalid)
	}
	var r Receipt
	var err error
	if r.ID, err = ParseID(id); err != nil {
		return Receipt{}, err
	}
	if !ValidLane(lane) {
		return Receipt{}, fmt.Errorf("receipt %q: lane %q is not a lane id: %w", s, lane, ErrInvalid)
	}
	r.Lane = lane
	if r.Seq, err = strconv.ParseUint(seq, 10, 64); err != nil || r.Seq == 0 || seq[0] == '0' || seq[0] == '+' {
		return Receipt{}, fmt.Errorf("receipt %q: seq %q is not a positive number: %w", s, seq, ErrInvalid)
	}
	return r, nil
}

// ValidLane reports whether s has the form of a lane id: a ULID, 26 characters
// of Crockford's base32 in upper case, which fit in 128 bits. It keeps a
// caller's text from becoming a path.
func ValidLane(s string) bool {
	if len(s) != 26 || s[0] > '7' {
		return false
	}
	for i := range len(s) {
		if strings.IndexByte("0123456789ABCDEFGHJKMNPQRSTVWXYZ", s[i]) < 0 {
			return false
		}
	}
	return true
}

// State is what has become of an accepted message.
type State string

// The states of an accepted message.
const (
	// StateQueued: durable in the queue, not known to be in the hub.
	StateQueued State = "queued"
	// StateForwarded: acknowledged by the hub.
	StateForwarded State = "forwarded"
	// StateDead: refused by the hub for good and set aside with the reason.
	StateDead State = "dead"
)

// Outcome is the state of one message with what is known beside it.
type Outcome struct {
	State State
	// Located says that Partition and Offset are known.
	Located   bool
	Partition int32
	Offset    int64
	// Duplicate says that another copy of it, which another gateway stored, was in
	// the hub already, and this one was not sent; Partition and Offset are that
	// copy's.
	Duplicate bool
	// Reason says why a message is dead.
	Reason string
}

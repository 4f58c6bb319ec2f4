package drill

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// Print is what the ledger knows a message by: a hash of the bytes that were
// sent, key and value.
type Print [sha256.Size]byte

// PrintOf returns the print of a message. key is nil where it has none, which
// is not the same as an empty one. kind keeps messages apart that Postroad
// stores in different forms.
func PrintOf(kind string, key, value []byte) Print {
	h := sha256.New()
	var n [8]byte
	for _, part := range [][]byte{[]byte(kind), key, value} {
		binary.BigEndian.PutUint64(n[:], uint64(len(part)))
		if part == nil {
			n[0] = 0xff
		}
		h.Write(n[:])
		h.Write(part)
	}
	return Print(h.Sum(nil))
}

// Outcome is what the sender of a request learnt of it.
type Outcome int

// The outcomes.
const (
	// Unknown: an answer that says so, or none. May be stored.
	Unknown Outcome = iota
	// Acknowledged: a 2xx. Must be seen.
	Acknowledged
	// Refused: an answer that says it is surely not stored, or the request
	// was never sent. Must not be seen.
	Refused
)

// Send names one request in the ledger.
type Send int

// Stream names a run of requests whose messages share a key and that one
// connection sent one after the other to one process run: what is seen of it
// must be in order. NoStream promises no order.
type Stream int

// NoStream is the stream of requests of which no order is expected.
const NoStream Stream = 0

// Ledger records what was sent and what was answered. It is safe for
// concurrent use.
type Ledger struct {
	mu      sync.Mutex
	sends   []sent
	byPrint map[Print][]place // where its copies were sent
	streams Stream
}

// sent is one request.
type sent struct {
	// name is how its values begin, for a person who looks for them.
	name   string
	stream Stream
	// at counts the requests of the stream.
	at int32
	// prints are its messages in order.
	prints []Print
	// open counts attempts that may have stored it: those without an answer
	// and those with an answer that leaves it open.
	open int32
	// again says that it was sent more than once, after which its place among
	// the others is not promised.
	again        bool
	acknowledged bool
	// answered is when it was first acknowledged.
	answered time.Time
}

// place is one message of one request.
type place struct {
	send  Send
	index int32
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{byPrint: make(map[Print][]place)} }

// NewStream returns a stream that has not been used.
func (l *Ledger) NewStream() Stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.streams++
	return l.streams
}

// Sending enters a request before its first byte leaves. at is its place in
// the stream, ascending; prints are its messages in order. Until Answered it
// counts as unknown, as it does if the sender is gone before the answer. name
// helps a person to find it in files and logs.
func (l *Ledger) Sending(name string, stream Stream, at int, prints ...Print) Send {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Send(len(l.sends))
	l.sends = append(l.sends, sent{name: name, stream: stream, at: int32(at), prints: prints, open: 1})
	for i, p := range prints {
		l.byPrint[p] = append(l.byPrint[p], place{s, int32(i)})
	}
	return s
}

// Again enters that the same request, with the same idempotency key, is sent
// once more. The client waited for an end of the attempt before.
func (l *Ledger) Again(s Send) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sends[s].open++
	l.sends[s].again = true
}

// Answered enters the outcome of the latest attempt of a request.
func (l *Ledger) Answered(s Send, o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch o {
	case Acknowledged:
		if !l.sends[s].acknowledged {
			l.sends[s].acknowledged, l.sends[s].answered = true, time.Now()
		}
	case Refused:
		l.sends[s].open--
	}
}

// Requests is the number of requests entered.
func (l *Ledger) Requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sends)
}

// acknowledged are the messages of all requests that were acknowledged by then.
func (l *Ledger) acknowledged(by time.Time) []Print {
	l.mu.Lock()
	defer l.mu.Unlock()
	var prints []Print
	for i := range l.sends {
		if s := &l.sends[i]; s.acknowledged && !s.answered.After(by) {
			prints = append(prints, s.prints...)
		}
	}
	return prints
}

// repeated is how many requests were sent more than once.
func (l *Ledger) repeated() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for i := range l.sends {
		if l.sends[i].again {
			n++
		}
	}
	return n
}

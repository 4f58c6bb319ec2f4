package drill

import (
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"
)

// prints numbers the prints of messages, so that what thousands of clients saw
// takes four bytes a message.
type prints struct {
	mu  sync.RWMutex
	ids map[Print]int32 // guarded by mu
}

func newPrints() *prints { return &prints{ids: make(map[Print]int32)} }

// id is the number of a print, a new one where it has none.
func (n *prints) id(p Print) int32 {
	n.mu.RLock()
	id, ok := n.ids[p]
	n.mu.RUnlock()
	if ok {
		return id
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok := n.ids[p]; ok {
		return id
	}
	id = int32(len(n.ids))
	n.ids[p] = id
	return id
}

func (n *prints) count() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.ids)
}

// subject is what a client subscribes to: one key, the messages without one,
// one partition, or the whole topic.
type subject struct {
	topic string
	// key is the one wanted; nil for messages without a key. Only where not all.
	key []byte
	all bool
	// partition is the one wanted; -1 for every one. Only where all.
	partition int32
}

// name is the subject as the protocol writes it.
func (s subject) name() string {
	switch {
	case s.all && s.partition >= 0:
		return fmt.Sprintf("%s/*@%d", s.topic, s.partition)
	case s.all:
		return s.topic + "/*"
	}
	return s.topic + "/" + escapeKey(string(s.key))
}

// escapeKey writes a key as it stands in a subject.
func escapeKey(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); {
		r, n := utf8.DecodeRuneInString(key[i:])
		if r == utf8.RuneError && n == 1 || r == '/' || r == '%' {
			fmt.Fprintf(&b, "%%%02X", key[i])
			n = 1
		} else {
			b.WriteString(key[i : i+n])
		}
		i += n
	}
	return b.String()
}

// view is what one client saw of one subject.
type view struct {
	subject subject
	// client names it for a person.
	client string

	mu sync.Mutex
	// seen are the messages in the order in which they came. Guarded by mu.
	seen []int32
	// faults are what the client itself found wrong, gaps the times it was told
	// that something is missing. Guarded by mu.
	faults, gaps []string
	// snapshots counts last values that it was given. Guarded by mu.
	snapshots int
}

func (v *view) saw(id int32) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.seen = append(v.seen, id)
}

func (v *view) snapshot() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.snapshots++
}

// maxFaults bounds what is kept of what one client found.
const maxFaults = 20

func (v *view) fault(format string, args ...any) { v.note(&v.faults, format, args...) }

func (v *view) gap(format string, args ...any) { v.note(&v.gaps, format, args...) }

func (v *view) note(to *[]string, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(*to) < maxFaults {
		*to = append(*to, fmt.Sprintf(format, args...))
	}
}

func (v *view) String() string { return v.client + " of " + v.subject.name() }

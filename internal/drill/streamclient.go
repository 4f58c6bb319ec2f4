package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// kind is the protocol that a client of the stream nodes speaks.
type kind int

const (
	kindJSON kind = iota
	kindProtobuf
	kindEvents
)

func (k kind) String() string { return [...]string{"json", "protobuf", "sse"}[k] }

// viewer is one client of the stream nodes. It subscribes, notes what it is
// given, and when its connection is gone connects again with its positions,
// after the delays that the official SDKs keep.
type viewer struct {
	kind kind
	// host is host:port of a node or balancer.
	host   string
	views  []*view
	prints *prints
	stats  *viewing
	rng    *rand.Rand

	// What follows belongs to run.

	// positions are by view; hints are the ids of server-sent events.
	positions []position
	hint      string
	// partitions are the last offsets seen of each partition, of events.
	partitions map[int32]int64
	attempts   int
	before     bool      // it was subscribed before
	lost       time.Time // when the connection broke; zero while there is one
	buf        []byte
}

// position is how far a client of the Centrifugo protocol is in a subject.
type position struct {
	known  bool
	epoch  string
	offset uint64
}

// viewing is what all clients of a drill count together.
type viewing struct {
	mu sync.Mutex
	// connected is how many clients are subscribed now. Guarded by mu.
	connected int
	// backs are the times at which clients whose connection broke were
	// subscribed again, and how long that took. Guarded by mu.
	backs []back
	// dials are the times at which clients that had lost a connection had one
	// again, before they were subscribed. Guarded by mu.
	dials []time.Time
	// codes counts how connections ended. Guarded by mu.
	codes map[string]int
	// refusals are the last attempts to subscribe that failed. Guarded by mu.
	refusals []string
}

// maxRefusals is how many are kept.
const maxRefusals = 10

func (s *viewing) refused(k kind, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, fmt.Sprintf("%s: %v", k, err))
	s.refusals = s.refusals[max(0, len(s.refusals)-maxRefusals):]
}

// back is a client that is subscribed again.
type back struct {
	at   time.Time
	took time.Duration
}

func (s *viewing) subscribed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected++
}

// gone notes that a subscribed client's connection is over, and how it ended
// unless that was the client's own doing.
func (s *viewing) gone(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected--
	if ctx.Err() != nil {
		return
	}
	if s.codes == nil {
		s.codes = make(map[string]int)
	}
	what := "broken"
	var closed closedError
	if errors.As(err, &closed) {
		what = fmt.Sprint(closed.code)
	}
	s.codes[what]++
}

func (s *viewing) back(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backs = append(s.backs, back{time.Now(), time.Since(since)})
}

func (s *viewing) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.connected
}

// dialledSince are the connections that were made again after a time.
func (s *viewing) dialledSince(t time.Time) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []time.Time
	for _, at := range s.dials {
		if at.After(t) {
			found = append(found, at)
		}
	}
	return found
}

// since are those that came back after a time.
func (s *viewing) since(t time.Time) []back {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []back
	for _, b := range s.backs {
		if b.at.After(t) {
			found = append(found, b)
		}
	}
	return found
}

// closedError is a connection that the node ended with a code.
type closedError struct {
	code   int
	reason string
}

func (e closedError) Error() string { return fmt.Sprintf("closed with %d %s", e.code, e.reason) }

// refusedError is an answer that is an error of the protocol.
type refusedError struct {
	what    string
	code    uint32
	message string
}

func (e refusedError) Error() string {
	return fmt.Sprintf("%s refused with %d %s", e.what, e.code, e.message)
}

// The delays before a client connects again, those of centrifuge-js but for the
// longest, since a drill does not last as long as a night: a random part of
// what doubles with each attempt that failed, and something more.
const (
	leastDelay = 500 * time.Millisecond
	mostDelay  = 5 * time.Second
)

// delay is how long to wait before the next attempt.
func (v *viewer) delay() time.Duration {
	span := min(mostDelay, leastDelay<<min(v.attempts, 10))
	v.attempts++
	return min(mostDelay, leastDelay+time.Duration(v.rng.Int64N(int64(span))))
}

// run subscribes until ctx ends.
func (v *viewer) run(ctx context.Context) {
	v.positions = make([]position, len(v.views))
	v.partitions = make(map[int32]int64)
	for ctx.Err() == nil {
		session := v.webSocket
		if v.kind == kindEvents {
			session = v.events
		}
		err := session(ctx)
		if ctx.Err() != nil {
			return
		}
		v.stats.refused(v.kind, err)
		var closed closedError
		if errors.As(err, &closed) && (closed.code >= 3500 && closed.code < 4000 || closed.code >= 4500 && closed.code < 5000) {
			v.views[0].fault("told never to come back: %v", err)
			return
		}
		if v.before && v.lost.IsZero() {
			v.lost = time.Now()
		}
		if rest(ctx, v.delay()) != nil {
			return
		}
	}
}

// dialled notes that a node has taken the connection.
func (v *viewer) dialled() {
	if v.lost.IsZero() {
		return
	}
	v.stats.mu.Lock()
	defer v.stats.mu.Unlock()
	v.stats.dials = append(v.stats.dials, time.Now())
}

// ready notes that all subjects are subscribed.
func (v *viewer) ready() {
	v.stats.subscribed()
	v.attempts, v.before = 0, true
	if !v.lost.IsZero() {
		v.stats.back(v.lost)
		v.lost = time.Time{}
	}
}

// Times that clients of the stream nodes keep.
const (
	// handshakeLimit bounds how long a node may take to answer.
	handshakeLimit = 5 * time.Second
	// silenceLimit is longer than a node may be silent: 25 s between pings and
	// 10 s more, as the SDKs have it.
	silenceLimit = 35 * time.Second
)

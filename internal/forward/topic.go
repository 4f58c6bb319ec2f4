package forward

import (
	"math"
	"time"

	"postroad/internal/message"
)

// topic is one topic of a chain. While all goes well the drainer's run gives its
// messages to the sink itself. Where it does not, a worker has the topic: run
// leaves what it reads of it in the ring, and only the worker sends.
//
// Guarded by its flight's mu, but for what says otherwise.
type topic struct {
	name string
	gate *gate
	wake chan struct{} // for the worker: what it waits for may have come
	// nudge has a token where the topic's waiting messages stand in the way of
	// others.
	nudge chan struct{}

	parts map[int32]*part
	count int32  // partitions; 0 until it was looked up under this claim
	turn  uint64 // the sink's, for what run sends

	busy   bool   // a worker has it
	stale  bool   // its partitions are to be looked up again
	anew   bool   // its offsets were forgotten, which is not saved yet
	unread bool   // what the last holder sent must be read back before anything is sent
	aside  bool   // messages of it stand unsettled in side lanes
	sent   int    // messages with the sink
	failed int    // given back
	ready  int    // read, and waiting for the worker
	done   uint64 // settled under this claim
	round  uint64 // counts repairs

	// known are messages of the chain's own lanes that were found in the hub at
	// takeover and have not been read yet, pending how many they are; found is
	// how many have been read and are not below the watermark yet. While there
	// are any, no mark passes that of the takeover: a successor must find them
	// again.
	known          places
	pending, found int
	// landed are messages of other lanes that stand in the hub: moved ones,
	// known there by the place at which they were first stored.
	landed places
	// seen are messages of side lanes that were settled under this claim: where a
	// last holder died between Divert and Save, one may stand there twice.
	seen places

	// movedIn counts messages in the ring that were moved to a side lane. Until
	// the watermark has passed them, a successor reads them again, and must find
	// in the hub what has been sent of them from there.
	movedIn int
	// reading are the messages that a read-back which runs looks for, by place.
	reading map[message.Place]*slot
	// own says that the last read-back found messages of the chain's own lanes.
	own bool

	// For the status.
	state string    // "", stateRecovering or stateHeld
	err   error     // why
	since time.Time // since when
	next  time.Time // of the next try
}

// part is a partition that the chain writes to. Guarded by flight.mu.
type part struct {
	// next is an offset that whatever is sent from now on will not stand below.
	next int64
	// floor is the mark at takeover.
	floor int64
	// pin is a mark that must not be passed while the topic is aside or unread,
	// or messages that were moved are in the ring: copies of such messages may
	// stand from there on.
	pin int64
	// sends counts what was sent to it, asked is that count when its end was
	// asked for.
	sends, asked uint64
	// sent counts messages with the sink; heard is when an answer to one came, or
	// sending began after a pause.
	sent  int
	heard time.Time
}

// noPin is a pin that holds nothing back.
const noPin = math.MaxInt64

func newPart(offset int64) *part { return &part{next: offset, floor: offset, pin: noPin} }

// topicNamed returns the state of a topic, new where it is. The caller holds mu.
func (f *flight) topicNamed(name string) *topic {
	t := f.topics[name]
	if t == nil {
		t = &topic{
			name: name, gate: f.gates.of(name), parts: map[int32]*part{},
			wake: make(chan struct{}, 1), nudge: make(chan struct{}, 1),
		}
		f.topics[name] = t
	}
	return t
}

// topicOf returns the state of a topic.
func (f *flight) topicOf(name string) *topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.topicNamed(name)
}

// call gives a topic to a worker, which run starts. The caller holds mu.
func (f *flight) call(t *topic) {
	if t.busy {
		signal(t.wake)
		return
	}
	t.busy = true
	f.calls = append(f.calls, t)
	signal(f.wake)
}

// called returns the topics for which workers are to be started.
func (f *flight) called() []*topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// resume gives a topic back to run, where all is well with it and nothing waits,
// so that nothing that run sends from now on overtakes anything.
func (f *flight) resume(t *topic, turn uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.failed > 0 || t.ready > 0 || t.aside || t.unread || t.stale || t.count == 0 {
		return false
	}
	t.busy, t.turn = false, turn
	t.state, t.err, t.since, t.next = "", nil, time.Time{}, time.Time{}
	signal(f.wake) // run may wait for the last worker to end
	return true
}

// toll returns how many messages of a topic are with the sink, given back, and
// waiting.
func (f *flight) toll(t *topic) (sent, failed, ready int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.sent, t.failed, t.ready
}

// tell notes a topic's trouble for the status.
func (f *flight) tell(t *topic, state string, err error, since, next time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.state, t.err, t.since, t.next = state, err, since, next
}

// nextRound begins a topic's next round, and returns its number.
func (f *flight) nextRound(t *topic) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.round++
	return t.round
}

// trouble returns the worst class among a topic's messages that were sent in a round
// or later and given back, and an error of that class; err is nil where there are
// none.
func (f *flight) trouble(t *topic, round uint64) (class string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	class = classRetry
	left := t.failed
	f.eachOf(t, func(s *slot) bool {
		if s.state == slotFailed {
			left--
			if s.round < round {
				return left > 0
			}
			if c := classOf(s.err); err == nil || c == classDead && class != classDead || c == classHold && class == classRetry {
				class, err = c, s.err
			}
		}
		return left > 0
	})
	return class, err
}

// eachOf goes through a topic's messages in order, those of side lanes first,
// until yield says false. The caller holds mu.
func (f *flight) eachOf(t *topic, yield func(*slot) bool) {
	for _, s := range f.sides[t] {
		if !yield(s) {
			return
		}
	}
	for i := f.ring.head; i < f.ring.tail; i++ {
		if s := f.ring.at(i); s.topic == t && !yield(s) {
			return
		}
	}
}

// waiting returns a topic's messages in the ring that are not settled and not
// with the sink, in order: at most limit, and about so many bytes of them.
func (f *flight) waiting(t *topic, limit int, bytes int64) []*slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*slot
	left, size := t.failed+t.ready, int64(0)
	for i := f.ring.head; i < f.ring.tail && left > 0 && len(out) < limit && size < bytes; i++ {
		if s := f.ring.at(i); s.topic == t && (s.state == slotFailed || s.state == slotReady) {
			out = append(out, s)
			size += s.size
			left--
		}
	}
	return out
}

// condition tells what is to be done for a topic before its worker sends: broken
// says that its partitions are to be looked up, doubtful that it is to be read
// back. Where a message was refused in so many words it is not in the hub.
func (f *flight) condition(t *topic) (broken, doubtful bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	doubtful = t.unread
	left := t.failed
	if left > 0 && !doubtful && !f.exact {
		f.eachOf(t, func(s *slot) bool {
			if s.state == slotFailed {
				left--
				doubtful = classOf(s.err) == classRetry
			}
			return left > 0 && !doubtful
		})
	}
	return t.failed > 0 || t.unread || t.stale || t.count == 0, doubtful
}

// doneOf counts a topic's messages settled under this claim.
func (f *flight) doneOf(t *topic) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.done
}

// isAside reports whether messages of the topic stand unsettled in side lanes.
func (f *flight) isAside(t *topic) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.aside
}

// missing returns marks for those of a topic's partitions that are not among
// the parts.
func (f *flight) missing(t *topic, n int32) []message.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []message.Mark
	for p := range n {
		if t.parts[p] == nil {
			out = append(out, message.Mark{Topic: t.name, Partition: p})
		}
	}
	return out
}

// adopt notes a topic's partition count and the ends of partitions that were
// missing, and forgets those that a topic made anew no longer has. It reports
// whether that is to be saved before the topic is sent to.
func (f *flight) adopt(t *topic, n int32, ends []message.Mark) (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changed = len(ends) > 0 || f.counts[t.name] != n || t.anew
	if changed {
		f.version++
	}
	for _, m := range ends {
		t.parts[m.Partition] = newPart(m.Offset)
	}
	for p := range t.parts {
		if p >= n {
			delete(t.parts, p)
		}
	}
	t.count, t.stale, t.anew = n, false, false
	f.counts[t.name] = n
	return changed
}

// refresh has a topic's partitions looked up again.
func (f *flight) refresh(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.topics[name]; t != nil {
		t.stale = true
		f.call(t)
	}
}

// direct returns the topics that run sends to, with their partition counts.
func (f *flight) direct() map[string]int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int32{}
	for name, t := range f.topics {
		if !t.busy && t.count > 0 {
			out[name] = t.count
		}
	}
	return out
}

// idleParts returns marks for the partitions to which nothing in use was sent.
func (f *flight) idleParts() []message.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	used := map[*part]bool{}
	for i := f.ring.head; i < f.ring.tail; i++ {
		used[f.ring.at(i).part] = true
	}
	var out []message.Mark
	for name, t := range f.topics {
		if t.busy || t.found > 0 || t.pending > 0 {
			continue
		}
		for id, p := range t.parts {
			if !used[p] {
				p.asked = p.sends
				out = append(out, message.Mark{Topic: name, Partition: id, Offset: p.next})
			}
		}
	}
	return out
}

// raise moves partitions up to their ends, but for those to which something was
// sent since idleParts named them.
func (f *flight) raise(ends []message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range ends {
		t := f.topics[m.Topic]
		if t == nil || t.busy {
			continue
		}
		if p := t.parts[m.Partition]; p != nil && p.next != m.Offset && p.asked == p.sends {
			p.next, p.floor = m.Offset, m.Offset
			f.version++
		}
	}
}

// topicStates returns what is to be told of topics that are in trouble.
func (f *flight) topicStates() []TopicStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []TopicStatus
	for name, t := range f.topics {
		if !t.busy || t.err == nil && !t.aside {
			continue
		}
		s := TopicStatus{Topic: name, State: t.state, Aside: t.aside, Since: t.since, NextTry: t.next}
		if s.State == "" {
			s.State = stateRecovering
		}
		if t.err != nil {
			s.Error = t.err.Error()
		}
		out = append(out, s)
	}
	return out
}

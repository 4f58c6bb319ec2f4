package forward

import (
	"sync"

	"postroad/internal/message"
)

type slotState uint8

const (
	slotReady   slotState = iota // not with the sink: waits for its topic
	slotSent                     // with the sink
	slotFailed                   // given back
	slotSettled                  // in the hub, in a side lane, or a dead letter
)

// slot is one message.
type slot struct {
	flight    *flight
	msg       message.Stored
	topic     *topic
	lane      *lane
	part      *part // nil until it was first given to the sink
	partition int32
	state     slotState
	alone     bool   // no other message of its topic was with the sink when it was last sent
	found     bool   // settled by what was found at takeover, place not known
	twin      bool   // settled because another copy is in the hub
	ending    ending // once settled
	side      bool   // of a side lane, and not in the ring
	tries     int    // how often it was given to the sink
	turn      uint64 // the sink's, of the last time
	round     uint64 // the topic's, of the last time
	late      bool   // taken in as late, see budget
	size      int64  // in bytes
	low       int64  // no copy of it stands below
	offset    int64  // where it stands; -1 where not known
	err       error  // why it failed
	done      func(int64, error)
}

// reset makes a slot that of another message.
func (s *slot) reset(f *flight, m *message.Stored, t *topic, l *lane, size int64) {
	*s = slot{flight: f, msg: *m, topic: t, lane: l, size: size, offset: -1, done: s.done}
}

// ring holds slots by their number, head <= number < tail. Its memory grows and
// shrinks with them, in slabs that all rings share: with many chains, each for a
// moment at its limit, keeping it would not be bounded by the budget.
type ring struct {
	head, tail uint64
	slabs      []*slab // the first holds head
}

const slabSize = 256

// slab keeps its slots' callbacks, which are made once.
type slab [slabSize]slot

type slabPool struct{ pool sync.Pool }

func (p *slabPool) get() *slab {
	if s, ok := p.pool.Get().(*slab); ok {
		return s
	}
	s := new(slab)
	for i := range s {
		one := &s[i]
		one.done = func(offset int64, err error) { one.flight.answered(one, offset, err) }
	}
	return s
}

func (p *slabPool) put(s *slab) {
	for i := range s {
		s[i] = slot{done: s[i].done}
	}
	p.pool.Put(s)
}

func (r *ring) at(i uint64) *slot {
	return &r.slabs[i/slabSize-r.head/slabSize][i%slabSize]
}

// push returns the slot behind the last one.
func (r *ring) push(p *slabPool) *slot {
	if r.tail/slabSize-r.head/slabSize == uint64(len(r.slabs)) {
		r.slabs = append(r.slabs, p.get())
	}
	r.tail++
	return r.at(r.tail - 1)
}

// pop drops the first slot.
func (r *ring) pop(p *slabPool) {
	r.head++
	if r.head%slabSize == 0 {
		p.put(r.slabs[0])
		r.slabs[0] = nil
		r.slabs = r.slabs[1:]
	}
}

func (r *ring) len() int { return int(r.tail - r.head) }

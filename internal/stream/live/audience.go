package live

import (
	"slices"
	"sync"
)

// audience are the subscriptions that are sent the same bytes: of one subject,
// under one name, by one encoder. Guarded by the partition's lock.
type audience struct {
	// of is the key's; nil for those of all keys.
	of         *keyState
	name       string
	encoder    Encoder
	positioned bool
	keyed      bool
	members    []member
	// floors counts the members that have one.
	floors int
}

type member struct {
	s    *Subscription
	seat *seat
	// floor is the offset below which nothing is delivered; 0 for none.
	floor int64
}

// seat is a subscription's place in one partition. Guarded by its lock.
type seat struct {
	p  *partition
	a  *audience
	at int // in a.members
}

// Subscription is one subscriber's of one subject.
type Subscription struct {
	subject  Subject
	name     string
	conflate bool
	// positioned and keyed are what its encoder is told.
	positioned bool
	keyed      bool
	encoder    Encoder
	receiver   Receiver

	mu   sync.Mutex // taken before any partition's
	over bool
	// Where it sits: most sit in one partition.
	first seat
	more  []seat
	// absent is the topic as it was subscribed to while the hub had none.
	absent *state
}

// Subject is what it is of.
func (s *Subscription) Subject() Subject { return s.subject }

// Name is what the subscriber calls the subject.
func (s *Subscription) Name() string { return s.name }

// Close ends the subscription: nothing is delivered once it has returned. It is
// not to be called with a lock held that the Receiver takes.
func (s *Subscription) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		s.leave()
	}
}

// end ends the subscription for the subscriber, who is told why. It is called by
// whoever reads the topic, as delivering is, so that nothing is delivered after.
func (s *Subscription) end(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over = true
		s.leave()
		s.receiver.Ended(s, why)
	}
}

func (s *Subscription) leave() {
	if s.absent != nil {
		s.absent.leave(s)
	}
	if s.first.p != nil {
		s.first.p.unseat(&s.first)
	}
	for i := range s.more {
		s.more[i].p.unseat(&s.more[i])
	}
}

// sit gives s its places. The partitions' locks are held.
func (s *Subscription) sit(view []*partition, floors []int64) {
	if len(view) > 1 { // never to grow: seats are pointed to
		s.more = make([]seat, len(view)-1)
	}
	for i, p := range view {
		at := &s.first
		if i > 0 {
			at = &s.more[i-1]
		}
		p.seat(s, at, floors[i])
	}
}

// seat adds s to its audience in p. The lock is held.
func (p *partition) seat(s *Subscription, at *seat, floor int64) {
	list, of := &p.all, (*keyState)(nil)
	if !s.subject.All {
		of = p.values.keys[s.subject.Key]
		if of == nil {
			of = p.values.make(s.subject.Key)
		}
		list = &of.audiences
	}
	i := slices.IndexFunc(*list, func(a *audience) bool {
		return a.encoder == s.encoder && a.name == s.name && a.positioned == s.positioned
	})
	if i < 0 {
		i = len(*list)
		*list = append(*list, &audience{of: of, name: s.name, encoder: s.encoder, positioned: s.positioned, keyed: s.keyed})
	}
	a := (*list)[i]
	*at = seat{p: p, a: a, at: len(a.members)}
	a.members = append(a.members, member{s: s, seat: at, floor: floor})
	if floor > 0 {
		a.floors++
	}
}

// unseat takes a subscription out of its audience.
func (p *partition) unseat(at *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := at.a
	if a.members[at.at].floor > 0 {
		a.floors--
	}
	last := len(a.members) - 1
	a.members[at.at] = a.members[last]
	a.members[at.at].seat.at = at.at
	a.members[last] = member{}
	a.members = a.members[:last]
	if cap(a.members) > 64 && last < cap(a.members)/4 {
		a.members = slices.Clone(a.members) // a crowd that left gives its memory back
	}
	if last > 0 {
		return
	}
	list := &p.all
	if a.of != nil {
		list = &a.of.audiences
	}
	*list = slices.DeleteFunc(*list, func(b *audience) bool { return a == b })
	if a.of != nil {
		p.values.release(a.of)
	}
}

// deliver hands records to all members. The lock is held.
func (a *audience) deliver(b *Block, partition int32, records []*Record) {
	a.fill(b, partition, records)
	if a.floors > 0 {
		a.deliverAbove(b)
		return
	}
	for i := range a.members {
		s := a.members[i].s
		s.receiver.Deliver(s, b)
	}
}

func (a *audience) fill(b *Block, partition int32, records []*Record) {
	b.Partition, b.Records = partition, records
	if a.encoder != nil {
		b.Bytes = a.encoder.Encode(a.name, a.positioned, a.keyed, records)
	}
}

// deliverAbove hands each member what its floor does not keep from it: what a
// subscriber has seen at a node that was ahead is not shown again here.
func (a *audience) deliverAbove(b *Block) {
	last := b.Records[len(b.Records)-1].Offset
	var cut *Block // of the floor before, which is often the same
	var cutAt int64
	for i := range a.members {
		m := &a.members[i]
		switch {
		case m.floor <= b.Records[0].Offset:
			m.s.receiver.Deliver(m.s, b)
		case m.floor <= last:
			if cut == nil || cutAt != m.floor {
				at, _ := slices.BinarySearchFunc(b.Records, m.floor, byOffset)
				cut, cutAt = &Block{}, m.floor
				a.fill(cut, b.Partition, b.Records[at:])
			}
			m.s.receiver.Deliver(m.s, cut)
		}
		if m.floor > 0 && m.floor <= last+1 {
			m.floor = 0
			a.floors--
		}
	}
}

func byOffset(r *Record, offset int64) int {
	switch {
	case r.Offset < offset:
		return -1
	case r.Offset > offset:
		return 1
	}
	return 0
}

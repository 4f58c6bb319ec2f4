package kafka

import (
	"slices"
	"time"

	"postroad/internal/message"
)

// apartFor is how long partitions of which something was taken back keep to clients
// beside the others'.
const apartFor = 10 * time.Minute

// Withdraw takes back what is under way to partitions that do not answer: callbacks
// of what is not answered get ErrClosed, soon. A client fails nothing that it may
// have sent as long as it lives, so it is given up, and with it whatever else it
// has. That concerns the others once: for a while such partitions are sent to
// through clients of their own, which are replaced alone. Like Reset it never waits
// for the hub.
func (s *Sink) Withdraw(of []message.Mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.producers) == 0 {
		return ErrClosed
	}
	var give, apart bool // up: the clients of most, and those apart
	until := time.Now().Add(apartFor)
	for _, m := range of {
		switch by := s.partition(m.Topic, m.Partition).part(until); {
		case by == nil:
		case by.apart:
			apart = true
		default:
			give = true
		}
	}
	gone := func(p *producer) bool { return p.apart && apart || !p.apart && give }
	var left, up []*producer
	for _, p := range s.producers {
		if gone(p) {
			up = append(up, p)
		} else {
			left = append(left, p)
		}
	}
	s.closeAll(up)
	s.parts.Range(func(key, value any) bool { // see Reset
		if by := value.(*partition).sender(); by != nil && gone(by) {
			k := key.(partitionKey)
			s.refused(k.topic, k.partition)
		}
		return true
	})
	s.producers = left
	if !give {
		return nil
	}
	s.forgetTopics()
	first, err := s.newProducer(true)
	if err != nil {
		s.closeProducers()
		return err
	}
	s.producers = slices.Insert(s.producers, 0, first)
	return nil
}

// part has a partition keep apart until a time, and returns who has what is under
// way to it, or nil.
func (p *partition) part(until time.Time) *producer {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apart = until
	if p.inside == 0 {
		return nil
	}
	return p.by
}

// sender returns who has what is under way to a partition, or nil.
func (p *partition) sender() *producer {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside == 0 {
		return nil
	}
	return p.by
}

// isApart reports whether a partition keeps apart now. The caller holds mu.
func (p *partition) isApart() bool {
	return !p.apart.IsZero() && time.Now().Before(p.apart)
}

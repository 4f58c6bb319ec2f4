package forward

import "postroad/internal/message"

// places is a set of places: for each lane a bitmap in words of 64 seqs, 16
// bytes a word, so that a read-back of millions of messages stays small.
type places map[string]map[uint64]uint64

func (s places) add(p message.Place) {
	lane := s[p.Lane]
	if lane == nil {
		lane = map[uint64]uint64{}
		s[p.Lane] = lane
	}
	lane[p.Seq/64] |= 1 << (p.Seq % 64)
}

func (s places) has(p message.Place) bool {
	return s[p.Lane][p.Seq/64]&(1<<(p.Seq%64)) != 0
}

// firstPlace is where a message was first accepted, which is what its record in
// the hub says.
func firstPlace(m *message.Stored) message.Place {
	if m.Origin != nil {
		return m.Origin.Place
	}
	return m.Place
}

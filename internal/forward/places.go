package forward

import (
	"math/bits"

	"postroad/internal/message"
)

// places is a set of places: for each lane a bitmap in words of 64 seqs, 16
// bytes a word, so that a read-back of millions of messages stays small.
type places map[string]map[uint64]uint64

// add reports whether p was not in the set.
func (s places) add(p message.Place) bool {
	lane := s[p.Lane]
	if lane == nil {
		lane = map[uint64]uint64{}
		s[p.Lane] = lane
	}
	bit := uint64(1) << (p.Seq % 64)
	before := lane[p.Seq/64]
	lane[p.Seq/64] = before | bit
	return before&bit == 0
}

// has reports whether p is in the set.
func (s places) has(p message.Place) bool {
	return s[p.Lane][p.Seq/64]&(1<<(p.Seq%64)) != 0
}

// remove reports whether p was in the set.
func (s places) remove(p message.Place) bool {
	lane := s[p.Lane]
	bit := uint64(1) << (p.Seq % 64)
	before := lane[p.Seq/64]
	if before&bit == 0 {
		return false
	}
	if before == bit {
		delete(lane, p.Seq/64)
	} else {
		lane[p.Seq/64] = before &^ bit
	}
	return true
}

// removeBelow removes the lane's seqs below seq and returns how many there
// were.
func (s places) removeBelow(lane string, seq uint64) int {
	n := 0
	for word, set := range s[lane] {
		gone := set
		switch {
		case word > seq/64:
			continue
		case word == seq/64:
			gone &= 1<<(seq%64) - 1
		}
		n += bits.OnesCount64(gone)
		if set == gone {
			delete(s[lane], word)
		} else {
			s[lane][word] = set &^ gone
		}
	}
	return n
}

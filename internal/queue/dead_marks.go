package queue

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A mark is a file in a dead lane's directory whose name says which seqs were
// released or discarded: <first>-<last>.released or .discarded, both seqs
// inclusive and in 20 digits. That it is there is all that counts: its content
// is for people, and may be cut short.
type mark struct {
	first, last uint64
	kind        string // LetterReleased or LetterDiscarded
}

// markDigits is the width of a seq in the name of a mark.
const markDigits = 20

func (m mark) name() string {
	return fmt.Sprintf("%0*d-%0*d.%s", markDigits, m.first, markDigits, m.last, m.kind)
}

func parseMark(name string) (mark, bool) {
	seqs, kind, _ := strings.Cut(name, ".")
	first, last, _ := strings.Cut(seqs, "-")
	if kind != LetterReleased && kind != LetterDiscarded || len(first) != markDigits || len(last) != markDigits {
		return mark{}, false
	}
	m := mark{kind: kind}
	var err1, err2 error
	m.first, err1 = strconv.ParseUint(first, 10, 64)
	m.last, err2 = strconv.ParseUint(last, 10, 64)
	return m, err1 == nil && err2 == nil && m.first > 0 && m.first <= m.last
}

// covered counts the seqs from 1 to last that any of the marks covers.
func covered(marks []mark, last uint64) (n uint64) {
	marks = slices.Clone(marks)
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Compare(a.first, b.first) })
	behind := uint64(1) // all below is counted
	for _, m := range marks {
		from, to := max(m.first, behind), min(m.last, last)
		if from <= to {
			n += to - from + 1
			behind = to + 1
		}
	}
	return n
}

// stateOf is what the marks say of a seq. A letter that was both released and
// discarded, by two people at once, is on its way: released.
func stateOf(marks []mark, seq uint64) string {
	state := LetterOpen
	for _, m := range marks {
		if seq < m.first || seq > m.last {
			continue
		}
		if m.kind == LetterReleased {
			return LetterReleased
		}
		state = m.kind
	}
	return state
}

// The states of a dead letter.
const (
	LetterOpen      = "open"
	LetterReleased  = "released"
	LetterDiscarded = "discarded"
)

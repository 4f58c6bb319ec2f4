package stream

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"postroad/internal/stream/live"
)

// maxView is the most partitions that a position can speak of. The id of an
// event holds one offset for each of them.
const maxView = 64

// errPosition: a text is no position that this version wrote.
var errPosition = errors.New("no position")

// What a position begins with, so that its forms, and later ones, can be told
// apart.
const (
	// tokenForward: streams and history go on from it.
	tokenForward = 1
	// tokenReverse: only history in reverse goes on from it. It may be one ahead of
	// the log, and a stream that began there would leave out what comes next.
	tokenReverse = 2
)

// position is how far a viewer has got in each partition of its view, which are
// the partitions from first on. Its text is the id of SSE events and what
// clients give back in Last-Event-ID and from.
type position struct {
	first  int32
	epochs [8]byte // hash of the epochs of the partitions
	next   []int64 // Kafka offset after the last record, by partition
	// reverse marks one that history in reverse answered.
	reverse bool
}

// positionOf takes the positions of consecutive partitions, ascending.
func positionOf(all []live.Position) position {
	p := position{epochs: hashEpochs(all), next: make([]int64, len(all))}
	for i, at := range all {
		p.next[i] = at.Next
	}
	if len(all) > 0 {
		p.first = all[0].Partition
	}
	return p
}

// hashEpochs stands for the epochs in a position: equal on all nodes as they are,
// and other for another hub, topic or count of partitions.
func hashEpochs(all []live.Position) (hash [8]byte) {
	h := sha256.New()
	for _, at := range all {
		h.Write([]byte(at.Epoch))
		h.Write([]byte{0})
	}
	copy(hash[:], h.Sum(nil))
	return hash
}

// set moves one partition on and tells whether it is in view.
func (p position) set(partition int32, next int64) bool {
	i := int(partition) - int(p.first)
	if i < 0 || i >= len(p.next) {
		return false
	}
	p.next[i] = next
	return true
}

// append adds the text: letters, digits, "-" and "_".
//
//	form     1 byte: tokenForward or tokenReverse
//	first    uvarint
//	count    uvarint, 1 to 64
//	epochs   8 bytes
//	next     count uvarints
func (p position) append(b []byte) []byte {
	var raw [1 + 2*binary.MaxVarintLen32 + 8 + maxView*binary.MaxVarintLen64]byte
	r := append(raw[:0], tokenForward)
	if p.reverse {
		r[0] = tokenReverse
	}
	r = binary.AppendUvarint(r, uint64(p.first))
	r = binary.AppendUvarint(r, uint64(len(p.next)))
	r = append(r, p.epochs[:]...)
	for _, n := range p.next {
		r = binary.AppendUvarint(r, uint64(n))
	}
	return base64.RawURLEncoding.AppendEncode(b, r)
}

func (p position) String() string { return string(p.append(nil)) }

// text is empty where there are none, or more partitions than a position holds.
func (p position) text() string {
	if len(p.next) == 0 || len(p.next) > maxView {
		return ""
	}
	return p.String()
}

// maxToken is the longest text of a position, in bytes.
const maxToken = (1+2*binary.MaxVarintLen32+8+maxView*binary.MaxVarintLen64)*4/3 + 4

// parsePosition reads what append wrote, and nothing else: each position has one
// text. The error matches errPosition.
func parsePosition(s string) (position, error) {
	if len(s) > maxToken {
		return position{}, fmt.Errorf("%w: longer than any", errPosition)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil || len(b) == 0 || b[0] != tokenForward && b[0] != tokenReverse {
		return position{}, fmt.Errorf("%w: not of a form that is known here", errPosition)
	}
	r := uvarints{b: b[1:]}
	first, count := r.next(math.MaxInt32), r.next(maxView)
	p := position{reverse: b[0] == tokenReverse}
	if r.bad || count == 0 || len(r.b) < len(p.epochs) {
		return position{}, fmt.Errorf("%w: cut short", errPosition)
	}
	r.b = r.b[copy(p.epochs[:], r.b):]
	p.first, p.next = int32(first), make([]int64, count)
	for i := range p.next {
		p.next[i] = int64(r.next(math.MaxInt64))
	}
	if r.bad || len(r.b) > 0 {
		return position{}, fmt.Errorf("%w: not as long as it says", errPosition)
	}
	return p, nil
}

// uvarints reads numbers in their shortest form.
type uvarints struct {
	b   []byte
	bad bool
}

func (u *uvarints) next(most uint64) uint64 {
	v, n := binary.Uvarint(u.b)
	if n <= 0 || v > most || n > 1 && u.b[n-1] == 0 {
		u.bad = true
		return 0
	}
	u.b = u.b[n:]
	return v
}

// since is the position as the engine takes it, now being what the node has of
// the same view. Where it speaks of other partitions, or of these as they were
// in another epoch, nothing can be recovered from it: the epochs returned are
// then none.
func (p position) since(now []live.Position) []live.Position {
	known := len(now) == len(p.next) && len(now) > 0 && now[0].Partition == p.first && p.epochs == hashEpochs(now)
	all := make([]live.Position, len(now))
	for i, at := range now {
		all[i].Partition = at.Partition
		if known {
			all[i].Epoch, all[i].Next = at.Epoch, p.next[i]
		}
	}
	return all
}

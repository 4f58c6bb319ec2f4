package forward

import (
	"context"
	"sync"

	"postroad/internal/message"
)

// Board tells what became of recent messages: for each lane of late the
// outcomes of the last so many, and below them that they were forwarded. Its
// methods are safe for concurrent use.
type Board struct {
	size int // outcomes of a lane, a power of two

	mu    sync.Mutex
	lanes map[string]*laneBoard // guarded by mu
	order []string              // guarded by mu: of being asked for or drained, oldest first
}

// boardLanes is how many lanes are remembered; ones that are drained or waited
// for do not count.
const boardLanes = 16

func newBoard(size int) *Board {
	n := 1
	for n < size {
		n *= 2
	}
	return &Board{size: n, lanes: map[string]*laneBoard{}}
}

// Outcome returns what is known of a message; ok is false where nothing is.
func (b *Board) Outcome(p message.Place) (o message.Outcome, ok bool) {
	b.mu.Lock()
	l := b.lanes[p.Lane]
	b.mu.Unlock()
	if l == nil {
		return message.Outcome{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	o, known := l.outcome(p.Seq)
	return o, known == settled
}

// Next returns the seq below which every message of a lane is settled, 0 where
// nothing is known of the lane.
func (b *Board) Next(lane string) uint64 {
	b.mu.Lock()
	l := b.lanes[lane]
	b.mu.Unlock()
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Await returns the outcomes of n messages of a lane from first on, once all
// are settled or ctx has ended; those that are not settled, or of which nothing
// will be known here, are message.StateQueued.
func (b *Board) Await(ctx context.Context, first message.Place, n int) []message.Outcome {
	w := &waiter{first: first.Seq, out: make([]message.Outcome, n), done: make(chan struct{})}
	l := b.hold(first.Lane)
	defer b.drop(l)
	l.mu.Lock()
	for i := range w.out {
		seq := first.Seq + uint64(i)
		o, known := l.outcome(seq)
		if w.out[i] = o; known == open {
			l.waiting[seq] = append(l.waiting[seq], w)
			w.left++
		}
	}
	left := w.left
	l.mu.Unlock()
	if left == 0 {
		return w.out
	}
	select {
	case <-w.done:
		return w.out
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range w.out {
		l.leave(first.Seq+uint64(i), w)
	}
	return w.out
}

// waiter is one call of Await. Guarded by its lane's mu, until done is closed.
type waiter struct {
	first uint64
	out   []message.Outcome
	left  int
	done  chan struct{}
}

// hold returns the lane's board, made where it is missing, and keeps it from
// being forgotten until drop.
func (b *Board) hold(lane string) *laneBoard {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil {
		l = &laneBoard{size: b.size, waiting: map[uint64][]*waiter{}}
		b.lanes[lane] = l
		b.order = append(b.order, lane)
		b.forget()
	}
	l.held++
	return l
}

func (b *Board) drop(l *laneBoard) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l.held--
	b.forget()
}

// forget drops the oldest lanes that nobody holds. The caller holds mu.
func (b *Board) forget() {
	kept := b.order[:0]
	over := len(b.order) - boardLanes
	for _, lane := range b.order {
		if l := b.lanes[lane]; over > 0 && l.held == 0 {
			delete(b.lanes, lane)
			over--
			continue
		}
		kept = append(kept, lane)
	}
	b.order = kept
}

// laneBoard is what is known of one lane.
type laneBoard struct {
	size int
	held int // guarded by the Board's mu

	mu   sync.Mutex
	ring []outcome // guarded by mu; of the newest seqs, at seq % len
	// floor and next, guarded by mu: below floor nothing is known, and from
	// there to below next all are settled, but for gaps.
	floor, next uint64
	gaps        []gap // guarded by mu
	// elsewhere, guarded by mu, are seqs below next that were moved to a side
	// lane and are not known to be in the hub yet, or became dead letters.
	elsewhere places
	waiting   map[uint64][]*waiter
}

// outcome is what became of one message.
type outcome struct {
	seq       uint64
	offset    int64 // -1 where not known
	partition int32
	ending    ending
	twin      bool   // another copy is in the hub, at the offset
	reason    string // why it is a dead letter
}

type gap struct{ from, to uint64 } // seqs [from, to) that will never come

type knowledge int

const (
	open    knowledge = iota // may yet be settled
	settled                  // forwarded
	unknown                  // nothing will be known here
)

const maxGaps = 1024

// outcome looks a seq up. The caller holds mu.
func (l *laneBoard) outcome(seq uint64) (message.Outcome, knowledge) {
	if n := uint64(len(l.ring)); n > 0 {
		if e := l.ring[seq%n]; e.seq == seq {
			return e.public()
		}
	}
	for _, g := range l.gaps {
		if seq >= g.from && seq < g.to {
			return message.Outcome{State: message.StateQueued}, unknown
		}
	}
	switch {
	case seq < l.floor:
		return message.Outcome{State: message.StateQueued}, unknown
	case seq < l.next && l.elsewhere.has(message.Place{Seq: seq}):
		return message.Outcome{State: message.StateQueued}, unknown
	case seq < l.next:
		return message.Outcome{State: message.StateForwarded}, settled
	}
	return message.Outcome{State: message.StateQueued}, open
}

// public is the outcome as callers know it. A message that was moved may yet be
// forwarded.
func (e *outcome) public() (message.Outcome, knowledge) {
	switch {
	case e.ending == moved:
		return message.Outcome{State: message.StateQueued}, open
	case e.ending == buried:
		return message.Outcome{State: message.StateDead, Reason: e.reason}, settled
	case e.offset >= 0:
		return message.Outcome{State: message.StateForwarded, Located: true, Partition: e.partition, Offset: e.offset, Duplicate: e.twin}, settled
	}
	return message.Outcome{State: message.StateForwarded}, settled
}

// begin notes that draining begins at seq: what is below is not seen here.
func (l *laneBoard) begin(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next < seq {
		l.floor, l.next = seq, seq
	}
	l.settleUnknown(func(s uint64) bool { return s < seq })
}

// skip notes that seqs [from, to) will never come.
func (l *laneBoard) skip(from, to uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.gaps) == maxGaps { // a lane in ruins: claim nothing of its past
		l.floor, l.gaps = max(l.floor, to), nil
	} else {
		l.gaps = append(l.gaps, gap{from, to})
	}
	l.settleUnknown(func(s uint64) bool { return s >= from && s < to })
}

// settleUnknown answers those who wait for what will not be known here. The
// caller holds mu.
func (l *laneBoard) settleUnknown(which func(seq uint64) bool) {
	for seq := range l.waiting {
		if which(seq) {
			l.answer(seq, message.Outcome{State: message.StateQueued})
		}
	}
}

// record notes where a message landed, and that all below next are settled.
func (l *laneBoard) record(e outcome, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(e)
	l.next = max(l.next, next)
	l.note(e)
}

// tell notes what became of a message that does not stand in its lane any more.
func (b *Board) tell(lane string, e outcome) {
	b.mu.Lock()
	l := b.lanes[lane]
	b.mu.Unlock()
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.put(e)
	l.note(e)
}

// note keeps what the ring will forget, and answers those who wait. The caller
// holds mu.
func (l *laneBoard) note(e outcome) {
	place := message.Place{Seq: e.seq}
	if e.ending == landed {
		if l.elsewhere != nil {
			l.elsewhere.remove(place)
		}
	} else {
		if l.elsewhere == nil {
			l.elsewhere = places{}
		}
		l.elsewhere.add(place)
	}
	if o, known := e.public(); known == settled && len(l.waiting) > 0 {
		l.answer(e.seq, o)
	}
}

// put writes the ring, which grows while it does not hold a lane's whole past.
func (l *laneBoard) put(e outcome) {
	n := uint64(len(l.ring))
	if n == 0 {
		l.ring = make([]outcome, min(1024, l.size))
		n = uint64(len(l.ring))
	}
	for old := l.ring[e.seq%n]; old.seq != 0 && old.seq != e.seq && int(n) < l.size; old = l.ring[e.seq%n] {
		bigger := make([]outcome, 2*n)
		for _, o := range l.ring {
			if o.seq > 0 {
				bigger[o.seq%(2*n)] = o
			}
		}
		l.ring, n = bigger, 2*n
	}
	if l.ring[e.seq%n].seq <= e.seq {
		l.ring[e.seq%n] = e
	}
}

// answer tells those who wait for seq. The caller holds mu.
func (l *laneBoard) answer(seq uint64, o message.Outcome) {
	for _, w := range l.waiting[seq] {
		w.out[seq-w.first] = o
		if w.left--; w.left == 0 {
			close(w.done)
		}
	}
	delete(l.waiting, seq)
}

// leave takes a waiter who gave up off the list. The caller holds mu.
func (l *laneBoard) leave(seq uint64, w *waiter) {
	ws := l.waiting[seq]
	for i := range ws {
		if ws[i] == w {
			ws[i] = ws[len(ws)-1]
			l.waiting[seq] = ws[:len(ws)-1]
			break
		}
	}
	if len(l.waiting[seq]) == 0 {
		delete(l.waiting, seq)
	}
}

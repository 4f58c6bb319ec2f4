package outbox

import "sync"

// Sent is a message on its way: what the hub keeps of it, and who waits.
type Sent[R any] struct {
	Record R
	// Landed says that the hub has it. Guarded by the hub's lock.
	Landed bool
	Done   func(offset int64, err error)
}

// Outbox holds what one process has produced and the hub has not answered, by
// partitions of type P.
type Outbox[P comparable, R any] struct {
	away error
	turn func() uint64

	mu     sync.Mutex
	closed bool             // guarded by mu
	run    int              // guarded by mu: counts resets; senders of an older one end
	queues map[P][]*Sent[R] // guarded by mu
	turns  map[P]uint64     // guarded by mu
	busy   map[P]bool       // guarded by mu: somebody sends the partition's queue
	wg     sync.WaitGroup
}

// New makes an outbox. away is what is told of messages that were not sent; turn
// begins the hub's next turn and returns its number.
func New[P comparable, R any](away error, turn func() uint64) *Outbox[P, R] {
	return &Outbox[P, R]{
		away: away, turn: turn, queues: map[P][]*Sent[R]{}, turns: map[P]uint64{}, busy: map[P]bool{},
	}
}

// Put takes a message, and does not block: who produces may hold locks. Where the
// partition has no sender it starts one, which is to send until Next or Settle
// says that it is over.
func (o *Outbox[P, R]) Put(p P, turn uint64, s *Sent[R], send func(run int)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || turn < o.turns[p] {
		return o.away
	}
	o.queues[p] = append(o.queues[p], s)
	if !o.busy[p] {
		o.busy[p] = true
		run := o.run
		o.wg.Go(func() { send(run) })
	}
	return nil
}

// Next is what the partition's next request holds, at most so many; false where
// there is nothing, or the connection is another now.
func (o *Outbox[P, R]) Next(p P, run, most int) ([]*Sent[R], bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.run != run {
		return nil, false
	}
	q := o.queues[p]
	if len(q) == 0 {
		o.busy[p] = false
		return nil, false
	}
	return q[:min(len(q), most)], true
}

// Settle tells who sent a batch what became of it; false where the answer comes
// too late. After an error everything behind the batch comes back, too, and they
// hear of it when pause has returned.
func (o *Outbox[P, R]) Settle(p P, run int, batch []*Sent[R], first int64, err error, pause func()) bool {
	settled, ok := o.take(p, run, len(batch), err != nil)
	if !ok {
		return false
	}
	if err != nil {
		pause()
	}
	for i, s := range settled {
		switch {
		case err == nil:
			s.Done(first+int64(i), nil)
		case i < len(batch):
			s.Done(-1, err)
		default:
			s.Done(-1, o.away)
		}
	}
	return true
}

// take removes n messages from a partition's queue, or all, where that ends the
// turn.
func (o *Outbox[P, R]) take(p P, run, n int, all bool) ([]*Sent[R], bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.run != run {
		return nil, false
	}
	if all {
		n = len(o.queues[p])
		o.turns[p] = o.turn()
	}
	settled := o.queues[p][:n]
	o.queues[p] = o.queues[p][n:]
	return settled, true
}

// GiveBack gives all back that is not answered, for good where nothing is taken
// any more. late may have some of a partition's queue land nevertheless.
func (o *Outbox[P, R]) GiveBack(forGood bool, late func(p P, queue []*Sent[R])) {
	o.mu.Lock()
	o.closed = o.closed || forGood
	o.run++
	clear(o.busy)
	var all []*Sent[R]
	for p, q := range o.queues {
		all = append(all, q...)
		if len(q) > 0 {
			o.turns[p] = o.turn() // what is sent behind these must wait until they have come back
			late(p, q)
		}
	}
	clear(o.queues)
	o.mu.Unlock()
	for _, s := range all {
		s.Done(-1, o.away)
	}
}

// Wait returns when all senders have ended.
func (o *Outbox[P, R]) Wait() { o.wg.Wait() }

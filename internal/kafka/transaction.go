package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// TransactOptions say how a chain of lanes is sent in transactions.
type TransactOptions struct {
	// Chain names the chain, and the key of its record.
	Chain string
	// ID is the transactional id; "" for "postroad-" and the name of the chain.
	ID string
	// Hub names the hub and its generation, see message.Progress.
	Hub string
	// Topic is where the records are kept that say what is in the hub.
	Topic string
	// Interval and Messages are after how long, and after how many messages, a
	// transaction is committed.
	Interval time.Duration
	Messages int
	// Lanes are how far the chain is by the queue's own progress: all lanes
	// there are.
	Lanes []message.LaneProgress
	// From, if it has a topic, is where the record of the chain was, or earlier.
	From message.Mark
	// Confirm is asked before the transactional id is taken: an error says that
	// the chain is not ours any more.
	Confirm func(context.Context) error
	// Ended, if not nil, hears of each transaction: committed; aborted, because
	// messages in it were given back; or failed as a whole, perhaps after all
	// committed, to be sent again as far as it was not. It must be quick.
	Ended func(outcome string)
	// Stale, if not 0, is for how long a message may wait for its outcome before it
	// is given back, once it is certain that it is not in the hub.
	Stale time.Duration
}

// OffsetThere is the offset with which a Session answers for a message that is in
// the hub already and was not sent.
const OffsetThere = -2

// Session is the way of one chain into the hub in transactions. A message is
// answered for when the outcome of its transaction is known, and with an error only
// if it is certainly not in the hub (but for ErrClosed, at the end). What the
// chain has in the hub stands in a record that is part of the same transactions,
// and what stands there is not sent again.
//
// Only the partitions in which the hub refused something are given back; what else
// was in the transaction is sent again in the next one, in order. So is
// everything where a transaction failed as a whole.
//
// Its methods are safe for concurrent use.
type Session struct {
	sink *Sink
	opts TransactOptions
	id   string // transactional

	cancel context.CancelFunc
	ended  chan struct{} // closed when the loop has ended
	more   chan struct{} // has a token when there is something to do
	hurry  chan struct{} // has a token when somebody waits for answers
	tries  sync.Pool     // of *try

	mu      sync.Mutex
	closed  bool                   // guarded by mu, and all below
	pending []*entry               // in the order of Produce
	turn    uint64                 // counts the times a partition was given back
	parts   map[partitionKey]*isle // of partitions that were given back
	floors  []message.LaneProgress // to be raised, as Settled was told
	written chan struct{}          // closed and replaced when a transaction has ended
	lastErr error                  // of the last transaction
	at      message.Mark           // where the last committed record stands; no topic where unknown
	known   bool                   // there was a record at the beginning
	finish  bool                   // the record is to be removed
	client  *kgo.Client            // nil while there is none; used by the loop
	by      *teller                // tells it limits; as client
	rooms   map[string]int32       // of topics with records above their limits; used by the loop
	state   inHub                  // as committed; used by the loop, replaced under mu
	home    int32                  // partition of the record; as state
}

// isle is a partition that was given back after an error.
type isle struct {
	turn  uint64    // turns below are refused
	until time.Time // refused until then, since it did not answer; zero where it did
	fails int       // times in a row that it did not answer
}

// entry is a message under way.
type entry struct {
	m      *message.Stored
	key    partitionKey
	done   func(int64, error)
	offset int64 // where it stands if it is in the hub; -1 where not known
	given  time.Time
}

// Transact takes a chain's transactional id over, so that whoever had it can write
// nothing more under it, and reads what is in the hub by the chain's record. An error of
// class hold says what the hub cannot do or does not allow.
func (s *Sink) Transact(ctx context.Context, o TransactOptions) (*Session, error) {
	x := &Session{
		sink: s, opts: o, id: cmp.Or(o.ID, "postroad-"+o.Chain),
		ended: make(chan struct{}), more: make(chan struct{}, 1), hurry: make(chan struct{}, 1), written: make(chan struct{}),
		parts: map[partitionKey]*isle{}, rooms: map[string]int32{}, state: inHub{},
	}
	x.tries.New = func() any { return new(try) }
	for _, l := range o.Lanes {
		x.state.raise(l.Lane, l.Next)
	}
	known, err := x.open(ctx)
	if err != nil {
		return nil, err
	}
	x.known = known
	run, cancel := context.WithCancel(context.Background())
	x.cancel = cancel
	go x.run(run)
	return x, nil
}

// Known reports whether the hub had a record of the chain when the session began.
func (x *Session) Known() bool { return x.known }

// Turn is as the Sink's.
func (x *Session) Turn() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.turn
}

// Produce is as the Sink's; done hears of the outcome of the transaction.
func (x *Session) Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error {
	key := partitionKey{m.Topic, partition}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return &Error{class: ClassRetry, err: ErrClosed}
	}
	if p := x.parts[key]; p != nil {
		switch {
		case turn < p.turn:
			return &Error{class: ClassRetry, err: errTurn}
		case time.Now().Before(p.until):
			p.turn = x.nextTurn()
			return &Error{class: ClassRetry, err: fmt.Errorf("partition %d: %w", partition, errNoAnswer)}
		}
	}
	x.pending = append(x.pending, &entry{m: m, key: key, done: done, offset: -1, given: time.Now()})
	wake(x.more)
	return nil
}

// nextTurn begins a new turn. The caller holds mu.
func (x *Session) nextTurn() uint64 {
	x.turn++
	return x.turn
}

// Hurry has the transaction committed soon: somebody waits for it.
func (x *Session) Hurry() { wake(x.hurry) }

// Settled tells how far the lanes are by progress that the queue has saved.
func (x *Session) Settled(lanes []message.LaneProgress) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.floors = slices.Clone(lanes)
}

// Record is where the record of the chain stands; ok is false where there is none.
func (x *Session) Record() (at message.Mark, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.at, x.at.Topic != ""
}

// Finish removes the record: all of the chain is settled, and the queue has saved
// that.
func (x *Session) Finish(ctx context.Context) error {
	x.mu.Lock()
	x.finish = true
	written := x.written
	closed := x.closed
	x.mu.Unlock()
	if closed {
		return &Error{class: ClassRetry, err: ErrClosed}
	}
	wake(x.more)
	x.Hurry()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-written:
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.lastErr
}

// Close gives back all that has no outcome yet, soon, with ErrClosed: that may be
// in the hub or not, and the record says which. It does not wait.
func (x *Session) Close() {
	x.mu.Lock()
	x.closed = true
	client := x.client
	x.mu.Unlock()
	x.cancel()
	if client != nil {
		go client.Close() // lets go of what the loop may wait for
	}
}

// Wait returns when a session that was closed has ended.
func (x *Session) Wait() { <-x.ended }

var (
	errNoAnswer = errors.New("it did not answer while others did; it is left out of transactions for a while")
	errStale    = errors.New("the hub was away for so long that it is to be looked at first")
	errBeside   = errors.New("the transaction was aborted because the hub refused another message of the partition")
)

func wake(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// requeue puts messages before all others, to be sent in the next transaction.
func (x *Session) requeue(es []*entry) {
	if len(es) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.pending = append(slices.Clip(es), x.pending...)
	wake(x.more)
}

// giveBack takes the messages of some partitions out of those of a transaction
// that was aborted and out of those that wait, shuts the partitions to who does not
// know, and tells. The others are sent again.
func (x *Session) giveBack(sent []*entry, why map[*entry]error, from map[partitionKey]*isle) {
	x.mu.Lock()
	var out, stay []*entry
	for _, list := range [][]*entry{sent, x.pending} {
		for _, e := range list {
			if from[e.key] != nil {
				out = append(out, e)
			} else {
				stay = append(stay, e)
			}
		}
	}
	x.pending = stay
	for key, p := range from {
		p.turn = x.nextTurn()
		x.parts[key] = p
	}
	wake(x.more)
	x.mu.Unlock()
	for _, e := range out {
		err := why[e]
		if err == nil {
			err = errBeside
		}
		e.done(-1, x.sink.link.classified(fmt.Sprintf("produce to partition %d", e.key.partition), err))
	}
}

// giveBackStale gives partitions back of which a message has waited for too long,
// so that the caller can look whether another copy of it is in the hub by now. It is
// called where all that is in the hub of the chain stands in the state.
func (x *Session) giveBackStale() {
	if x.opts.Stale <= 0 {
		return
	}
	from, now := map[partitionKey]*isle{}, time.Now()
	x.mu.Lock()
	why := map[*entry]error{}
	var there []*entry
	stay := x.pending[:0:0]
	for _, e := range x.pending {
		switch stale := now.Sub(e.given) >= x.opts.Stale; {
		case stale && x.state.holds(e.m):
			there = append(there, e)
			continue
		case stale:
			why[e] = errStale
			from[e.key] = &isle{}
		}
		stay = append(stay, e)
	}
	x.pending = stay
	x.mu.Unlock()
	for _, e := range there {
		offset := e.offset
		if offset < 0 {
			offset = OffsetThere
		}
		e.done(offset, nil)
	}
	if len(from) > 0 {
		x.giveBack(nil, why, from)
	}
}

// failAll gives everything back with one error.
func (x *Session) failAll(err error) {
	x.mu.Lock()
	out := x.pending
	x.pending = nil
	for _, e := range out {
		x.parts[e.key] = &isle{turn: x.turn + 1}
	}
	x.nextTurn()
	x.mu.Unlock()
	for _, e := range out {
		e.done(-1, err)
	}
}

// tellWritten lets Write and Finish look again.
func (x *Session) tellWritten(err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lastErr = err
	close(x.written)
	x.written = make(chan struct{})
}

// chainError is of the chain as a whole: of its transactional id, or of the topic
// of its record. Nothing of it is better off than the rest.
type chainError struct{ error }

// Unwrap gives the hub's error.
func (e chainError) Unwrap() error { return e.error }

// Class implements what forward asks of errors.
func (e chainError) Class() string { return string(Classify(e.error)) }

// HubWide implements what forward asks of errors.
func (e chainError) HubWide() bool { return Classify(e.error) == ClassHold }

// staleTopic reports whether a client is to be given up because it knows a topic
// that was made anew.
func staleTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicID) || errors.Is(err, kerr.InconsistentTopicID)
}

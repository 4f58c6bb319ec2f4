package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"

	"postroad/internal/message"
)

// chain is the lanes of one process run, in order: what one claim covers. The
// lanes are drained one after the other, so that the order per key survives a
// change of lane.
type chain struct {
	q  *Queue
	id string // the process run's ULID

	mu    sync.Mutex
	lanes []*lane // guarded by mu; oldest first
	over  bool    // guarded by mu: no lane will be added
	// drained says that every message of the chain is settled and the chain
	// over. Guarded by mu.
	drained bool

	// more has a token when a lane grew, ended or was added.
	more chan struct{}
}

func newChain(q *Queue, id string) *chain {
	return &chain{q: q, id: id, more: make(chan struct{}, 1)}
}

// grown wakes the chain's reader.
func (c *chain) grown() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// addLane adds a lane at the end and reports whether it is the first.
func (c *chain) addLane(l *lane) (first bool) {
	c.mu.Lock()
	c.lanes = append(c.lanes, l)
	first = len(c.lanes) == 1
	c.mu.Unlock()
	c.grown()
	return first
}

// seal records that nothing will be appended to the lane.
func (c *chain) seal(l *lane) {
	c.mu.Lock()
	l.sealed = true
	c.mu.Unlock()
	c.grown()
}

// finish records that no lane will be added.
func (c *chain) finish() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.grown()
}

func (c *chain) snapshot() []*lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lanes)
}

// nextLane returns the oldest lane that a claim has not read and that is not
// settled, or io.EOF when there will be none, or nil when there is none yet.
// That another claim has read a lane to its end says nothing: it may have been
// released before it had sent everything.
func (c *chain) nextLane(read map[*lane]bool) (*lane, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		if !read[l] && !l.done() {
			return l, nil
		}
	}
	if c.over {
		return nil, io.EOF
	}
	return nil, nil
}

// isSealed reports whether the lane is known to have got its last group.
func (c *chain) isSealed(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.sealed
}

// hasEnded reports whether the lane has been read to its end.
func (c *chain) hasEnded(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.ended
}

// Claim is the exclusive right of this process to drain a chain, under an
// epoch. Its methods but ID are for one goroutine at a time, except that Save
// may run beside Next.
type Claim struct {
	chain    *chain
	epoch    uint64
	progress message.Progress
	file     *progressFile
	saveMu   sync.Mutex // serialises Save and Release

	reader  *laneReader
	read    map[*lane]bool // lanes that were read to their end
	pending []message.Stored
	closed  bool   // guarded by saveMu
	tried   uint64 // guarded by saveMu: the highest epoch that enlarge has tried
}

// ID names the chain.
func (c *Claim) ID() string { return c.chain.id }

// Progress is how far the last holder came. It names every lane of the chain, so
// that what is read back from the hub is recognised.
func (c *Claim) Progress() message.Progress { return c.progress }

// Next returns the next messages in order, one to max of them, and waits for
// the first. io.EOF says that the chain is over and all of it was returned.
// Seqs may have gaps where damage was set aside. Errors of reading are returned
// as they are; calling again tries again.
func (c *Claim) Next(ctx context.Context, max int) ([]message.Stored, error) {
	for len(c.pending) == 0 {
		wait, err := c.fill()
		if err != nil {
			return nil, err
		}
		if !wait {
			continue
		}
		select {
		case <-c.chain.more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	n := min(max, len(c.pending))
	out := c.pending[:n:n]
	c.pending = c.pending[n:]
	return out, nil
}

// fillMessages and fillBytes are about how much fill gathers before it hands out.
const (
	fillMessages = 1024
	fillBytes    = 4 << 20
)

// fill reads groups into pending; wait says that there is nothing for now.
func (c *Claim) fill() (wait bool, err error) {
	if c.reader == nil {
		l, err := c.chain.nextLane(c.read)
		if err != nil {
			return false, err
		}
		if l == nil {
			return true, nil
		}
		c.reader = newLaneReader(c.chain, l, c.start(l))
	}
	for size := 0; len(c.pending) < fillMessages && size < fillBytes; {
		msgs, err := c.reader.messages()
		switch {
		case errors.Is(err, errNothingYet):
			return len(c.pending) == 0, nil
		case errors.Is(err, io.EOF):
			c.reader.close()
			c.read[c.reader.lane] = true
			c.reader = nil
			return false, nil
		case err != nil:
			return false, err
		}
		c.pending = append(c.pending, msgs...)
		for i := range msgs {
			size += msgs[i].Size()
		}
	}
	return false, nil
}

// start is the first seq of the lane that is not settled.
func (c *Claim) start(l *lane) uint64 { return max(1, l.settled.Load()) }

// Save makes the progress durable. It checks, after the sync, that the claim
// still holds: a process that was paused past its TTL must not go on in the
// belief that what it saved is what its successor reads.
func (c *Claim) Save(_ context.Context, p message.Progress) error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.closed {
		return fmt.Errorf("save progress of %s: %w", c.chain.id, message.ErrClaimLost)
	}
	whole := c.chain.complete(p)
	err := c.file.save(whole)
	if errors.Is(err, errProgressFull) {
		err = c.enlarge(whole)
	}
	if err != nil {
		return fmt.Errorf("save progress of %s: %w", c.chain.id, err)
	}
	empty, err := allZero(c.chain.q.deps.FS, c.chain.q.at.claimFile(c.chain.id, "revoked", c.epoch))
	if err != nil && !missing(err) {
		return fmt.Errorf("save progress of %s: %w", c.chain.id, err)
	}
	if !empty { // or removed with the whole chain: it was made with the claim
		return fmt.Errorf("save progress of %s: %w", c.chain.id, message.ErrClaimLost)
	}
	c.chain.settle(whole)
	return nil
}

// enlarge goes on under a later epoch, with a progress file that holds p. The
// size of a file is never changed: a successor would have to guess it after a
// crash in between. The file comes first, then the claim that makes it count,
// so that a crash or error leaves either epoch whole; a number that was tried
// is not tried again.
func (c *Claim) enlarge(p message.Progress) error {
	q := c.chain.q
	c.tried = max(c.tried, c.epoch) + 1
	file, err := createProgress(q.deps.FS, q.at.claimFile(c.chain.id, "progress", c.tried), p)
	if err != nil {
		return fmt.Errorf("progress of epoch %d: %w", c.tried, err)
	}
	if err := q.writeClaim(c.chain.id, c.tried); err != nil {
		return errors.Join(err, file.close())
	}
	old, oldEpoch := c.file, c.epoch
	c.file, c.epoch = file, c.tried
	return errors.Join(
		q.revoke(c.chain.id, oldEpoch, "continued under epoch "+strconv.FormatUint(c.epoch, 10)),
		old.close(),
	)
}

// Release gives the claim up, so that a successor need not wait.
func (c *Claim) Release(context.Context) error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	if c.reader != nil {
		c.reader.close()
		c.reader = nil
	}
	err := errors.Join(
		c.chain.q.revoke(c.chain.id, c.epoch, "released by its holder"),
		c.file.close(),
	)
	c.chain.q.released(c.chain)
	return err
}

// complete adds the lanes that p does not name, as far as they were, so that a
// successor does not take their absence for a beginning.
func (c *chain) complete(p message.Progress) message.Progress {
	next := make(map[string]uint64, len(p.Lanes))
	for _, l := range p.Lanes {
		next[l.Lane] = l.Next
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Lanes = nil
	for _, l := range c.lanes {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: l.id, Next: max(l.settled.Load(), next[l.id])})
	}
	return p
}

// settle takes saved progress into account.
func (c *chain) settle(p message.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, saved := range p.Lanes {
		for _, l := range c.lanes {
			if l.id == saved.Lane && saved.Next > l.settled.Load() {
				l.settled.Store(saved.Next)
				l.settleEnd()
			}
		}
	}
}

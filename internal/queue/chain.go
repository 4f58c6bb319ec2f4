package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postroad/internal/message"
)

// chain is the lanes of one process run, in order: what one claim covers. The
// lanes are drained one after the other, so that the order per key survives a
// change of lane.
type chain struct {
	q  *Queue
	id string // the process run's ULID
	// own says that it is the chain of this process's own lanes.
	own bool

	mu    sync.Mutex
	lanes []*lane // guarded by mu; oldest first
	over  bool    // guarded by mu: no lane will be added
	// drained says that every message of the chain is settled and the chain
	// over. Guarded by mu, as all below.
	drained bool
	// busy says that the chain is being tended, waits to be claimed, or is held
	// here; held that it is the last of these.
	busy, held bool
	// elsewhere says that another process was seen to hold it and to live.
	elsewhere bool
	// fell is the claim whose holder was found dead, or had given it up, when
	// the chain was offered.
	fell fallen
	// forced is a claim of this process's own that was given up without a note.
	forced fallen
	// unfinished is a claim of this process's own that was begun and is not
	// held; doubtful that the claim before it fell by the watch rule.
	unfinished claimInfo
	doubtful   bool
	// sides are the topics of which messages were moved to side lanes.
	sides []*side
	// carried are lanes that saved progress names and that are not known here:
	// the list may be old, and their progress must not be lost with it.
	carried map[string]uint64
	// unmet says that one of them is there and could not be looked at.
	unmet bool
	// shownAt is Elapsed when another's progress was last looked at.
	shownAt time.Duration

	// recent is what was committed last to this process's own lanes.
	recent recent
	// more has a token when a lane grew, ended or was added.
	more chan struct{}
}

func newChain(q *Queue, id string) *chain {
	return &chain{q: q, id: id, own: id == q.self.Process, more: make(chan struct{}, 1), carried: make(map[string]uint64)}
}

// grown wakes the chain's reader.
func (c *chain) grown() {
	select {
	case c.more <- struct{}{}:
	default:
	}
}

// addLane adds a lane, in order of ids, and reports whether it is the first.
func (c *chain) addLane(l *lane) (first bool) {
	c.mu.Lock()
	if c.insert(&c.lanes, l) {
		c.drained = false
	}
	first = len(c.lanes) == 1
	c.mu.Unlock()
	c.grown()
	return first
}

// insert puts a lane among others, in order of ids, with the progress that was
// carried for it, and reports whether it was not there. Called with c.mu held.
func (c *chain) insert(lanes *[]*lane, l *lane) bool {
	i, known := slices.BinarySearchFunc(*lanes, l.id, func(l *lane, id string) int { return strings.Compare(l.id, id) })
	if known {
		return false
	}
	*lanes = slices.Insert(*lanes, i, l)
	if next := c.carried[l.id]; next > l.settled.Load() {
		l.settled.Store(next)
	}
	delete(c.carried, l.id)
	return true
}

// dropLane forgets a lane that was removed.
func (c *chain) dropLane(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lanes = slices.DeleteFunc(c.lanes, func(x *lane) bool { return x == l })
}

// begin takes a new chain for one that is being seen to.
func (c *chain) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = true
}

// setFallen notes the claim that is to be revoked; whatFell tells it, and takes
// the chain for held.
func (c *chain) setFallen(f fallen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fell = f
}

func (c *chain) whatFell() fallen {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = true
	return c.fell
}

// isForced reports whether a claim is this process's own, which it has given up.
func (c *chain) isForced(f fallen) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f == c.forced
}

// setUnfinished notes a claim that is being made.
func (c *chain) setUnfinished(i claimInfo) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unfinished = i
}

// giveUp notes that a claim which this process began to make is to be revoked.
func (c *chain) giveUp(f fallen) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unfinished, c.forced = claimInfo{}, f
}

// isUnfinished reports whether a claim is one that this process began to make
// and did not come to hold, under the heartbeat it still has.
func (c *chain) isUnfinished(i claimInfo, p *presence) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return i.Token != "" && i.Token == c.unfinished.Token && p != nil && i.Heartbeat == p.id
}

func (c *chain) setElsewhere(elsewhere bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.elsewhere = elsewhere
}

// doubt notes whether the claim before the one that is being made may have a
// living holder; claimed tells, once that one is made.
func (c *chain) doubt(doubtful bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.doubtful = c.doubtful || doubtful
}

func (c *chain) inDoubt() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doubtful
}

func (c *chain) claimed() (doubtful bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	doubtful, c.doubtful, c.unfinished = c.doubtful, false, claimInfo{}
	return doubtful
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
	if c.isOver() {
		return nil, io.EOF
	}
	return nil, nil
}

// isOver reports whether no lane is expected any more: of the chain of another
// process, that its last one is sealed. Should that process open another, a
// rescan finds it, and the chain is claimed again. Called with mu held.
func (c *chain) isOver() bool {
	if c.own {
		return c.over
	}
	return !slices.ContainsFunc(c.lanes, func(l *lane) bool { return !l.sealed })
}

// isSealed reports whether the lane is known to have got its last group.
func (c *chain) isSealed(l *lane) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return l.sealed
}

// Claim is the exclusive right of this process to drain a chain, under an
// epoch. Its methods but ID are for one goroutine at a time, except that Save
// may run beside Next.
type Claim struct {
	chain    *chain
	epoch    uint64
	raw      string // what the claim file holds; guarded by saveMu
	present  *presence
	doubtful bool
	progress message.Progress
	file     *progressFile
	saveMu   sync.Mutex // serialises Save and Release

	reader  *laneReader
	read    map[*lane]bool // lanes that were read to their end
	pending []message.Stored
	asideMu sync.Mutex         // held while lanes of the claim's own are written
	writers map[string]*writer // guarded by asideMu; by kind and topic
	heldMu  sync.Mutex
	held    map[string]*sideReader // guarded by heldMu; each is its caller's

	closed bool   // guarded by saveMu
	lost   bool   // guarded by saveMu: another process has it
	saved  bool   // guarded by saveMu: once
	made   uint64 // guarded by saveMu: an epoch that enlarge has claimed
}

// ID names the chain.
func (c *Claim) ID() string { return c.chain.id }

// Progress is how far the last holder came. It names every lane of the chain, so
// that what is read back from the hub is recognised.
func (c *Claim) Progress() message.Progress { return c.progress }

// Doubtful reports that the last holder's claim fell because its heartbeat stood
// still: it may be alive, and what it sent still on its way to the hub.
func (c *Claim) Doubtful() bool { return c.doubtful }

// Next returns the next messages in order, one to max of them, and waits for
// the first. io.EOF says that the chain is over and all of it was returned;
// message.ErrClaimLost that the claim no longer holds.
// Seqs may have gaps where damage was set aside. Errors of reading are returned
// as they are; calling again tries again.
func (c *Claim) Next(ctx context.Context, max int) ([]message.Stored, error) {
	for len(c.pending) == 0 {
		// A holder with nothing to save would not learn otherwise that its
		// process's heartbeat has ended, and the process could not begin another.
		if err := c.present.alive(); err != nil {
			return nil, fmt.Errorf("%w: %w", message.ErrClaimLost, err)
		}
		wait, err := c.fill()
		if err != nil {
			c.chain.q.dropBallast(err) // of what is set aside
			return nil, err
		}
		if !wait {
			continue
		}
		if err := c.wait(ctx); err != nil {
			return nil, err
		}
	}
	n := min(max, len(c.pending))
	out := c.pending[:n:n]
	c.pending = c.pending[n:]
	return out, nil
}

// pollInterval is how often a lane that another process writes to is looked at
// for more.
const pollInterval = 50 * time.Millisecond

// wait returns when there may be more: this process's own committer says so, of
// others one has to look.
func (c *Claim) wait(ctx context.Context) error {
	every := c.chain.q.opts.TTL / 4 // to see whether the claim still holds
	if c.reader != nil && !c.reader.lane.own {
		every = pollInterval
	}
	poll := time.NewTimer(every)
	defer poll.Stop()
	select {
	case <-c.chain.more:
	case <-poll.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// fillMessages and fillBytes are about how much fill gathers before it hands out.
const (
	fillMessages = 1024
	fillBytes    = 1 << 20
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
		c.reader.holds = func() error {
			c.saveMu.Lock()
			defer c.saveMu.Unlock()
			return c.confirm()
		}
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
// still holds: its revocation, opened and read anew, is empty, and the process's
// own renewal is not overdue. Without that a process that was paused past its
// TTL would go on in the belief that what it saved is what its successor reads.
// message.ErrClaimLost says that it does not hold.
func (c *Claim) Save(_ context.Context, p message.Progress) error {
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if err := c.save(p); err != nil {
		c.chain.q.dropBallast(err) // the next attempt finds room
		return fmt.Errorf("save progress of %s: %w", c.chain.id, err)
	}
	return nil
}

func (c *Claim) save(p message.Progress) error {
	if c.closed || c.lost {
		return message.ErrClaimLost
	}
	whole := c.chain.complete(p)
	err := c.file.save(whole)
	if errors.Is(err, errProgressFull) {
		err = c.enlarge(whole)
	}
	if err != nil {
		return err
	}
	if err := c.confirm(); err != nil {
		return err
	}
	c.chain.settle(whole)
	c.saved = true
	return nil
}

// confirm reports message.ErrClaimLost where the claim no longer holds. Called
// with saveMu held.
func (c *Claim) confirm() error {
	empty, err := allZero(c.chain.q.deps.FS, c.chain.q.at.claimFile(c.chain.id, "revoked", c.epoch))
	switch {
	case missing(err): // removed with the whole chain: it was made with the claim
		c.lost = true
		return fmt.Errorf("its revocation is gone: %w", message.ErrClaimLost)
	case err != nil:
		return err
	case !empty:
		c.lost = true
		return message.ErrClaimLost
	}
	if err := c.present.alive(); err != nil {
		c.lost = true
		return fmt.Errorf("%w: %w", message.ErrClaimLost, err)
	}
	return nil
}

// enlarge goes on under the next epoch, with a progress file that holds p. The
// size of a file is never changed: a successor would have to guess it after a
// crash in between. After one the epoch has a claim and no progress: that of the
// epoch before counts, which is not wrong, only older.
func (c *Claim) enlarge(p message.Progress) error {
	q := c.chain.q
	if c.made == 0 {
		raw, err := q.writeClaim(c.chain, c.epoch+1, c.present)
		if err != nil {
			return asLost(err)
		}
		c.made, c.raw = c.epoch+1, raw
	}
	if err := q.writeRevocation(c.chain.id, c.made); err != nil {
		return asLost(err)
	}
	file, err := q.writeProgress(c.chain.id, c.made, p)
	if err != nil {
		return err
	}
	old, oldEpoch := c.file, c.epoch
	c.file, c.epoch, c.made = file, c.made, 0
	c.chain.claimed()
	return errors.Join(
		q.noteEnd(c.chain.id, oldEpoch, noteReleased+": continued under epoch "+strconv.FormatUint(c.epoch, 10)),
		old.close(),
	)
}

// asLost makes errHeld what the holder of a claim must know it as.
func asLost(err error) error {
	if errors.Is(err, errHeld) {
		return fmt.Errorf("%w: %w", message.ErrClaimLost, err)
	}
	return err
}

// Release gives the claim up, so that a successor need not wait.
func (c *Claim) Release(context.Context) error {
	c.asideMu.Lock()
	c.closeAside(func(*writer) bool { return true }, "closed by its writer")
	c.asideMu.Unlock()
	c.closeHeld()
	c.saveMu.Lock()
	defer c.saveMu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	defer c.present.claims.Add(-1)
	if c.reader != nil {
		c.reader.close()
		c.reader = nil
	}
	if !c.lost {
		_ = c.confirm() // or its successor's word would be overwritten with ours
	}
	if c.lost {
		err := c.file.close()
		c.chain.q.tendLater(c.chain)
		return err
	}
	epoch, word := max(c.epoch, c.made), noteReleased
	drained := c.chain.release(fallen{epoch, c.raw})
	switch {
	case drained:
		word = noteDrained
	case c.doubtful && !c.saved:
		word = noteDoubtful
	}
	err := errors.Join(c.chain.q.noteEnd(c.chain.id, epoch, word+" by process "+c.chain.q.self.Process), c.file.close())
	if !drained {
		c.chain.q.tendLater(c.chain)
	}
	return err
}

// release notes that the claim is being given up and reports whether every
// message of the chain is settled. What was handed out and not settled does not
// count, nor a lane that was read to its end and not settled.
func (c *chain) release(f fallen) (drained bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drained = c.isOver() && !c.unmet && !slices.ContainsFunc(c.every(), func(l *lane) bool { return !l.done() })
	c.held, c.forced = false, f
	c.busy = !c.drained
	return c.drained
}

// nextByLane is how far progress has come, by the lanes that it names.
func nextByLane(p message.Progress) map[string]uint64 {
	next := make(map[string]uint64, len(p.Lanes))
	for _, l := range p.Lanes {
		next[l.Lane] = l.Next
	}
	return next
}

// complete adds the lanes that p does not name, as far as they were, so that a
// successor does not take their absence for a beginning.
func (c *chain) complete(p message.Progress) message.Progress {
	next := nextByLane(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	p.Lanes = nil
	for _, l := range c.every() {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: l.id, Next: max(l.settled.Load(), next[l.id])})
		delete(next, l.id)
	}
	for id, n := range c.carried {
		next[id] = max(next[id], n)
	}
	for _, id := range slices.Sorted(maps.Keys(next)) {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: id, Next: next[id]})
	}
	return p
}

// unknown lists the lanes that saved progress names and that are not known here.
func (c *chain) unknown() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.carried))
}

// forget drops the progress of a lane that was removed.
func (c *chain) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.carried, id)
}

// setUnmet notes whether a lane that progress names could not be looked at.
func (c *chain) setUnmet(unmet bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unmet = unmet
}

// settle takes saved progress into account.
func (c *chain) settle(p message.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, saved := range p.Lanes {
		l := c.laneByID(saved.Lane)
		switch {
		case l == nil:
			c.carried[saved.Lane] = max(c.carried[saved.Lane], saved.Next)
		case saved.Next > l.settled.Load():
			l.settled.Store(saved.Next)
			l.settleEnd()
		}
	}
}

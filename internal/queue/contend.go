package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// standing is how a chain's claims stand.
type standing struct {
	epochs []epoch
	// epoch is the highest that is claimed; 0 where none ever was.
	epoch uint64
	// raw is the content of its claim; info what it says, zero where that
	// cannot be read.
	raw  []byte
	info claimInfo
	// note is what its revocation says; empty while it holds.
	note string
}

// The words that a note in revoked.<epoch> begins with.
const (
	noteReleased = "released" // by its holder, with messages left
	noteDrained  = "drained"  // by its holder, with every message settled by saved progress
	noteRevoked  = "revoked"  // by its successor
	// noteDoubtful: released by a holder whose predecessor may be alive, and who
	// has saved nothing that would show that it waited for it.
	noteDoubtful = "doubtful"
)

// word is the first word of the note.
func (s standing) word() string {
	word, _, _ := strings.Cut(s.note, " ")
	return word
}

// held reports that a claim was made and neither given up nor revoked.
func (s standing) held() bool { return s.epoch > 0 && s.note == "" }

// standing reads how a chain's claims stand. The list may be old: that there is
// no later claim only an exclusive create can tell.
func (q *Queue) standing(chain string) (standing, error) {
	var s standing
	var err error
	s.epochs, err = q.epochs(chain)
	if missing(err) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("list claims: %w", err)
	}
	for _, e := range s.epochs {
		if e.claimed {
			s.epoch = e.number
		}
	}
	if s.epoch == 0 {
		return s, nil
	}
	s.raw, err = durable.ReadFile(q.deps.FS, q.at.claimFile(chain, "claim", s.epoch), 1<<16)
	if err != nil && !errors.Is(err, durable.ErrTooLong) {
		return s, fmt.Errorf("read claim of epoch %d: %w", s.epoch, err)
	}
	if json.Unmarshal(s.raw, &s.info) != nil {
		s.info = claimInfo{} // being written, or cut short: void once it has stood still
	}
	s.note, err = readNote(q.deps.FS, q.at.claimFile(chain, "revoked", s.epoch))
	if err != nil && !missing(err) { // a missing one is being made, or never was
		return s, fmt.Errorf("read revocation of epoch %d: %w", s.epoch, err)
	}
	return s, nil
}

// readNote reads what a fence or revocation says; empty where it says nothing,
// one that is cut short included.
func readNote(fsys durable.FS, name string) (string, error) {
	b, err := durable.ReadFile(fsys, name, noteSize)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.Trim(string(b), "\x00")), nil
}

// fallen is a claim whose holder may be revoked.
type fallen struct {
	epoch uint64
	raw   string
}

func (s standing) fallen() fallen { return fallen{s.epoch, string(s.raw)} }

// lookAfter watches the chain's lanes that others may be writing to, and sees to
// it that the chain is claimed by somebody. It returns at once.
func (q *Queue) lookAfter(ctx context.Context, c *chain) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		if !l.own && !l.sealed && !l.watched {
			l.watched = true
			q.tending.Go(func() { q.watchLane(ctx, l) })
		}
	}
	if !c.busy {
		c.busy = true
		q.tending.Go(func() { q.tend(ctx, c) })
	}
}

// tend waits until nobody alive holds the chain and offers it, unless nothing of
// it is left to forward. It ends with ctx.
func (q *Queue) tend(ctx context.Context, c *chain) {
	var w *watch
	var watched fallen
	for {
		s, err := q.standing(c.id)
		if err == nil {
			var free bool
			if f := s.fallen(); w == nil || f != watched {
				w, watched = q.watchHolder(s), f
			}
			free, err = q.mayTake(c, s, w)
			c.setElsewhere(!free && err == nil && w.moved)
			if free {
				var whole bool
				if whole, err = q.leaveWhole(c, s); whole {
					return
				}
				if err != nil {
					q.deps.Log.Error("chain not read through, a forwarder will", "chain", c.id, "err", err)
				}
				c.setFallen(s.fallen())
				q.offer(c)
				return
			}
		}
		if err != nil {
			q.deps.Log.Error("could not look at a chain's claims, trying again", "chain", c.id, "err", err)
		}
		if !pause(ctx, q.watchInterval()) {
			return
		}
	}
}

// watchHolder watches what changes on disk while the holder of a claim lives.
func (q *Queue) watchHolder(s standing) *watch {
	if !message.ValidLane(s.info.Heartbeat) { // of an unreadable claim its bytes are all there is
		return q.newWatch(func() ([]byte, error) { return s.raw, nil })
	}
	return q.watchHeartbeat(q.at.process(s.info.Heartbeat) + "/" + heartbeatFileName)
}

// mayTake reports whether the chain is nobody's: never claimed, given up, or its
// holder dead, as this machine can tell or as its heartbeat shows.
func (q *Queue) mayTake(c *chain, s standing, w *watch) (bool, error) {
	switch {
	case !s.held(), c.isForced(s.fallen()), s.info.Owner.deadFor(q.self), c.isUnfinished(s.info, q.present.Load()):
		return true, nil
	}
	return w.still()
}

// leaveWhole reports whether nothing of the chain is left to forward: by the
// word of its last holder, or by its progress and its lanes behind that. Chains
// are kept for replay long after they are drained; offering each again at every
// start would make the forwarder read the hub for nothing.
func (q *Queue) leaveWhole(c *chain, s standing) (bool, error) {
	if s.epoch == 0 {
		return false, nil
	}
	q.reading <- struct{}{}
	defer func() { <-q.reading }()
	progress, _, err := q.lastProgress(c.id, s.epochs, false)
	if err != nil {
		return false, err
	}
	if err := q.namedSides(c, progress); err != nil {
		return false, err
	}
	if s.word() == noteDrained && c.restDrained(progress) {
		return true, nil
	}
	// What is read here may not be on stable storage: its writer may have been
	// killed before the sync. So nothing counts as settled, and is removed,
	// before a claim has written it anew.
	next := nextByLane(progress)
	for _, l := range c.all() {
		if !c.isSealed(l) {
			return false, nil
		}
		// Nothing is set aside before the chain is claimed: by an old list an
		// old progress counts, and what it leads to may have been removed.
		r := newLookup(l, max(1, next[l.id]))
		_, err := r.messages()
		r.close()
		if !errors.Is(err, io.EOF) || r.skipped {
			return false, ignoreEnd(err)
		}
	}
	claim, err := q.acquire(c, s.fallen())
	q.dropBallast(err)
	if errors.Is(err, errHeld) {
		return false, nil // acquire will say so again
	}
	if err != nil {
		return false, err
	}
	for _, l := range c.all() { // what was looked through is now read, to its end
		if !c.isSealed(l) {
			break
		}
		r := newLaneReader(c, l, claim.start(l))
		_, err = r.messages()
		r.close()
		if !errors.Is(err, io.EOF) {
			break
		}
	}
	return true, errors.Join(ignoreEnd(err), claim.Release(context.Background())) // which sees to it again, should anything be left
}

// ignoreEnd is err, unless it says that a lane has been read to its end.
func ignoreEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// restDrained takes the chain for drained by the word of its last holder, whose
// progress this is: it was saved before the word was written. A lane that the
// progress does not name came later.
func (c *chain) restDrained(p message.Progress) bool {
	named := nextByLane(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.lanes {
		if named[l.id] == 0 {
			return false
		}
	}
	for _, l := range c.every() {
		l.settled.Store(max(l.settled.Load(), named[l.id]))
		l.sealed, l.ended, l.read = true, true, l.settled.Load()-1
		l.raise(l.read)
		l.settleEnd()
	}
	c.busy, c.drained = false, true
	return true
}

// watchLane follows a lane that another process may be writing to: how far it is
// durable, and where it ends. It ends the lane once its writer is dead.
func (q *Queue) watchLane(ctx context.Context, l *lane) {
	w := q.watchHeartbeat(q.at.laneFile(l.id, heartbeatFileName))
	failed := false
	for {
		done, err := q.lookAtLane(l, w)
		if done {
			return
		}
		if err != nil && !failed {
			q.deps.Log.Error("lane not taken over, trying again", "lane", l.id, "err", err)
		}
		failed = err != nil
		if !pause(ctx, q.watchInterval()) {
			return
		}
	}
}

// lookAtLane looks at a lane once and reports whether it is sealed now.
//
// A lane whose fence is not there was never opened, or lost its fence with its
// power: no message was ever acknowledged in it, and none will be once the fence
// is made here, since that create and its writer's exclude each other.
func (q *Queue) lookAtLane(l *lane, w *watch) (sealed bool, err error) {
	fenced, gone, err := q.isFenced(l.id)
	if err != nil {
		return false, err
	}
	if !fenced {
		dead := l.info.Owner.deadFor(q.self)
		if !dead {
			if dead, err = w.still(); err != nil || !dead {
				l.learnHeartbeat(w.seen)
				l.living.Store(w.moved)
				return false, err
			}
		}
		if err := q.onBallast(func() error { return q.fill(l.id, gone) }); err != nil {
			if missing(err) && q.isRemoved(l.id) {
				l.chain.seal(l)
				return true, nil
			}
			return false, err
		}
		q.deps.Log.Info("lane of a dead process ended", "lane", l.id, "host", l.info.Owner.Host, "pid", l.info.Owner.PID)
	}
	b, err := readHeartbeat(q.deps.FS, q.at.laneFile(l.id, heartbeatFileName))
	if err != nil {
		return false, fmt.Errorf("read heartbeat: %w", err)
	}
	l.learnHeartbeat(b)
	l.chain.seal(l)
	return true, nil
}

// fill writes the fence of another process's lane, which it makes where it is
// gone, and returns once it is durable.
func (q *Queue) fill(lane string, gone bool) error {
	fence, reason := q.at.laneFile(lane, fenceFileName), note("ended by process "+q.self.Process)
	if gone {
		if err := durable.WriteNew(q.deps.FS, fence, reason); err != nil {
			return fmt.Errorf("make fence: %w", err)
		}
		return nil
	}
	if err := durable.Overwrite(q.deps.FS, fence, reason); err != nil {
		return fmt.Errorf("write fence: %w", err)
	}
	return nil
}

// learnHeartbeat takes note of the durable seq that a lane's heartbeat tells.
func (l *lane) learnHeartbeat(b []byte) {
	if h, ok := decodeHeartbeat(b); ok && h.durable > l.durable.Load() {
		l.raise(h.durable)
		l.chain.grown()
	}
}

// shownInterval is how old what is shown of another process's progress may be.
const shownInterval = time.Second

// showProgress reads how far another process has come with a chain, for those
// who ask about messages; nothing is removed, or taken for sent, by it.
func (q *Queue) showProgress(c *chain) {
	c.mu.Lock()
	now := q.deps.Elapsed()
	skip := c.held || c.drained || c.shownAt != 0 && now-c.shownAt < shownInterval
	if !skip {
		c.shownAt = now
	}
	c.mu.Unlock()
	if skip {
		return
	}
	epochs, err := q.epochs(c.id)
	if err != nil {
		return // never claimed, or it will be asked for again
	}
	p, _, err := q.lastProgress(c.id, epochs, false)
	if err != nil || q.namedSides(c, p) != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, saved := range p.Lanes {
		if l := c.laneByID(saved.Lane); l != nil && saved.Next > l.shown.Load() {
			l.shown.Store(saved.Next)
		}
	}
}

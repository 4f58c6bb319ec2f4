package queue

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"postroad/internal/message"
)

// retainAside removes side lanes of which all is settled or that never counted,
// and dead lanes of which every letter is marked, once they are older than
// Options.Retain.
func (q *Queue) retainAside() {
	q.known.mu.Lock()
	var aside []*lane
	for _, l := range q.known.lanes {
		if l.info.Kind != "" && q.deps.Now().Sub(l.info.Created) >= q.opts.Retain {
			aside = append(aside, l)
		}
	}
	listed := q.known.listed
	q.known.mu.Unlock()
	for _, l := range aside {
		var over bool
		var err error
		switch {
		case l.info.Kind == kindDead:
			over, err = q.deadLaneIsOver(l)
		case l.info.Kind == kindSide && listed:
			over, err = q.sideLaneIsOver(l)
		}
		if over && err == nil {
			err = q.removeAside(l)
		}
		if err != nil {
			q.deps.Log.Warn("lane not removed", "lane", l.id, "kind", l.info.Kind, "err", err)
		}
	}
}

// sideLaneIsOver reports whether a side lane is of no more use: all of it is
// settled, or it never counted, since no saved progress names it. That is told by
// the chain's holder, or by who finds the chain drained or does not know it. What
// such a process knows may be less than was saved: its claim is being made, or a
// lane of the chain could not be read. So the progress itself is asked.
func (q *Queue) sideLaneIsOver(l *lane) (bool, error) {
	q.known.mu.Lock()
	c := q.known.byID[l.info.Of]
	q.known.mu.Unlock()
	if c != nil {
		c.mu.Lock()
		s, settles := c.sideOf(l.info.Topic), c.held || c.drained
		named, over := s != nil && slices.Contains(s.lanes, l), l.sealed && l.done()
		c.mu.Unlock()
		if !settles || named {
			return settles && over, nil
		}
	}
	saved, err := q.isSaved(l)
	if err != nil || !saved {
		return err == nil, err
	}
	if ctx := q.running.Load(); c == nil && ctx != nil { // of its chain nothing else may be left
		q.lookAfter(*ctx, q.chainOf(l.info.Of))
	}
	return false, nil
}

// isSaved reports whether saved progress names a side lane.
func (q *Queue) isSaved(l *lane) (bool, error) {
	epochs, err := q.epochs(l.info.Of)
	if missing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p, _, err := q.lastProgress(l.info.Of, epochs, false)
	return slices.ContainsFunc(p.Lanes, func(named message.LaneProgress) bool { return named.Lane == l.id }), err
}

// deadLaneIsOver reports whether nobody will write to a dead lane and each of its
// letters is released or discarded. The lane is ended before they are counted: a
// holder that buries one more finds that out, and opens another.
func (q *Queue) deadLaneIsOver(l *lane) (bool, error) {
	letters := &Letters{v: &Inspector{fsys: q.deps.FS, at: q.at}}
	open, err := letters.anyOpen(l.id)
	if err != nil || open {
		return false, err
	}
	fenced, gone, err := q.isFenced(l.id)
	if err != nil || fenced {
		return err == nil, err
	}
	if err := q.fill(l.id, gone); err != nil {
		return false, err
	}
	open, err = letters.anyOpen(l.id)
	return err == nil && !open, err
}

var errOneIsOpen = errors.New("an open letter")

// anyOpen reports whether a dead lane holds a letter without a mark.
func (d *Letters) anyOpen(lane string) (bool, error) {
	err := d.eachOf(context.Background(), lane, LetterFilter{}, func(Letter) error { return errOneIsOpen })
	if errors.Is(err, errOneIsOpen) {
		return true, nil
	}
	return false, err
}

// removeAside removes a side or dead lane: its messages first, the file that
// says what it is and the fence last.
func (q *Queue) removeAside(l *lane) error {
	entries, err := q.deps.FS.ReadDir(q.at.lane(l.id))
	if err != nil && !missing(err) {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != laneFileName && e.Name() != fenceFileName {
			names = append(names, e.Name())
		}
	}
	// Marks after the letters they are for.
	slices.SortStableFunc(names, func(a, b string) int {
		_, isA := parseMark(a)
		_, isB := parseMark(b)
		switch {
		case isA == isB:
			return 0
		case isA:
			return 1
		default:
			return -1
		}
	})
	for _, some := range [][]string{names, {laneFileName}, {fenceFileName}} {
		if err := q.removeFrom(q.at.lane(l.id), some); err != nil {
			return err
		}
	}
	if err := q.removeFrom(q.at.lanes(), []string{l.id}); err != nil {
		return err
	}
	if c := l.chain; c != nil {
		c.dropSide(l)
	}
	q.known.mu.Lock()
	delete(q.known.lanes, l.id)
	q.known.mu.Unlock()
	q.deps.Log.Info("lane removed", "lane", l.id, "kind", l.info.Kind)
	return nil
}

// dropSide forgets a side lane that was removed.
func (c *chain) dropSide(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sideOf(l.info.Topic); s != nil {
		s.lanes = slices.DeleteFunc(s.lanes, func(x *lane) bool { return x == l })
	}
}

// asideOutcome tells what became of a message that is settled as far as its own
// lane goes: a dead letter, or one that waits in a side lane; ok is false where
// it is neither.
func (q *Queue) asideOutcome(ctx context.Context, l *lane, at message.Place, topic string) (o message.Outcome, ok bool, err error) {
	letters := &Letters{v: &Inspector{fsys: q.deps.FS, at: q.at}}
	dead, err := q.deadLanes(letters)
	if err != nil {
		return o, false, err
	}
	for _, id := range dead {
		err := letters.eachOf(ctx, id, LetterFilter{Places: []message.Place{at}}, func(letter Letter) error {
			o, ok = message.Outcome{State: message.StateDead, Reason: letter.Reason}, true
			return errOneIsOpen
		})
		if err != nil && !errors.Is(err, errOneIsOpen) {
			return o, false, err
		}
		if ok {
			return o, true, nil
		}
	}
	waits, err := q.waitsAside(ctx, l.chain, at, topic)
	return message.Outcome{State: message.StateQueued}, waits, err
}

// deadLanes lists the dead lanes: those that are known to a process that looks
// for lanes all the time, else those in the directory.
func (q *Queue) deadLanes(letters *Letters) (dead []string, err error) {
	if !q.deps.Part.drains() {
		return letters.lanes()
	}
	q.known.mu.Lock()
	defer q.known.mu.Unlock()
	for id, l := range q.known.lanes {
		if l.info.Kind == kindDead {
			dead = append(dead, id)
		}
	}
	return dead, nil
}

// waitsAside reports whether a message stands unsettled in its chain's side
// lanes. They hold a topic's messages in order, so it does where it comes not
// before the first of them that is not settled, and not behind the last.
func (q *Queue) waitsAside(ctx context.Context, c *chain, at message.Place, topic string) (bool, error) {
	c.mu.Lock()
	var lanes []*lane
	var last message.Place
	if s := c.sideOf(topic); s != nil {
		lanes, last = slices.Clone(s.lanes), s.last
	}
	c.mu.Unlock()
	for _, l := range lanes {
		m, err := q.read(ctx, l, max(1, l.settled.Load(), l.shown.Load()))
		if errors.Is(err, message.ErrNotFound) {
			continue // nothing of it is left
		}
		if err != nil {
			return false, err
		}
		notBefore := m.Moved != nil && (!c.has(m.Moved.Lane) || !before(at, *m.Moved))
		return notBefore && (last.Seq == 0 || !before(last, at)), nil
	}
	return false, nil
}

// fenced reports an error where a lane of this process's own was ended by
// another.
func (w *writer) fenced() error {
	empty, err := allZero(w.q.deps.FS, path.Join(w.dir, fenceFileName))
	if err != nil {
		return fmt.Errorf("read fence: %w", err)
	}
	if !empty {
		return errors.New("the lane was ended by another process")
	}
	return nil
}

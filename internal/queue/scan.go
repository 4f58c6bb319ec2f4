package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
)

// registry is what a process knows of the directory: chains, their lanes, and
// lanes of other kinds. What is not in it may still be there.
type registry struct {
	mu     sync.Mutex
	chains []*chain          // guarded by mu, as all below; oldest first
	byID   map[string]*chain // by the chain's id
	lanes  map[string]*lane  // by the lane's id
	// listed says that the directory was read once.
	listed bool
}

func (r *registry) add(c *chain) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(c)
}

// addLocked is add. Called with mu held.
func (r *registry) addLocked(c *chain) {
	if r.byID == nil {
		r.byID, r.lanes = make(map[string]*chain), make(map[string]*lane)
	}
	r.chains = append(r.chains, c)
	r.byID[c.id] = c
}

func (r *registry) lane(id string) *lane {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lanes[id]
}

func (r *registry) addLane(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lanes[l.id] = l
}

// dropLane forgets a lane that was removed, and its chain with the last one.
func (r *registry) dropLane(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.lanes, l.id)
	if c := l.chain; c != nil && !c.own && len(c.snapshot()) == 0 {
		delete(r.byID, c.id)
		r.chains = slices.DeleteFunc(r.chains, func(x *chain) bool { return x == c })
	}
}

// chainOf returns the chain with an id, made where it is not known.
func (q *Queue) chainOf(id string) *chain {
	q.known.mu.Lock()
	defer q.known.mu.Unlock()
	return q.chainLocked(id)
}

// chainLocked is chainOf. Called with known.mu held.
func (q *Queue) chainLocked(id string) *chain {
	c := q.known.byID[id]
	if c == nil {
		c = newChain(q, id)
		q.known.addLocked(c)
	}
	return c
}

// chains returns all chains that are known, oldest first.
func (q *Queue) chains() []*chain {
	q.known.mu.Lock()
	defer q.known.mu.Unlock()
	return slices.Clone(q.known.chains)
}

// lanes returns the known lanes of all chains, oldest first, each chain's side
// lanes behind its own.
func (q *Queue) lanes() []*lane {
	var lanes []*lane
	for _, c := range q.chains() {
		lanes = append(lanes, c.all()...)
	}
	return lanes
}

// rescanLoop looks for lanes of other processes until ctx ends. A gateway that
// starts, or opens a lane after a failed sync, tells nobody.
func (q *Queue) rescanLoop(ctx context.Context) {
	seen := make(map[string]*watch) // of lanes that are being made
	for {
		if err := q.rescan(ctx, seen); err != nil && ctx.Err() == nil {
			q.deps.Log.Error("could not look for lanes, trying again", "err", err)
		}
		if !pause(ctx, q.opts.TTL/10) {
			return
		}
	}
}

// rescan lists the lanes and takes those that are new. A lane that is missing
// from the list is not concluded to be gone: lists may be old.
func (q *Queue) rescan(ctx context.Context, unfinished map[string]*watch) error {
	entries, err := q.deps.FS.ReadDir(q.at.lanes())
	if err != nil {
		return fmt.Errorf("list lanes: %w", err)
	}
	fresh, began := make(map[*chain]bool), q.deps.Elapsed()
	var errs []error
	for _, e := range entries { // in order of names, which is that of creation
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !e.IsDir() || !message.ValidLane(e.Name()) || q.known.lane(e.Name()) != nil {
			continue
		}
		l, err := q.meet(e.Name(), unfinished)
		switch {
		case err != nil:
			errs = append(errs, err) // the others go on
		case l != nil && l.chain != nil:
			fresh[l.chain] = true
		}
	}
	// One that was not looked at for so long begins anew: its lane was removed, is
	// this process's own, or is known now.
	maps.DeleteFunc(unfinished, func(_ string, w *watch) bool { return began-w.last > q.opts.TTL/4 })
	q.known.mu.Lock()
	q.known.listed = true
	q.known.mu.Unlock()
	for _, c := range q.chains() {
		if fresh[c] {
			q.lookAfter(ctx, c)
		}
	}
	return errors.Join(errs...)
}

// meet takes a lane into the registry, with those before it in its chain. It
// returns nil where there is nothing to be done about it (yet).
func (q *Queue) meet(id string, unfinished map[string]*watch) (*lane, error) {
	l, err := q.loadLane(id)
	if err != nil {
		return nil, err
	}
	if l.info.Owner.Process == q.self.Process {
		return nil, nil // being opened by this process's committer
	}
	if l.nameless {
		// It may be being made right now. Once it has stood still as long as a
		// dead writer's, it is taken as it is.
		w := unfinished[id]
		if w == nil {
			w = q.newWatch(func() ([]byte, error) { return q.laneState(l) })
			unfinished[id] = w
		}
		if still, err := w.still(); err != nil || !still {
			return nil, err
		}
		if l, err = q.identify(l, w.stood); err != nil || l == nil || l.info.Owner.Process == q.self.Process {
			return nil, err
		}
	}
	delete(unfinished, id)
	if before := l.info.Predecessor; before != "" && message.ValidLane(before) && q.known.lane(before) == nil {
		// The list was read while lanes came; or it was removed before.
		if p, err := q.loadLane(before); err == nil && !p.nameless && p.info.Owner.Process == l.info.Owner.Process {
			q.adopt(p)
		}
	}
	q.adopt(l)
	return l, nil
}

// adopt adds a lane to the registry and its chain. Both at once: a chain whose
// last lane is being removed is forgotten, and a lane that came in between would
// belong to one that nobody looks after.
func (q *Queue) adopt(l *lane) {
	q.known.mu.Lock()
	defer q.known.mu.Unlock()
	if l.info.Kind == "" {
		l.chain = q.chainLocked(l.info.Owner.Process)
		l.chain.addLane(l)
	}
	q.known.lanes[l.id] = l
}

// meetCarried takes the lanes into a chain that its progress names and that are
// not known here: the list that they are missing from may be old. Without it
// the chain would be called drained with messages left in them. A lane's name
// is not looked for before it exists, so that one that is not found was removed.
func (q *Queue) meetCarried(c *chain) {
	met, unmet := false, false
	for _, id := range c.unknown() {
		l, err := q.loadLane(id)
		switch {
		case err == nil && !l.nameless && l.info.Kind != "": // not a lane of accepted messages
		case err == nil && !l.nameless && l.info.Owner.Process == c.id:
			if q.known.lane(id) == nil {
				q.adopt(l)
				met = true
			}
		default:
			if k := q.known.lane(id); k != nil && k.nameless { // a chain of its own now
				c.forget(id)
				continue
			}
			if _, err := q.deps.FS.ReadDir(q.at.lane(id)); missing(err) {
				c.forget(id)
				continue
			}
			unmet = true
		}
	}
	c.setUnmet(unmet)
	if ctx := q.running.Load(); met && ctx != nil && (*ctx).Err() == nil {
		q.lookAfter(*ctx, c)
	}
}

// laneState is what changes on disk while a lane's writer lives: its heartbeat,
// and which of its files there are.
func (q *Queue) laneState(l *lane) ([]byte, error) {
	state, err := readHeartbeat(q.deps.FS, q.at.laneFile(l.id, heartbeatFileName))
	if err != nil && !errors.Is(err, durable.ErrTooLong) {
		return nil, fmt.Errorf("read heartbeat: %w", err)
	}
	entries, err := q.deps.FS.ReadDir(q.at.lane(l.id))
	if err != nil && !missing(err) {
		return nil, fmt.Errorf("list lane %s: %w", l.id, err)
	}
	for _, e := range entries {
		state = append(append(state, e.Name()...), 0)
	}
	return state, nil
}

// loadLane reads a lane's file. A lane without one is being made, was cut short
// while it was made, or is damaged: it is nameless, and if it stays so becomes a
// chain of its own, so that whatever it holds is drained. An error of reading is
// neither: taken for it, everything in the lane would be sent again, since its
// progress is kept under its chain's name.
func (q *Queue) loadLane(id string) (*lane, error) {
	l := &lane{id: id, q: q}
	l.settled.Store(1)
	b, err := durable.ReadFile(q.deps.FS, q.at.laneFile(id, laneFileName), 1<<16)
	if err != nil && !missing(err) && !errors.Is(err, durable.ErrTooLong) {
		return nil, fmt.Errorf("who wrote lane %s: %w", id, err)
	}
	l.unseen = missing(err)
	if err == nil {
		err = json.Unmarshal(b, &l.info)
	}
	if err != nil || !message.ValidLane(l.info.Owner.Process) || l.info.Lane != id { // the process names a directory
		q.deps.Log.Debug("lane without a readable identity", "lane", id, "err", err)
		l.info = laneInfo{Lane: id, Owner: owner{Process: id}}
		l.nameless = true
	}
	return l, nil
}

// pause waits and reports whether ctx is still alive.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

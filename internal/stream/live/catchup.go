package live

import (
	"context"
	"fmt"

	"postroad/internal/message"
)

// catchUp brings one subscriber from where it was to where the node is. What it
// has gathered of each partition grows until, under all their locks at once, it
// meets the head.
type catchUp struct {
	state   *state
	view    []*partition
	request *Request
	// foreign says that the topic was so when the view was chosen.
	foreign bool
	pieces  []piece // nil where the subscriber begins afresh
	// lost says that what was missed cannot be given completely.
	lost bool
	used source // the dearest that was needed
}

// source is where what was missed came from.
type source int

const (
	fromNothing source = iota // nothing was missed
	fromRing
	fromFloor
	fromScan
)

// piece is what was gathered of one partition.
type piece struct {
	since int64 // the position given
	// at is the offset up to which missed is complete.
	at     int64
	missed []*Record
	// floor is the position given, where the node is not that far.
	floor int64
	// end is the end the hub told of, where it was asked; -1 else.
	end   int64
	scans int
	wants want
}

// want is what a piece needs before it can be complete.
type want int

const (
	wantNothing want = iota
	wantEnd
	wantScan
	wantLost
)

// maxScans is how often a partition is read again for one subscriber, if its ring
// does not reach back to where the reading before ended, before he is told to come
// again: that the hub fills faster than it is read is no loss.
const maxScans = 10

func newCatchUp(st *state, view []*partition, r *Request) *catchUp {
	c := &catchUp{state: st, view: view, request: r, foreign: st.foreign()}
	if r.Since == nil {
		return c
	}
	c.pieces = make([]piece, len(view))
	f := st.flaws()
	if len(r.Since) == 0 {
		c.lost = true
		return c
	}
	c.lost = len(view) == 0 || st.is.Compacted && !f.compactedFine || c.scattered()
	for i, p := range view {
		since, ok := positionFor(r.Since, p, len(view))
		if !ok || since.Epoch != p.epoch && !f.noEpoch || since.Next < 0 {
			c.lost = true
		}
		c.pieces[i] = piece{since: since.Next, at: since.Next, end: -1}
	}
	return c
}

// positionFor finds the position that is of p. Who sees one partition need not
// know which: the epoch tells. Who sees one, and brings several, has them from a
// time when the topic was foreign-partitioned: in the others, which are not in view
// any more, something may be left that it has not seen.
func positionFor(since []Position, p *partition, views int) (Position, bool) {
	if views == 1 {
		return since[0], len(since) == 1
	}
	for _, at := range since {
		if at.Partition == p.n {
			return at, true
		}
	}
	return Position{}, false
}

func (c *catchUp) byKey() bool { return c.request.Subject.byKey() }

// scattered reports whether they would, but do not.
func (c *catchUp) scattered() bool { return c.byKey() && c.foreign }

// run gathers and tries until the subscription is registered; it returns nil
// where the view must be chosen again.
func (c *catchUp) run(ctx context.Context) (*Subscription, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		s, done, err := c.attempt()
		if done || err != nil {
			return s, err
		}
		if err := c.gather(ctx); err != nil {
			return nil, err
		}
	}
}

// attempt registers the subscription if what was gathered meets the head. No
// record is taken up while it holds the locks: what is given with Begin and what
// is delivered after meet there.
func (c *catchUp) attempt() (s *Subscription, done bool, err error) {
	if len(c.view) == 0 {
		return c.attemptAbsent()
	}
	for _, p := range c.view {
		p.mu.Lock()
	}
	defer func() {
		for _, p := range c.view {
			p.mu.Unlock()
		}
	}()
	for _, p := range c.view {
		if p.over || p.skipping {
			return nil, false, fmt.Errorf("topic %q: %w: %w", c.state.topic.name, ErrChanged, ErrNotReady)
		}
	}
	if c.byKey() && c.state.foreign() != c.foreign {
		return nil, true, nil
	}
	if !c.meet() {
		return nil, false, nil
	}
	return c.register(), true, nil
}

// meet reports whether every piece meets its head, or all is lost.
func (c *catchUp) meet() bool {
	whole := true
	for i := range c.pieces {
		if c.lost {
			return true
		}
		pc := &c.pieces[i]
		pc.wants = c.look(c.view[i], pc)
		c.lost = pc.wants == wantLost
		whole = whole && pc.wants == wantNothing
	}
	if whole && !c.lost && c.bytes() > c.limit() && !c.state.flaws().noCaps {
		c.lost = true
	}
	return whole || c.lost
}

func (c *catchUp) limit() int64 { return c.state.topic.engine.opts.Recovery.MaxBytes }

func (c *catchUp) bytes() (n int64) {
	for i := range c.pieces {
		for _, r := range c.pieces[i].missed {
			n += recordBytes(r)
		}
	}
	return n
}

// look brings a piece as far as the partition's memory goes, and says what it
// wants then. The partition's lock is held.
func (c *catchUp) look(p *partition, pc *piece) want {
	f := c.state.flaws()
	switch {
	case c.byKey() && c.state.foreignBelow[p.n].Load() >= pc.since && !f.foreignFine:
		return wantLost // a record of the key may have been missed elsewhere
	case pc.at == p.head:
		return wantNothing
	case pc.at > p.head && f.noEnd, pc.at > p.head && pc.end >= pc.at:
		// The node the subscriber comes from was further. It has seen all below.
		pc.floor = pc.at
		c.use(fromFloor)
		return wantNothing
	case pc.at > p.head && pc.end >= 0:
		return wantLost // no node can have been there
	case pc.at > p.head:
		return wantEnd
	case pc.at >= p.known && p.shownOf(c.request.Subject) < pc.at && !f.noLastOffset:
		// Nothing was missed, be the position as old as it may: without this a
		// subject that has been idle for longer than the hub keeps records would
		// look as if it could not be recovered.
		pc.at = p.head
		return wantNothing
	case pc.at >= p.ring.from || f.ringHasAll || f.stopAtScan && pc.scans > 0:
		return c.fromRing(p, pc)
	}
	return wantScan
}

// shownOf is the highest offset that a record of the subject may have been shown
// at.
func (p *partition) shownOf(s Subject) int64 {
	if s.All {
		return p.shown
	}
	return p.values.shown(s.Key)
}

func (c *catchUp) fromRing(p *partition, pc *piece) want {
	if c.state.flaws().stopAtScan && pc.scans > 0 {
		pc.at = p.head
		return wantNothing
	}
	c.use(fromRing)
	subject := c.request.Subject
	hash := message.Murmur2([]byte(subject.Key))
	for i := p.ring.since(pc.at); i < p.ring.head; i++ {
		e := p.ring.at(i)
		if !e.ruling.live || !subject.All && (e.hash != hash || string(e.record.Key) != subject.Key) {
			continue
		}
		if e.ruling.unsure {
			return wantLost // it may be a repeat
		}
		pc.missed = append(pc.missed, e.record)
	}
	pc.at = p.head
	return wantNothing
}

func matches(s Subject, r *Record) bool { return s.All || string(r.Key) == s.Key }

func (c *catchUp) use(s source) { c.used = max(c.used, s) }

// gather gets what pieces want, of all partitions at once.
func (c *catchUp) gather(ctx context.Context) error {
	var asked []*scanRequest
	var of []*piece
	var bounds []Bounds
	defer func() {
		for _, q := range asked {
			q.forget()
		}
	}()
	for i := range c.pieces {
		pc := &c.pieces[i]
		switch pc.wants {
		case wantEnd:
			if bounds == nil {
				var err error
				if bounds, err = c.state.fresh.ask(ctx); err != nil {
					return err
				}
			}
			pc.end = 0
			if n := c.view[i].n; int(n) < len(bounds) {
				pc.end = bounds[n].End
			}
		case wantScan:
			if pc.scans == maxScans {
				return fmt.Errorf("partition %d of topic %q fills faster than it is read: %w", c.view[i].n, c.state.topic.name, ErrBusy)
			}
			q, err := c.view[i].scans.ask(c.request.Subject, pc.at)
			if err != nil {
				return err
			}
			pc.scans++
			asked, of = append(asked, q), append(of, pc)
			c.use(fromScan)
		}
	}
	for i, q := range asked {
		if err := q.wait(ctx); err != nil {
			return err
		}
		c.lost = c.lost || q.lost
		of[i].missed = append(of[i].missed, q.records...)
		of[i].at = q.next
	}
	return nil
}

// register makes the subscription and calls Begin. The locks are held.
func (c *catchUp) register() *Subscription {
	r := c.request
	recovered := c.pieces != nil && !c.lost
	s := &Subscription{
		subject: r.Subject, name: r.Name, encoder: r.Encoder, receiver: r.Receiver,
		keyed: r.Subject.All, conflate: c.state.topic.conflate,
		positioned: len(c.view) == 1 && !c.scattered() && (!c.state.is.Compacted || c.state.flaws().compactedFine),
	}
	start := Start{Subscription: s, Recoverable: s.positioned, Recovered: recovered}
	floors := make([]int64, len(c.view))
	for i, p := range c.view {
		at := p.position()
		if recovered {
			start.Missed = append(start.Missed, c.pieces[i].missed...)
			if floor := c.pieces[i].floor; floor > p.head {
				at.Next = floor
				if !c.state.flaws().noFloor {
					floors[i] = floor
				}
			}
		}
		start.Positions = append(start.Positions, at)
	}
	if !recovered {
		start.Last = lastOf(c.view, r.Subject)
	}
	// First: whoever is handed the subscription may close it at once.
	s.sit(c.view, floors)
	if len(c.view) == 0 {
		s.absent = c.state
		c.state.absent[s] = struct{}{}
	}
	if r.Begin != nil {
		r.Begin(&start)
	}
	return s
}

// attemptAbsent registers a subscription of a topic that the hub does not have: it
// hears nothing, and ends when the hub has it.
func (c *catchUp) attemptAbsent() (*Subscription, bool, error) {
	st := c.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.over {
		return nil, false, fmt.Errorf("topic %q: %w: %w", st.topic.name, ErrChanged, ErrNotReady)
	}
	return c.register(), true, nil
}

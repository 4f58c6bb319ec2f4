package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// side is the messages of one topic that were moved out of a chain, because the
// hub refuses that topic for now: lanes of their own, so that they neither block
// the chain's other topics nor keep its segments from being removed.
//
// A side lane counts only once saved progress names it: until then all that
// stands in it is unsettled in the chain's own lanes, too. What a holder moved
// and did not live to save is moved by its successor again, unless it stands in
// a lane that is named; last tells.
type side struct {
	topic string
	lanes []*lane // in order
	// last is where the last message that stands there was first stored.
	last message.Place
}

// sideOf returns the side of a topic, or nil. Called with c.mu held.
func (c *chain) sideOf(topic string) *side {
	i := slices.IndexFunc(c.sides, func(s *side) bool { return s.topic == topic })
	if i < 0 {
		return nil
	}
	return c.sides[i]
}

// addSide adds a side lane to the chain.
func (c *chain) addSide(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sideOf(l.info.Topic)
	if s == nil {
		s = &side{topic: l.info.Topic}
		c.sides = append(c.sides, s)
	}
	if c.insert(&s.lanes, l) {
		l.chain = c
	}
}

// every returns the chain's lanes and side lanes. Called with c.mu held.
func (c *chain) every() []*lane {
	all := slices.Clone(c.lanes)
	for _, s := range c.sides {
		all = append(all, s.lanes...)
	}
	return all
}

// all is every, for callers that do not hold c.mu.
func (c *chain) all() []*lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.every()
}

// laneByID returns a lane or side lane of the chain; nil where it has none of that
// id. Called with c.mu held.
func (c *chain) laneByID(id string) *lane {
	all := c.every()
	if i := slices.IndexFunc(all, func(l *lane) bool { return l.id == id }); i >= 0 {
		return all[i]
	}
	return nil
}

// namedSides takes the side lanes that saved progress names into the chain.
func (q *Queue) namedSides(c *chain, p message.Progress) error {
	for _, named := range p.Lanes {
		c.mu.Lock()
		known := c.laneByID(named.Lane) != nil
		c.mu.Unlock()
		if known || !message.ValidLane(named.Lane) {
			continue
		}
		l := q.known.lane(named.Lane)
		if l == nil {
			var err error
			if l, err = q.loadLane(named.Lane); err != nil {
				return err
			}
		}
		if l.info.Kind == kindSide && l.info.Of == c.id {
			c.addSide(l)
			q.known.addLane(l)
		}
	}
	return nil
}

// keepNamed forgets side lanes that saved progress does not name: a claim of this
// process's own was lost before it had saved them. What stands there was left to
// the successor, who has sent it from where it stood.
func (c *chain) keepNamed(p message.Progress) {
	named := nextByLane(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sides {
		s.lanes = slices.DeleteFunc(slices.Clone(s.lanes), func(l *lane) bool {
			_, kept := named[l.id]
			return !kept
		})
		s.last = message.Place{} // endSides finds it anew
	}
}

// endSides ends the side lanes of earlier claims, whose writers hold no claim any
// more, and finds out how far each topic was moved.
func (q *Queue) endSides(c *chain) error {
	c.mu.Lock()
	sides, lanes := slices.Clone(c.sides), make(map[*side][]*lane) // which retention shortens
	for _, s := range sides {
		lanes[s] = slices.Clone(s.lanes)
	}
	c.mu.Unlock()
	for _, s := range sides {
		for _, l := range lanes[s] {
			if c.isSealed(l) {
				continue
			}
			// Its heartbeat is not asked: who wrote it has lost the claim.
			fenced, gone, err := q.isFenced(l.id)
			if err == nil && !fenced {
				err = q.fill(l.id, gone)
			}
			if err != nil {
				return fmt.Errorf("end side lane %s: %w", l.id, err)
			}
			b, err := readHeartbeat(q.deps.FS, q.at.laneFile(l.id, heartbeatFileName))
			if err != nil {
				return fmt.Errorf("read heartbeat of side lane %s: %w", l.id, err)
			}
			if h, ok := decodeHeartbeat(b); ok {
				l.raise(h.durable)
			}
			c.seal(l)
		}
		if err := q.lastMoved(c, s, lanes[s]); err != nil {
			return err
		}
	}
	return nil
}

// lastMoved finds the last message of a side and where it was first stored.
func (q *Queue) lastMoved(c *chain, s *side, lanes []*lane) error {
	for _, l := range slices.Backward(lanes) {
		// What is behind its durable seq may not be on stable storage, whole as it
		// looks: passed by progress, it would be lost with the next power cut.
		b, err := readHeartbeat(q.deps.FS, q.at.laneFile(l.id, heartbeatFileName))
		if err != nil {
			return fmt.Errorf("read heartbeat of side lane %s: %w", l.id, err)
		}
		h, _ := decodeHeartbeat(b)
		numbers, err := q.segments(l.id)
		if err != nil && !missing(err) {
			return err
		}
		for _, n := range slices.Backward(numbers) {
			last, err := q.lastPlace(c, l, n, h.durable)
			if err != nil {
				return err
			}
			if last.Seq > 0 {
				c.mu.Lock()
				s.last = last
				c.mu.Unlock()
				return nil
			}
		}
	}
	return nil
}

// has reports whether a lane is one of the chain's own.
func (c *chain) has(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, carried := c.carried[id]
	return carried || slices.ContainsFunc(c.lanes, func(x *lane) bool { return x.id == id })
}

// lastPlace is where the last sound message of a segment that comes from the
// chain's own lanes was first stored, of those up to a seq; the zero Place where
// there is none.
func (q *Queue) lastPlace(c *chain, l *lane, number, to uint64) (last message.Place, err error) {
	seg, err := q.openSegment(l.id, number)
	if unreadable(err) {
		return last, nil
	}
	if err != nil {
		return last, err
	}
	defer seg.Close()
	for {
		g, err := seg.Next()
		var bad *wal.InvalidError
		switch {
		case errors.As(err, &bad) && bad.Known:
			seg.SeekTo(bad.Offset + bad.Size)
			continue
		case err != nil:
			return last, nil // its end; what is damaged is reported by who drains it
		case g.Last() > to:
			return last, nil
		}
		msgs, _ := g.Messages()
		for i := range msgs {
			if m := msgs[i].Moved; m != nil && c.has(m.Lane) {
				last = *m
			}
		}
	}
}

// before reports whether place a comes before b in a chain: ids of lanes ascend.
func before(a, b message.Place) bool {
	return a.Lane < b.Lane || a.Lane == b.Lane && a.Seq < b.Seq
}

// Held lists the topics of which messages stand unsettled in side lanes.
func (c *Claim) Held() (topics []string) {
	c.chain.mu.Lock()
	defer c.chain.mu.Unlock()
	for _, s := range c.chain.sides {
		if slices.ContainsFunc(s.lanes, func(l *lane) bool { return !l.done() }) {
			topics = append(topics, s.topic)
		}
	}
	return topics
}

// Divert moves messages, all of one topic and in order, to that topic's side
// lane. It is durable when it returns: progress past them may then be saved, and
// they come again from NextHeld. What stands there already, because a holder
// died between Divert and Save, is not moved twice.
//
// Errors: message.ErrFull where there is no room, message.ErrClaimLost, and those
// of the file system, after which any of the messages may have been moved.
func (c *Claim) Divert(_ context.Context, topic string, msgs []message.Stored) error {
	c.chain.mu.Lock()
	last := message.Place{}
	if s := c.chain.sideOf(topic); s != nil {
		last = s.last
	}
	c.chain.mu.Unlock()
	var moved []message.Message
	for i := range msgs {
		at := msgs[i].Place
		m := msgs[i].Message
		m.Moved = &at
		// One that was moved before (released, or replayed) keeps a place that
		// says nothing about the order here: it is moved in any case, at worst
		// twice.
		if msgs[i].At.Lane == "" {
			if !before(last, at) {
				continue
			}
			last = at
		}
		moved = append(moved, m)
	}
	if len(moved) == 0 {
		return nil
	}
	c.asideMu.Lock()
	defer c.asideMu.Unlock()
	w, err := c.aside(laneInfo{Kind: kindSide, Of: c.chain.id, Topic: topic})
	if err == nil {
		err = c.appendAside(w, moved)
	}
	if err != nil {
		return fmt.Errorf("move %d messages of %s to a side lane: %w", len(moved), topic, err)
	}
	c.chain.mu.Lock()
	c.chain.sideOf(topic).last = last
	c.chain.mu.Unlock()
	return nil
}

// Bury makes dead letters of messages, each with its Reason. It is durable when
// it returns; errors are those of Divert.
func (c *Claim) Bury(_ context.Context, msgs []message.Stored) error {
	letters := make([]message.Message, len(msgs))
	for i := range msgs {
		at := msgs[i].Place
		letters[i] = msgs[i].Message
		letters[i].Moved = &at
	}
	c.asideMu.Lock()
	defer c.asideMu.Unlock()
	w, err := c.aside(laneInfo{Kind: kindDead})
	if err == nil {
		err = c.appendAside(w, letters)
	}
	if err != nil {
		return fmt.Errorf("set %d dead letters aside: %w", len(msgs), err)
	}
	c.chain.q.metrics.dead.Add(float64(len(msgs)))
	return nil
}

// aside returns the lane that this claim writes such messages to, opened where
// there is none or the last one failed. Called with asideMu held.
func (c *Claim) aside(info laneInfo) (*writer, error) {
	key := info.Kind + "/" + info.Topic
	if w := c.writers[key]; w != nil {
		return w, nil
	}
	q := c.chain.q
	after := ""
	c.chain.mu.Lock()
	if s := c.chain.sideOf(info.Topic); s != nil && info.Kind == kindSide && len(s.lanes) > 0 {
		after = s.lanes[len(s.lanes)-1].id
	}
	c.chain.mu.Unlock()
	w, err := q.openWriter(info, after)
	if err != nil {
		return nil, err
	}
	if c.writers == nil {
		c.writers = make(map[string]*writer)
	}
	c.writers[key] = w
	w.lane.chain = c.chain
	if info.Kind == kindSide {
		c.chain.addSide(w.lane)
	}
	q.known.addLane(w.lane)
	return w, nil
}

// appendAside makes messages durable in a lane of this claim's own, in groups
// that fit, and then looks whether the claim still holds. After an error the lane
// is ended: what its last sync left is not known. Called with asideMu held.
func (c *Claim) appendAside(w *writer, msgs []message.Message) error {
	err := w.appendSynced(msgs)
	if err == nil {
		err = w.fenced()
	}
	if err == nil {
		c.saveMu.Lock()
		err = c.confirm()
		c.saveMu.Unlock()
	}
	if err != nil {
		c.closeAside(func(x *writer) bool { return x == w }, "ended by its writer: "+err.Error())
	}
	return err
}

// closeAside ends lanes of this claim's own. Called with asideMu held.
func (c *Claim) closeAside(which func(*writer) bool, reason string) {
	for key, w := range c.writers {
		if !which(w) {
			continue
		}
		delete(c.writers, key)
		if err := w.close(reason); err != nil {
			c.chain.q.deps.Log.Warn("side lane not closed cleanly", "lane", w.lane.id, "err", err)
		}
		c.chain.mu.Lock()
		w.lane.sealed = true
		if w.lane.settled.Load() > w.lane.durable.Load() {
			w.lane.ended, w.lane.read = true, w.lane.durable.Load()
		}
		c.chain.mu.Unlock()
	}
}

// sideReader reads the side lanes of one topic under one claim.
type sideReader struct {
	reader  *laneReader
	read    map[*lane]bool
	pending []message.Stored
}

// NextHeld returns the next messages of a topic's side lanes in order, one to
// limit of them, or io.EOF where all that was moved so far has been returned.
func (c *Claim) NextHeld(ctx context.Context, topic string, limit int) ([]message.Stored, error) {
	c.heldMu.Lock()
	if c.held == nil {
		c.held = make(map[string]*sideReader)
	}
	r := c.held[topic]
	if r == nil {
		r = &sideReader{read: make(map[*lane]bool)}
		c.held[topic] = r
	}
	c.heldMu.Unlock()
	for len(r.pending) == 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r.reader == nil {
			l := c.chain.nextSide(topic, r.read)
			if l == nil {
				return nil, io.EOF
			}
			r.reader = newLaneReader(c.chain, l, c.start(l))
		}
		msgs, err := r.reader.messages()
		switch {
		case errors.Is(err, errNothingYet):
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			r.reader.close()
			r.read[r.reader.lane] = true
			r.reader = nil
		case err != nil:
			return nil, err
		}
		r.pending = msgs
	}
	n := min(limit, len(r.pending))
	out := r.pending[:n:n]
	r.pending = r.pending[n:]
	return out, nil
}

// nextSide returns the oldest side lane of a topic that a claim has not read and
// that is not settled, or nil.
func (c *chain) nextSide(topic string, read map[*lane]bool) *lane {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sideOf(topic); s != nil {
		for _, l := range s.lanes {
			if !read[l] && !l.done() {
				return l
			}
		}
	}
	return nil
}

// closeHeld closes the readers of side lanes.
func (c *Claim) closeHeld() {
	c.heldMu.Lock()
	defer c.heldMu.Unlock()
	for _, r := range c.held {
		if r.reader != nil {
			r.reader.close()
		}
	}
	c.held = nil
}

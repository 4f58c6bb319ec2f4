package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"postroad/internal/durable"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// sideFact is what a test knows of one message, from answers alone.
type sideFact struct {
	at    int // in the order of appending
	topic string
	id    message.ID
	by    int // the process that it was appended to
	err   error
	place message.Place
	// arrived: it was sent. saved: and the place where it stood then is below
	// progress of which Save returned nil; maybe: of which Save was called.
	arrived, saved, maybe bool
	// moving: Divert was called for it; torn: and failed, so that it may stand in
	// side lanes twice; own: saved progress is past its place in the chain's lane.
	moving, torn, own bool
	// dead: Bury was called for it; released and discarded: so were these.
	dead, released, discarded bool
}

// sideBook holds what comes out of the chains and side lanes of a directory
// against the answers of those who worked in it.
type sideBook struct {
	facts map[string]*sideFact
	// covered is the saved progress of each lane.
	covered map[string]uint64
	// last is the last message of a process and topic that was sent for the
	// first time.
	last map[string]int
}

func newSideBook() *sideBook {
	return &sideBook{facts: map[string]*sideFact{}, covered: map[string]uint64{}, last: map[string]int{}}
}

func (b *sideBook) clone() *sideBook {
	c := newSideBook()
	for v, f := range b.facts {
		copied := *f
		c.facts[v] = &copied
	}
	for lane, n := range b.covered {
		c.covered[lane] = n
	}
	for key, at := range b.last {
		c.last[key] = at
	}
	return c
}

// append stores one message and notes the answer.
func (b *sideBook) append(q *queue.Queue, by int, topic string, size int) error {
	n := len(b.facts) + 1
	v := fill(fmt.Sprint("m", n), size)
	m := msg(v)
	m.Topic = topic
	p, err := q.Append(context.Background(), []message.Message{m})
	f := &sideFact{at: n, topic: topic, id: m.ID, by: by, err: err}
	if err == nil {
		f.place = p
	}
	b.facts[v] = f
	return err
}

// lost names acknowledged messages that are in none of: the hub, settled by
// progress that was or may be saved; what came out; the dead letters. One that a
// holder sent, and a later one moved again behind others that had been moved
// meanwhile, is in the hub: what stands before the last of a side lane is taken
// for moved, sent or buried.
func (b *sideBook) lost(out, letters map[string]bool) error {
	for v, f := range b.facts {
		if f.err == nil && !out[v] && !letters[v] && !f.saved && !f.maybe && !f.discarded && !(f.arrived && f.moving) {
			return fmt.Errorf("%s of %s was acknowledged at %v and is lost: %+v", short(v), f.topic, f.place, *f)
		}
	}
	return nil
}

// sideSlot is a message that a holder read, and what became of it under him.
type sideSlot struct {
	m    message.Stored
	v    string
	f    *sideFact
	side bool
	end  string // "", "sent", "moved" or "dead"
}

// sideHolder drains a chain and its side lanes as a forwarder does: what is held
// of a topic goes before what the chain's own lanes hold of it.
type sideHolder struct {
	c *queue.Claim
	b *sideBook
	// lanes are what was read of each lane; waiting and held what is undecided.
	lanes         map[string][]*sideSlot
	waiting, held map[string][]*sideSlot
	aside         map[string]bool // the topic's side lanes go first
	from          map[string]int  // by value: 1 of the chain, 2 of a side lane
	last          map[string]int  // the last that was read of a topic and from there
	over, gone    bool            // read to its end; lost or released
	// early saves progress past messages before they are moved: sabotage.
	early bool
}

func newSideHolder(c *queue.Claim, b *sideBook) *sideHolder {
	h := &sideHolder{
		c: c, b: b, lanes: map[string][]*sideSlot{}, waiting: map[string][]*sideSlot{}, held: map[string][]*sideSlot{},
		aside: map[string]bool{}, from: map[string]int{}, last: map[string]int{},
	}
	for _, topic := range c.Held() {
		h.aside[topic] = true
	}
	return h
}

// take notes a message that was read, and whether it may come from there.
func (h *sideHolder) take(m message.Stored, side bool, topic string) error {
	v, at, bit := string(m.Value), m.Stands(), 1
	if side {
		bit = 2
	}
	f := h.b.facts[v]
	if f == nil || surelyNot(f.err) {
		return fmt.Errorf("%s came out at %v and was never appended", short(v), at)
	}
	before := h.from[v]
	h.from[v] |= bit
	here := fmt.Sprint(f.topic, bit)
	twice := f.torn || f.released
	unsaved := f.moving && !f.own // moved, and not settled in the chain: it stands in both
	switch {
	case m.Topic != f.topic, side && m.Topic != topic:
		return fmt.Errorf("%s is of topic %s, and comes as one of %s", short(v), f.topic, m.Topic)
	case at.Seq < h.b.covered[at.Lane]:
		return fmt.Errorf("%s came again: at %v, settled below %d", short(v), at, h.b.covered[at.Lane])
	case before&bit != 0 && !twice:
		return fmt.Errorf("%s came twice from one holder, the second time at %v: %+v", short(v), at, *f)
	case before != 0 && !twice && !unsaved && !(side && f.moving): // by this holder, perhaps
		return fmt.Errorf("%s came from the chain and from a side lane: at %v, %+v", short(v), at, *f)
	case f.saved && !twice && !unsaved:
		return fmt.Errorf("%s came again at %v, although it was sent and saved: %+v", short(v), at, *f)
	case before&bit == 0 && !f.released && f.at < h.last[here]:
		return fmt.Errorf("%s came behind m%d, at %v", short(v), h.last[here], at)
	case f.place.Seq > 0 && m.Place != f.place:
		return fmt.Errorf("%s is shown as %v, was %v", short(v), m.Place, f.place)
	}
	f.place = m.Place
	if !f.released {
		h.last[here] = max(h.last[here], f.at)
	}
	s := &sideSlot{m: m, v: v, f: f, side: side}
	h.lanes[at.Lane] = append(h.lanes[at.Lane], s)
	if side {
		h.held[topic] = append(h.held[topic], s)
	} else {
		h.waiting[f.topic] = append(h.waiting[f.topic], s)
	}
	return nil
}

// next reads some of the chain's own lanes.
func (h *sideHolder) next(limit int) (n int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	msgs, err := h.c.Next(ctx, limit)
	h.over = errors.Is(err, io.EOF)
	for _, m := range msgs {
		if err := h.take(m, false, ""); err != nil {
			return 0, err
		}
	}
	return len(msgs), nil
}

// nextHeld reads some of a topic's side lanes; over says that there is no more
// for now, and the topic is direct again once what was read is settled.
func (h *sideHolder) nextHeld(topic string, limit int) (over bool, err error) {
	msgs, err := h.c.NextHeld(context.Background(), topic, limit)
	if errors.Is(err, io.EOF) && len(h.held[topic]) == 0 {
		h.aside[topic] = false
	}
	over = err != nil
	for _, m := range msgs {
		if err := h.take(m, true, topic); err != nil {
			return true, err
		}
	}
	return over, nil
}

// queued is what may go out now of a topic.
func (h *sideHolder) queued(topic string) map[string][]*sideSlot {
	if h.aside[topic] {
		return h.held
	}
	return h.waiting
}

// send sends up to n messages of a topic to a hub that takes them all.
func (h *sideHolder) send(topic string, n int) error {
	from := h.queued(topic)
	n = min(n, len(from[topic]))
	for _, s := range from[topic][:n] {
		key := fmt.Sprint(s.f.by, "/", topic)
		if f := s.f; !f.arrived && !f.released && !f.dead {
			if f.at < h.b.last[key] {
				return fmt.Errorf("%s of %s was overtaken by m%d", short(s.v), topic, h.b.last[key])
			}
			h.b.last[key] = f.at
		}
		s.f.arrived, s.end = true, "sent"
	}
	from[topic] = from[topic][n:]
	return nil
}

// bury makes a dead letter of the first message of a topic.
func (h *sideHolder) bury(topic string) error {
	from := h.queued(topic)
	if len(from[topic]) == 0 {
		return nil
	}
	s := from[topic][0]
	m := s.m
	m.Reason = "refused"
	s.f.dead = true
	err := h.c.Bury(context.Background(), []message.Stored{m})
	if err == nil {
		s.end, from[topic] = "dead", from[topic][1:]
	}
	return err
}

// divert moves the first n of what waits of a topic to its side lane.
func (h *sideHolder) divert(topic string, n int) error {
	n = min(n, len(h.waiting[topic]))
	if n == 0 {
		return nil
	}
	slots := h.waiting[topic][:n]
	msgs := make([]message.Stored, 0, n)
	for _, s := range slots {
		msgs = append(msgs, s.m)
		s.f.moving = true
		if h.early {
			s.end = "moved"
		}
	}
	h.aside[topic] = true
	if h.early {
		_ = h.save()
	}
	err := h.c.Divert(context.Background(), topic, msgs)
	for _, s := range slots {
		s.f.torn = s.f.torn || err != nil
		if err == nil {
			s.end = "moved"
		}
	}
	if err == nil || h.early {
		h.waiting[topic] = h.waiting[topic][n:]
	}
	return err
}

// save saves how far each lane is settled.
func (h *sideHolder) save() error {
	var p message.Progress
	below := map[string]int{}
	for lane, slots := range h.lanes {
		n := slices.IndexFunc(slots, func(s *sideSlot) bool { return s.end == "" })
		if n < 0 {
			n = len(slots)
		}
		if below[lane] = n; n > 0 {
			p.Lanes = append(p.Lanes, message.LaneProgress{Lane: lane, Next: slots[n-1].m.Stands().Seq + 1})
		}
	}
	err := h.c.Save(context.Background(), p)
	h.gone = h.gone || errors.Is(err, message.ErrClaimLost)
	for _, l := range p.Lanes {
		if err == nil {
			h.b.covered[l.Lane] = max(h.b.covered[l.Lane], l.Next)
		}
		for _, s := range h.lanes[l.Lane][:below[l.Lane]] {
			sent := s.end == "sent"
			s.f.maybe = s.f.maybe || sent
			s.f.saved = s.f.saved || sent && err == nil
			s.f.own = s.f.own || !s.side && err == nil
		}
	}
	return err
}

// finish drains all there is: side lanes first, then the chain.
func (h *sideHolder) finish(topics []string) error {
	for _, topic := range topics {
		if !h.aside[topic] {
			continue
		}
		for over := false; !over; {
			var err error
			if over, err = h.nextHeld(topic, 7); err == nil {
				err = h.send(topic, len(h.held[topic]))
			}
			if err != nil {
				return err
			}
		}
		h.aside[topic] = false
	}
	for idle := 0; idle < 40 && !h.over; { // longer than a takeover takes
		n, err := h.next(100)
		if err != nil {
			return err
		}
		if n == 0 {
			idle++
		}
		for _, topic := range topics {
			if err := h.send(topic, len(h.waiting[topic])); err != nil {
				return err
			}
		}
	}
	if err := h.save(); err != nil {
		return fmt.Errorf("last save: %w", err)
	}
	if held := h.c.Held(); h.over && len(held) > 0 {
		for _, topic := range held {
			if msgs, err := h.c.NextHeld(context.Background(), topic, 1); !errors.Is(err, io.EOF) {
				return fmt.Errorf("all is settled, and of %s comes %v, %w", topic, msgs, err)
			}
		}
	}
	return nil
}

// openLetters lists the values of open dead letters.
func openLetters(fsys durable.FS) (d *queue.Letters, open map[string]bool, err error) {
	if d, err = queue.OpenLetters("queue", fsys); err != nil {
		return nil, nil, err
	}
	open = map[string]bool{}
	err = d.Each(context.Background(), queue.LetterFilter{}, func(l queue.Letter) error {
		open[string(l.Value)] = true
		return nil
	})
	return d, open, err
}

// audit has a new process drain what is left on a disk and holds that against
// the book; and in the end nothing is left but what that process writes to.
func (b *sideBook) audit(fsys durable.FS, o queue.Options, topics []string) error {
	q, err := queue.Open(o, onDisk(fsys, silent))
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	defer run(q)()
	out, seen := map[string]bool{}, map[string]bool{}
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		c, err := q.Claim(ctx)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return fmt.Errorf("claim: %w", err)
		}
		h := newSideHolder(c, b)
		err = h.finish(topics)
		for v := range h.from {
			out[v] = true
		}
		if err = errors.Join(err, c.Release(context.Background())); err != nil {
			return fmt.Errorf("chain %s: %w", c.ID(), err)
		}
		if seen[c.ID()] { // only the process's own comes again
			break
		}
		seen[c.ID()] = true
	}
	d, open, err := openLetters(fsys)
	if err != nil {
		return err
	}
	if err := b.lost(out, open); err != nil {
		return err
	}
	if err := b.located(q, open); err != nil {
		return err
	}
	if err := d.Discard(context.Background(), queue.LetterFilter{}, "test", func(queue.Letter) {}); err != nil {
		return err
	}
	wait(o.Retain + 5*time.Minute)
	entries, err := fsys.ReadDir("queue/lanes")
	if err != nil || len(entries) != 1 {
		return fmt.Errorf("lanes left: %v, %w", entries, err)
	}
	return nil
}

// located asks what became of messages.
func (b *sideBook) located(q *queue.Queue, letters map[string]bool) error {
	for v, f := range b.facts {
		if f.at%3 != 0 || f.err != nil || f.torn || f.released || f.discarded {
			continue
		}
		o, err := q.Locate(context.Background(), message.Receipt{ID: f.id, Place: f.place})
		if errors.Is(err, message.ErrNotFound) {
			continue // retention
		}
		want := message.StateQueued
		switch {
		case letters[v] && f.own:
			want = message.StateDead
		case letters[v], f.maybe != f.saved, f.moving && !f.own:
			continue
		case f.saved:
			want = message.StateForwarded
		}
		if err != nil || o.State != want {
			return fmt.Errorf("%s is shown as %v, %w; want %v: %+v", short(v), o.State, err, want, *f)
		}
	}
	return nil
}

package forward_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"postroad/internal/message"
)

// side is one side lane of a store: messages of one topic, moved by one holder.
type side struct {
	lane, topic string
	msgs        []message.Stored
}

// Held lists the topics of which messages stand above the saved progress of
// their side lanes.
func (c *claimed) Held() []string {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	next := c.s.nexts(c.start)
	var out []string
	for _, sd := range c.s.sides {
		if uint64(len(sd.msgs)) >= next[sd.lane] && len(sd.msgs) > 0 && !slices.Contains(out, sd.topic) {
			out = append(out, sd.topic)
		}
	}
	return out
}

// nexts is the progress by lane, at least 1 for side lanes.
func (s *store) nexts(p message.Progress) map[string]uint64 {
	next := map[string]uint64{}
	for _, sd := range s.sides {
		next[sd.lane] = 1
	}
	for _, l := range p.Lanes {
		next[l.Lane] = max(l.Next, 1)
	}
	return next
}

func (c *claimed) Doubtful() bool { return c.doubtful }

// Divert appends to the claim's own side lane of the topic. What a holder that
// died between Divert and Save has moved before is left out.
func (c *claimed) Divert(_ context.Context, topic string, msgs []message.Stored) error {
	failure := c.s.fail("divert")
	return c.change(func() error {
		if failure != nil {
			return failure
		}
		sd := c.sideOf(topic)
		for _, m := range msgs {
			if m.Topic != topic {
				return fmt.Errorf("message %v of topic %q moved as of %q", m.Place, m.Topic, topic)
			}
			if c.s.moved[m.Place] {
				continue
			}
			c.s.moved[m.Place] = true
			place := m.Place
			m.Moved = &place
			sd.msgs = append(sd.msgs, message.StoredAt(message.Place{Lane: sd.lane, Seq: uint64(len(sd.msgs) + 1)}, m.Message))
		}
		return nil
	})
}

// sideOf returns the claim's lane for a topic. The caller holds the store's mu.
func (c *claimed) sideOf(topic string) *side {
	if sd := c.own[topic]; sd != nil {
		return sd
	}
	sd := &side{lane: fmt.Sprintf("01S%022d%c", len(c.s.sides)+1, 'A'), topic: topic}
	c.s.sides = append(c.s.sides, sd)
	if c.own == nil {
		c.own = map[string]*side{}
	}
	c.own[topic] = sd
	return sd
}

func (c *claimed) NextHeld(_ context.Context, topic string, limit int) ([]message.Stored, error) {
	if err := c.gone(); err != nil {
		return nil, err
	}
	if err := c.s.fail("nextheld"); err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if c.read == nil {
		c.read = map[string]uint64{}
	}
	start := c.s.nexts(c.start)
	for _, sd := range c.s.sides {
		if sd.topic != topic {
			continue
		}
		at := max(c.read[sd.lane], start[sd.lane]) - 1
		if at >= uint64(len(sd.msgs)) {
			continue
		}
		n := min(uint64(limit), uint64(len(sd.msgs))-at)
		c.read[sd.lane] = at + n + 1
		return slices.Clone(sd.msgs[at : at+n]), nil
	}
	return nil, io.EOF
}

func (c *claimed) Bury(_ context.Context, msgs []message.Stored) error {
	failure := c.s.fail("bury")
	return c.change(func() error {
		if failure == nil {
			c.s.buried = append(c.s.buried, msgs...)
		}
		return failure
	})
}

// settledSides reports whether saved progress covers the side lanes.
func (s *store) settledSides() bool {
	next := s.nexts(s.progress)
	return !slices.ContainsFunc(s.sides, func(sd *side) bool { return uint64(len(sd.msgs)) >= next[sd.lane] })
}

// holds looks at the store under its lock.
func (s *store) holds(cond func(*store) bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return cond(s)
}

// aside counts what was ever moved to side lanes.
func (s *store) aside() (n int) {
	s.holds(func(s *store) bool {
		for _, sd := range s.sides {
			n += len(sd.msgs)
		}
		return true
	})
	return n
}

func (s *store) dead() (n int) {
	s.holds(func(s *store) bool { n = len(s.buried); return true })
	return n
}

// The fake itself: what is moved comes back in order, and stays until saved
// progress covers it.
func TestFakeSideLanes(t *testing.T) {
	st := newStore("a")
	st.append(msgs(laneA, 1, 5)...)
	c := sourceOf(st).all[0]
	if err := c.Divert(t.Context(), "messages", msgs(laneA, 1, 3)); err != nil {
		t.Fatal(err)
	}
	got, err := c.NextHeld(t.Context(), "messages", 2)
	if err != nil || len(got) != 2 || got[1].Seq != 2 || got[1].At.Seq != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	c = sourceOf(st).all[0]
	if held := c.Held(); !slices.Equal(held, []string{"messages"}) {
		t.Errorf("held %v", held)
	}
	if err := c.Divert(t.Context(), "messages", msgs(laneA, 2, 5)); err != nil {
		t.Fatal(err)
	}
	var seqs []uint64
	for {
		got, err := c.NextHeld(t.Context(), "messages", 2)
		if err != nil {
			break
		}
		for _, m := range got {
			seqs = append(seqs, m.Seq)
		}
	}
	if !slices.Equal(seqs, []uint64{1, 2, 3, 4, 5}) {
		t.Errorf("came back %v", seqs)
	}
}

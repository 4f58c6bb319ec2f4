package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postroad/internal/stream/live"
)

// attempt is one subscription of a client, which it may have given up already.
type attempt struct {
	c *modelClient
	n *modelNode
}

// join subscribes at a node, with the client's positions where it has any.
func (c *modelClient) join(n *modelNode) {
	c.mu.Lock()
	a := &attempt{c, n}
	c.node, c.now = n, a
	var since []live.Position
	if c.started {
		for p, next := range c.next {
			since = append(since, live.Position{Epoch: c.epochs[p], Partition: p, Next: next})
		}
	}
	c.mu.Unlock()
	c.m.note("client %p joins with %v", c, since)
	go func() {
		sub, err := n.Subscribe(c.m.t.Context(), live.Request{
			Subject: c.subject, Receiver: a, Since: since,
			Begin: func(s *live.Start) { a.begin(s, since) },
		})
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case err == nil && c.now != a: // it left meanwhile, or the node has ended it
			go sub.Close()
		case err == nil:
			c.sub = sub
		default:
			if !allowed(err) && !errors.Is(err, context.Canceled) {
				c.failed = err
			}
			if c.now == a {
				c.node, c.now = nil, nil
			}
		}
	}()
}

// begin takes up what a subscription begins with. It is judged whether it had to
// be recovered: where the hub holds everything, look-back included.
func (a *attempt) begin(s *live.Start, since []live.Position) {
	c, n := a.c, a.n
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now != a {
		return
	}
	c.m.note("client %p begins: recovered %v, positions %v, missed %v", c, s.Recovered, s.Positions, offsetsOf(s.Missed))
	if since != nil && !s.Recovered && c.must(since) {
		c.fail(fmt.Errorf("not recovered since %v though nothing is gone", since))
	}
	if !s.Recovered {
		if since != nil {
			c.fresh++
			if err := c.judgeLocked(); err != nil { // what it saw until then
				c.fail(err)
			}
		}
		c.started = true
		c.from, c.next, c.seen = map[int32]int64{}, map[int32]int64{}, map[int32][]seen{}
		c.epochs, c.began = map[int32]string{}, map[int32]string{}
		for _, p := range s.Positions {
			c.began[p.Partition] = p.Epoch
			c.from[p.Partition], c.next[p.Partition], c.epochs[p.Partition] = p.Next, p.Next, p.Epoch
		}
		c.lastValues(n, s)
		return
	}
	c.whole++
	c.take(s.Missed, false, n)
	for _, p := range s.Positions {
		if p.Next < c.next[p.Partition] {
			c.fail(fmt.Errorf("position goes back from %d to %d", c.next[p.Partition], p.Next))
		}
		c.next[p.Partition] = p.Next
	}
}

func (c *modelClient) fail(err error) {
	if c.failed == nil {
		c.failed = err
	}
}

// must reports whether the hub holds all that was missed and the look-back before
// it.
func (c *modelClient) must(since []live.Position) bool {
	for _, at := range since {
		if at.Epoch != c.m.epoch(at.Partition) || c.m.raised.Load() && !c.subject.All {
			return false
		}
		start := c.m.bounds()[at.Partition].Start
		if start > 0 && start > at.Next-int64(c.m.opts.Window) {
			return false
		}
	}
	return true
}

// lastValues compares them, where the node has read the whole log.
func (c *modelClient) lastValues(n *modelNode, s *live.Start) {
	if c.subject.All || c.subject.Key == "" || c.m.raised.Load() || len(s.Positions) != 1 {
		return
	}
	p := s.Positions[0].Partition
	if n.start(p) > 0 {
		return
	}
	o, was := c.m.oracle(s.Positions[0].Epoch, p)
	if was {
		return // where the node's log began then is not known any more
	}
	want := []int64{}
	if r := o.last(c.subject.Key, s.Positions[0].Next); r != nil {
		want = append(want, r.Offset)
	}
	if got := offsetsOf(s.Last); !slices.Equal(got, want) {
		c.fail(fmt.Errorf("last values %v, want %v", got, want))
	}
}

func offsetsOf(records []*live.Record) []int64 {
	all := []int64{}
	for _, r := range records {
		all = append(all, r.Offset)
	}
	return all
}

func (c *modelClient) take(records []*live.Record, live bool, n *modelNode) {
	for _, r := range records {
		c.seen[r.Partition] = append(c.seen[r.Partition], seen{r.Offset, live, n.start(r.Partition)})
		c.next[r.Partition] = max(c.next[r.Partition], r.Offset+1)
	}
}

// Deliver is live.Receiver's.
func (a *attempt) Deliver(_ *live.Subscription, b *live.Block) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if a.c.now == a {
		a.c.take(b.Records, true, a.n)
	}
}

// Ended is live.Receiver's.
func (a *attempt) Ended(_ *live.Subscription, why error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	if !errors.Is(why, live.ErrChanged) {
		a.c.fail(fmt.Errorf("ended: %w", why))
	}
	if a.c.now == a {
		a.c.node, a.c.sub, a.c.now = nil, nil, nil
	}
}

// at is the node that the client is at, or nil.
func (c *modelClient) at() *modelNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// leave disconnects: what was delivered until then was seen.
func (c *modelClient) leave() {
	c.mu.Lock()
	sub := c.sub
	c.node, c.sub, c.now = nil, nil, nil
	c.mu.Unlock()
	if sub != nil {
		sub.Close()
	}
}

// judge compares all that the client saw since it began with the oracle; it is up
// to date.
func (c *modelClient) judge() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sub == nil {
		return errors.New("is not back")
	}
	return c.judgeTo(func(p int32, o *oracle, was bool) int64 {
		if was {
			return c.next[p]
		}
		return o.end
	})
}

// judgeLocked does so up to where the client is.
func (c *modelClient) judgeLocked() error {
	return c.judgeTo(func(p int32, _ *oracle, _ bool) int64 { return c.next[p] })
}

func (c *modelClient) judgeTo(end func(p int32, o *oracle, was bool) int64) error {
	for p, from := range c.from {
		o, was := c.m.oracle(c.began[p], p)
		to := end(p, o, was)
		if err := o.judge(c.subject, from, to, c.seen[p]); err != nil {
			return fmt.Errorf("partition %d in [%d, %d): %w", p, from, to, err)
		}
	}
	return nil
}

// history pages through what a node says of the past, and compares.
func (m *model) history(n *modelNode) {
	s := m.clients[m.rng.IntN(len(m.clients))].subject
	at, err := n.Positions(s)
	if err != nil || slices.ContainsFunc(at, func(a live.Position) bool { return a.Epoch != m.epoch(a.Partition) }) {
		return
	}
	from := map[int32]int64{}
	for i := range at {
		from[at[i].Partition] = m.rng.Int64N(at[i].Next + 1)
		at[i].Next = from[at[i].Partition]
	}
	got := map[int32][]int64{}
	for more := true; more; {
		h, err := n.History(m.t.Context(), live.HistoryRequest{Subject: s, Since: at, Limit: 1 + m.rng.IntN(10)})
		if err != nil {
			if errors.Is(err, live.ErrUnrecoverable) && (m.raised.Load() || m.gone(from)) || allowed(err) {
				return
			}
			m.fail(fmt.Errorf("history of %v since %v: %w", s, at, err))
			return
		}
		for _, r := range h.Records {
			got[r.Partition] = append(got[r.Partition], r.Offset)
		}
		at, more = h.Positions, h.More
	}
	for _, p := range at {
		o := ask(m.hub, p.Partition, m.opts.Window)
		want := o.offsets(s, from[p.Partition], p.Next, o.past)
		if !slices.Equal(got[p.Partition], want) && len(got[p.Partition])+len(want) > 0 {
			m.fail(fmt.Errorf("history of %v@%d in [%d, %d) is %v, want %v", s, p.Partition, from[p.Partition], p.Next, got[p.Partition], want))
		}
	}
}

func (m *model) fail(err error) {
	c := m.clients[0]
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(err)
}

// gone reports whether what lies above from, or its look-back, is not all held.
func (m *model) gone(from map[int32]int64) bool {
	for p, at := range from {
		if start := m.bounds()[p].Start; start > 0 && start > at-int64(m.opts.Window) {
			return true
		}
	}
	return false
}

package live

import (
	"context"
	"fmt"
)

// Subscribe begins a subscription. It calls Request.Begin before it returns, and
// then delivers until Close or Ended. Where positions are given that the node's
// memory does not reach back to it reads the hub first, which may take up to
// Options.Recovery.Timeout.
//
// Errors: ErrUnknownTopic, ErrSubject (a partition that the topic does not have),
// ErrNotReady, ErrBusy, that of ctx, or the hub's. Nothing is registered then, and
// Begin was not called.
func (e *Engine) Subscribe(ctx context.Context, r Request) (*Subscription, error) {
	t := e.topics[r.Subject.Topic]
	if t == nil {
		return nil, fmt.Errorf("topic %q: %w", r.Subject.Topic, ErrUnknownTopic)
	}
	for {
		st, err := t.now()
		if err != nil {
			return nil, err
		}
		view, err := st.view(r.Subject)
		if err != nil {
			return nil, err
		}
		c := newCatchUp(st, view, &r)
		s, err := c.run(ctx)
		if err != nil {
			e.metrics.recovered(c.result(err))
			return nil, err
		}
		if s != nil {
			e.metrics.recovered(c.result(nil))
			return s, nil
		}
		// The view is not what it was: keys have come to stand in several
		// partitions. Once more.
	}
}

// lastOf returns the last values of a subject's keys. A key that stands in several
// partitions has the one that was accepted last. The locks are held.
func lastOf(view []*partition, s Subject) []*Record {
	var all []*Record
	for _, p := range view {
		if s.All {
			all = p.values.all(all)
			continue
		}
		ks := p.values.keys[s.Key]
		switch {
		case ks == nil || ks.last == nil:
		case len(all) == 0:
			all = append(all, ks.last)
		case all[0].Accepted.Before(ks.last.Accepted):
			all[0] = ks.last
		}
	}
	return all
}

// Last returns the last values of a subject's keys, in order of offset within
// each partition, and how far this node has read, by partition in view. Errors as
// of Subscribe.
func (e *Engine) Last(ctx context.Context, s Subject) ([]*Record, []Position, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	view, err := e.viewOf(s)
	if err != nil {
		return nil, nil, err
	}
	var positions []Position
	for _, p := range view {
		p.mu.Lock()
		defer p.mu.Unlock()
		positions = append(positions, p.position())
	}
	return lastOf(view, s), positions, nil
}

// Positions returns how far this node has read, by partition in view; one
// partition is looked at after the other. Errors as of Subscribe.
func (e *Engine) Positions(s Subject) ([]Position, error) {
	view, err := e.viewOf(s)
	if err != nil {
		return nil, err
	}
	var positions []Position
	for _, p := range view {
		p.mu.Lock()
		positions = append(positions, p.position())
		p.mu.Unlock()
	}
	return positions, nil
}

// position is how far p was read. The lock is held.
func (p *partition) position() Position {
	return Position{Epoch: p.epoch, Partition: p.n, Next: p.head}
}

func (e *Engine) viewOf(s Subject) ([]*partition, error) {
	t := e.topics[s.Topic]
	if t == nil {
		return nil, fmt.Errorf("topic %q: %w", s.Topic, ErrUnknownTopic)
	}
	st, err := t.now()
	if err != nil {
		return nil, err
	}
	return st.view(s)
}

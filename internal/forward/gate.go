package forward

import (
	"context"
	"sync"
	"sync/atomic"
)

// gates are the forwarder's, one for each topic.
type gates struct {
	mu  sync.Mutex
	all map[string]*gate // guarded by mu
}

func (g *gates) of(topic string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all == nil {
		g.all = map[string]*gate{}
	}
	if g.all[topic] == nil {
		g.all[topic] = &gate{empty: make(chan struct{}, 1)}
	}
	return g.all[topic]
}

// gate lets one chain have a topic for itself. Chains share the client, and the
// client makes one batch of what they send to a partition: a message that was
// refused together with another chain's poison would be taken for dead. So who
// sends singly to find out shuts the gate first, and waits until nothing of the
// topic is under way.
type gate struct {
	in    atomic.Int64 // messages with the sink, of all chains
	shut  atomic.Bool
	empty chan struct{} // has a token when in came to zero while shut

	mu     sync.Mutex
	opened chan struct{} // guarded by mu; closed when the gate is opened again; nil while open
}

// enter counts one more message in, unless the gate is shut.
func (g *gate) enter() bool {
	g.in.Add(1)
	if g.shut.Load() {
		g.leave()
		return false
	}
	return true
}

func (g *gate) leave() {
	if g.in.Add(-1) == 0 && g.shut.Load() {
		signal(g.empty)
	}
}

// await waits until the gate is open. The error is ctx's.
func (g *gate) await(ctx context.Context) error {
	g.mu.Lock()
	opened := g.opened
	g.mu.Unlock()
	if opened == nil {
		return nil
	}
	select {
	case <-opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close shuts the gate for everybody else, and returns when nothing of the topic
// is under way. The caller must have nothing under way itself. The error is
// ctx's; the gate is open then.
func (g *gate) close(ctx context.Context) error {
	for {
		g.mu.Lock()
		if g.opened == nil {
			g.opened = make(chan struct{})
			g.shut.Store(true)
			g.mu.Unlock()
			break
		}
		g.mu.Unlock()
		if err := g.await(ctx); err != nil {
			return err
		}
	}
	for g.in.Load() > 0 {
		select {
		case <-g.empty:
		case <-ctx.Done():
			g.open()
			return ctx.Err()
		}
	}
	return nil
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut.Store(false)
	close(g.opened)
	g.opened = nil
}

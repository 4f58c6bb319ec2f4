package gateway

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// relayOrders keep what other processes of this stamp have stored from being
// overtaken. Each process has lanes of its own, drained side by side: messages of
// one key that a stamp relays to one process now, and to another after a restart,
// could get to the hub the wrong way round. So the first batch of a topic in a new
// session is let in only when all that other processes had stored of that topic
// and stamp has gone on.
type relayOrders struct {
	mu  sync.Mutex
	all map[relayOrder]*relayPending // guarded by mu
}

type relayOrder struct{ stamp, topic, session string }

// relayPending is what must go on first.
type relayPending struct {
	turn   chan struct{} // has a token while somebody looks
	looked bool          // guarded by turn, and all below
	// last are the last messages of other lanes that are not known to have gone on.
	last []message.Receipt
	used time.Time // guarded by the orders' mu
}

// maxOrders bounds how many sessions are remembered; one that is forgotten is
// looked at again.
const maxOrders = 4096

func (o *relayOrders) of(key relayOrder, now time.Time) *relayPending {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := o.all[key]
	if p == nil {
		if len(o.all) >= maxOrders {
			o.forgetOldest()
		}
		p = &relayPending{turn: make(chan struct{}, 1)}
		o.all[key] = p
	}
	p.used = now
	return p
}

// forgetOldest is called with mu held.
func (o *relayOrders) forgetOldest() {
	var oldest relayOrder
	var at time.Time
	for key, p := range o.all {
		if at.IsZero() || p.used.Before(at) {
			oldest, at = key, p.used
		}
	}
	delete(o.all, oldest)
}

// maxSessionLen is the longest name of a session, in bytes.
const maxSessionLen = 64

// inOrder refuses a batch of a session, surely not stored, while something that
// came before it has not gone on.
func (g *Gateway) inOrder(ctx context.Context, stamp, topic, session string) error {
	if session == "" || len(session) > maxSessionLen {
		return refuse(message.ErrInvalid, "the request names no session")
	}
	p := g.relay.orders.of(relayOrder{stamp, topic, session}, time.Now())
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return refuse(errSlowBody, "the sender went away")
	}
	if !p.looked {
		// What others answered a moment ago must be known first.
		if err := g.relay.outlast(ctx, relaySettle); err != nil {
			return err
		}
		last, err := g.lastRelayed(ctx, stamp, topic)
		if err != nil {
			g.deps.Log.Warn("could not find out what other processes have stored of a relayed topic", "from", stamp, "topic", topic, "err", err)
			return refuse(errUnavailable, "cannot read what is stored already")
		}
		p.looked, p.last = true, last
	}
	for len(p.last) > 0 {
		outcome, err := g.deps.Tracker.Locate(ctx, p.last[0])
		switch {
		case errors.Is(err, message.ErrNotFound): // removed since: it had gone on
		case err != nil:
			return refuse(errUnavailable, "cannot read what is stored already")
		case outcome.State == message.StateQueued:
			return refuse(errUnavailable, "messages of the topic that were stored before have not gone on yet, and must not be overtaken")
		}
		p.last = p.last[1:]
	}
	return nil
}

// lastRelayed returns the last message of a stamp and topic in each lane of other
// processes, whether it is known to be acknowledged or not.
func (g *Gateway) lastRelayed(ctx context.Context, stamp, topic string) ([]message.Receipt, error) {
	if g.deps.Keys == nil {
		return nil, nil
	}
	key := relayKey(stamp, topic)
	newest := map[string]StoredKey{}
	err := g.deps.Keys.Keys(ctx, g.deps.Now().Add(-g.opts.Relay.Retention), func(k StoredKey) error {
		if k.Hash == key && k.First.Seq > newest[k.First.Lane].First.Seq {
			newest[k.First.Lane] = k
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	last := map[string]message.Receipt{}
	note := func(group []message.Stored) {
		m := &group[len(group)-1]
		if at := m.Stands(); at.Seq > last[at.Lane].Seq {
			last[at.Lane] = message.Receipt{ID: m.ID, Place: at}
		}
	}
	for _, k := range newest {
		group, err := g.relay.store.Group(ctx, k.First)
		if errors.Is(err, message.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		note(group)
	}
	// What was answered right before a process died is in no index.
	err = g.relay.store.Tails(ctx, func(group []message.Stored) {
		if path, _, ok := wire.Came(&group[0].Message); ok && path[len(path)-1] == stamp && group[0].Topic == topic {
			note(group)
		}
	})
	return slices.Collect(maps.Values(last)), err
}

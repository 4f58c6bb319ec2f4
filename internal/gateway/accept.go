package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"postroad/internal/message"
)

// accepted is a request whose messages are stored.
type accepted struct {
	first message.Place
	// time is when they were accepted.
	time time.Time
	// replayed says that they were stored by an earlier request.
	replayed bool
}

// call is one POST of messages on its way through the gateway.
type call struct {
	w http.ResponseWriter
	r *http.Request
	b *batch
	// synced is set once the messages are durable.
	synced bool
}

// keep makes the messages of a call durable, or finds that they already are.
// Messages of a client's key go through the index first:
//
//	not known       store, then remember place and digest
//	same digest     the first place again
//	other digest    errKeyReused
//	in progress     errKeyBusy
//
// After a surely failed store the key is free again. After an unknown outcome
// it is free too, and what is stored under it next is marked as a repeat.
func (g *Gateway) keep(c *call) (accepted, error) {
	b := c.b
	if b.keyHash.IsZero() {
		first, err := g.append(c)
		return accepted{first: first, time: b.time}, err
	}
	digest := message.GroupDigest(b.msgs)
	found, err := g.index.begin(b.keyHash, digest, b.time)
	if err != nil {
		return accepted{}, err
	}
	if found.state == keyStored {
		g.metrics.replays.Inc()
		return accepted{first: found.first, time: found.time, replayed: true}, nil
	}
	if found.state == keyUnknown {
		for i := range b.msgs {
			b.msgs[i].Repeat = true
		}
	}
	entry := keyEntry{hash: b.keyHash, digest: digest, id: b.msgs[0].ID, time: b.time.UnixMicro(), state: keyUnknown}
	// Whatever happens the key does not stay in progress.
	defer func() { g.index.end(entry) }()
	first, err := g.append(c)
	switch {
	case err == nil:
		entry.state, entry.seq = keyStored, first.Seq
		entry.setLane(first.Lane)
	case !errors.Is(err, message.ErrOutcomeUnknown):
		entry.state = keyFree
	}
	return accepted{first: first, time: b.time}, err
}

// append hands the messages to the store. A client that goes away does not
// stop it: the outcome is wanted for the index. Errors match
// message.ErrNotStored, ErrFull, ErrTooLarge or ErrOutcomeUnknown.
func (g *Gateway) append(c *call) (message.Place, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.r.Context()), g.opts.AppendTimeout)
	defer cancel()
	start := time.Now()
	first, err := g.deps.Store.Append(ctx, c.b.msgs)
	g.metrics.append.Observe(time.Since(start).Seconds())
	if err == nil {
		c.synced = true
		g.metrics.stored(c.b.msgs)
		if g.deps.Observer != nil {
			g.deps.Observer.Synced()
		}
		return first, nil
	}
	for _, sure := range []error{message.ErrNotStored, message.ErrFull, message.ErrTooLarge} {
		if errors.Is(err, sure) && !errors.Is(err, message.ErrOutcomeUnknown) {
			return message.Place{}, fmt.Errorf("append %d messages: %w", len(c.b.msgs), err)
		}
	}
	// An error that is of no class tells nothing about the disk.
	c.b.abandon(g)
	return message.Place{}, fmt.Errorf("append %d messages: %w: %w", len(c.b.msgs), message.ErrOutcomeUnknown, err)
}

// dropBody gives the request body's memory back; the values are gone then.
func (b *batch) dropBody(g *Gateway) {
	if b.body != nil {
		g.bodies.put(b.body)
		b.body = nil
	}
}

// abandon leaves the memory of the messages to a write that may still be under
// way: none of it is used again. The batch can still be answered from.
func (b *batch) abandon(g *Gateway) {
	if b.body != nil {
		g.bodies.forget(b.body)
		b.body = nil
	}
	ids := make([]message.Message, len(b.msgs))
	for i := range b.msgs {
		ids[i].ID = b.msgs[i].ID
	}
	b.msgs, b.headers, b.text = ids, nil, nil
}

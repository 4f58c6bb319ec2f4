package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"postroad/internal/stream/live"
)

// viewer looks at a subject as a client with the official SDK does: it keeps a
// position, loses its connection with what was on its way, and comes back to
// another node with the position of what it has processed.
type viewer struct {
	s       *streams
	name    string
	subject live.Subject
	rng     *rand.Rand

	// What follows is of the goroutine that runs it.
	since  map[int32]live.Position // nil where it begins afresh
	spells []*spell
	counts streamCounts
}

// spell is what a viewer was shown since it last began afresh.
type spell struct {
	from, to map[int32]int64 // by partition: where it began, and how far it is
	shown    []sight
}

// sight is a record as a viewer was shown it.
type sight struct {
	partition int32
	offset    int64
	body, key string
	node      string
}

// session is one subscription of a viewer. The node calls it.
type session struct {
	node  *streamNode
	asked bool // it came with positions
	wake  chan struct{}

	mu    sync.Mutex
	queue []any // guarded by mu: *live.Start, *live.Block and error, on their way to the viewer
}

func (c *session) put(what any) {
	c.mu.Lock()
	c.queue = append(c.queue, what)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *session) Deliver(_ *live.Subscription, b *live.Block) { c.put(b) }
func (c *session) Ended(_ *live.Subscription, why error)       { c.put(why) }

func (c *session) take() (what any, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return nil, false
	}
	what, c.queue = c.queue[0], c.queue[1:]
	return what, true
}

func newViewer(s *streams, i int) *viewer {
	v := &viewer{s: s, name: fmt.Sprintf("viewer%d", i)}
	v.rng = s.w.random(v.name)
	topic := s.w.plan.topics[v.rng.IntN(len(s.w.plan.topics))]
	switch v.rng.IntN(5) {
	case 0:
		v.subject = live.Subject{Topic: topic, All: true, Partition: -1}
	case 1:
		v.subject = live.Subject{Topic: topic, All: true, Partition: 0}
	default:
		v.subject = live.Subject{Topic: topic, Key: fmt.Sprintf("c%d", v.rng.IntN(s.w.plan.clients)), Partition: -1}
	}
	return v
}

// wander connects, looks and leaves until ctx ends.
func (v *viewer) wander(ctx context.Context) {
	for ctx.Err() == nil {
		c, sub := v.connect(ctx, v.rng.IntN(len(v.s.nodes)))
		if c == nil {
			pause(ctx, time.Duration(v.rng.Int64N(int64(time.Second))))
			continue
		}
		stay, leave := context.WithTimeout(ctx, time.Duration(v.rng.Int64N(int64(15*time.Second))))
		v.look(stay, c)
		leave()
		sub.Close()
		// What is on its way is lost, but for the first of it.
		for range v.rng.IntN(3) {
			if what, ok := c.take(); ok {
				v.process(c, what)
			}
		}
		if v.rng.IntN(3) == 0 {
			pause(ctx, time.Duration(v.rng.Int64N(int64(20*time.Second))))
		}
	}
}

// connect subscribes at a node; nil where that fails.
func (v *viewer) connect(ctx context.Context, which int) (*session, *live.Subscription) {
	n := v.s.nodes[which].current()
	if n == nil || n.engine.Ready() != nil {
		return nil, nil
	}
	c := &session{node: n, asked: v.since != nil, wake: make(chan struct{}, 1)}
	r := live.Request{
		Subject: v.subject, Name: v.subject.String(), Receiver: c,
		Begin: func(s *live.Start) { c.put(s) },
	}
	for _, p := range slices.Sorted(maps.Keys(v.since)) {
		r.Since = append(r.Since, v.since[p])
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	subscribe := v.s.sabotage.subscribe
	if subscribe == nil {
		subscribe = func(ctx context.Context, e *live.Engine, r live.Request) (*live.Subscription, error) {
			return e.Subscribe(ctx, r)
		}
	}
	sub, err := subscribe(ctx, n.engine, r)
	switch {
	case err == nil:
		return c, sub
	case errors.Is(err, live.ErrNotReady), errors.Is(err, errAway), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		v.counts.refused++
	default:
		v.s.w.fail(fmt.Errorf("%s at %s: %w", v.name, n.name, err))
	}
	return nil, nil
}

// look processes what comes until ctx ends, the node dies or it ends the
// subscription.
func (v *viewer) look(ctx context.Context, c *session) {
	for {
		for what, ok := c.take(); ok; what, ok = c.take() {
			if !v.process(c, what) {
				return
			}
			pause(ctx, time.Duration(v.rng.Int64N(int64(20*time.Millisecond))))
			if ctx.Err() != nil {
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-c.node.dead:
			return
		case <-c.wake:
		}
	}
}

// process takes what a node has sent; false where the subscription is over.
func (v *viewer) process(c *session, what any) bool {
	switch what := what.(type) {
	case *live.Start:
		v.begin(c, what)
	case *live.Block:
		v.see(c, what.Records)
	default:
		return false
	}
	return true
}

func (v *viewer) begin(c *session, s *live.Start) {
	switch {
	case c.asked && s.Recovered:
		v.counts.recovered++
		v.counts.missed += len(s.Missed)
		v.see(c, s.Missed)
	case c.asked:
		v.counts.lost++
		v.s.w.decide("%s of %v at %s is not recovered since %v", v.name, v.subject, c.node.name, v.since)
		fallthrough
	default:
		v.spells = append(v.spells, &spell{from: map[int32]int64{}, to: map[int32]int64{}})
		v.since = map[int32]live.Position{}
		for _, p := range s.Positions {
			v.spell().from[p.Partition] = p.Next
		}
		if err := v.s.judgeLast(v.subject, s); err != nil {
			v.s.w.fail(fmt.Errorf("%s of %v at %s: %w", v.name, v.subject, c.node.name, err))
		}
	}
	for _, p := range s.Positions {
		v.since[p.Partition], v.spell().to[p.Partition] = p, p.Next
	}
	if !v.subject.All && !s.Recoverable {
		v.since = nil // its positions mean nothing
	}
}

func (v *viewer) spell() *spell { return v.spells[len(v.spells)-1] }

func (v *viewer) see(c *session, records []*live.Record) {
	for _, r := range records {
		v.spell().shown = append(v.spell().shown, sight{r.Partition, r.Offset, string(r.Value), string(r.Key), c.node.name})
		v.spell().to[r.Partition] = r.Offset + 1
		if at, ok := v.since[r.Partition]; ok {
			at.Next = r.Offset + 1
			v.since[r.Partition] = at
		}
	}
	v.counts.shown += len(records)
}

// settle stays with nodes until it has been shown everything, or for long enough.
func (v *viewer) settle(ctx context.Context) {
	limit := v.s.w.elapsed() + 5*time.Minute
	for i := v.rng.IntN(len(v.s.nodes)); v.s.w.elapsed() < limit; i++ {
		c, sub := v.connect(ctx, i%len(v.s.nodes))
		if c == nil {
			pause(ctx, time.Second)
			continue
		}
		stay, leave := context.WithTimeout(ctx, 10*time.Second)
		v.look(stay, c)
		leave()
		sub.Close()
		if v.s.complete(v) {
			return
		}
	}
}

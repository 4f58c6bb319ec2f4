package forward_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/test/outbox"
)

// modelHub is a hub in memory that misbehaves at random: it takes its time,
// refuses batches, loses answers after appending, goes away, and refuses a topic
// for minutes.
type modelHub struct {
	rng *rand.Rand

	mu    sync.Mutex
	logs  map[modelPart][]message.Place // guarded by mu
	away  bool                          // guarded by mu
	held  map[string]bool               // guarded by mu: topics that are refused
	turns uint64                        // guarded by mu
	parts int32                         // guarded by mu: partitions of each topic; it grows
	// untrue is what was said or done and must not be. Guarded by mu.
	untrue error
	// settled are messages that became dead letters, or were moved. Guarded by
	// mu.
	late     sync.WaitGroup // requests that land after their client was given up
	underway atomic.Int64   // how many of them have not landed
}

type modelPart struct {
	topic     string
	partition int32
}

const modelTopics = 3

func modelTopic(i int) string { return fmt.Sprintf("topic-%d", i) }

type modelError struct{ class string }

func (e modelError) Error() string { return "model: " + e.class }
func (e modelError) Class() string { return e.class }

var errAway = errors.New("model: away")

// poison is what the hub takes in no batch.
var poison = []byte("poison")

func (h *modelHub) chance(percent int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rng.IntN(100) < percent
}

func (h *modelHub) delay(most time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return time.Duration(h.rng.Int64N(int64(most))) + 1
}

// turn begins the next turn.
func (h *modelHub) turn() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.turns++
	return h.turns
}

func (h *modelHub) blame(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.untrue == nil {
		h.untrue = err
	}
}

// client is one process's connection to the hub: a sink with the promises of
// kafka.Sink.
type client struct {
	hub *modelHub
	out *outbox.Outbox[modelPart, modelRecord]

	mu     sync.Mutex
	lostAt time.Time // guarded by mu: when it was told that its claim is lost
	shut   time.Time // guarded by mu: from when on it sends nothing
}

// overdue: somebody takes the process for dead. Its claim fell because its heartbeat
// was overdue, and so its connections refuse to write: what is under way may still
// land, and nothing else does.
func (c *client) overdue() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shut = time.Now().Add(modelLate)
}

func (c *client) refusesToWrite() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.shut.IsZero() && time.Now().After(c.shut)
}

// modelRecord is what the hub looks at of a message.
type modelRecord struct {
	place  message.Place
	poison bool
}

type modelSend = outbox.Sent[modelRecord]

const modelPartitions = 5 // in the end; there are 3 at first

func newClient(h *modelHub) *client {
	return &client{hub: h, out: outbox.New[modelPart, modelRecord](errAway, h.turn)}
}

func (c *client) Watch(func(error)) {}

func (c *client) Probe(context.Context) error {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.hub.away {
		return errAway
	}
	return nil
}

// refuses is what the hub says to a question about a topic.
func (h *modelHub) refuses(topic string, percent int) error {
	if h.chance(percent) {
		return errAway
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.away:
		return errAway
	case h.held[topic] && h.rng.IntN(2) == 0:
		return modelError{"hold"}
	}
	return nil
}

func (c *client) Partitions(_ context.Context, topic string) (int32, error) {
	if err := c.hub.refuses(topic, 10); err != nil {
		return 0, err
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.hub.parts, nil
}

func (c *client) Partition(m *message.Message, n int32) int32 { return kafka.Partition(m, n) }

func (c *client) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	var out []message.Mark
	for _, m := range of {
		if err := c.hub.refuses(m.Topic, 3); err != nil {
			return nil, err
		}
		c.hub.mu.Lock()
		m.Offset = int64(len(c.hub.logs[modelPart{m.Topic, m.Partition}]))
		c.hub.mu.Unlock()
		out = append(out, m)
	}
	return out, nil
}

func (c *client) ReadBack(_ context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	type hit struct {
		place message.Place
		at    message.Mark
	}
	var hits []hit
	for _, m := range from {
		if err := c.hub.refuses(m.Topic, 3); err != nil {
			return nil, err
		}
		c.hub.mu.Lock()
		log := c.hub.logs[modelPart{m.Topic, m.Partition}]
		for o := m.Offset; o < int64(len(log)); o++ {
			hits = append(hits, hit{log[o], message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: o}})
		}
		c.hub.mu.Unlock()
	}
	for _, h := range hits {
		found(h.place, h.at)
	}
	return nil, nil
}

func (c *client) Turn() uint64 {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.hub.turns
}

func (c *client) Produce(m *message.Stored, partition int32, turn uint64, done func(int64, error)) error {
	c.mu.Lock()
	lostAt := c.lostAt
	c.mu.Unlock()
	if !lostAt.IsZero() && time.Now().After(lostAt) {
		c.hub.blame(fmt.Errorf("%v was sent %v after the claim was known to be lost", m.Place, time.Since(lostAt)))
	}
	p := modelPart{m.Topic, partition}
	s := &modelSend{Record: modelRecord{m.Place, bytes.Equal(m.Value, poison)}, Done: done}
	return c.out.Put(p, turn, s, func(run int) { c.send(p, run) })
}

// send carries one partition's queue to the hub in batches until it is empty.
func (c *client) send(p modelPart, run int) {
	for {
		<-time.After(c.hub.delay(5 * time.Millisecond)) // of the bubble's clock
		batch, more := c.out.Next(p, run, 1+int(c.hub.delay(40)))
		if !more {
			return
		}
		if c.refusesToWrite() {
			<-time.After(time.Second)
			continue
		}
		first, err := c.hub.append(p, batch)
		if errors.Is(err, errAway) {
			continue // retried without limit
		}
		<-time.After(c.hub.delay(5 * time.Millisecond))
		told := c.out.Settle(p, run, batch, first, err, func() { <-time.After(c.hub.delay(5 * time.Millisecond)) })
		if !told {
			return
		}
	}
}

// append is the hub's side of one request.
func (h *modelHub) append(p modelPart, batch []*modelSend) (first int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	roll := h.rng.IntN(100)
	switch {
	case h.away || roll < 5:
		return 0, errAway
	case h.held[p.topic]:
		return 0, modelError{"hold"}
	case roll < 8:
		return 0, modelError{[]string{"retry", "hold"}[roll%2]}
	}
	for _, s := range batch {
		if s.Record.poison {
			return 0, modelError{"dead"}
		}
		if s.Landed { // the hub knows a request that it has served
			return 0, modelError{"retry"}
		}
	}
	first = int64(len(h.logs[p]))
	for _, s := range batch {
		h.logs[p] = append(h.logs[p], s.Record.place)
		s.Landed = true
	}
	if roll < 10 { // appended, and the answer says otherwise
		return 0, modelError{"retry"}
	}
	return first, nil
}

// Reset gives everything back; what is in the hub's hands may still land, for
// modelLate.
func (c *client) Reset() error {
	c.out.GiveBack(false, c.late)
	return nil
}

const modelLate = 5 * time.Second

func (c *client) Close() {
	c.out.GiveBack(true, func(modelPart, []*modelSend) {})
	c.out.Wait()
}

// late has a request of a partition land although its client was given up.
func (c *client) late(p modelPart, queue []*modelSend) {
	if c.refusesToWrite() || !c.hub.chance(50) {
		return
	}
	batch := queue[:min(len(queue), 1+int(c.hub.delay(40)))]
	c.hub.underway.Add(1)
	c.hub.late.Go(func() {
		<-time.After(c.hub.delay(modelLate))
		_, _ = c.hub.append(p, batch) // nobody hears the answer
		c.hub.underway.Add(-1)
	})
}

// audited checks each progress that is saved against the hub, and lets calls
// fail, or the process die at one.
type audited struct {
	*claimed
	hub    *modelHub
	client *client
	die    func() // kills the process
}

// around makes a call that may fail before it has an effect, or after, with the
// process dead or alive.
func (a audited) around(percent int, call func() error) error {
	fate := -1
	if a.hub.chance(percent) {
		fate = int(a.hub.delay(5)) - 1
	}
	switch fate {
	case 0:
		return errDead
	case 1:
		a.die()
		return errDead
	}
	err := call()
	if errors.Is(err, message.ErrClaimLost) {
		a.client.mu.Lock()
		a.client.lostAt = time.Now()
		a.client.mu.Unlock()
	}
	switch {
	case err != nil:
	case fate == 2:
		return errDead
	case fate == 3:
		a.die()
	}
	return err
}

func (a audited) Save(ctx context.Context, p message.Progress) error {
	return a.around(10, func() error {
		untrue := a.audit(p)
		err := a.claimed.Save(ctx, p)
		// What a holder saves that has lost the chain counts for nobody.
		if err == nil && untrue != nil {
			a.hub.blame(untrue)
		}
		return err
	})
}

func (a audited) Divert(ctx context.Context, topic string, msgs []message.Stored) error {
	return a.around(10, func() error { return a.claimed.Divert(ctx, topic, msgs) })
}

func (a audited) Bury(ctx context.Context, msgs []message.Stored) error {
	for i := range msgs {
		if !bytes.Equal(msgs[i].Value, poison) {
			a.hub.blame(fmt.Errorf("%v is a dead letter and not poisonous: %s", msgs[i].Place, msgs[i].Reason))
		}
	}
	return a.around(10, func() error { return a.claimed.Bury(ctx, msgs) })
}

func (a audited) NextHeld(ctx context.Context, topic string, limit int) ([]message.Stored, error) {
	if a.hub.chance(10) {
		return nil, errDead
	}
	return a.claimed.NextHeld(ctx, topic, limit)
}

// audit: what progress says is settled is in the hub, a dead letter, or stands in
// a side lane; nothing that is not settled stands below its partition's mark. See
// message.Progress.
func (a audited) audit(p message.Progress) error {
	a.hub.mu.Lock()
	defer a.hub.mu.Unlock()
	in := map[message.Place]bool{}
	for _, log := range a.hub.logs {
		for _, place := range log {
			in[place] = true
		}
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	p = a.s.complete(p)
	next := a.s.nexts(p)
	for _, m := range a.s.buried {
		in[m.Place] = true
	}
	open := map[message.Place]bool{} // not settled
	for _, sd := range a.s.sides {
		for i, m := range sd.msgs {
			if settled := uint64(i+1) < next[sd.lane]; settled && !in[m.Place] {
				return fmt.Errorf("progress says %v, moved to %v, is settled, and the hub has it not", m.Place, m.At)
			} else if !settled {
				open[m.Place] = true
			}
		}
	}
	for _, m := range a.s.msgs {
		switch {
		case m.Seq >= next[m.Lane]:
			open[m.Place] = true
		case !in[m.Place] && !open[m.Place]:
			return fmt.Errorf("progress says %v is settled, and the hub has it not", m.Place)
		}
	}
	for _, m := range p.Marks {
		log := a.hub.logs[modelPart{m.Topic, m.Partition}]
		for o, place := range log[:m.Offset] {
			if open[place] {
				return fmt.Errorf("%v stands at %s/%d/%d below the mark %d, and is not settled", place, m.Topic, m.Partition, o, m.Offset)
			}
		}
	}
	return nil
}

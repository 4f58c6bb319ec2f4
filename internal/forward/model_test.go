package forward_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// modelHub is a hub in memory that misbehaves at random: it takes its time,
// refuses batches, loses answers after appending, goes away.
type modelHub struct {
	rng *rand.Rand

	mu    sync.Mutex
	logs  [][]message.Place // guarded by mu; by partition
	away  bool              // guarded by mu
	turns uint64            // guarded by mu
	parts int32             // guarded by mu: partitions of the topic; it grows
	// untrue is what a saved progress said and was not so. Guarded by mu.
	untrue error
}

type modelError struct{ class string }

func (e modelError) Error() string { return "model: " + e.class }
func (e modelError) Class() string { return e.class }

var errAway = errors.New("model: away")

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

// client is one process's connection to the hub: a sink with the promises of
// kafka.Sink, kept by the simplest means.
type client struct {
	hub *modelHub

	mu     sync.Mutex
	closed bool           // guarded by mu
	run    int            // guarded by mu: counts resets; senders of an older one end
	queues [][]*modelSend // guarded by mu; by partition
	shut   []bool         // guarded by mu: partitions that wait for their queues to empty
	turns  []uint64       // guarded by mu
	busy   []bool         // guarded by mu: a request of the partition is under way
	wg     sync.WaitGroup
}

type modelSend struct {
	place message.Place
	done  func(int64, error)
}

const modelPartitions = 5 // in the end; there are 3 at first

func newClient(h *modelHub) *client {
	return &client{
		hub: h, queues: make([][]*modelSend, modelPartitions), shut: make([]bool, modelPartitions),
		turns: make([]uint64, modelPartitions), busy: make([]bool, modelPartitions),
	}
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

func (c *client) Partitions(context.Context, string) (int32, error) {
	if c.hub.chance(10) {
		return 0, errAway
	}
	if err := c.Probe(context.Background()); err != nil {
		return 0, err
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.hub.parts, nil
}

func (c *client) Partition(m *message.Message, n int32) int32 { return kafka.Partition(m, n) }

func (c *client) Ends(_ context.Context, of []message.Mark) ([]message.Mark, error) {
	if c.hub.chance(10) {
		return nil, errAway
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	var out []message.Mark
	for _, m := range of {
		m.Offset = int64(len(c.hub.logs[m.Partition]))
		out = append(out, m)
	}
	return out, nil
}

func (c *client) ReadBack(_ context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	if c.hub.chance(20) {
		return nil, errAway
	}
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	for _, m := range from {
		for o := m.Offset; o < int64(len(c.hub.logs[m.Partition])); o++ {
			found(c.hub.logs[m.Partition][o], message.Mark{Topic: m.Topic, Partition: m.Partition, Offset: o})
		}
	}
	return nil, nil
}

func (c *client) Turn() uint64 {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	return c.hub.turns
}

func (c *client) Produce(m *message.Stored, p int32, turn uint64, done func(int64, error)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.shut[p] || turn < c.turns[p] {
		return errAway
	}
	c.queues[p] = append(c.queues[p], &modelSend{m.Place, done})
	if !c.busy[p] {
		c.busy[p] = true
		run := c.run
		c.wg.Go(func() { c.send(p, run) })
	}
	return nil
}

// send carries one partition's queue to the hub in batches until it is empty.
func (c *client) send(p int32, run int) {
	for {
		<-time.After(c.hub.delay(5 * time.Millisecond)) // of the bubble's clock
		c.mu.Lock()
		q := c.queues[p]
		if c.run != run {
			c.mu.Unlock()
			return
		}
		if len(q) == 0 {
			c.busy[p] = false
			c.mu.Unlock()
			return
		}
		batch := q[:min(len(q), 1+int(c.hub.delay(40)))]
		c.mu.Unlock()
		first, err := c.hub.append(p, batch)
		if errors.Is(err, errAway) {
			continue // retried without limit
		}
		<-time.After(c.hub.delay(5 * time.Millisecond))
		c.mu.Lock()
		if c.run != run { // the answer comes too late
			c.mu.Unlock()
			return
		}
		n := len(batch)
		if err != nil { // everything behind it comes back, too
			n = len(c.queues[p])
			c.hub.mu.Lock()
			c.hub.turns++
			c.turns[p] = c.hub.turns
			c.hub.mu.Unlock()
		}
		settled := c.queues[p][:n]
		c.queues[p] = c.queues[p][n:]
		c.mu.Unlock()
		if err != nil { // those who sent hear of it a little later
			<-time.After(c.hub.delay(5 * time.Millisecond))
		}
		for i, s := range settled {
			if err != nil {
				s.done(-1, err)
			} else {
				s.done(first+int64(i), nil)
			}
		}
	}
}

// append is the hub's side of one request.
func (h *modelHub) append(p int32, batch []*modelSend) (first int64, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	roll := h.rng.IntN(100)
	if h.away || roll < 5 {
		return 0, errAway
	}
	if roll < 8 {
		return 0, modelError{[]string{"retry", "hold"}[roll%2]}
	}
	first = int64(len(h.logs[p]))
	for _, s := range batch {
		h.logs[p] = append(h.logs[p], s.place)
	}
	if roll < 10 { // appended, and the answer says otherwise
		return 0, modelError{"retry"}
	}
	return first, nil
}

func (c *client) Reset() error {
	c.giveBack(false)
	return nil
}

func (c *client) Close() {
	c.giveBack(true)
	c.wg.Wait()
}

// giveBack answers everything under way; what is in the hub's hands may still
// land.
func (c *client) giveBack(forGood bool) {
	c.mu.Lock()
	c.closed = c.closed || forGood
	c.run++
	clear(c.busy)
	var all []*modelSend
	for p := range c.queues {
		all = append(all, c.queues[p]...)
		c.queues[p] = nil
	}
	c.mu.Unlock()
	for _, s := range all {
		s.done(-1, errAway)
	}
}

// audited checks each progress that is saved against the hub.
type audited struct {
	*claimed
	hub *modelHub
}

func (a audited) Save(ctx context.Context, p message.Progress) error {
	if err := a.audit(p); err != nil {
		a.hub.mu.Lock()
		a.hub.untrue = err
		a.hub.mu.Unlock()
	}
	if a.hub.chance(20) {
		return errDead
	}
	return a.claimed.Save(ctx, p)
}

// audit: all below Next is in the hub; nothing at or above it stands below its
// partition's mark. See message.Progress.
func (a audited) audit(p message.Progress) error {
	next := map[string]uint64{}
	for _, l := range p.Lanes {
		next[l.Lane] = l.Next
	}
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
	for _, m := range a.s.msgs {
		if m.Seq < next[m.Lane] && !in[m.Place] {
			return fmt.Errorf("progress says %v is settled, and the hub has it not", m.Place)
		}
	}
	for _, m := range p.Marks {
		for o, place := range a.hub.logs[m.Partition][:m.Offset] {
			if place.Seq >= max(next[place.Lane], 1) {
				return fmt.Errorf("%v stands at %d/%d below the mark %d, and is not below %d", place, m.Partition, o, m.Offset, next[place.Lane])
			}
		}
	}
	return nil
}

type auditedSource struct{ chain forward.Chain }

func (s *auditedSource) Claim(ctx context.Context) (forward.Chain, error) {
	if c := s.chain; c != nil {
		s.chain = nil
		return c, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// modelLife runs one forwarder until it is killed, stopped, or done.
func modelLife(t *testing.T, rng *rand.Rand, st *store, hub *modelHub, last bool, wrap func(*client) forward.Sink) {
	o := forward.DefaultOptions()
	o.MaxInFlight, o.Batch, o.SaveMessages = 1+rng.IntN(300), 1+rng.IntN(50), 1+rng.IntN(100)
	o.RefreshAfter = time.Second
	st.mu.Lock()
	c := &claimed{s: st, start: clone(st.progress)}
	st.mu.Unlock()
	cl := newClient(hub)
	f, err := forward.New(o, forward.Deps{Source: &auditedSource{audited{c, hub}}, Sink: wrap(cl)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	if last {
		st.await(t, "the end", func(s *store) bool { return s.released > 0 && s.ended })
	} else {
		most := 3000
		if rng.IntN(4) == 0 {
			most = 150000 // long enough for a look at the topics
		}
		<-time.After(time.Duration(rng.IntN(most)) * time.Millisecond) // of the bubble's clock
		if rng.IntN(2) == 0 {                                          // killed, not stopped
			c.kill()
			cl.Close()
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error("Run:", err)
	}
}

// modelRun: several lives over one chain, with a hub that comes and goes; then
// each message must be in the hub once, unless an answer was lost and the
// message found nevertheless, and in order.
func modelRun(t *testing.T, seed uint64, wrap func(*client) forward.Sink) (err error) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 2))
		hub := &modelHub{rng: rand.New(rand.NewPCG(seed, 3)), logs: make([][]message.Place, modelPartitions), parts: 3}
		st := newStore("a")
		st.patience = time.Hour // of the bubble's clock
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		wg.Go(func() { hub.comeAndGo(ctx) })
		seq := uint64(1)
		for life := range 4 {
			more := msgs(laneA, seq, seq+uint64(rng.IntN(500)))
			seq += uint64(len(more))
			st.append(more...)
			if life == 3 {
				st.change(func() { st.ended, st.released = true, 0 })
			}
			modelLife(t, rng, st, hub, life == 3, wrap)
		}
		cancel()
		wg.Wait()
		err = hub.judge(st.msgs)
	})
	return err
}

func (h *modelHub) comeAndGo(ctx context.Context) {
	for {
		d := h.delay(2 * time.Second)
		select {
		case <-ctx.Done():
			return
		case <-time.After(d):
		}
		h.mu.Lock()
		h.away = !h.away && h.rng.IntN(2) == 0
		if h.parts < modelPartitions && h.rng.IntN(4) == 0 {
			h.parts++
		}
		h.mu.Unlock()
	}
}

func (h *modelHub) judge(want []message.Stored) error {
	if h.untrue != nil {
		return h.untrue
	}
	times := map[message.Place]int{}
	key := map[message.Place]string{}
	for _, m := range want {
		key[m.Place] = string(m.Key)
	}
	for p, log := range h.logs {
		last := map[string]uint64{}
		for o, place := range log {
			k := key[place]
			if times[place]++; k != "" && place.Seq < last[k] {
				return fmt.Errorf("seq %d at %d/%d after seq %d of the same key", place.Seq, p, o, last[k])
			}
			last[k] = place.Seq
		}
	}
	for _, m := range want {
		if times[m.Place] != 1 {
			return fmt.Errorf("%v is in the hub %d times", m.Place, times[m.Place])
		}
	}
	return nil
}

func modelSeeds(t *testing.T) (first, n uint64) {
	first, n = uint64(time.Now().UnixNano())%1e9, 150
	if testing.Short() {
		n = 20
	}
	t.Logf("seeds %d to %d", first, first+n-1)
	return first, n
}

// Lost answers, refusals, outages, failed saves, stops and kills: each progress
// saved is true, and each message is in the hub exactly once and in order.
func TestModel(t *testing.T) {
	first, n := modelSeeds(t)
	for seed := first; seed < first+n && !t.Failed(); seed++ {
		if err := modelRun(t, seed, func(c *client) forward.Sink { return c }); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

// blindClient finds nothing when it reads back.
type blindClient struct{ *client }

func (blindClient) ReadBack(context.Context, []message.Mark, func(message.Place, message.Mark)) ([]message.Mark, error) {
	return nil, nil
}

func TestModelWithoutReadBackIsCaught(t *testing.T) {
	first, n := modelSeeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := modelRun(t, seed, func(c *client) forward.Sink { return blindClient{c} }); err != nil {
			return
		}
	}
	t.Error("no seed shows that the read-back is missing: the check is worth nothing")
}

// hurried sends whatever turn the caller has, so that messages overtake others
// that were refused.
type hurried struct{ *client }

func (h hurried) Produce(m *message.Stored, p int32, _ uint64, done func(int64, error)) error {
	return h.client.Produce(m, p, h.Turn(), done)
}

func TestModelWithoutTurnsIsCaught(t *testing.T) {
	first, n := modelSeeds(t)
	for seed := first; seed < first+n; seed++ {
		if err := modelRun(t, seed, func(c *client) forward.Sink { return hurried{c} }); err != nil {
			return
		}
	}
	t.Error("no seed shows that messages overtake: the check is worth nothing")
}

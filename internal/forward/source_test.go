package forward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/forward"
	"postroad/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// store is a persisted chain: what survives a crash of the forwarder.
type store struct {
	id       string
	patience time.Duration // how long await waits for what must happen

	mu       sync.Mutex
	msgs     []message.Stored       // guarded by mu
	ended    bool                   // guarded by mu
	progress message.Progress       // guarded by mu: last saved
	saves    int                    // guarded by mu
	released int                    // guarded by mu
	saveErr  error                  // guarded by mu: what Save answers
	more     chan struct{}          // guarded by mu: closed when something changes
	sides    []*side                // guarded by mu: side lanes, in order
	buried   []message.Stored       // guarded by mu: dead letters
	moved    map[message.Place]bool // guarded by mu: what stands in them
	// sticky, if not nil, is a mark of saved progress that no save takes away, as if
	// a holder had forgotten to.
	sticky func(message.Mark) bool
	stuck  []message.Mark // guarded by mu
	// failing, if not nil, answers what a call of a claim ends in.
	failing func(call string) error
}

func (s *store) fail(call string) error {
	if s.failing == nil {
		return nil
	}
	return s.failing(call)
}

func newStore(id string) *store {
	return &store{id: id, patience: 30 * time.Second, more: make(chan struct{}), moved: map[message.Place]bool{}}
}

func (s *store) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.more)
	s.more = make(chan struct{})
}

func (s *store) append(msgs ...message.Stored) { s.change(func() { s.msgs = append(s.msgs, msgs...) }) }
func (s *store) end()                          { s.change(func() { s.ended = true }) }

// await waits until cond holds.
func (s *store) await(t testing.TB, what string, cond func(*store) bool) {
	t.Helper()
	limit := time.After(s.patience)
	for {
		s.mu.Lock()
		ok, more := cond(s), s.more
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-more:
		case <-limit:
			t.Fatalf("%s: not in %v", what, s.patience)
		}
	}
}

// settled reports whether saved progress covers the whole of the store.
func (s *store) settled() bool {
	next := map[string]uint64{}
	for _, l := range s.progress.Lanes {
		next[l.Lane] = l.Next
	}
	return !slices.ContainsFunc(s.msgs, func(m message.Stored) bool { return m.Seq >= next[m.Lane] })
}

// claimed is one claim of a store. Once dead it saves nothing any more, as the
// claim of a process that was killed.
type claimed struct {
	s     *store
	start message.Progress
	pos   int
	// doubtful says that the last holder may be alive.
	doubtful bool
	read     map[string]uint64 // guarded by s.mu: what NextHeld returns next, by side lane
	own      map[string]*side  // guarded by s.mu: this claim's side lanes, by topic

	mu   sync.Mutex
	dead bool
	lost bool // guarded by mu: somebody else has the chain now
}

// gone is what calls end in that make anything durable.
func (c *claimed) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.dead:
		return errDead
	case c.lost:
		return fmt.Errorf("the fake: %w", message.ErrClaimLost)
	}
	return nil
}

// revoke takes the claim away.
func (c *claimed) revoke() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost = true
}

var errDead = errors.New("the process is dead")

func (c *claimed) kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dead = true
}

func (c *claimed) isDead() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dead
}

func (c *claimed) ID() string { return c.s.id }

// Progress names every lane there is, as the queue does.
func (c *claimed) Progress() message.Progress {
	p := clone(c.start)
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	for _, m := range c.s.msgs {
		if !slices.ContainsFunc(p.Lanes, func(l message.LaneProgress) bool { return l.Lane == m.Lane }) {
			p.Lanes = append(p.Lanes, message.LaneProgress{Lane: m.Lane, Next: 1})
		}
	}
	for _, m := range c.s.stuck {
		if !slices.ContainsFunc(p.Marks, c.s.sticky) {
			p.Marks = append(p.Marks, m)
		}
	}
	for _, sd := range c.s.sides {
		if !slices.ContainsFunc(p.Lanes, func(l message.LaneProgress) bool { return l.Lane == sd.lane }) {
			p.Lanes = append(p.Lanes, message.LaneProgress{Lane: sd.lane, Next: 1})
		}
	}
	return p
}

func (c *claimed) Next(ctx context.Context, limit int) ([]message.Stored, error) {
	for {
		c.s.mu.Lock()
		msgs, ended, more := c.s.msgs, c.s.ended, c.s.more
		c.s.mu.Unlock()
		if c.pos < len(msgs) {
			n := min(limit, len(msgs)-c.pos)
			out := slices.Clone(msgs[c.pos : c.pos+n])
			c.pos += n
			return out, nil
		}
		if ended {
			return nil, io.EOF
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// change changes the store, unless the claim is gone. Both at once: what a holder
// that has lost its claim does later, no successor ever sees; in between, it would
// have put its own state in place of the successor's.
func (c *claimed) change(f func() error) (err error) {
	c.s.change(func() {
		if err = c.gone(); err == nil {
			err = f()
		}
	})
	return err
}

func (c *claimed) Save(_ context.Context, p message.Progress) error {
	return c.change(func() error {
		if c.s.saveErr == nil {
			c.s.progress = c.s.complete(p)
			if i := slices.IndexFunc(p.Marks, func(m message.Mark) bool { return c.s.sticky != nil && c.s.sticky(m) }); i >= 0 {
				c.s.stuck = p.Marks[i : i+1 : i+1]
			}
			c.s.saves++
		}
		return c.s.saveErr
	})
}

func (c *claimed) Release(context.Context) error {
	err := c.change(func() error {
		c.s.released++
		return nil
	})
	if errors.Is(err, errDead) {
		return err
	}
	return nil
}

// complete adds the lanes that p does not name, as far as they were, as the queue
// does. The caller holds mu.
func (s *store) complete(p message.Progress) message.Progress {
	p = clone(p)
	for _, l := range s.progress.Lanes {
		if !slices.ContainsFunc(p.Lanes, func(n message.LaneProgress) bool { return n.Lane == l.Lane }) {
			p.Lanes = append(p.Lanes, l)
		}
	}
	return p
}

func clone(p message.Progress) message.Progress {
	return message.Progress{Hub: p.Hub, Lanes: slices.Clone(p.Lanes), Marks: slices.Clone(p.Marks), Partitions: maps.Clone(p.Partitions)}
}

// source hands each store out once.
type source struct {
	chains chan *claimed
	all    []*claimed
}

func sourceOf(stores ...*store) *source {
	s := &source{chains: make(chan *claimed, len(stores))}
	for _, st := range stores {
		st.mu.Lock()
		c := &claimed{s: st, start: clone(st.progress)}
		st.mu.Unlock()
		s.all = append(s.all, c)
		s.chains <- c
	}
	return s
}

func (s *source) Claim(ctx context.Context) (forward.Chain, error) {
	select {
	case c := <-s.chains:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const (
	laneA = "01HZZZZZZZZZZZZZZZZZZZZZZA"
	laneB = "01HZZZZZZZZZZZZZZZZZZZZZZB"
)

// msg makes message seq of a lane, one of 20 keys or without a key.
func msg(lane string, seq uint64) message.Stored {
	m := message.Stored{
		Place: message.Place{Lane: lane, Seq: seq},
		Message: message.Message{
			ID: message.DeriveID("t", "messages", fmt.Sprint(lane, seq), message.Hash{}, 0), Topic: "messages",
			Value: []byte(fmt.Sprintf("%s %d", lane, seq)), Time: time.Now().UTC(),
		},
	}
	if k := seq % 21; k > 0 {
		m.Key = []byte(fmt.Sprintf("key %d", k))
	}
	return m
}

func msgs(lane string, from, to uint64) []message.Stored {
	var out []message.Stored
	for seq := from; seq <= to; seq++ {
		out = append(out, msg(lane, seq))
	}
	return out
}

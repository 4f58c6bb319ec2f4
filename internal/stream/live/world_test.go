package live_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// world is a hub and the nodes that read it, in a bubble of synctest.
type world struct {
	t    *testing.T
	hub  *livetest.Log
	opts live.Options
	flaw string
	ends []func()
}

const topicName = "t"

// in runs fn in a world with one topic of the given partitions, and ends it.
func in(t *testing.T, flaw string, partitions int32, fn func(*world) error) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, hub: livetest.NewLog(), flaw: flaw, opts: options()}
		if partitions > 0 {
			w.hub.Make(topicName, partitions)
		}
		err = fn(w)
		for _, end := range slices.Backward(w.ends) {
			end()
		}
		synctest.Wait()
	})
	return err
}

func options() live.Options {
	o := live.DefaultOptions()
	o.Topics = []live.TopicOptions{{Name: topicName}}
	o.Window = 100
	return o
}

// clause runs a scenario as it should be, which must find nothing wrong, and with
// each flaw, which it must find.
func clause(t *testing.T, partitions int32, scenario func(*world) error, flaws ...string) {
	t.Helper()
	if err := in(t, "", partitions, scenario); err != nil {
		t.Fatal(err)
	}
	for _, flaw := range flaws {
		if err := in(t, flaw, partitions, scenario); err == nil {
			t.Errorf("with the flaw %s nothing is found wrong", flaw)
		} else {
			t.Logf("%s: %v", flaw, err)
		}
	}
}

// node is a stream node's engine.
type node struct {
	*live.Engine
	w    *world
	view *livetest.View
	stop func()
}

// starting makes a node and runs it; how it sees the hub is set before it looks.
func (w *world) starting(set func(*livetest.View)) *node {
	w.t.Helper()
	view := w.hub.NewView()
	set(view)
	return w.reading(view, view)
}

// reading does so with a log that is the view, or stands before it.
func (w *world) reading(log live.Log, view *livetest.View) *node {
	w.t.Helper()
	n := &node{w: w, view: view}
	var err error
	n.Engine, err = live.NewFlawed(w.opts, live.Deps{
		Log: log, Hub: live.Identity{Name: "hub", Generation: 1}, Logger: slog.New(slog.DiscardHandler),
	}, w.flaw)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.ends = append(w.ends, n.stop)
	return n
}

// node makes a node and waits until it is ready.
func (w *world) node() *node {
	w.t.Helper()
	n := w.starting(func(*livetest.View) {})
	for range 100 {
		synctest.Wait()
		if n.Ready() == nil {
			return n
		}
		<-time.After(100 * time.Millisecond)
	}
	w.t.Fatalf("not ready: %v", n.Ready())
	return nil
}

// client is a subscriber: what it was given, in this order.
type client struct {
	n          *node
	s          *live.Subscription
	start      live.Start
	seen       []*live.Record // missed and delivered
	mu         sync.Mutex
	next       map[int32]int64
	epochs     map[int32]string
	over       error
	afterwards bool // something came after the end
}

func (c *client) Deliver(_ *live.Subscription, b *live.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.afterwards = c.afterwards || c.over != nil
	c.take(b.Records)
}

func (c *client) take(records []*live.Record) {
	for _, r := range records {
		c.seen = append(c.seen, r)
		c.next[r.Partition] = r.Offset + 1
	}
}

func (c *client) Ended(_ *live.Subscription, why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = why
}

// positions is where the client is by now.
func (c *client) positions() []live.Position {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []live.Position
	for _, p := range c.start.Positions {
		all = append(all, live.Position{Epoch: c.epochs[p.Partition], Partition: p.Partition, Next: c.next[p.Partition]})
	}
	return all
}

func subject(name string) live.Subject {
	s, err := live.ParseSubject(name)
	if err != nil {
		panic(err)
	}
	return s
}

func key(k string) live.Subject { return live.Subject{Topic: topicName, Key: k, Partition: -1} }

var everything = live.Subject{Topic: topicName, All: true, Partition: -1}

// trySubscribe subscribes.
func (n *node) trySubscribe(s live.Subject, since []live.Position) (*client, error) {
	c := &client{n: n, next: map[int32]int64{}, epochs: map[int32]string{}}
	var err error
	c.s, err = n.Subscribe(n.w.t.Context(), live.Request{
		Subject: s, Name: s.String(), Receiver: c, Since: since,
		Begin: func(st *live.Start) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.start = *st
			c.take(st.Missed)
			for _, p := range st.Positions {
				c.next[p.Partition], c.epochs[p.Partition] = p.Next, p.Epoch
			}
		},
	})
	return c, err
}

// subscribe subscribes, or fails the test.
func (n *node) subscribe(s live.Subject, since []live.Position) *client {
	n.w.t.Helper()
	c, err := n.trySubscribe(s, since)
	if err != nil {
		n.w.t.Fatalf("subscribe to %v: %v", s, err)
	}
	return c
}

// values waits until nothing moves and returns what the client was shown.
func (c *client) values() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return valuesOf(c.seen)
}

func valuesOf(records []*live.Record) []string {
	all := []string{}
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

// shows compares what a client was shown.
func (c *client) shows(want ...string) error {
	if got := c.values(); !slices.Equal(got, want) {
		return fmt.Errorf("shown %q, want %q", got, want)
	}
	return nil
}

// recovers compares how a subscription began.
func (c *client) recovers(recovered bool, want ...string) error {
	if c.start.Recovered != recovered {
		return fmt.Errorf("recovered is %v, want %v", c.start.Recovered, recovered)
	}
	if got := valuesOf(c.start.Missed); len(got)+len(want) > 0 && !slices.Equal(got, want) {
		return fmt.Errorf("recovered %q, want %q", got, want)
	}
	return nil
}

// rec is a record with an id, accepted and produced now.
func rec(k, value string, id uint64) live.Record {
	r := live.Record{Value: []byte(value)}
	if k != "" {
		r.Key = []byte(k)
	}
	if id > 0 {
		r.ID, r.HasID = livetest.ID(1<<32+id), true // none that Send mints
	}
	return r
}

// put appends to the key's partition, or to partition 0.
func (w *world) put(r live.Record) int64 {
	if n := w.hub.Partitions(topicName); n > 1 && r.Key != nil {
		r.Partition = message.PartitionOf(r.Key, int32(n))
	}
	return w.hub.Append(topicName, r)
}

// fill appends n records of another key, with new ids.
func (w *world) fill(n int) {
	for range n {
		w.hub.Send(topicName, "filler", "filler")
	}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func matchesErr(err, want error) error {
	return expect(errors.Is(err, want), "error %v, want %v", err, want)
}

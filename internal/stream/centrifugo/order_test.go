package centrifugo

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// What is held of several partitions is condensed partition by partition. The
// writers merge by a block's partition what waits for a slow client: a block that
// held records of another one, too, would be sent behind newer ones of it, and the
// client keep old values.
func TestCondensedByPartition(t *testing.T) {
	const keys = 40
	log := hub(0)
	log.Make("wide", 2)
	n := start(t, log, []string{"wide"}, func(s *settings) { s.live.Topics[0].Conflate = true })
	value := func(round int) string { return fmt.Sprintf(`"%d%s"`, round, strings.Repeat("x", 64<<10)) }
	for k := range keys {
		log.Send("wide", fmt.Sprint(k), value(0))
	}
	until(t, "the last values", func() bool {
		all, _, err := n.engine.Last(t.Context(), live.Subject{Topic: "wide", All: true, Partition: -1})
		return err == nil && len(all) == keys
	})
	s, c := n.join(t, JSON, "alice")
	c.setWaiting(n.protocol.pace + 1)
	s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "wide/*"}}))
	until(t, "the reply", func() bool { r, _ := c.all(); return len(r) == 2 })
	for round := range 2 {
		for k := range keys {
			log.Send("wide", fmt.Sprint(k), value(round+1))
		}
		until(t, "all is held, and was condensed", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			h, held := s.channels[0].hold, 0
			for _, b := range h.blocks {
				for _, r := range b.Records {
					if r.Value[1] == byte('1'+round) {
						held++
					}
				}
			}
			return held == keys && h.mergeAt > 0
		})
	}
	c.setWaiting(0)
	until(t, "the end of tasks", s.idle)
	c.mu.Lock()
	defer c.mu.Unlock()
	at := map[int32]int64{}
	newest := map[string]string{}
	for _, b := range c.blocks {
		for _, r := range b.Records {
			newest[string(r.Key)] = string(r.Value[:2])
			if len(newest) < keys {
				continue // the last values
			}
			if r.Partition != b.Partition || r.Offset < at[r.Partition] {
				t.Fatalf("a block of partition %d has offset %d of partition %d, after %d", b.Partition, r.Offset, r.Partition, at[r.Partition])
			}
			at[r.Partition] = r.Offset
		}
	}
	if len(newest) != keys || len(at) != 2 {
		t.Errorf("%d keys, %d partitions", len(newest), len(at))
	}
	for k, v := range newest {
		if v != `"2` {
			t.Errorf("key %s ends with %s", k, v)
		}
	}
}

// between is a Conn that does something once, on the way to a delivery.
type between struct {
	*sink
	once sync.Once
	do   func()
}

func (b *between) Deliver(s *live.Subscription, block *live.Block) {
	b.once.Do(b.do)
	b.sink.Deliver(s, block)
}

// A piece of what a subscription made at connect has missed never comes behind the
// answer to unsubscribe: behind that to another subscribe its offsets would set the
// client's position back. Nor behind the push by which a refreshed token ends it.
func TestNoPieceBehindTheEnd(t *testing.T) {
	n := start(t, hub(500), []string{"t"}, shortReplies)
	epoch := n.connect(t, JSON, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
	for _, row := range []struct {
		name, token, subject string
		commands             []*command
	}{
		{"unsubscribe", "alice", "t/*", []*command{
			{Id: 2, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/*"}},
			{Id: 3, Subscribe: &protocol.SubscribeRequest{Channel: "t/*", Recover: true, Epoch: epoch, Offset: 500}},
		}},
		{"refresh", "carol", "t/k", []*command{{Id: 2, Refresh: &protocol.RefreshRequest{Token: "carol-less"}}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &between{sink: newSink(t, JSON)}
			s := n.protocol.Handler(c, n.people.authenticate).(*session)
			defer s.end(c.sink)
			answered := make(chan struct{})
			end := func() {
				for _, cmd := range row.commands {
					s.Message(encodeCommands(t, JSON, cmd))
					until(t, "an answer", func() bool {
						r, _ := c.all()
						for _, r := range r {
							if r.Id == cmd.Id {
								return true
							}
						}
						return false
					})
				}
				close(answered)
			}
			c.do = func() {
				if !s.mu.TryLock() {
					go end() // it has to wait for the delivery
					return
				}
				s.mu.Unlock()
				end()
			}
			s.Message(encodeCommands(t, JSON, &command{Id: 1, Connect: &protocol.ConnectRequest{Token: row.token, Subs: map[string]*protocol.SubscribeRequest{
				row.subject: {Channel: row.subject, Recover: true, Epoch: epoch, Offset: 10},
			}}}))
			within(t, answered, "the answers")
			until(t, "the end of tasks", s.idle)
			replies, _ := c.all()
			ended := false
			for i, r := range replies {
				ended = ended || r.Unsubscribe != nil || r.Push != nil && r.Push.Unsubscribe != nil
				if ended && r.Push != nil && r.Push.Pub != nil {
					t.Fatalf("reply %d of %d, behind the end: %v", i, len(replies), r)
				}
			}
			if !ended {
				t.Errorf("it did not end: %v", replies)
			}
		})
	}
}

// A subscribe of a client that takes nothing for now does not keep the reader from
// its other frames, pongs among them, and ends with the connection.
func TestSubscribeDoesNotHoldUpTheReader(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	s, c := n.join(t, JSON, "alice")
	c.setWaiting(n.protocol.pace + 1)
	read := make(chan struct{})
	go func() {
		s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}, &command{Id: 3, Ping: &protocol.PingRequest{}}))
		close(read)
	}()
	select {
	case <-read:
	case <-time.After(limit):
		c.setWaiting(0)
		t.Fatal("the reader waits for the client")
	}
	until(t, "the answers", func() bool { r, _ := c.all(); return len(r) == 3 })
	c.Disconnect(1000, "")
	until(t, "the end of tasks", s.idle) // though the client takes nothing
}

// seenContext passes on the context of each Subscribe.
type seenContext struct {
	Engine
	seen chan context.Context
}

func (e seenContext) Subscribe(ctx context.Context, r live.Request) (*live.Subscription, error) {
	e.seen <- ctx
	return e.Engine.Subscribe(ctx, r)
}

// What is done at once ends with the connection as well.
func TestSubscribeAtOnceEndsWithTheConnection(t *testing.T) {
	seen := make(chan context.Context, 1)
	n := start(t, hub(1), []string{"t"}, func(s *settings) { s.engine = func(e Engine) Engine { return seenContext{e, seen} } })
	s, c := n.join(t, JSON, "alice")
	s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}))
	ctx := within(t, seen, "subscribe")
	c.Disconnect(1000, "")
	within(t, ctx.Done(), "the end of its context")
}

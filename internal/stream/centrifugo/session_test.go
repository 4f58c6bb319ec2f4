package centrifugo

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// offsets are those of the publications of a channel, in answers and pushes, and
// how many pushes end it.
func offsets(replies []*protocol.Reply, channel string) (all []uint64, ended int) {
	for _, r := range replies {
		if r.Subscribe != nil {
			for _, p := range r.Subscribe.Publications {
				all = append(all, p.Offset)
			}
		}
		if r.Push == nil || r.Push.Channel != channel {
			continue
		}
		if r.Push.Pub != nil {
			all = append(all, r.Push.Pub.Offset)
		}
		if r.Push.Unsubscribe != nil {
			ended++
		}
	}
	return all, ended
}

func upTo(n uint64) (all []uint64) {
	for i := range n {
		all = append(all, i+1)
	}
	return all
}

func shortReplies(s *settings) { s.opts.MaxReplyBytes = 4096 }

// A client that takes nothing for now is sent no more of what it missed than a
// little; the rest, and what comes live meanwhile, follows when it takes again.
func TestRecoveryIsPaced(t *testing.T) {
	log := hub(5000)
	n := start(t, log, []string{"t"}, shortReplies)
	both(t, func(t *testing.T, e Encoding) {
		s, c := n.join(t, e, "alice")
		epoch := n.connect(t, e, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		c.setWaiting(n.protocol.pace + 1)
		asked := make(chan struct{}, 1<<20)
		c.asked = func() { asked <- struct{}{} }
		s.Message(encodeCommands(t, e, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 0}}))
		for range 3 {
			within(t, asked, "a look at what waits")
		}
		_, before := log.All("t", 0)
		replies, _ := c.all()
		got, _ := offsets(replies, "t/k")
		if len(replies) != 2 || len(got) == 0 || len(got) >= int(before) {
			t.Fatalf("%d replies with %d publications while the client takes nothing", len(replies), len(got))
		}
		sent := log.Send("t", "k", `"live"`)
		until(t, "the live one's being held", func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.channels) == 1 && s.channels[0].hold != nil && len(s.channels[0].hold.blocks) == 1
		})
		c.setWaiting(0)
		until(t, "the rest", s.idle)
		replies, _ = c.all()
		got, ended := offsets(replies, "t/k")
		if !slices.Equal(got, upTo(uint64(sent.Offset)+1)) || ended != 0 {
			t.Errorf("%d publications, ended %d times", len(got), ended)
		}
		// And then live, without a detour.
		sent = log.Send("t", "k", "1")
		until(t, "live", func() bool {
			replies, _ := c.all()
			got, _ := offsets(replies, "t/k")
			return slices.Equal(got, upTo(uint64(sent.Offset)+1))
		})
	})
}

// A client that unsubscribes while it is sent what it missed is sent no more.
func TestUnsubscribeEndsRecovery(t *testing.T) {
	log := hub(5000)
	n := start(t, log, []string{"t"}, shortReplies)
	both(t, func(t *testing.T, e Encoding) {
		s, c := n.join(t, e, "alice")
		epoch := n.connect(t, e, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		c.setWaiting(n.protocol.pace + 1)
		s.Message(encodeCommands(t, e,
			&command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch}},
			&command{Id: 3, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}},
		))
		until(t, "the end of tasks", s.idle) // though the client takes nothing
		replies, _ := c.all()
		if len(replies) != 3 || replies[2].Unsubscribe == nil || replies[2].Id != 3 {
			t.Errorf("%d replies, the last %v", len(replies), replies[len(replies)-1])
		}
		if len(s.channels) != 0 {
			t.Errorf("%d channels are left", len(s.channels))
		}
	})
}

// One whose live records grow too many behind what it missed is told to come back
// with the position it has.
func TestHeldTooMuch(t *testing.T) {
	log := hub(5000)
	n := start(t, log, []string{"t"}, shortReplies)
	s, c := n.join(t, JSON, "alice")
	epoch := n.connect(t, JSON, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
	c.setWaiting(n.protocol.pace + 1)
	s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch}}))
	until(t, "the reply", func() bool { r, _ := c.all(); return len(r) == 2 })
	s.mu.Lock()
	ch := s.channels[0]
	s.mu.Unlock()
	for range maxHeld>>20 + 1 {
		ch.Deliver(ch.sub, &live.Block{Bytes: make([]byte, 1<<20)})
	}
	c.setWaiting(0)
	until(t, "the end of tasks", s.idle)
	replies, closed := c.all()
	got, ended := offsets(replies, "t/k")
	if !slices.Equal(got, upTo(5000)) || ended != 1 || closed != 0 || len(s.channels) != 0 {
		t.Errorf("%d publications, ended %d times, closed with %d, %d channels", len(got), ended, closed, len(s.channels))
	}
	if last := replies[len(replies)-1].Push; last == nil || last.Unsubscribe == nil || last.Unsubscribe.Code != unsubscribedInsufficient {
		t.Errorf("the last is %v", last)
	}
}

// Where the topic conflates, what newer messages have replaced is left out of what
// is held, so that it does not grow too much.
func TestHeldIsCondensed(t *testing.T) {
	log := hub(0)
	for i := range 100 {
		log.Send("t", fmt.Sprint(i), `"old"`)
	}
	n := start(t, log, []string{"t"}, func(s *settings) { s.live.Topics[0].Conflate = true })
	both(t, func(t *testing.T, e Encoding) {
		s, c := n.join(t, e, "alice")
		c.setWaiting(n.protocol.pace + 1)
		s.Message(encodeCommands(t, e, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/*"}}))
		until(t, "the reply", func() bool { r, _ := c.all(); return len(r) == 2 })
		value := func(i int) string { return fmt.Sprintf(`"%d%s"`, i, strings.Repeat("x", 64<<10)) }
		var last live.Record
		for i := range 3 * maxHeld >> 16 {
			last = log.Send("t", fmt.Sprint(i%3), value(i))
			held := func() (offset int64, bytes int) {
				s.mu.Lock()
				defer s.mu.Unlock()
				h := s.channels[0].hold
				if len(h.blocks) == 0 {
					return -1, 0
				}
				records := h.blocks[len(h.blocks)-1].Records
				return records[len(records)-1].Offset, h.bytes
			}
			until(t, "its being held", func() bool {
				offset, bytes := held()
				return offset == last.Offset && bytes < maxHeld/2
			})
		}
		c.setWaiting(0)
		until(t, "the end of tasks", s.idle)
		replies, closed := c.all()
		newest := map[string]string{}
		offset := uint64(0)
		for _, r := range replies[2:] {
			if r.Push == nil || r.Push.Pub == nil {
				t.Fatalf("%v", r)
			}
			if r.Push.Pub.Offset != 0 && r.Push.Pub.Offset <= offset {
				t.Fatalf("offset %d after %d", r.Push.Pub.Offset, offset)
			}
			offset = max(offset, r.Push.Pub.Offset)
			newest[r.Push.Pub.Tags[tagKey]] = string(r.Push.Pub.Data)
		}
		if closed != 0 || len(newest) != 100 || offset != uint64(last.Offset)+1 || newest[string(last.Key)] != string(last.Value) {
			t.Errorf("closed with %d, %d keys, up to %d", closed, len(newest), offset)
		}
		s.end(c)
	})
}

// A connection that ends while a subscription of it is being made leaves nothing
// behind.
func TestClosedWhileSubscribing(t *testing.T) {
	log := hub(50_000)
	log.Truncate("t", 0, 10)
	n := start(t, log, []string{"t"}, func(s *settings) { s.live.Ring.MaxRecords = 10 })
	begun, goOn := make(chan struct{}, 16), make(chan struct{})
	n.view.OnScan(func(string, int32, int64, int64) error {
		begun <- struct{}{}
		<-goOn
		return nil
	})
	epoch := n.connect(t, JSON, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
	sessions := map[*session]*sink{}
	for range 3 {
		s, c := n.join(t, Protobuf, "alice")
		sessions[s] = c
		s.Message(encodeCommands(t, Protobuf,
			&command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 40_000}},
			&command{Id: 3, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 40_000}},
		))
	}
	within(t, begun, "a reading of the hub")
	for s, c := range sessions {
		s.end(c)
	}
	close(goOn)
	for s, c := range sessions {
		until(t, "the end of tasks", s.idle)
		if r, _ := c.all(); len(r) != 1 || len(s.channels) != 0 {
			t.Errorf("%d replies, %d channels", len(r), len(s.channels))
		}
	}
}

// One that ends right when the engine has made its subscription gives it back.
func TestClosedWhenSubscribed(t *testing.T) {
	made := make(chan func(), 1)
	n := start(t, hub(2), []string{"t"}, func(s *settings) {
		s.engine = func(e Engine) Engine { return hooked{e, made} }
	})
	s, c := n.join(t, JSON, "alice")
	made <- func() { s.end(c) }
	s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true}}))
	until(t, "the end of tasks", s.idle)
	if got := gauge(t, n.registry, "postroad_stream_client_subscriptions"); got != 0 {
		t.Errorf("%v subscriptions are left", got)
	}
	n.log.Send("t", "k", "1")
	if r, _ := c.all(); len(r) != 1 {
		t.Errorf("%d replies", len(r))
	}
}

// A token that came while a subscription was being made, and does not allow it,
// ends it.
func TestRefreshWhileSubscribing(t *testing.T) {
	made := make(chan func(), 1)
	n := start(t, hub(2), []string{"t"}, func(s *settings) {
		s.engine = func(e Engine) Engine { return hooked{e, made} }
	})
	s, c := n.join(t, JSON, "carol")
	made <- func() {
		s.Message(encodeCommands(t, JSON, &command{Id: 3, Refresh: &protocol.RefreshRequest{Token: "carol-less"}}))
		until(t, "the refresh", func() bool { r, _ := c.all(); return len(r) == 2 })
	}
	s.Message(encodeCommands(t, JSON, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Recover: true}}))
	until(t, "the end of tasks", s.idle)
	r, _ := c.all()
	if len(r) != 3 || r[1].Refresh == nil || len(s.channels) != 0 {
		t.Fatalf("%v, %d channels", r, len(s.channels))
	}
	checkAnswer(t, r[2], 2, 103, false)
	if got := gauge(t, n.registry, "postroad_stream_client_subscriptions"); got != 0 {
		t.Errorf("%v subscriptions are left", got)
	}
}

// hooked does something when the engine has made a subscription.
type hooked struct {
	Engine
	made chan func()
}

func (h hooked) Subscribe(ctx context.Context, r live.Request) (*live.Subscription, error) {
	sub, err := h.Engine.Subscribe(ctx, r)
	select {
	case fn := <-h.made:
		fn()
	default:
	}
	return sub, err
}

// Disconnecting drops what waits and what comes.
func TestNothingAfterDisconnect(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	s, c := n.join(t, JSON, "alice")
	s.Message([]byte(`{"id":2,"connect":{}}`))
	s.Message([]byte(`{"id":3,"ping":{}}`))
	s.Message([]byte(`{"id":4,"publish":{"channel":"t/k","data":1}}`))
	if r, closed := c.all(); len(r) != 1 || closed != 3501 || !s.idle() {
		t.Errorf("%d replies, closed with %d, idle %v", len(r), closed, s.idle())
	}
	n.publish.mu.Lock()
	defer n.publish.mu.Unlock()
	if len(n.publish.got) != 0 {
		t.Error("a message was published")
	}
}

// An idle session, connected and with one subscription, costs less than 1 KB beside
// its connection and its part of the engine.
func TestBytesOfAnIdleSession(t *testing.T) {
	const count = 2000
	n := start(t, hub(1), []string{"t"})
	connect := encodeCommands(t, Protobuf, &command{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice"}})
	subscribe := encodeCommands(t, Protobuf, &command{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}})
	who := n.people.authenticate
	sessions := make([]*session, count)
	conn := &idleConn{}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what was in pools is gone after two
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range sessions {
		sessions[i] = n.protocol.Handler(conn, who).(*session)
		sessions[i].Message(connect)
	}
	connected := heap()
	for _, s := range sessions {
		s.Message(subscribe)
	}
	subscribed := heap()
	session, sub := int(connected-before)/count, int(subscribed-connected)/count
	t.Logf("%d bytes for an idle session with its principal, %d more for its first subscription with the engine's part", session, sub)
	if session > 1024 || sub > 1024 {
		t.Errorf("%d bytes a session and %d a subscription", session, sub)
	}
	for _, s := range sessions {
		if len(s.channels) != 1 || s.tasks != nil {
			t.Fatalf("%d channels, tasks %v", len(s.channels), s.tasks)
		}
		s.Closed(1000, "")
	}
}

// idleConn is a connection that keeps nothing.
type idleConn struct{ sink }

func (*idleConn) Binary() bool                            { return true }
func (*idleConn) Context() context.Context                { return context.Background() }
func (*idleConn) Send([]byte)                             {}
func (*idleConn) Deliver(*live.Subscription, *live.Block) {}
func (*idleConn) Waiting() int                            { return 0 }

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	err := Options{}.Validate()
	if err == nil {
		t.Fatal("nothing is wrong with nothing")
	}
	if _, err := New(Options{}, Deps{Engine: noEngine{}, Ping: 1e9}); err == nil {
		t.Error("made with wrong options")
	}
	if _, err := New(DefaultOptions(), Deps{}); err == nil {
		t.Error("made without an engine")
	}
	for _, name := range []string{
		"max_subscriptions", "max_name_bytes", "max_commands", "concurrent", "max_reply_bytes", "max_history", "connect_timeout",
	} {
		if !containsLine(err, name+": ") {
			t.Errorf("%s is not told: %v", name, err)
		}
	}
}

func containsLine(err error, prefix string) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	return ok && slices.ContainsFunc(joined.Unwrap(), func(e error) bool {
		return len(fmt.Sprint(e)) > len(prefix) && fmt.Sprint(e)[:len(prefix)] == prefix
	})
}

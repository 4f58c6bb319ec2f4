package centrifugo

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// A subscription begins with the last value, which stands behind the reply with the
// offset that the subscription begins at, and goes on live. The reply has the
// offset before it, or one cut off in between would never be told of it.
func TestSubscribeFromNow(t *testing.T) {
	log := hub(5)
	n := start(t, log, []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		_, end := log.All("t", 0)
		r := c.subscribe(&protocol.SubscribeRequest{Channel: "/t/k"})
		if !r.Recoverable || !r.Positioned || r.Offset != uint64(end)-1 || len(r.Epoch) != 16 || r.WasRecovering || r.Recovered ||
			len(r.Publications) != 0 || r.Expires || r.Delta || r.Id != 0 || r.Type != 0 {
			t.Errorf("subscribe is answered %v", r)
		}
		if name, pub := c.pub(); name != "/t/k" || pub.Offset != uint64(end) || string(pub.Data) != `{"n":4}` && e == JSON || len(pub.Tags) != 1 || !lastTagged(pub) {
			t.Errorf("last value %v of %s", pub, name)
		}
		for i := range 3 {
			sent := log.Send("t", "k", `{"n":4}`)
			if name, pub := c.pub(); name != "/t/k" || pub.Offset != uint64(sent.Offset)+1 || string(pub.Data) != `{"n":4}` {
				t.Fatalf("live %d: %v of %s", i, pub, name)
			}
		}
		log.Send("t", "other", "1")
		sent := log.Send("t", "k", "2")
		if _, pub := c.pub(); pub.Offset != uint64(sent.Offset)+1 {
			t.Fatalf("%v, want offset %d", pub, sent.Offset+1)
		}
	})
}

// All of a topic with one partition is recoverable, its publications carry keys;
// of several partitions it has no offsets, and neither is recovered.
func TestSubscribeToAll(t *testing.T) {
	log := hub(0)
	log.Make("wide", 3)
	for i := range 9 {
		log.Send("t", fmt.Sprintf("k%d", i%3), fmt.Sprint(i))
		log.Send("wide", fmt.Sprintf("k/%d", i%3), fmt.Sprint(i))
	}
	n := start(t, log, []string{"t", "wide"})
	both(t, func(t *testing.T, e Encoding) {
		for _, row := range []struct {
			topic       string
			recoverable bool
			key         string
		}{{"t", true, "k"}, {"wide", false, "k%2F"}} {
			c := n.connect(t, e, "alice")
			r := c.subscribe(&protocol.SubscribeRequest{Channel: row.topic + "/*"})
			if r.Recoverable != row.recoverable || r.Positioned != row.recoverable || (r.Offset != 0) != row.recoverable || (r.Epoch != "") != row.recoverable {
				t.Errorf("%s: %v", row.topic, r)
			}
			got, at := map[string]string{}, r.Offset
			for range 3 {
				_, pub := c.pub()
				if (pub.Offset > at) != row.recoverable || !lastTagged(pub) {
					t.Errorf("%s: last value behind offset %d: %v", row.topic, at, pub)
				}
				at = pub.Offset
				got[pub.Tags[tagKey]] = string(pub.Data)
			}
			if want := map[string]string{row.key + "0": "6", row.key + "1": "7", row.key + "2": "8"}; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: last values %v", row.topic, got)
			}
			key := strings.ReplaceAll(row.key, "%2F", "/") + "1"
			sent := log.Send(row.topic, key, "7")
			want := uint64(sent.Offset) + 1
			if !row.recoverable {
				want = 0
			}
			if _, pub := c.pub(); pub.Offset != want || pub.Tags[tagKey] != row.key+"1" {
				t.Errorf("%s: live %v, want offset %d", row.topic, pub, want)
			}
			c = n.connect(t, e, "alice")
			r = c.subscribe(&protocol.SubscribeRequest{Channel: row.topic + "/*", Recover: true, Epoch: r.Epoch, Offset: at})
			if !r.WasRecovering || r.Recovered != row.recoverable || len(r.Publications) != 0 || r.Offset != at {
				t.Errorf("%s: recovery: %v", row.topic, r)
			}
			// Nothing is in the answer, since one SDK would drop the keys of it.
			if _, pub := c.pub(); row.recoverable && (pub.Offset != want || pub.Tags[tagKey] != row.key+"1") {
				t.Errorf("%s: recovered %v, want offset %d", row.topic, pub, want)
			}
			// What was recovered by then is not missed again.
			r = n.connect(t, e, "alice").subscribe(&protocol.SubscribeRequest{Channel: row.topic + "/*", Recover: true, Epoch: r.Epoch, Offset: want})
			if r.Recovered != row.recoverable || r.Offset != want {
				t.Errorf("%s: recovery of nothing: %v", row.topic, r)
			}
		}
	})
}

// collect reads the publications of a subscription until one at offset last; all
// must ascend from after since.
func collect(c *client, pubs []*protocol.Publication, since, last uint64) []*protocol.Publication {
	c.t.Helper()
	for len(pubs) == 0 || pubs[len(pubs)-1].Offset < last {
		_, pub := c.pub()
		pubs = append(pubs, pub)
	}
	for _, pub := range pubs {
		if pub.Offset <= since {
			c.t.Fatalf("offset %d after %d", pub.Offset, since)
		}
		since = pub.Offset
	}
	return pubs
}

// What was missed comes whole, some in the reply and the rest behind it; and a
// client that is cut off anywhere in between and takes for its position what SDKs
// take, the offset of the reply or of the last publication, goes on from there
// without a gap and without a repeat.
func TestRecoveryInPieces(t *testing.T) {
	const missed = 12_000
	log := hub(1)
	for i := range missed {
		log.Send("t", []string{"k", "other"}[i%2], fmt.Sprintf(`{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", 50)))
	}
	n := start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 32 << 10 })
	_, end := log.All("t", 0)
	both(t, func(t *testing.T, e Encoding) {
		probe := n.connect(t, e, "alice")
		fresh := probe.subscribe(&protocol.SubscribeRequest{Channel: "t/k"})
		offset, got, cuts := uint64(1), []*protocol.Publication(nil), 0
		for offset < uint64(end)-1 {
			c := n.connect(t, e, "alice")
			r := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: fresh.Epoch, Offset: offset})
			if !r.WasRecovering || !r.Recovered || !r.Recoverable || len(r.Publications) == 0 {
				t.Fatalf("recovery from %d: %d publications, %v %v", offset, len(r.Publications), r.WasRecovering, r.Recovered)
			}
			size, last := 0, r.Publications[len(r.Publications)-1].Offset
			for _, p := range r.Publications {
				size += p.SizeVT()
			}
			if size > n.protocol.opts.MaxReplyBytes {
				t.Errorf("%d bytes of publications in a reply", size)
			}
			whole := last == uint64(end)-1
			if want := last; !whole && r.Offset != want || whole && r.Offset != uint64(end) {
				t.Fatalf("the reply's offset is %d, its last publication's %d", r.Offset, last)
			}
			// Cut off after the reply, then after some of the rest, then not at all.
			pubs := r.Publications
			if cuts > 0 && !whole {
				pubs = collect(c, pubs, offset, min(last+uint64(cuts*3000), uint64(end)-1))
			} else {
				pubs = collect(c, pubs, offset, last)
			}
			c.conn.Close()
			got = append(got, pubs...)
			offset = got[len(got)-1].Offset
			cuts++
		}
		if cuts < 3 {
			t.Errorf("it took only %d connections: nothing was cut", cuts)
		}
		i := 0
		records, _ := log.All("t", 0)
		for _, want := range records[1:] {
			if string(want.Key) != "k" {
				continue
			}
			if i >= len(got) || got[i].Offset != uint64(want.Offset)+1 || string(got[i].Data) != string(want.Value) {
				t.Fatalf("publication %d of %d is not record %d", i, len(got), want.Offset)
			}
			i++
		}
		if i != len(got) {
			t.Errorf("%d publications for %d records", len(got), i)
		}
	})
	// A client that was to be at the end is told so, with its own offset.
	c := n.connect(t, JSON, "alice")
	at := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"})
	_, last := c.pub()
	c2 := n.connect(t, JSON, "alice")
	r := c2.subscribe(&protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: at.Epoch, Offset: last.Offset})
	if !r.Recovered || len(r.Publications) != 0 || r.Offset != last.Offset {
		t.Errorf("recovery of nothing: %v", r)
	}
	for labels, least := range map[string]float64{"outcome=asked": 7, "outcome=complete": 7} {
		if got := metric(t, n.registry, "postroad_stream_client_recoveries_total", labels); got < least {
			t.Errorf("%v recoveries with %s", got, labels)
		}
	}
}

// Live records that come while what was missed is still being sent follow it.
func TestLiveBehindRecovery(t *testing.T) {
	const missed = 3000
	log := hub(missed)
	n := start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 4096 })
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		epoch := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		stop := make(chan struct{})
		sent := make(chan int64, 1)
		go func() {
			var last int64
			for {
				select {
				case <-stop:
					sent <- last
					return
				default:
					last = log.Send("t", "k", "1").Offset
					<-time.After(100 * time.Microsecond)
				}
			}
		}()
		for range 5 {
			c := n.connect(t, e, "alice")
			r := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 5})
			pubs := collect(c, r.Publications, 5, missed+200)
			for i, p := range pubs {
				if p.Offset != uint64(i)+6 { // all records are of this key
					t.Fatalf("offset %d is followed by %d", pubs[max(i-1, 0)].Offset, p.Offset)
				}
			}
			c.conn.Close()
		}
		close(stop)
		within(t, sent, "the end of sending")
	})
}

// A subscription that begins with far more than may wait for a connection is sent
// all of it, as the client takes it, over a real connection; and so is what was
// missed by one that comes back.
func TestMoreThanMayWait(t *testing.T) {
	const keys = 200
	log := hub(0)
	value := []byte(`"` + strings.Repeat("x", 64<<10) + `"`)
	for i := range keys {
		log.Send("t", fmt.Sprint(i), string(value))
	}
	n := start(t, log, []string{"t"}, func(s *settings) {
		s.live.Recovery.MaxBytes = 64 << 20
		s.wire.MaxQueuedBytes, s.wire.MaxBurstBytes = 512<<10, 1<<20
		s.deps = func(d *Deps) { d.MaxQueued = s.wire.MaxQueuedBytes }
	})
	both(t, func(t *testing.T, e Encoding) {
		epoch := ""
		for _, from := range []uint64{0, 1} { // afresh, and from a position
			c := n.connect(t, e, "alice")
			c.send(&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/*", Recover: from > 0, Epoch: epoch, Offset: from}})
			until(t, "the client's having more than it takes", func() bool { return n.writers.Pending() > 200<<10 })
			if got := n.writers.Pending(); got > 512<<10 {
				t.Errorf("%d bytes wait", got)
			}
			r := c.read().Subscribe
			epoch = r.Epoch
			for i := range keys - int(from) {
				if _, pub := c.pub(); pub.Tags[tagKey] != fmt.Sprint(i+int(from)) {
					t.Fatalf("publication %d has key %s", i, pub.Tags[tagKey])
				}
			}
			c.conn.Close()
			until(t, "the end of the connection", func() bool { return n.writers.Pending() == 0 })
		}
	})
}

// What cannot be recovered begins with the last value, and says so.
func TestUnrecovered(t *testing.T) {
	log := hub(5)
	log.Truncate("t", 0, 3)
	n := start(t, log, []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		epoch := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		for _, req := range []*protocol.SubscribeRequest{
			{Channel: "t/k", Recover: true, Epoch: "0123456789abcdef", Offset: 5},
			{Channel: "t/k", Recover: true},
			{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 1 << 63},
			{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 1<<64 - 1},
			{Channel: "t/k", Recover: true, Epoch: epoch, Offset: 1},
		} {
			c := n.connect(t, e, "alice")
			r := c.subscribe(req)
			if !r.WasRecovering || r.Recovered || !r.Recoverable || r.Offset != 4 || r.Epoch != epoch || len(r.Publications) != 0 {
				t.Errorf("epoch %q offset %d: %v", req.Epoch, req.Offset, r)
			}
			if _, pub := c.pub(); pub.Offset != 5 || string(pub.Data) != `{"n":4}` {
				t.Errorf("last value %v", pub)
			}
		}
	})
	if got := metric(t, n.registry, "postroad_stream_client_recoveries_total", "outcome=failed"); got != 10 {
		t.Errorf("%v failed recoveries are counted", got)
	}
}

// A client that was at another node, which was further, is not sent again what it
// has.
func TestAheadOfTheNode(t *testing.T) {
	log := hub(10)
	n := start(t, log, []string{"t"})
	n.view.Hold("t", 0, 10)
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		epoch := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		_, end := log.All("t", 0)
		log.Send("t", "k", `"seen elsewhere"`)
		c = n.connect(t, e, "alice")
		r := c.subscribe(&protocol.SubscribeRequest{Channel: "t/k", Recover: true, Epoch: epoch, Offset: uint64(end) + 1})
		if !r.Recovered || r.Offset != uint64(end)+1 || len(r.Publications) != 0 {
			t.Errorf("ahead: %v", r)
		}
		log.Send("t", "k", `"new"`)
		n.view.Hold("t", 0, -1)
		if _, pub := c.pub(); string(pub.Data) != `"new"` || pub.Offset != uint64(end)+2 {
			t.Errorf("%v, want the new one", pub)
		}
		until(t, "the node's being at the end", func() bool { return n.engine.Ready() == nil })
		_, end = log.All("t", 0)
		n.view.Hold("t", 0, end)
	})
}

// A topic that was made anew ends its subscriptions so that SDKs make them again:
// those of the client by a push, those of connect with the connection.
func TestTopicMadeAnew(t *testing.T) {
	both(t, func(t *testing.T, e Encoding) {
		log := hub(5)
		n := start(t, log, []string{"t"})
		own, server := n.connect(t, e, "alice"), n.dial(t, e)
		own.subscribe(&protocol.SubscribeRequest{Channel: "/t/k"})
		own.pub()
		if r := server.ask(&command{Connect: &protocol.ConnectRequest{Token: "alice t/k"}}); r.Connect == nil {
			t.Fatalf("connect: %v", r)
		}
		server.pub()
		log.Make("t", 1)
		r := own.read()
		if r.Push == nil || r.Push.Channel != "/t/k" || r.Push.Unsubscribe == nil || r.Push.Unsubscribe.Code != 2500 || r.Push.Unsubscribe.Reason == "" {
			t.Fatalf("%v where the subscription's end was awaited", r)
		}
		server.wantClose(3010)
		log.Send("t", "k", `"anew"`)
		until(t, "the engine's being ready", func() bool { return n.engine.Ready() == nil })
		// As an SDK does it, with what it had.
		sub := own.subscribe(&protocol.SubscribeRequest{Channel: "/t/k", Recover: true, Epoch: "of before", Offset: 5})
		if !sub.WasRecovering || sub.Recovered {
			t.Errorf("after that: %v", sub)
		}
		if _, pub := own.pub(); string(pub.Data) != `"anew"` {
			t.Errorf("after that: %v", pub)
		}
	})
}

// Subscriptions of connect: those of the token, and those that the client asks to
// have again; each with its recovery.
func TestServerSideSubscriptions(t *testing.T) {
	log := hub(300)
	log.Send("t", "c1", `"one"`)
	n := start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 4096 })
	both(t, func(t *testing.T, e Encoding) {
		_, end := log.All("t", 0)
		c := n.dial(t, e)
		first := c.ask(&command{Connect: &protocol.ConnectRequest{Token: "carol t/k t/c1 t/forbidden nonsense"}}).Connect
		if len(first.Subs) != 2 || first.Subs["t/k"] == nil || first.Subs["t/c1"] == nil {
			t.Fatalf("subscriptions of the token: %v", first.Subs)
		}
		k := first.Subs["t/k"]
		if !k.Recoverable || k.Recovered || k.WasRecovering || k.Offset == 0 || len(k.Publications) != 0 {
			t.Errorf("t/k: %v", k)
		}
		for range 2 {
			if name, pub := c.pub(); pub.Offset != uint64(end) || pub.Offset <= first.Subs[name].Offset {
				t.Errorf("last value of %s: %v, want offset %d", name, pub, end)
			}
		}
		checkAnswer(t, c.ask(&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}), c.next, 105, false)
		sent := log.Send("t", "k", `"live"`)
		if name, pub := c.pub(); name != "t/k" || pub.Offset != uint64(sent.Offset)+1 {
			t.Errorf("live %v of %s", pub, name)
		}
		c.conn.Close()

		// Again, from a position that is a few hundred records old.
		c = n.dial(t, e)
		c.send(&command{Connect: &protocol.ConnectRequest{Token: "carol t/c1", Subs: map[string]*protocol.SubscribeRequest{
			"t/k": {Recover: true, Epoch: k.Epoch, Offset: 100}, "t/forbidden": {Recover: true, Epoch: k.Epoch, Offset: 1}, "t/nil": nil,
		}}}, &command{Ping: &protocol.PingRequest{}})
		again := c.read().Connect
		if len(again.Subs) != 2 {
			t.Fatalf("subscriptions: %v", again.Subs)
		}
		k = again.Subs["t/k"]
		if !k.Recovered || !k.WasRecovering || len(k.Publications) == 0 || k.Offset != k.Publications[len(k.Publications)-1].Offset {
			t.Fatalf("t/k again: %v", k)
		}
		got, ping := k.Publications, false
		for len(got) == 0 || got[len(got)-1].Offset < uint64(sent.Offset)+1 {
			switch r := c.read(); {
			case r.Ping != nil:
				ping = true
			case r.Push != nil && r.Push.Pub != nil && r.Push.Channel == "t/k":
				got = append(got, r.Push.Pub)
			}
		}
		records, _ := log.All("t", 0)
		want := 0
		for _, r := range records {
			if string(r.Key) != "k" || r.Offset < 100 || r.Offset > sent.Offset {
				continue
			}
			if want >= len(got) || got[want].Offset != uint64(r.Offset)+1 {
				t.Fatalf("publication %d is not record %d", want, r.Offset)
			}
			want++
		}
		if want != len(got) {
			t.Errorf("%d publications for %d records", len(got), want)
		}
		for !ping { // the last value of t/c1 may come before
			ping = c.read().Ping != nil
		}
		c.conn.Close()
	})
}

// The answer to connect stays small however much was missed on however many
// subscriptions; those without room in it begin where the client was.
func TestConnectAnswerIsBounded(t *testing.T) {
	log := hub(0)
	value := `"` + strings.Repeat("x", 1000) + `"`
	for i := range 400 {
		log.Send("t", fmt.Sprint(i%20), value)
	}
	n := start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 32 << 10 })
	both(t, func(t *testing.T, e Encoding) {
		epoch := n.connect(t, e, "alice").subscribe(&protocol.SubscribeRequest{Channel: "t/k"}).Epoch
		subs := map[string]*protocol.SubscribeRequest{}
		for i := range 20 {
			subs[fmt.Sprintf("t/%d", i)] = &protocol.SubscribeRequest{Recover: true, Epoch: epoch, Offset: 1}
		}
		c := n.dial(t, e)
		c.send(&command{Connect: &protocol.ConnectRequest{Token: "alice", Subs: subs}})
		r := c.read().Connect
		if r.SizeVT() > 40<<10 || len(r.Subs) != 20 {
			t.Fatalf("an answer of %d bytes with %d subscriptions", r.SizeVT(), len(r.Subs))
		}
		last, got := map[string]uint64{}, 0
		for name, sub := range r.Subs {
			last[name] = 1
			for _, p := range sub.Publications {
				last[name] = p.Offset
				got++
			}
			if whole := last[name] > 380; !sub.Recovered || !whole && sub.Offset != last[name] || whole && sub.Offset != 400 {
				t.Errorf("%s begins at %d, having %d", name, sub.Offset, last[name])
			}
		}
		for ; got < 400-1; got++ { // the first record is the one that the client had
			name, p := c.pub()
			if p.Offset <= last[name] {
				t.Fatalf("%s: %d after %d", name, p.Offset, last[name])
			}
			last[name] = p.Offset
		}
	})
}

// While one of its subscriptions cannot be made for now, connect fails for now: the
// SDK would take an answer without it for its end, and forget the position.
func TestConnectWaitsForItsSubscriptions(t *testing.T) {
	fail := make(chan error, 1)
	n := start(t, hub(1), []string{"t"}, func(s *settings) {
		s.engine = func(e Engine) Engine { return failing{e, fail} }
	})
	c := n.dial(t, JSON)
	fail <- live.ErrNotReady
	checkAnswer(t, c.ask(&command{Connect: &protocol.ConnectRequest{Token: "alice t/k t/b"}}), 1, 100, true)
	c = n.dial(t, JSON)
	fail <- live.ErrBusy
	checkAnswer(t, c.ask(&command{Connect: &protocol.ConnectRequest{Token: "alice t/k t/b"}}), 1, 111, true)
	c = n.dial(t, JSON)
	fail <- live.ErrUnknownTopic
	if r := c.ask(&command{Connect: &protocol.ConnectRequest{Token: "alice t/k t/b"}}); r.Connect == nil || len(r.Connect.Subs) != 1 {
		t.Errorf("connect with one unknown topic: %v", r)
	}
	c = n.dial(t, JSON)
	var many []string
	for i := range 129 {
		many = append(many, fmt.Sprintf("t/%d", i))
	}
	c.send(&command{Connect: &protocol.ConnectRequest{Token: "alice " + strings.Join(many, " ")}})
	c.wantClose(3505)
}

// failing fails the next Subscribe with what is waiting.
type failing struct {
	Engine
	next chan error
}

func (f failing) Subscribe(ctx context.Context, r live.Request) (*live.Subscription, error) {
	select {
	case err := <-f.next:
		return nil, err
	default:
		return f.Engine.Subscribe(ctx, r)
	}
}

// A subscribe that the engine refuses leaves no trace, and can be tried again.
func TestSubscribeFails(t *testing.T) {
	fail := make(chan error, 1)
	n := start(t, hub(1), []string{"t"}, func(s *settings) {
		s.engine = func(e Engine) Engine { return failing{e, fail} }
	})
	c := n.connect(t, JSON, "alice")
	for _, row := range []struct {
		err       error
		code      uint32
		temporary bool
	}{
		{live.ErrNotReady, 100, true},
		{fmt.Errorf("%w: %w", live.ErrChanged, live.ErrNotReady), 100, true},
		{live.ErrBusy, 111, true},
		{context.DeadlineExceeded, 100, true},
	} {
		fail <- row.err
		checkAnswer(t, c.ask(&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}), c.next, row.code, row.temporary)
	}
	c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"})
}

// A new token is taken; what it does not let the client see any more ends for
// good.
func TestRefresh(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		n.people.expire("carol", time.Now().Add(time.Hour))
		n.people.expire("carol-less", time.Now().Add(2*time.Hour))
		c := n.dial(t, e)
		r := c.ask(&command{Connect: &protocol.ConnectRequest{Token: "carol"}}).Connect
		if !r.Expires || r.Ttl < 3500 || r.Ttl > 3600 {
			t.Fatalf("connect: %v", r)
		}
		c.subscribe(&protocol.SubscribeRequest{Channel: "t/k"})
		c.pub()
		c.subscribe(&protocol.SubscribeRequest{Channel: "t/c"})
		c.send(&command{Refresh: &protocol.RefreshRequest{Token: "carol-less"}})
		var refreshed, ended bool
		for !refreshed || !ended {
			switch r := c.read(); {
			case r.Refresh != nil:
				refreshed = true
				if !r.Refresh.Expires || r.Refresh.Ttl < 7100 || r.Refresh.Ttl > 7200 || r.Refresh.Client == "" {
					t.Errorf("refresh: %v", r)
				}
			case r.Push != nil && r.Push.Unsubscribe != nil:
				ended = true
				if r.Push.Channel != "t/k" || r.Push.Unsubscribe.Code >= 2500 || r.Push.Unsubscribe.Code < 2000 {
					t.Errorf("ended: %v", r)
				}
			default:
				t.Fatalf("%v", r)
			}
		}
		checkAnswer(t, c.ask(&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}), c.next, 103, false)
		checkAnswer(t, c.ask(&command{SubRefresh: &protocol.SubRefreshRequest{Channel: "t/c"}}), c.next, 0, false)
		c.conn.Close()
	})
}

// Time ends connections: those that never connect, and those whose token is no
// longer good and got no other. The client has a while for that.
func TestTime(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	now := time.Now()
	late := n.dial(t, JSON)
	h := within(t, n.handlers, "the handler")
	h.Tick(now.Add(10 * time.Second))
	h.Tick(now.Add(17 * time.Second))
	late.wantClose(3502)
	late.conn.Close() // or the node would wait for an answer

	n.people.expire("alice", now.Add(time.Minute))
	c := n.connect(t, JSON, "alice")
	h = within(t, n.handlers, "the handler")
	h.Tick(now.Add(60 * time.Second))
	h.Tick(now.Add(84 * time.Second))
	n.people.expire("alice", now.Add(2*time.Minute))
	if r := c.ask(&command{Refresh: &protocol.RefreshRequest{Token: "alice"}}); r.Refresh == nil {
		t.Fatalf("refresh: %v", r)
	}
	h.Tick(now.Add(100 * time.Second))
	checkAnswer(t, c.ask(&command{Ping: &protocol.PingRequest{}}), c.next, 0, false)
	h.Tick(now.Add(147 * time.Second))
	c.wantClose(3005)
	c.conn.Close()
	until(t, "the count of ends", func() bool {
		return metric(t, n.registry, "postroad_stream_client_disconnects_total", "code=3005") == 1 &&
			metric(t, n.registry, "postroad_stream_client_disconnects_total", "code=3502") == 1
	})
}

package centrifugo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

type command = protocol.Command

func TestConnect(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		n.people.expire("alice soon", time.Now().Add(100*time.Second))
		c := n.dial(t, e)
		r := c.ask(&command{Connect: &protocol.ConnectRequest{Token: "alice", Name: "js", Version: "1", Data: []byte(`{"x":1}`)}})
		got := r.Connect
		if got == nil || len(got.Client) != 36 || got.Version != "test" || got.Node != "node-1" || got.Ping != 25 || !got.Pong ||
			string(got.Data) != `{"node":"node-1"}` || got.Expires || got.Ttl != 0 || len(got.Subs) != 0 || got.Session != "" {
			t.Errorf("connect is answered %v", r)
		}
		other := n.dial(t, e).ask(&command{Connect: &protocol.ConnectRequest{Token: "alice"}})
		if other.Connect.Client == got.Client {
			t.Error("two connections have one id")
		}
		if got := metric(t, n.registry, "postroad_stream_client_connections", "protocol="+e.String()+" "); got != 2 {
			t.Errorf("%v connections are counted", got)
		}
	})
	until(t, "the end of the connections", func() bool {
		return gauge(t, n.registry, "postroad_stream_client_connections") == 0
	})
}

func TestConnectIsRefused(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	n.people.expire("alice", time.Now().Add(-time.Second))
	for _, row := range []struct {
		token     string
		code      uint32
		temporary bool
	}{
		{"", 101, false},
		{"expired", 109, false},
		{"alice", 109, false}, // good by what was said of it, and expired by now
		{"away", 100, true},
		{"many", 111, true},
		{"forged", 3500, false},
	} {
		both(t, func(t *testing.T, e Encoding) {
			c := n.dial(t, e)
			c.send(&command{Connect: &protocol.ConnectRequest{Token: row.token}}, &command{Ping: &protocol.PingRequest{}})
			r := c.read()
			if row.code >= 3000 {
				if r.Push == nil || r.Push.Disconnect == nil || r.Push.Disconnect.Code != row.code {
					t.Errorf("token %q: %v", row.token, r)
				}
				return
			}
			if r.Error == nil || r.Error.Code != row.code || r.Error.Temporary != row.temporary || r.Error.Message == "" {
				t.Errorf("token %q: %v", row.token, r)
			}
			// Nothing is taken after connect failed, not even what came with it.
			c.send(&command{Ping: &protocol.PingRequest{}})
			c.wantClose(3501)
		})
	}
}

// Every command with every answer it can have, on a connection that is let in.
func TestCommands(t *testing.T) {
	log := hub(3)
	log.Make("wide", 3)
	n := start(t, log, []string{"t", "wide", "absent"}, func(s *settings) {
		s.opts.MaxSubscriptions = 2
	})
	n.publish.fail = func(p Publication) error {
		return map[string]error{
			"denied": ErrDenied, "rejected": fmt.Errorf("x: %w", ErrRejected), "large": ErrTooLarge, "topic": ErrNoTopic,
			"busy": ErrOverloaded, "unknown": ErrOutcomeUnknown, "other": errors.New("whatever"),
		}[p.Key]
	}
	sub := func(name string) *command { return &command{Subscribe: &protocol.SubscribeRequest{Channel: name}} }
	pub := func(name, data string) *command {
		return &command{Publish: &protocol.PublishRequest{Channel: name, Data: []byte(data)}}
	}
	hist := func(name string, since *protocol.StreamPosition) *command {
		return &command{History: &protocol.HistoryRequest{Channel: name, Limit: 10, Since: since}}
	}
	long := "t/" + strings.Repeat("x", 254)
	for _, row := range []struct {
		name string
		as   string
		// before are commands that succeed.
		before    []*command
		cmd       *command
		code      uint32
		temporary bool
	}{
		{"subscribe", "alice", nil, sub("t/k"), 0, false},
		{"a leading slash", "alice", nil, sub("/t/k"), 0, false},
		{"two spellings", "alice", []*command{sub("/t/k")}, sub("t/k"), 0, false},
		{"longest name", "alice", nil, sub(long[:255]), 0, false},
		{"no name", "alice", nil, sub(""), 107, false},
		{"name too long", "alice", nil, sub(long), 107, false},
		{"no subject", "alice", nil, sub("t"), 107, false},
		{"bad escape", "alice", nil, sub("t/%"), 107, false},
		{"not permitted", "carol", nil, sub("t/x"), 103, false},
		{"all not permitted", "carol", nil, sub("t/*"), 103, false},
		{"not permitted says nothing of what there is", "carol", nil, sub("nothing/x"), 103, false},
		{"unknown topic", "alice", nil, sub("nothing/x"), 102, false},
		{"unknown partition", "alice", nil, sub("t/*@7"), 102, false},
		{"twice", "alice", []*command{sub("t/k")}, sub("t/k"), 105, false},
		{"too many", "alice", []*command{sub("t/a"), sub("t/b")}, sub("t/c"), 106, false},
		{"a filter", "alice", nil, &command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Tf: &protocol.FilterNode{Key: "key"}}}, 108, false},
		{"a map", "alice", nil, &command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k", Type: 1}}, 108, false},
		{"what is offered and not taken", "alice", nil, &command{Subscribe: &protocol.SubscribeRequest{
			Channel: "t/k", Delta: "fossil", JoinLeave: true, Flag: 1, Positioned: true, Recoverable: true, Token: "x", Data: []byte("{}"),
		}}, 0, false},
		{"unrecovered and rejected", "alice", nil, &command{Subscribe: &protocol.SubscribeRequest{
			Channel: "t/k", Recover: true, Epoch: "other", Offset: 1, Flag: flagRejectUnrecovered,
		}}, 112, false},

		{"unsubscribe", "alice", []*command{sub("t/k")}, &command{Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}}, 0, false},
		{"unsubscribe what is not", "alice", nil, &command{Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}}, 0, false},
		{"unsubscribe nothing", "alice", nil, &command{Unsubscribe: &protocol.UnsubscribeRequest{}}, 107, false},
		{"again after unsubscribe", "alice", []*command{sub("t/k"), {Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}}}, sub("t/k"), 0, false},

		{"publish", "alice", nil, pub("t/k", "1"), 0, false},
		{"publish without a key", "alice", nil, pub("t/", "1"), 0, false},
		{"publish to all", "alice", nil, pub("t/*", "1"), 107, false},
		{"publish to a partition", "alice", nil, pub("t/*@0", "1"), 107, false},
		{"publish to no subject", "alice", nil, pub("t", "1"), 107, false},
		{"publish not permitted", "bob", nil, pub("t/k", "1"), 103, false},
		{"publish of a map", "alice", nil, &command{Publish: &protocol.PublishRequest{Channel: "t/k", Data: []byte("1"), Type: 1}}, 108, false},
		{"gateway denies", "alice", nil, pub("t/denied", "1"), 103, false},
		{"gateway rejects", "alice", nil, pub("t/rejected", "1"), 107, false},
		{"gateway takes less", "alice", nil, pub("t/large", "1"), 107, false},
		{"gateway knows no topic", "alice", nil, pub("t/topic", "1"), 102, false},
		{"no gateway takes it", "alice", nil, pub("t/busy", "1"), 111, true},
		{"outcome unknown", "alice", nil, pub("t/unknown", "1"), 100, true},
		{"other failure", "alice", nil, pub("t/other", "1"), 100, true},

		{"history", "alice", nil, hist("t/k", nil), 0, false},
		{"history not permitted", "carol", nil, hist("t/x", nil), 103, false},
		{"history of nothing", "alice", nil, hist("", nil), 107, false},
		{"history of an unknown topic", "alice", nil, hist("nothing/k", nil), 102, false},
		{"history since another epoch", "alice", nil, hist("t/k", &protocol.StreamPosition{Epoch: "other", Offset: 1}), 112, false},

		{"ping", "alice", nil, &command{Ping: &protocol.PingRequest{}}, 0, false},
		{"refresh", "alice", nil, &command{Refresh: &protocol.RefreshRequest{Token: "alice"}}, 0, false},
		{"refresh with nothing", "alice", nil, &command{Refresh: &protocol.RefreshRequest{}}, 107, false},
		{"refresh with an expired token", "alice", nil, &command{Refresh: &protocol.RefreshRequest{Token: "expired"}}, 3005, false},
		{"refresh with a forged token", "alice", nil, &command{Refresh: &protocol.RefreshRequest{Token: "forged"}}, 3500, false},
		{"refresh with another's token", "alice", nil, &command{Refresh: &protocol.RefreshRequest{Token: "bob"}}, 3500, false},
		{"refresh while keys are away", "alice", nil, &command{Refresh: &protocol.RefreshRequest{Token: "away"}}, 100, true},
		{"sub_refresh", "alice", []*command{sub("t/k")}, &command{SubRefresh: &protocol.SubRefreshRequest{Channel: "t/k", Token: "x"}}, 0, false},
		{"sub_refresh of what is not", "alice", nil, &command{SubRefresh: &protocol.SubRefreshRequest{Channel: "t/k", Token: "x"}}, 103, false},
		{"sub_refresh of nothing", "alice", nil, &command{SubRefresh: &protocol.SubRefreshRequest{}}, 107, false},
		{"presence", "alice", nil, &command{Presence: &protocol.PresenceRequest{Channel: "t/k"}}, 108, false},
		{"presence_stats", "alice", nil, &command{PresenceStats: &protocol.PresenceStatsRequest{Channel: "t/k"}}, 108, false},
		{"rpc", "alice", nil, &command{Rpc: &protocol.RPCRequest{Method: "m"}}, 108, false},

		{"unknown command", "alice", nil, &command{Id: 77}, 104, false},
		{"two at once", "alice", nil, &command{Id: 77, Ping: &protocol.PingRequest{}, Rpc: &protocol.RPCRequest{}}, 107, false},
		{"connect twice", "alice", nil, &command{Connect: &protocol.ConnectRequest{Token: "alice"}}, 3501, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			both(t, func(t *testing.T, e Encoding) {
				c := n.connect(t, e, row.as)
				for _, cmd := range row.before {
					if r := answerTo(c, clone(t, cmd)); r.Error != nil {
						t.Fatalf("before: %v", r)
					}
				}
				cmd := clone(t, row.cmd)
				checkAnswer(t, answerTo(c, cmd), cmd.Id, row.code, row.temporary)
				if row.code < 3000 { // and the connection is as good as before
					checkAnswer(t, answerTo(c, &command{Ping: &protocol.PingRequest{}}), c.next, 0, false)
				}
			})
		})
	}
}

// clone copies a command, which gets an id of its own where it is sent.
func clone(t *testing.T, cmd *command) *command {
	t.Helper()
	b, err := cmd.MarshalVT()
	c := new(command)
	if err == nil {
		err = c.UnmarshalVT(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// answerTo skips publications, which are another test's.
func answerTo(c *client, cmd *command) *protocol.Reply {
	c.t.Helper()
	c.send(cmd)
	for {
		if r := c.read(); r.Push == nil || r.Push.Pub == nil {
			return r
		}
	}
}

func checkAnswer(t *testing.T, r *protocol.Reply, id, code uint32, temporary bool) {
	t.Helper()
	if code >= 3000 {
		if r.Push == nil || r.Push.Disconnect == nil || r.Push.Disconnect.Code != code {
			t.Errorf("%v, want the close with %d", r, code)
		}
		return
	}
	switch {
	case r.Id != id:
		t.Errorf("%v, want an answer to %d", r, id)
	case code == 0 && r.Error != nil:
		t.Errorf("%v, want success", r)
	case code != 0 && (r.Error == nil || r.Error.Code != code || r.Error.Temporary != temporary):
		t.Errorf("%v, want error %d, temporary %v", r, code, temporary)
	}
}

// What is no command, or comes when it may not, ends the connection with 3501,
// which is final: a client that speaks like that will not learn better.
func TestBadFrames(t *testing.T) {
	n := start(t, hub(0), []string{"t"})
	ok := &command{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice"}}
	type frames map[Encoding][]byte
	same := func(s string) frames { return frames{JSON: []byte(s), Protobuf: []byte(s)} }
	of := func(commands ...*command) frames {
		return frames{JSON: encodeCommands(t, JSON, commands...), Protobuf: encodeCommands(t, Protobuf, commands...)}
	}
	for _, row := range []struct {
		name   string
		frames frames
		// connected: sent on a connection that is let in.
		connected bool
	}{
		{"nothing", same(""), true},
		{"a line end", frames{JSON: []byte("\n")}, true},
		{"no command", same("hello"), true},
		{"null", frames{JSON: []byte("null")}, true},
		{"a list", frames{JSON: []byte("[{}]")}, true},
		{"half a command", frames{JSON: []byte(`{"id":1`), Protobuf: []byte{5, 8}}, true},
		{"an empty line between", frames{JSON: []byte("{\"id\":9,\"ping\":{}}\n\n{}")}, true},
		{"a negative id", frames{JSON: []byte(`{"id":-1,"ping":{}}`)}, true},
		{"a length without end", frames{Protobuf: bytes.Repeat([]byte{0xff}, 11)}, true},
		{"a length beyond the frame", frames{Protobuf: []byte{0x80, 0x80, 0x80, 0x80, 0x08, 1}}, true},
		{"a command without an id", of(&command{Ping: &protocol.PingRequest{}}), true},
		{"ping before connect", of(&command{Id: 1, Ping: &protocol.PingRequest{}}), false},
		{"subscribe before connect", of(&command{Id: 1, Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}}, ok), false},
		{"a pong before connect", of(&command{}), false},
		{"a message before connect", of(&command{Send: &protocol.SendRequest{Data: []byte("1")}}), false},
		{"connect with something else", of(&command{Id: 1, Connect: ok.Connect, Ping: &protocol.PingRequest{}}), false},
		{"connect without an id", of(&command{Connect: ok.Connect}), false},
		{"connect twice in a frame", of(ok, &command{Id: 2, Connect: ok.Connect}), false},
	} {
		for e, frame := range row.frames {
			t.Run(row.name+"/"+e.String(), func(t *testing.T) {
				c := n.dial(t, e)
				if row.connected {
					c.send(&command{Connect: ok.Connect})
					c.read()
				}
				c.frame(frame)
				for {
					r := c.read()
					if r.Push != nil && r.Push.Disconnect != nil {
						if r.Push.Disconnect.Code != 3501 {
							t.Errorf("closed with %d", r.Push.Disconnect.Code)
						}
						return
					}
				}
			})
		}
	}
}

// Many commands in a frame are answered each, in order where nothing has to be
// waited for; pongs and messages without a reply are taken in between.
func TestManyCommandsInAFrame(t *testing.T) {
	n := start(t, hub(0), []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		c := n.dial(t, e)
		commands := []*command{{Connect: &protocol.ConnectRequest{Token: "alice"}}, {}, {Send: &protocol.SendRequest{Data: []byte(`"x"`)}}}
		for i := range 50 {
			commands = append(commands,
				&command{Subscribe: &protocol.SubscribeRequest{Channel: fmt.Sprintf("t/%d", i)}},
				&command{Presence: &protocol.PresenceRequest{Channel: "t/1"}}, &command{})
		}
		c.send(commands...)
		for _, cmd := range commands {
			if cmd.Id == 0 {
				continue
			}
			if r := c.read(); r.Id != cmd.Id || (r.Subscribe == nil) != (cmd.Subscribe == nil) {
				t.Fatalf("%v in answer to %v", r, cmd)
			}
		}
	})
	if got := gauge(t, n.registry, "postroad_stream_client_sends_ignored_total"); got != 2 {
		t.Errorf("%v messages without a reply are counted", got)
	}
	for labels, want := range map[string]float64{
		"code=0 method=connect": 2, "code=0 method=subscribe": 100, "code=108 method=presence ": 100,
	} {
		if got := metric(t, n.registry, "postroad_stream_client_commands_total", labels); got != want {
			t.Errorf("%v commands with %s are counted, want %v", got, labels, want)
		}
	}
}

// What clients publish comes to the publisher as they sent it, with the type that
// it has whichever encoding carried it.
func TestPublish(t *testing.T) {
	n := start(t, hub(0), []string{"t"})
	for _, row := range []struct {
		channel, data   string
		key, kind       string
		hasKey, noJSONy bool
	}{
		{"t/k", `{"a":1}`, "k", ContentJSON, true, false},
		{"/t/a%2Fb", `"x"`, "a/b", ContentJSON, true, false},
		{"t/", `1`, "", ContentJSON, false, false},
		{"t/k", `plain`, "k", ContentText, true, true},
		{"t/k", "\xff\x00", "k", ContentBytes, true, true},
	} {
		for _, e := range []Encoding{JSON, Protobuf} {
			if e == JSON && row.noJSONy {
				continue // a JSON client has nothing but JSON to publish
			}
			c := n.connect(t, e, "alice")
			if r := c.ask(&command{Publish: &protocol.PublishRequest{Channel: row.channel, Data: []byte(row.data)}}); r.Publish == nil {
				t.Fatalf("publish to %s: %v", row.channel, r)
			}
			got := n.publish.last()
			if got.Topic != "t" || got.Key != row.key || got.HasKey != row.hasKey || string(got.Data) != row.data ||
				got.ContentType != row.kind || got.Principal.Name != "alice" {
				t.Errorf("%v: %s: published %+v", e, row.channel, got)
			}
		}
	}
	nobody := start(t, hub(0), []string{"t"}, func(s *settings) { s.deps = func(d *Deps) { d.Publisher = nil } })
	c := nobody.connect(t, JSON, "alice")
	checkAnswer(t, c.ask(&command{Publish: &protocol.PublishRequest{Channel: "t/k", Data: []byte("1")}}), 2, 108, false)
}

func TestHistory(t *testing.T) {
	log := hub(10)
	log.Make("wide", 2)
	for i := range 6 {
		log.Append("wide", live.Record{Partition: int32(i % 2), Key: fmt.Appendf(nil, "k%d", i), Value: []byte("1")})
	}
	n := start(t, log, []string{"t", "wide"}, func(s *settings) { s.opts.MaxHistory = 6 })
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		ask := func(name string, limit int32, since uint64, reverse bool, epoch string) *protocol.HistoryResult {
			t.Helper()
			h := &protocol.HistoryRequest{Channel: name, Limit: limit, Reverse: reverse}
			if epoch != "" {
				h.Since = &protocol.StreamPosition{Offset: since, Epoch: epoch}
			}
			r := c.ask(&command{History: h})
			if r.History == nil {
				t.Fatalf("history: %v", r)
			}
			return r.History
		}
		top := ask("t/k", 0, 0, false, "")
		if top.Offset != 10 || len(top.Epoch) != 16 || len(top.Publications) != 0 {
			t.Fatalf("the position alone: %v", top)
		}
		for _, row := range []struct {
			limit   int32
			since   uint64
			reverse bool
			epoch   string
			want    []uint64
		}{
			{3, 0, false, "", []uint64{1, 2, 3}},
			{3, 2, false, top.Epoch, []uint64{3, 4, 5}},
			{100, 0, false, "", []uint64{1, 2, 3, 4, 5, 6}},
			{-1, 8, false, top.Epoch, []uint64{9, 10}},
			{2, 0, true, "", []uint64{10, 9}},
			{2, 5, true, top.Epoch, []uint64{4, 3}},
			{2, 10, false, top.Epoch, nil},
		} {
			r := ask("t/k", row.limit, row.since, row.reverse, row.epoch)
			var got []uint64
			for _, p := range r.Publications {
				got = append(got, p.Offset)
				if want := fmt.Sprintf(`{"n":%d}`, p.Offset-1); string(p.Data) != want {
					t.Errorf("offset %d has %s", p.Offset, p.Data)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(row.want) || r.Offset != 10 || r.Epoch != top.Epoch {
				t.Errorf("%+v: offsets %v at %d of %s", row, got, r.Offset, r.Epoch)
			}
		}
		wide := ask("wide/*", 100, 0, false, "")
		if wide.Epoch != "" || wide.Offset != 0 || len(wide.Publications) != 6 {
			t.Errorf("history of several partitions: %v", wide)
		}
		for _, p := range wide.Publications {
			if p.Offset != 0 || !strings.HasPrefix(p.Tags[tagKey], "k") {
				t.Errorf("of several partitions: %v", p)
			}
		}
	})
}

// One SDK fails over a history whose list of publications is null.
func TestHistoryOfNothingInJSON(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	s, c := n.join(t, JSON, "alice")
	s.Message([]byte(`{"id":2,"history":{"channel":"t/k"}}`))
	until(t, "the answer", s.idle)
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.payloads[len(c.payloads)-1]; !bytes.Contains(got, []byte(`"publications":[]`)) {
		t.Errorf("%s", got)
	}
}

// A page ends where an answer would become larger than it may, and a client that
// goes on from its last publication gets the rest.
func TestHistoryByBytes(t *testing.T) {
	log := hub(0)
	for range 20 {
		log.Send("t", "k", `"`+strings.Repeat("x", 1000)+`"`)
	}
	n := start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 5000 })
	both(t, func(t *testing.T, e Encoding) {
		c := n.connect(t, e, "alice")
		h := &protocol.HistoryRequest{Channel: "t/k", Limit: 100}
		got := uint64(0)
		for range 20 {
			r := c.ask(&command{History: h}).History
			if len(r.Publications) == 0 {
				break
			}
			if len(r.Publications) > 4 {
				t.Fatalf("%d publications in one answer", len(r.Publications))
			}
			for _, p := range r.Publications {
				if got++; p.Offset != got {
					t.Fatalf("offset %d, want %d", p.Offset, got)
				}
			}
			h.Since = &protocol.StreamPosition{Offset: got, Epoch: r.Epoch}
		}
		if got != 20 {
			t.Errorf("%d of 20 publications", got)
		}
	})
}

// One command more than may wait is answered at once; the others are not lost.
func TestTooManyCommands(t *testing.T) {
	go1 := make(chan struct{})
	n := start(t, hub(0), []string{"t"}, func(s *settings) { s.opts.MaxCommands, s.opts.Concurrent = 3, 1 })
	n.publish.fail = func(Publication) error { <-go1; return nil }
	c := n.connect(t, JSON, "alice")
	for i := range 5 {
		c.send(&command{Publish: &protocol.PublishRequest{Channel: fmt.Sprintf("t/%d", i), Data: []byte("1")}})
	}
	for range 2 {
		if r := c.read(); r.Error == nil || r.Error.Code != 111 || !r.Error.Temporary || r.Id < 5 {
			t.Fatalf("%v, want 111 for the last two", r)
		}
	}
	// What needs no waiting is still answered.
	if r := c.ask(&command{Ping: &protocol.PingRequest{}}); r.Ping == nil {
		t.Fatalf("ping: %v", r)
	}
	close(go1)
	for want := uint32(2); want < 5; want++ {
		if r := c.read(); r.Publish == nil || r.Id != want {
			t.Fatalf("%v, want the answer to %d", r, want)
		}
	}
}

// Commands on one channel wait for each other, also those that need no waiting;
// commands on others overtake them.
func TestOrderOnAChannel(t *testing.T) {
	go1 := make(chan struct{})
	n := start(t, hub(2), []string{"t"})
	n.publish.fail = func(p Publication) error {
		if p.Key == "k" {
			<-go1
		}
		return nil
	}
	c := n.connect(t, Protobuf, "alice")
	c.send(
		&command{Publish: &protocol.PublishRequest{Channel: "t/k", Data: []byte("1")}}, // 2
		&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}},                // 3
		&command{Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}},            // 4
		&command{Subscribe: &protocol.SubscribeRequest{Channel: "t/other"}},            // 5
	)
	if r := c.read(); r.Id != 5 || r.Subscribe == nil {
		t.Fatalf("%v, want the answer to 5", r)
	}
	close(go1)
	for want := uint32(2); want < 5; {
		r := c.read()
		if r.Push != nil {
			continue // the last value
		}
		if r.Id != want || r.Error != nil {
			t.Fatalf("%v, want the answer to %d", r, want)
		}
		want++
	}
}

func TestGoldenReplies(t *testing.T) {
	for _, row := range []struct {
		reply *protocol.Reply
		json  string
		hex   string
	}{
		{
			&protocol.Reply{Id: 1, Error: errInternal().reply()}, `{"id":1,"error":{"code":100,"message":"internal server error","temporary":true}}`,
			"1f0801121b08641215696e7465726e616c20736572766572206572726f721801",
		},
		{&protocol.Reply{Id: 300, Unsubscribe: &protocol.UnsubscribeResult{}}, `{"id":300,"unsubscribe":{}}`, "0508ac023a00"},
		{
			&protocol.Reply{Push: &protocol.Push{Channel: "t/k", Unsubscribe: &protocol.Unsubscribe{Code: 2500, Reason: "insufficient state"}}},
			`{"push":{"channel":"t/k","unsubscribe":{"code":2500,"reason":"insufficient state"}}}`,
			"2022" + "1e" + "1203742f6b" + "3a1710c4131a12" + fmt.Sprintf("%x", "insufficient state"),
		},
	} {
		j, err := JSON.encode(row.reply)
		if err != nil || string(j) != row.json || !json.Valid(j) {
			t.Errorf("%s, %v", j, err)
		}
		p, err := Protobuf.encode(row.reply)
		if err != nil || fmt.Sprintf("%x", p) != row.hex {
			t.Errorf("%x, %v; want %s", p, err, row.hex)
		}
	}
}

package centrifugo

import (
	"testing"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live/livetest"
)

// Whatever bytes a client sends, it is answered by replies to ids that it gave, or
// its connection is ended with a code of the protocol; and nothing of the session
// is left behind.
func fuzzSession(f *testing.F, e Encoding) {
	for _, cmd := range goldenCommands() {
		one := encodeCommands(f, e, cmd)
		f.Add(true, one)
		f.Add(false, one)
	}
	f.Add(true, encodeCommands(f, e, goldenCommands()...))
	f.Add(true, encodeCommands(f, e, goldenCommands()[1:]...))
	log := livetest.NewLog()
	log.Make("t", 1)
	log.Make("wide", 3)
	for range 100 {
		log.Send("t", "k", `{"x":1}`)
		log.Send("wide", "k", "text")
	}
	n := start(f, log, []string{"t", "wide"})
	f.Fuzz(func(t *testing.T, connected bool, frame []byte) {
		c := newSink(t, e)
		s := n.protocol.Handler(c, n.people.authenticate).(*session)
		if connected {
			s.Message(encodeCommands(t, e, &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice"}}))
		}
		ids := map[uint32]int{1: 1}
		_ = e.commands(frame, func(cmd *protocol.Command) bool {
			ids[cmd.Id]++
			return true
		})
		s.Message(frame)
		until(t, "the end of tasks", s.idle)
		replies, closed := c.all()
		for _, r := range replies {
			if r.Push == nil && (r.Id == 0 || ids[r.Id] == 0) {
				t.Errorf("a reply to nothing: %v", r)
			}
			if r.Push == nil {
				ids[r.Id]--
			}
		}
		switch closed {
		case 0, 3500, 3501, 3005, 3505:
		default:
			t.Errorf("closed with %d", closed)
		}
		s.end(c)
	})
}

func FuzzJSONSession(f *testing.F)     { fuzzSession(f, JSON) }
func FuzzProtobufSession(f *testing.F) { fuzzSession(f, Protobuf) }

// goldenCommands are one of each kind, and some that are odd.
func goldenCommands() []*protocol.Command {
	return []*protocol.Command{
		{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice t/k", Subs: map[string]*protocol.SubscribeRequest{"t/*": {Recover: true, Epoch: "x", Offset: 3}}}},
		{Id: 2, Subscribe: &protocol.SubscribeRequest{Channel: "t/k"}},
		{Id: 3, Subscribe: &protocol.SubscribeRequest{Channel: "/wide/*", Recover: true, Epoch: "e", Offset: 1 << 63}},
		{Id: 4, Unsubscribe: &protocol.UnsubscribeRequest{Channel: "t/k"}},
		{Id: 5, Publish: &protocol.PublishRequest{Channel: "t/k", Data: []byte(`{"a":1}`)}},
		{Id: 6, Presence: &protocol.PresenceRequest{Channel: "t/k"}},
		{Id: 7, PresenceStats: &protocol.PresenceStatsRequest{Channel: "t/k"}},
		{Id: 8, History: &protocol.HistoryRequest{Channel: "t/k", Limit: -1, Since: &protocol.StreamPosition{Offset: 3, Epoch: "e"}}},
		{Id: 9, History: &protocol.HistoryRequest{Channel: "t/*@0", Limit: 1 << 30, Reverse: true}},
		{Id: 10, Ping: &protocol.PingRequest{}},
		{Send: &protocol.SendRequest{Data: []byte("1")}},
		{Id: 11, Rpc: &protocol.RPCRequest{Method: "m", Data: []byte("1")}},
		{Id: 12, Refresh: &protocol.RefreshRequest{Token: "alice"}},
		{Id: 13, SubRefresh: &protocol.SubRefreshRequest{Channel: "t/k", Token: "x"}},
		{},
		{Id: 14},
		{Id: 15, Ping: &protocol.PingRequest{}, Send: &protocol.SendRequest{}},
	}
}

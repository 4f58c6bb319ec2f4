package centrifugo

import (
	"strings"
	"testing"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// The answer to connect holds what two subscriptions have missed: the first nearly
// all that has room in it, the other a message that has not. Both together are more
// than the 1 MiB that some SDKs take, so that it follows behind.
func TestLargeMessageBehindConnect(t *testing.T) {
	log := hub(0)
	log.Send("t", "a", "0")
	log.Send("t", "b", "0")
	n := start(t, log, []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		client := n.connect(t, e, "alice")
		at := client.subscribe(&protocol.SubscribeRequest{Channel: "t/b"})
		_, last := client.pub()
		at.Offset = last.Offset
		texts := [2]string{strings.Repeat("x", 250<<10), strings.Repeat("y", 890_000)}
		log.Send("t", "a", `"`+texts[0]+`"`)
		log.Send("t", "b", `"`+texts[1]+`"`)
		until(t, "the messages", func() bool {
			all, err := n.engine.Positions(live.Subject{Topic: "t", All: true, Partition: -1})
			return err == nil && uint64(all[0].Next) == at.Offset+2
		})
		c := newSink(t, e)
		s := n.protocol.Handler(c, n.people.authenticate).(*session)
		t.Cleanup(func() { s.end(c) })
		subs := map[string]*protocol.SubscribeRequest{}
		for _, name := range []string{"t/a", "t/b"} {
			subs[name] = &protocol.SubscribeRequest{Channel: name, Recover: true, Epoch: at.Epoch, Offset: at.Offset}
		}
		s.Message(encodeCommands(t, e, &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice", Subs: subs}}))
		until(t, "the answer", func() bool { r, _ := c.all(); return len(r) > 0 && s.idle() })
		replies, _ := c.all()
		c.mu.Lock()
		size := len(c.payloads[0])
		c.mu.Unlock()
		if size > n.protocol.opts.MaxReplyBytes+1000 {
			t.Errorf("the answer to connect has %d bytes", size)
		}
		b := replies[0].Connect.Subs["t/b"]
		if !b.Recovered || len(b.Publications) != 0 || b.Offset != at.Offset {
			t.Errorf("recovered %v at %d, want true at %d", b.Recovered, b.Offset, at.Offset)
		}
		if len(replies) != 2 {
			t.Fatalf("%d replies and pushes, want the answer and what is behind it", len(replies))
		}
		if push := replies[1].Push; push == nil || push.Pub == nil || push.Pub.Offset != at.Offset+2 || len(push.Pub.Data) < len(texts[1]) {
			t.Errorf("behind it %.200v", replies[1])
		}
	})
}

// What stands around a message in JSON counts, and what is escaped there: an answer
// full of the smallest messages is no larger than one full of large ones.
func TestSizeOfPublications(t *testing.T) {
	var records []*live.Record
	for i := range 500 {
		key := []string{"k", "<<<<<<<<", `"\`, "\x01\x02", "\u2028", "\xff\xfe", "schlüssel"}[i%7]
		value := []string{"1", "text", "\xff", `{"a":"b"}`}[i%4]
		records = append(records, &live.Record{Offset: int64(i) << (i % 40), Key: []byte(key), Value: []byte(value)})
	}
	both(t, func(t *testing.T, e Encoding) {
		for _, p := range []publication{{positioned: true}, {keyed: true}, {positioned: true, keyed: true}} {
			const all = 4096
			room := all
			pubs, rest := e.publications(records, p, &room, true)
			b, err := e.encode(&protocol.Reply{History: &protocol.HistoryResult{Publications: pubs}})
			if err != nil || len(b) > all+100 || len(b) < all/2 || len(pubs)+len(rest) != len(records) {
				t.Errorf("%+v: %d and %d of %d messages, %d bytes, %v", p, len(pubs), len(rest), len(records), len(b), err)
			}
		}
	})
}

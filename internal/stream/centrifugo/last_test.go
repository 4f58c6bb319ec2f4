package centrifugo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/centrifugal/protocol"
)

// lastTagged says whether a publication is marked as a last value.
func lastTagged(p *protocol.Publication) bool { return p.Tags[tagLast] == lastTrue }

// A client that is cut off before all last values have come is given the rest when
// it comes back with the position that an SDK holds then: none is lost, none comes
// twice, and no message that was sent meanwhile is left out. So it is for
// subscriptions of the client, and for those made at connect. The first value is
// the first message of the partition: the position before it is 0.
func TestCutOffAmongLastValues(t *testing.T) {
	const keys = 300
	log := hub(0)
	for i := range keys {
		log.Send("t", fmt.Sprint(i), fmt.Sprintf(`"%s"`, strings.Repeat("x", 1000)))
	}
	n := start(t, log, []string{"t"})
	both(t, func(t *testing.T, e Encoding) {
		for _, server := range []bool{false, true} {
			for _, pieces := range []int{0, 1, 3} {
				t.Run(fmt.Sprintf("server-side %v, %d pieces", server, pieces), func(t *testing.T) {
					cutOff(t, n, e, server, pieces, keys)
				})
			}
		}
	})
}

func cutOff(t *testing.T, n *node, e Encoding, server bool, pieces, keys int) {
	req := &protocol.SubscribeRequest{Channel: "t/*"}
	seen, at := map[string]int{}, uint64(0)
	for _, cut := range []bool{true, false} {
		c := newSink(t, e)
		looks := 0
		c.asked = func() {
			if looks++; cut && looks > pieces {
				c.setWaiting(n.protocol.pace + 1) // it takes no more
			}
		}
		s := n.protocol.Handler(c, n.people.authenticate).(*session)
		connect := &command{Id: 1, Connect: &protocol.ConnectRequest{Token: "alice"}}
		if server {
			connect.Connect.Subs = map[string]*protocol.SubscribeRequest{"t/*": req}
			s.Message(encodeCommands(t, e, connect))
		} else {
			s.Message(encodeCommands(t, e, connect))
			s.Message(encodeCommands(t, e, &command{Id: 2, Subscribe: req}))
		}
		until(t, "what it is sent", func() bool {
			idle := s.idle() // not under c.mu: a session delivers under its own lock
			c.mu.Lock()
			defer c.mu.Unlock()
			return cut && c.waiting > 0 || !cut && len(c.payloads) > 0 && idle
		})
		if cut {
			s.end(c)
		} else {
			defer s.end(c)
		}
		replies, _ := c.all()
		var r *protocol.SubscribeResult
		for _, reply := range replies {
			switch {
			case reply.Subscribe != nil:
				r = reply.Subscribe
				at = r.Offset
			case reply.Connect != nil && server:
				r = reply.Connect.Subs["t/*"]
				at = r.Offset
			case reply.Push != nil && reply.Push.Pub != nil:
				p := reply.Push.Pub
				if p.Offset <= at {
					t.Fatalf("offset %d behind %d", p.Offset, at)
				}
				if at = p.Offset; lastTagged(p) != cut {
					t.Errorf("tags %v of a publication", p.Tags)
				}
				seen[p.Tags[tagKey]]++
			}
		}
		if r == nil || !r.Recoverable || r.Recovered == cut {
			t.Fatalf("subscribed: %v", r)
		}
		if cut && (len(seen) >= keys || pieces > 0 && len(seen) == 0) {
			t.Fatalf("cut off with %d last values", len(seen))
		}
		req = &protocol.SubscribeRequest{Channel: "t/*", Recover: true, Epoch: r.Epoch, Offset: at}
	}
	if len(seen) != keys {
		t.Errorf("%d of %d keys have come", len(seen), keys)
	}
	for key, times := range seen {
		if times != 1 {
			t.Errorf("key %s came %d times", key, times)
		}
	}
}

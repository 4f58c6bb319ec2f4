package centrifugo

import (
	"testing"
	"time"

	"github.com/centrifugal/protocol"
)

// A client that is not let in stays. Nothing is sent to it and it has no token that
// runs out, so that it would hold its place of the node's connections for good.
func TestRefusedMustGo(t *testing.T) {
	n := start(t, hub(1), []string{"t"})
	for _, token := range []string{"", "expired", "away", "many"} {
		c := newSink(t, JSON)
		s := n.protocol.Handler(c, n.people.authenticate).(*session)
		s.Message(encodeCommands(t, JSON, &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: token}}))
		now := time.Now()
		s.Tick(now.Add(10 * time.Second))
		if replies, closed := c.all(); len(replies) != 1 || replies[0].Error == nil || closed != 0 {
			t.Errorf("%q: answered %v, closed with %d after 10 s", token, replies, closed)
		}
		s.Tick(now.Add(17 * time.Second))
		if _, closed := c.all(); closed != 3502 {
			t.Errorf("%q: closed with %d after 17 s, want 3502", token, closed)
		}
		s.end(c)
	}
}

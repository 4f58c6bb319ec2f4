package centrifugo

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/centrifugal/protocol"

	"postroad/internal/stream/live"
)

// noEngine answers nothing.
type noEngine struct{}

func (noEngine) Subscribe(context.Context, live.Request) (*live.Subscription, error) {
	return nil, live.ErrNotReady
}

func (noEngine) History(context.Context, live.HistoryRequest) (*live.History, error) {
	return nil, live.ErrNotReady
}

// sink is a Conn that remembers what it was given.
type sink struct {
	t        testing.TB
	encoding Encoding
	ctx      context.Context
	cancel   context.CancelFunc

	mu       sync.Mutex
	payloads [][]byte // guarded by mu
	blocks   []*live.Block
	waiting  int
	closed   uint16
	pings    bool
	// asked is called by Waiting, without mu.
	asked func()
}

func newSink(t testing.TB, e Encoding) *sink {
	c := &sink{t: t, encoding: e}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	t.Cleanup(c.cancel)
	return c
}

func (c *sink) Binary() bool             { return c.encoding == Protobuf }
func (c *sink) Context() context.Context { return c.ctx }

func (c *sink) StartPings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pings = true
}

func (c *sink) Send(payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.payloads = append(c.payloads, bytes.Clone(payload))
	}
}

func (c *sink) Deliver(_ *live.Subscription, b *live.Block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed != 0 {
		return
	}
	c.blocks = append(c.blocks, b)
	for r := bytes.NewReader(b.Bytes); r.Len() > 0; {
		f, err := readFrame(r)
		if err != nil {
			c.t.Errorf("a block that is not frames: %v", err)
			return
		}
		c.payloads = append(c.payloads, f.Payload)
	}
}

func (c *sink) Disconnect(code uint16, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == 0 {
		c.closed = code
		c.cancel()
	}
}

func (c *sink) Waiting() int {
	if c.asked != nil {
		c.asked()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

func (c *sink) setWaiting(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = n
}

// all are the replies and pushes so far, and the code of the close.
func (c *sink) all() (replies []*protocol.Reply, closed uint16) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.payloads {
		replies = append(replies, decode(c.t, c.encoding, p)...)
	}
	return replies, c.closed
}

// idle says whether no task of the session is under way or waits.
func (s *session) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tasks) == 0 && s.running == 0
}

// join makes a session on a sink and lets it connect.
func (n *node) join(t testing.TB, e Encoding, token string) (*session, *sink) {
	t.Helper()
	c := newSink(t, e)
	s := n.protocol.Handler(c, n.people.authenticate).(*session)
	s.Message(encodeCommands(t, e, &protocol.Command{Id: 1, Connect: &protocol.ConnectRequest{Token: token}}))
	until(t, "connect", func() bool { r, _ := c.all(); return len(r) > 0 && s.idle() })
	t.Cleanup(func() { s.end(c) })
	return s, c
}

// end ends a session as wire does, unless that was done.
func (s *session) end(c *sink) {
	c.Disconnect(1000, "")
	s.mu.Lock()
	closed := s.authenticate == nil
	s.authenticate = nil
	s.mu.Unlock()
	if !closed {
		s.Closed(1000, "")
	}
}

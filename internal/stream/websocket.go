package stream

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"postroad/internal/auth"
	"postroad/internal/stream/centrifugo"
	"postroad/internal/stream/wire"
)

// Codes by which the node ends WebSocket connections: with all of them an SDK
// connects again, to whichever node it reaches.
const (
	codeShutdown  = 3001
	codeReconnect = 3011
)

// webSocket is /connection/websocket.
func (n *Node) webSocket(w http.ResponseWriter, r *http.Request) {
	if !n.origins.allows(r) {
		n.metrics.refusals.WithLabelValues("origin").Inc()
		wrongOrigin(r).Write(w)
		return
	}
	s := &socket{node: n}
	place, err := n.connections.open(addressOf(r), s.leave)
	if err != nil {
		n.refuse(w, err)
		return
	}
	err = n.writers.Accept(w, r, centrifugo.AcceptOptions(r), func(c *wire.Conn) wire.Handler {
		n.metrics.opened("websocket")
		s.begin(place, n.protocol.Handler(c, s.authenticate), c)
		return s
	})
	if err != nil {
		place.done()
		n.log.Debug("no WebSocket connection came of a request", "err", err)
	}
}

// refuse answers one who is not let in.
func (n *Node) refuse(w http.ResponseWriter, err error) {
	n.metrics.refusals.WithLabelValues(refusalReason(err)).Inc()
	refused(err).Write(w)
}

func refusalReason(err error) string {
	switch {
	case errors.Is(err, errClientFull):
		return "client"
	case errors.Is(err, errNodeFull):
		return "node"
	}
	return "closing"
}

// socket is a WebSocket connection as the node sees it: it passes on to the
// protocol, and knows when the connection is over.
type socket struct {
	wire.Handler
	node  *Node
	place *connection

	mu   sync.Mutex
	conn *wire.Conn // nil until it is accepted; guarded by mu
	left *leave     // why it had to go before that; guarded by mu
}

func (s *socket) begin(place *connection, h wire.Handler, c *wire.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.place, s.Handler, s.conn = place, h, c
	if s.left != nil {
		s.disconnect(*s.left)
	}
}

// leave ends the connection, or keeps it from beginning.
func (s *socket) leave(why leave) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		s.left = &why
		return
	}
	s.disconnect(why)
}

// disconnect is called with mu held.
func (s *socket) disconnect(why leave) {
	if why == leaveAge {
		s.conn.Disconnect(codeReconnect, "connect again")
		return
	}
	s.conn.Disconnect(codeShutdown, "shutdown")
}

// Closed implements wire.Handler.
func (s *socket) Closed(code uint16, reason string) {
	s.Handler.Closed(code, reason)
	s.place.done()
	s.node.metrics.closed("websocket")
}

// Tick implements wire.Handler.
func (s *socket) Tick(now time.Time) { s.Handler.Tick(now) }

// authenticate judges the token of connect and refresh.
func (s *socket) authenticate(ctx context.Context, token string) (*auth.Principal, error) {
	p, err := s.node.judge(ctx, token)
	if err != nil || p.Anonymous {
		return p, err
	}
	if err := s.place.identify(p.Name); err != nil {
		s.node.metrics.refusals.WithLabelValues("client").Inc()
		return nil, centrifugo.ErrTooManyConnections
	}
	return p, nil
}

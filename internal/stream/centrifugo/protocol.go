package centrifugo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
	"postroad/internal/stream/wire"
)

// Engine is live.Engine, as far as the protocol needs it.
type Engine interface {
	Subscribe(ctx context.Context, r live.Request) (*live.Subscription, error)
	History(ctx context.Context, r live.HistoryRequest) (*live.History, error)
}

// Authenticate says who a token speaks for; an empty one is for those without.
// Errors match auth.ErrExpired, auth.ErrNoToken, auth.ErrInvalidToken or
// ErrTooManyConnections; any other is temporary.
type Authenticate func(ctx context.Context, token string) (*auth.Principal, error)

// Publisher brings what clients publish to the hub. Nil is returned once the
// message is durable; see ErrRejected and those below it for errors.
type Publisher interface {
	Publish(ctx context.Context, p Publication) error
}

// Publication is what a client publishes.
type Publication struct {
	Principal *auth.Principal
	Topic     string
	// Key is of the message where HasKey; it is never empty then.
	Key    string
	HasKey bool
	Data   []byte
	// ContentType is ContentJSON, ContentText or ContentBytes.
	ContentType string
}

// The content types of publications. JSON clients publish JSON; Protobuf clients do
// not say what they publish, so that it is looked at: a reader should not be told
// another type of what a JSON client would have sent alike.
const (
	ContentJSON  = "application/json"
	ContentText  = "text/plain; charset=utf-8"
	ContentBytes = "application/octet-stream"
)

// Deps are what the protocol needs of others.
type Deps struct {
	Engine Engine
	// Publisher is nil where clients may not publish: they are answered 108.
	Publisher Publisher
	// Node and Version are told to clients; either may be empty.
	Node, Version string
	// Ping is how often the writers ping: clients are told, and give up a
	// connection that is silent for longer.
	Ping time.Duration
	// MaxQueued is how many bytes may wait for a connection before its client
	// counts as slow; 0 is 1 MiB.
	MaxQueued int
	// Logger is slog.Default where nil.
	Logger *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Protocol serves the clients of a node.
type Protocol struct {
	opts     Options
	deps     Deps
	log      *slog.Logger
	metrics  *metrics
	encoders [2]encoder // by Encoding
	// about is the data of each answer to connect: what an application should know
	// of the node, since one SDK does not hand on the field for its name.
	about []byte
	// pace is how many bytes may wait for a client before it is sent more of what
	// a subscription begins with.
	pace int
}

// New checks the options and registers metrics.
func New(opts Options, deps Deps) (*Protocol, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Engine == nil || deps.Ping < time.Second {
		return nil, errors.New("the protocol needs an engine and a ping interval of a second or more")
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("metrics of clients: %w", err)
	}
	p := &Protocol{opts: opts, deps: deps, log: deps.Logger, metrics: m}
	if p.pace = deps.MaxQueued / 2; p.pace == 0 {
		p.pace = 512 << 10
	}
	if p.log == nil {
		p.log = slog.Default()
	}
	if deps.Node != "" {
		p.about = append(appendJSONString([]byte(`{"node":`), deps.Node), '}')
	}
	scratch := newScratch()
	p.encoders = [2]encoder{{JSON, scratch}, {Protobuf, scratch}}
	return p, nil
}

// The subprotocols that SDKs name.
const (
	subprotocolJSON     = "centrifuge-json"
	subprotocolProtobuf = "centrifuge-protobuf"
)

// AcceptOptions are those for wire.Writers.Accept of a request: an SDK asks for
// Protobuf by subprotocol or, where it cannot, by a parameter of the query.
func AcceptOptions(r *http.Request) wire.AcceptOptions {
	q := r.URL.Query()
	return wire.AcceptOptions{
		Subprotocols: []wire.Subprotocol{{Name: subprotocolJSON}, {Name: subprotocolProtobuf, Binary: true}},
		Binary:       q.Get("cf_protocol") == "protobuf" || q.Get("format") == "protobuf",
		Ping: func(c *wire.Conn) []byte {
			if c.Binary() {
				return []byte{0} // an empty reply behind its length
			}
			return []byte("{}")
		},
	}
}

// Conn is a wire.Conn, as far as the protocol needs it.
type Conn interface {
	Binary() bool
	Send(payload []byte)
	Deliver(s *live.Subscription, b *live.Block)
	Waiting() int
	Disconnect(code uint16, reason string)
	StartPings()
	Context() context.Context
}

// Handler begins a session with the client of a connection that was accepted with
// AcceptOptions. authenticate judges the tokens of this connection, and lives as
// long as it.
func (p *Protocol) Handler(c Conn, authenticate Authenticate) wire.Handler {
	s := &session{p: p, conn: c, authenticate: authenticate, since: time.Now().Unix()}
	if c.Binary() {
		s.encoding = Protobuf
	}
	p.metrics.connections[s.encoding].Inc()
	return s
}

package centrifugo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/protocol"
	"github.com/gobwas/ws"
	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
	"postroad/internal/stream/wire"
)

// limit bounds every wait of a test.
const limit = 20 * time.Second

func within[T any](t testing.TB, ch <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		t.Fatalf("%s: did not come", what)
		panic("unreachable")
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, limit)
		}
	}
}

func patterns(t testing.TB, texts ...string) (all []auth.Pattern) {
	t.Helper()
	for _, text := range texts {
		p, err := auth.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// people are the principals of tests by what they bring as a token.
type people struct {
	verifier *auth.Verifier

	mu sync.Mutex
	// expires, by token; guarded by mu.
	expires map[string]time.Time
}

// newPeople: "alice" and "bob" may read everything and publish to t/…, "carol" may
// read t/k and t/c… alone; so may "carol-less", whose name is carol, but for t/k.
// The rest of a token, behind a space, are channels.
func newPeople(t testing.TB) *people {
	o := auth.DefaultOptions()
	o.Policies = []auth.Policy{
		{Principal: "alice", Read: patterns(t, "*/*"), Publish: patterns(t, "t/*")},
		{Principal: "bob", Read: patterns(t, "*/*")},
		{Principal: "carol", Read: patterns(t, "t/k", "t/c*")},
		{Principal: "carol-less", Read: patterns(t, "t/c*")},
	}
	v, err := auth.NewVerifier(o, auth.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &people{verifier: v, expires: map[string]time.Time{}}
}

func (p *people) expire(token string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expires[token] = at
}

func (p *people) authenticate(_ context.Context, token string) (*auth.Principal, error) {
	name, channels, _ := strings.Cut(token, " ")
	switch name {
	case "":
		return nil, auth.ErrNoToken
	case "expired":
		return nil, auth.ErrExpired
	case "forged":
		return nil, fmt.Errorf("wrapped: %w", auth.ErrInvalidToken)
	case "away":
		return nil, auth.ErrUnavailable
	case "many":
		return nil, ErrTooManyConnections
	}
	who, _ := p.verifier.Named(name)
	who.Name = strings.TrimSuffix(name, "-less")
	if channels != "" {
		who.Channels = strings.Fields(channels)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	who.Expires = p.expires[token]
	return who, nil
}

// publisher remembers what it was given, and answers what it is told to.
type publisher struct {
	mu   sync.Mutex
	got  []Publication // guarded by mu
	fail func(Publication) error
}

func (p *publisher) Publish(_ context.Context, m Publication) error {
	p.mu.Lock()
	p.got = append(p.got, m)
	p.mu.Unlock()
	if p.fail != nil {
		return p.fail(m)
	}
	return nil
}

func (p *publisher) last() Publication {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[len(p.got)-1]
}

// node is everything of a stream node but its HTTP interface.
type node struct {
	t        testing.TB
	log      *livetest.Log
	view     *livetest.View
	engine   *live.Engine
	people   *people
	publish  *publisher
	registry *prometheus.Registry
	protocol *Protocol
	writers  *wire.Writers
	srv      *httptest.Server
	stop     func()
	// tick, where set, is called instead of the sessions' Tick.
	handlers chan wire.Handler
}

type settings struct {
	opts   Options
	live   live.Options
	wire   wire.Options
	engine func(Engine) Engine
	deps   func(*Deps)
}

// start makes a node over a log with the topics that it has.
func start(t testing.TB, log *livetest.Log, topics []string, change ...func(*settings)) *node {
	t.Helper()
	s := settings{opts: DefaultOptions(), live: live.DefaultOptions(), wire: wire.DefaultOptions(), engine: func(e Engine) Engine { return e }}
	s.wire.WriteDelay = time.Millisecond
	for _, name := range topics {
		s.live.Topics = append(s.live.Topics, live.TopicOptions{Name: name})
	}
	for _, c := range change {
		c(&s)
	}
	n := &node{t: t, log: log, view: log.NewView(), people: newPeople(t), publish: &publisher{}, registry: prometheus.NewRegistry(), handlers: make(chan wire.Handler, 1024)}
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if n.engine, err = live.New(s.live, live.Deps{Log: n.view, Logger: quiet, Hub: live.Identity{Name: "hub"}}); err != nil {
		t.Fatal(err)
	}
	if n.writers, err = wire.NewWriters(s.wire, wire.Deps{}); err != nil {
		t.Fatal(err)
	}
	deps := Deps{
		Engine: s.engine(n.engine), Publisher: n.publish, Node: "node-1", Version: "test",
		Ping: s.wire.PingInterval, Logger: quiet, Registerer: n.registry,
	}
	if s.deps != nil {
		s.deps(&deps)
	}
	if n.protocol, err = New(s.opts, deps); err != nil {
		t.Fatal(err)
	}
	n.srv = httptest.NewServer(http.HandlerFunc(n.serve))
	n.run()
	until(t, "the engine's being ready", func() bool { return n.engine.Ready() == nil })
	return n
}

func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	_ = n.writers.Accept(w, r, AcceptOptions(r), func(c *wire.Conn) wire.Handler { // a client that fails says so itself
		h := n.protocol.Handler(c, n.people.authenticate)
		n.handlers <- h
		return h
	})
}

func (n *node) run() {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.engine.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			n.t.Errorf("the engine: %v", err)
		}
	})
	wg.Go(func() {
		if err := n.writers.Run(ctx); err != nil {
			n.t.Errorf("the writers: %v", err)
		}
	})
	n.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		n.srv.Close()
		if n := gauge(n.t, n.registry, "postroad_stream_client_subscriptions"); n != 0 {
			// Every way that a subscription can end must give it back.
			defer func() { panic(fmt.Sprintf("%v subscriptions are left", n)) }()
		}
	})
	n.t.Cleanup(n.stop)
}

// gauge is the sum of a metric's values.
func gauge(t testing.TB, reg *prometheus.Registry, name string) (sum float64) {
	t.Helper()
	return metric(t, reg, name, "")
}

// metric is the sum of a metric's values whose labels, as "name=value name=value",
// contain what is given.
func metric(t testing.TB, reg *prometheus.Registry, name, labels string) (sum float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var text strings.Builder
			for _, l := range m.GetLabel() {
				fmt.Fprintf(&text, "%s=%s ", l.GetName(), l.GetValue())
			}
			if strings.Contains(text.String(), labels) {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// client is a client of the protocol without an SDK's ways.
type client struct {
	t        testing.TB
	encoding Encoding
	conn     net.Conn
	r        io.Reader
	replies  []*protocol.Reply // of a frame, not yet asked for
	next     uint32            // id of a command
}

func (n *node) dial(t testing.TB, e Encoding) *client {
	t.Helper()
	d := ws.Dialer{Protocols: []string{map[Encoding]string{JSON: "centrifuge-json", Protobuf: "centrifuge-protobuf"}[e]}}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	conn, br, _, err := d.Dial(ctx, "ws"+strings.TrimPrefix(n.srv.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, encoding: e, conn: conn, r: conn}
	if br != nil {
		c.r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	return c
}

// connect dials and connects.
func (n *node) connect(t testing.TB, e Encoding, token string) *client {
	t.Helper()
	c := n.dial(t, e)
	if r := c.ask(&protocol.Command{Connect: &protocol.ConnectRequest{Token: token}}); r.Connect == nil {
		t.Fatalf("connect: %v", r)
	}
	return c
}

// frame sends bytes as one frame.
func (c *client) frame(payload []byte) {
	c.t.Helper()
	f := ws.NewTextFrame(payload)
	if c.encoding == Protobuf {
		f = ws.NewBinaryFrame(payload)
	}
	var b bytes.Buffer
	if err := ws.WriteFrame(&b, ws.MaskFrame(f)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.conn.Write(b.Bytes()); err != nil {
		c.t.Fatal(err)
	}
}

// encodeCommands is one frame's payload.
func encodeCommands(t testing.TB, e Encoding, commands ...*protocol.Command) []byte {
	t.Helper()
	var payload []byte
	for i, cmd := range commands {
		var enc protocol.CommandEncoder = protocol.NewProtobufCommandEncoder()
		if e == JSON {
			enc = protocol.NewJSONCommandEncoder()
			if i > 0 {
				payload = append(payload, '\n')
			}
		}
		b, err := enc.Encode(cmd)
		if err != nil {
			t.Fatal(err)
		}
		payload = append(payload, b...)
	}
	return payload
}

// send sends commands in one frame; those without an id that need one get it.
func (c *client) send(commands ...*protocol.Command) {
	c.t.Helper()
	for _, cmd := range commands {
		if _, asked := method(cmd); cmd.Id == 0 && asked > 0 && cmd.Send == nil {
			c.next++
			cmd.Id = c.next
		}
	}
	c.frame(encodeCommands(c.t, c.encoding, commands...))
}

// ask sends a command and returns its reply; pushes before it are an error.
func (c *client) ask(cmd *protocol.Command) *protocol.Reply {
	c.t.Helper()
	c.send(cmd)
	r := c.read()
	if r.Id != cmd.Id {
		c.t.Fatalf("reply to %d where one to %d was awaited: %v", r.Id, cmd.Id, r)
	}
	return r
}

// read returns the next reply or push; the end of the connection is a reply with a
// disconnect push.
func (c *client) read() *protocol.Reply {
	c.t.Helper()
	for len(c.replies) == 0 {
		f, err := readFrame(c.r)
		if err != nil {
			c.t.Fatalf("read: %v", err)
		}
		switch f.Header.OpCode {
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(f.Payload)
			return &protocol.Reply{Push: &protocol.Push{Disconnect: &protocol.Disconnect{Code: uint32(code), Reason: reason}}}
		case ws.OpText, ws.OpBinary:
			if (f.Header.OpCode == ws.OpBinary) != (c.encoding == Protobuf) {
				c.t.Fatalf("%v: frame with opcode %v", c.encoding, f.Header.OpCode)
			}
			for _, r := range decode(c.t, c.encoding, f.Payload) {
				if r.Id != 0 || r.Push != nil { // not a ping
					c.replies = append(c.replies, r)
				}
			}
		}
	}
	r := c.replies[0]
	c.replies = c.replies[1:]
	return r
}

// pub reads a push of a publication.
func (c *client) pub() (channel string, pub *protocol.Publication) {
	c.t.Helper()
	r := c.read()
	if r.Push == nil || r.Push.Pub == nil {
		c.t.Fatalf("%v where a publication was awaited", r)
	}
	return r.Push.Channel, r.Push.Pub
}

// wantClose reads the end of the connection.
func (c *client) wantClose(code uint32) {
	c.t.Helper()
	r := c.read()
	if r.Push == nil || r.Push.Disconnect == nil || r.Push.Disconnect.Code != code {
		c.t.Fatalf("%v where the close with %d was awaited", r, code)
	}
}

func (c *client) subscribe(req *protocol.SubscribeRequest) *protocol.SubscribeResult {
	c.t.Helper()
	r := c.ask(&protocol.Command{Subscribe: req})
	if r.Subscribe == nil {
		c.t.Fatalf("subscribe to %s: %v", req.Channel, r)
	}
	return r.Subscribe
}

// hub is a log with topic t of one partition, which holds n records of key k.
func hub(n int) *livetest.Log {
	log := livetest.NewLog()
	log.Make("t", 1)
	for i := range n {
		log.Send("t", "k", fmt.Sprintf(`{"n":%d}`, i))
	}
	return log
}

func both(t *testing.T, fn func(t *testing.T, e Encoding)) {
	for _, e := range []Encoding{JSON, Protobuf} {
		t.Run(e.String(), func(t *testing.T) { fn(t, e) })
	}
}

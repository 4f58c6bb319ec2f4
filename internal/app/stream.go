package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/config"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
	"postroad/internal/stream"
	"postroad/internal/stream/live"
	"postroad/web"
)

// RunStream runs one stream node until ctx ends, then drains it.
func RunStream(ctx context.Context, settings config.Stream, d Deps) (err error) {
	p, err := newProcess(d)
	if err != nil {
		return err
	}
	st := newStack(p.log)
	defer func() { err = errors.Join(err, st.stop(), p.close()) }()
	admin, err := p.admin(settings.Admin)
	if err != nil {
		return err
	}
	st.push(layer{name: "admin", run: admin.Run})
	for _, w := range settings.Warnings() {
		p.log.Warn("setting is hardly meant", "what", w)
	}
	n, err := newStreamNode(settings, p, p.registry)
	if err != nil {
		return err
	}
	n.push(st)
	admin.AddCheck("stream", func(context.Context) error { return n.node.Serving() })
	mountStatus(admin, nil, []*streamNode{n}, nil)
	admin.Started()
	fmt.Fprintf(d.Stdout, "stream node %s: %s, admin %s\n", n.name, n.server.URL(), admin.URL())
	if err := writeAddresses(d.AddressesFile, Addresses{Admin: admin.URL(), Streams: n.addresses()}); err != nil {
		return err
	}
	return st.wait(ctx)
}

// streamNode is a stream node with its listener and its connection to the hub.
type streamNode struct {
	name     string
	settings config.Stream
	version  string
	started  time.Time
	log      *slog.Logger
	server   *httpserve.Server
	feed     *kafka.Feed
	verifier *auth.Verifier
	node     *stream.Node
}

// newStreamNode binds the node's listener; nothing runs yet. On an error it has
// undone what it did.
func newStreamNode(settings config.Stream, p process, reg prometheus.Registerer) (_ *streamNode, err error) {
	n := &streamNode{name: settings.Node.Name, settings: settings, version: p.version.Version, started: time.Now().UTC()}
	if n.name == "" {
		if n.name, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("name of the node: set node.name: %w", err)
		}
	}
	n.log = p.log.With("node", n.name)
	defer func() {
		if err != nil {
			err = errors.Join(err, n.abandon())
		}
	}()
	var handler http.Handler
	serve := settings.HTTP
	serve.DrainDelay = 0 // the node drains before its listener does, see serve
	if n.server, err = httpserve.NewTraffic(serve, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
	}), httpserve.TrafficDeps{Deps: httpserve.Deps{Log: n.log, Name: "stream"}, Registerer: reg}); err != nil {
		return nil, fmt.Errorf("http: %w", err)
	}
	if n.feed, err = kafka.NewFeed(settings.Hub, kafka.Deps{Log: n.log, Registerer: reg}); err != nil {
		return nil, err
	}
	if n.verifier, err = auth.NewVerifier(settings.Auth, auth.Deps{Log: n.log, Registerer: reg}); err != nil {
		return nil, err
	}
	demo, err := web.Demo()
	if err != nil {
		return nil, err
	}
	if n.node, err = stream.New(settings.Stream, stream.Deps{
		Log: streamLog{n.feed}, Hub: live.Identity{Name: settings.Hub.Name, Generation: settings.Hub.Generation},
		Auth: n.verifier, Demo: demo, Name: n.name, Version: n.version, Logger: n.log, Registerer: reg,
	}); err != nil {
		return nil, err
	}
	handler = n.node.Handler()
	return n, nil
}

// push starts the node's parts on a stack, the connection to the hub lowest.
func (n *streamNode) push(st *stack) {
	name := func(part string) string { return part + " of stream node " + n.name }
	st.push(layer{name: name("connection to the hub"), close: func() error { n.feed.Close(); return nil }})
	st.push(layer{name: name("keys of tokens"), run: n.verifier.Run})
	st.push(layer{name: name("reading"), run: n.node.Run})
	st.push(layer{
		name: name("listener"), run: n.serve,
		grace: n.settings.HTTP.DrainDelay + n.settings.Stream.Drain.Timeout + n.settings.HTTP.ShutdownTimeout + defaultGrace,
	})
}

// serve runs the listener until ctx ends. Then the node drains, and the listener
// goes on meanwhile: balancers are to be told that the node is about to stop, clients
// that keep a connection to come by another one, and those that come after
// drain_delay that another node is there.
func (n *streamNode) serve(ctx context.Context) error {
	listen, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- n.server.Run(listen) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	n.server.Leave()
	n.node.Drain(listen, n.settings.HTTP.DrainDelay)
	stop()
	return <-ended
}

func (n *streamNode) addresses() map[string]string { return map[string]string{n.name: n.server.URL()} }

// abandon gives back what newStreamNode took, of a node that was never pushed.
func (n *streamNode) abandon() error {
	if n.feed != nil {
		n.feed.Close()
	}
	if n.server != nil {
		return n.server.Close()
	}
	return nil
}

package stream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/stream/centrifugo"
	"postroad/internal/stream/live"
	"postroad/internal/stream/publish"
	"postroad/internal/stream/wire"
)

// Authenticator says who a caller is; *auth.Verifier is one.
type Authenticator interface {
	// Verify judges a token. Errors match auth.ErrExpired, auth.ErrInvalidToken
	// or neither, where it cannot be judged now.
	Verify(ctx context.Context, token string) (*auth.Principal, error)
	// Anonymous is who comes without a token, where such callers are let in.
	Anonymous() (*auth.Principal, bool)
}

// Deps are the collaborators of a Node.
type Deps struct {
	// Log is the hub's.
	Log live.Log
	// Hub tells the hub from others; every epoch holds it.
	Hub live.Identity
	// Auth says who clients are.
	Auth Authenticator
	// Demo, where set, is served below /demo/.
	Demo http.Handler
	// Name and Version are told to clients.
	Name, Version string
	// Logger takes changes of state; nil discards them.
	Logger *slog.Logger
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
}

// Node is a stream node. Its Handler serves while Run runs.
type Node struct {
	opts        Options
	log         *slog.Logger
	auth        Authenticator
	demo        http.Handler
	engine      *live.Engine
	writers     *wire.Writers
	publisher   *publish.Publisher // nil where clients cannot publish
	protocol    *centrifugo.Protocol
	origins     origins
	connections *connections
	metrics     *nodeMetrics
	slots       chan struct{} // one entry for each request that reads the past
	pending     atomic.Int64  // bytes that wait for event streams
	waited      waited
	draining    atomic.Bool
}

// ErrDraining: the node was told to stop.
var ErrDraining = errors.New("draining, about to stop")

// New makes a node; it reads nothing until Run.
func New(opts Options, deps Deps) (*Node, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil || deps.Auth == nil {
		return nil, errors.New("a stream node needs a log and an authenticator")
	}
	n := &Node{
		opts: opts, log: deps.Logger, auth: deps.Auth, demo: deps.Demo, origins: newOrigins(opts.Origins),
		connections: newConnections(opts.Limits, opts.Age), slots: make(chan struct{}, opts.History.Concurrent),
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if n.metrics, err = newMetrics(deps.Registerer, n); err != nil {
		return nil, fmt.Errorf("register the node's metrics: %w", err)
	}
	if n.engine, err = live.New(opts.Live, live.Deps{
		Log: deps.Log, Logger: n.log, Registerer: deps.Registerer, Hub: deps.Hub, Room: n.room,
	}); err != nil {
		return nil, err
	}
	if n.writers, err = wire.NewWriters(opts.WebSocket, wire.Deps{Log: n.log, Registerer: deps.Registerer}); err != nil {
		return nil, err
	}
	if n.publisher, err = publish.New(opts.Publish, publish.Deps{Log: n.log, Registerer: deps.Registerer}); err != nil {
		return nil, err
	}
	protocol := centrifugo.Deps{
		Engine: n.engine, Node: deps.Name, Version: deps.Version,
		Ping: opts.WebSocket.PingInterval, MaxQueued: opts.WebSocket.MaxQueuedBytes, Logger: n.log, Registerer: deps.Registerer,
	}
	if n.publisher != nil { // a nil *publish.Publisher is not a nil Publisher
		protocol.Publisher = publisher{n.publisher}
	}
	if n.protocol, err = centrifugo.New(opts.Protocol, protocol); err != nil {
		return nil, err
	}
	return n, nil
}

// Run reads the hub and serves connections until ctx ends, and then closes those
// that are left. Drain comes first where clients shall leave in good order.
func (n *Node) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"engine", n.engine.Run},
		{"connections", n.writers.Run},
		{"age of connections", func(ctx context.Context) error { n.connections.run(ctx); return nil }},
	} {
		wg.Go(func() {
			err := part.run(ctx)
			if ctx.Err() == nil {
				cancel(&stoppedError{part.name, err})
			}
		})
	}
	<-ctx.Done()
	n.draining.Store(true)
	n.endStreams()
	wg.Wait()
	n.publisher.Close()
	var stopped *stoppedError
	if errors.As(context.Cause(ctx), &stopped) {
		return stopped
	}
	return nil
}

// stoppedError: a part of the node ended though nobody asked it to.
type stoppedError struct {
	part string
	err  error
}

func (e *stoppedError) Error() string { return fmt.Sprintf("%s stopped by itself: %v", e.part, e.err) }
func (e *stoppedError) Unwrap() error { return e.err }

// endStreams tells the viewers of event streams to go: they hold requests open.
func (n *Node) endStreams() {
	all, _ := n.connections.close()
	for _, c := range all {
		c.stop(leaveDrain)
	}
}

// Ready is nil while clients should be sent here: the engine has read its topics
// and is not behind, and the node is not about to stop.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return ErrDraining
	}
	return n.engine.Ready()
}

// Serving is nil while clients are let in, whether or not they should be sent to
// another node: from when all topics were read to their end for the first time until
// Drain's delay is over. That the hub is away, which all nodes see alike, changes
// nothing: clients get last values, what they publish is taken, and what comes when
// the hub is back.
func (n *Node) Serving() error {
	if n.connections.isClosing() {
		return ErrDraining
	}
	return n.engine.Read()
}

// Topics are the names of those that are served.
func (n *Node) Topics() []string { return n.engine.Topics() }

// Connections is how many are open.
func (n *Node) Connections() int { return n.connections.len() }

// Drain brings the clients to leave. From now on the node is not ready; after
// delay, in which balancers notice and clients that still come are taken in, it
// takes no more, and ends the connections at the stated rate. It returns when all
// have gone, when the time of DrainOptions is over, or ctx.
func (n *Node) Drain(ctx context.Context, delay time.Duration) {
	n.draining.Store(true)
	open := n.connections.len()
	n.log.Info("draining", "connections", open, "delay", delay, "takes", time.Duration(open)*n.opts.Drain.step(open))
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	begin := time.Now()
	n.connections.drain(ctx, n.opts.Drain)
	n.log.Info("drained", "took", time.Since(begin).Round(time.Millisecond), "left", n.connections.len())
}

func (n *Node) pendingBytes() int64 { return n.pending.Load() + n.writers.Pending() }

const (
	// roomLook is how often it is looked whether there is room again.
	roomLook = 5 * time.Millisecond
	// roomWait is the longest that reading waits for it in each roomEvery, over all
	// topics and partitions. It is short: some clients that read nothing, until they
	// are let go, shall slow the others down and not stop them. Were it for each
	// batch, a round over 64 partitions would take 16 s, and the node be not ready.
	roomWait  = 250 * time.Millisecond
	roomEvery = time.Second
)

// waited is how long reading waited for room.
type waited struct {
	mu    sync.Mutex
	since time.Time     // guarded by mu
	sum   time.Duration // since then; guarded by mu
}

// left is for how long reading may wait now.
func (w *waited) left() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.since) >= roomEvery {
		w.since, w.sum = now, 0
	}
	return roomWait - w.sum
}

// add notes a wait. Topics that wait at the same time spend for each other.
func (w *waited) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sum += d
}

// room waits while more is still to be sent than may be. Without it a burst of the
// hub's would be in memory once for each client that is behind, and the kernel
// would end the process instead of the clients' wait.
func (n *Node) room(ctx context.Context) error {
	if n.pendingBytes() <= n.opts.Limits.PendingBytes {
		return nil
	}
	wait := n.waited.left()
	if wait <= 0 {
		return ctx.Err()
	}
	n.metrics.waits.Inc()
	defer func(begin time.Time) { n.waited.add(time.Since(begin)) }(time.Now())
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	look := time.NewTicker(roomLook)
	defer look.Stop()
	for n.pendingBytes() > n.opts.Limits.PendingBytes {
		select {
		case <-look.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return nil
			}
			return ctx.Err()
		}
	}
	return nil
}

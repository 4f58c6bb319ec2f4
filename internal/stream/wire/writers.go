package wire

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/stream/live"
)

// Handler is what a protocol does with one connection. Its methods are called
// one at a time.
type Handler interface {
	// Message takes a message of the client. The payload is the handler's during
	// the call only. It may block: nothing more is read from the client meanwhile,
	// and Tick is not called.
	Message(payload []byte)
	// Tick is called about every five seconds until the connection ends, for what
	// depends on time. It must not block: many connections share the goroutine.
	Tick(now time.Time)
	// Closed is the last call, when the connection has ended: with what Disconnect
	// was given, with the code of the client's close frame (1005 where it has
	// none), or with 1006 where the client is gone without one.
	Closed(code uint16, reason string)
}

// Deps are the collaborators of Writers.
type Deps struct {
	// Log takes the end of each connection, at level debug; nil discards it.
	Log *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
}

// Writers carry all connections of a node.
type Writers struct {
	opts    Options
	metrics *metrics
	shards  []*shard
	next    atomic.Uint32
	workers workers
	buffers readBuffers
	pings   pings

	mu       sync.Mutex
	stopping bool           // guarded by mu: no connection is accepted any more
	readers  sync.WaitGroup // grows under mu, and only while not stopping
}

// NewWriters checks the options and registers metrics. Whoever calls it calls
// Run.
func NewWriters(opts Options, deps Deps) (*Writers, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	w := &Writers{opts: opts, metrics: newMetrics()}
	log := deps.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	n := opts.Writers
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		w.shards = append(w.shards, newShard(opts, w.metrics, log))
	}
	if err := w.metrics.register(deps.Registerer, w); err != nil {
		return nil, fmt.Errorf("metrics of connections: %w", err)
	}
	return w, nil
}

// Run writes, pings and keeps deadlines until ctx ends. Then no connection is
// accepted any more, all are told 3001, and Run returns when they have ended,
// after Options.CloseTimeout at the latest.
func (w *Writers) Run(ctx context.Context) error {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, s := range w.shards {
		running.Go(func() { s.run(stop) })
	}
	<-ctx.Done()
	w.mu.Lock()
	w.stopping = true
	w.mu.Unlock()
	for c := range w.Conns() {
		c.Disconnect(CodeShutdown, reasonShutdown)
	}
	w.readers.Wait() // bounded, since a connection that ends has a deadline
	close(stop)
	running.Wait()
	w.workers.stop()
	return nil
}

// Conns are the connections at the moment of each step; those that come while it
// runs may be left out.
func (w *Writers) Conns() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for _, s := range w.shards {
			for _, c := range s.all() {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// Connections is how many there are.
func (w *Writers) Connections() int {
	n := int64(0)
	for _, s := range w.shards {
		n += s.connections.Load()
	}
	return int(n)
}

// Pending is how many bytes wait to be sent, over all connections; what several
// are sent counts for each of them.
func (w *Writers) Pending() int64 {
	n := int64(0)
	for _, s := range w.shards {
		n += s.pending.Load()
	}
	return n
}

// enter counts a reader, unless the writers stop.
func (w *Writers) enter() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopping {
		return false
	}
	w.readers.Add(1)
	return true
}

// ending says that no connection is accepted any more.
func (w *Writers) ending() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopping
}

// pings are the frames that ask for a sign of life, made once and shared.
type pings struct {
	mu     sync.Mutex
	frames map[string]*live.Block // guarded by mu
}

// maxPings bounds pings; there is one for each protocol and encoding.
const maxPings = 64

// of returns the block of a frame; the same one for the same frame.
func (p *pings) of(frame []byte) *live.Block {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.frames[string(frame)]; ok {
		return b
	}
	b := &live.Block{Bytes: frame}
	if p.frames == nil {
		p.frames = make(map[string]*live.Block)
	}
	if len(p.frames) < maxPings {
		p.frames[string(frame)] = b
	}
	return b
}

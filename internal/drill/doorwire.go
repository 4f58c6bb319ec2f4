package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// Wire is the network between a proxy and one origin: a TCP relay that fails the
// way networks do. A proxy sees a connection that is reset in the middle of a
// request or right before an answer, or one that is open and dead.
type Wire struct {
	listener net.Listener
	to       string
	serving  sync.WaitGroup

	cancel context.CancelFunc // ends dials

	mu      sync.Mutex
	rng     *rand.Rand           // guarded by mu
	fault   WireFault            // guarded by mu
	strands map[*strand]struct{} // those that are open; guarded by mu
	hits    int                  // how many strands a fault met; guarded by mu
	closed  bool                 // guarded by mu
}

// WireFault is what a Wire does to connections.
type WireFault int

// The faults of a Wire.
const (
	// WirePasses: nothing.
	WirePasses WireFault = iota
	// WireCutsRequests resets each connection after some hundred KB towards the
	// origin, which is mostly in the middle of a large body.
	WireCutsRequests
	// WireCutsAnswers resets half of the connections when an answer comes back,
	// before a byte of it: what it answers is done.
	WireCutsAnswers
)

// strand is one connection through a Wire.
type strand struct {
	client, node *net.TCPConn
	// dead swallows whatever comes, both ways. Guarded by the wire's mu.
	dead bool
}

// cut ends a strand with a reset, both ways.
func (s *strand) cut() {
	for _, c := range []*net.TCPConn{s.client, s.node} {
		_ = c.SetLinger(0) // closed already, it needs none
		_ = c.Close()
	}
}

// NewWire returns a wire to an origin, host:port, that listens at a free port of
// 127.0.0.1 and serves until Close.
func NewWire(ctx context.Context, to string, seed uint64) (*Wire, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &Wire{
		listener: l, to: to, cancel: cancel,
		rng: rand.New(rand.NewPCG(seed, 3)), strands: make(map[*strand]struct{}),
	}
	w.serving.Go(func() { w.accept(ctx) })
	return w, nil
}

// Addr is host:port of where the proxy connects.
func (w *Wire) Addr() string { return w.listener.Addr().String() }

// Set makes a fault happen from now on.
func (w *Wire) Set(f WireFault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

// Deaden makes all connections that are open swallow what comes, as when the
// state of a firewall between is gone: neither side learns that they are dead.
// New ones work.
func (w *Wire) Deaden() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.strands {
		if !s.dead {
			s.dead = true
			w.hits++
		}
	}
}

// Hits is how many connections a fault has met.
func (w *Wire) Hits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hits
}

// Close ends all connections, and returns once nothing runs any more.
func (w *Wire) Close() error {
	w.cancel()
	w.mu.Lock()
	w.closed = true
	for s := range w.strands {
		s.cut()
	}
	w.mu.Unlock()
	err := w.listener.Close()
	w.serving.Wait()
	return err
}

func (w *Wire) accept(ctx context.Context) {
	for {
		conn, err := w.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: the proxy tries again
			if rest(ctx, 10*time.Millisecond) != nil {
				return
			}
			continue
		}
		client, ok := conn.(*net.TCPConn)
		if !ok {
			conn.Close()
			continue
		}
		w.serving.Go(func() { w.serve(ctx, client) })
	}
}

// serve joins a proxy's connection to the origin until one of them is gone.
func (w *Wire) serve(ctx context.Context, client *net.TCPConn) {
	d := net.Dialer{Timeout: backendDial}
	conn, err := d.DialContext(ctx, "tcp", w.to)
	node, ok := conn.(*net.TCPConn)
	if err != nil || !ok {
		_ = client.SetLinger(0) // the next best to refusing
		_ = client.Close()
		return
	}
	s := &strand{client: client, node: node}
	defer s.cut()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return
	}
	w.strands[s] = struct{}{}
	budget := 100<<10 + w.rng.Int64N(600<<10)
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.strands, s)
	}()
	other := make(chan struct{})
	go func() {
		defer close(other)
		w.pass(node, client, s, func(n int) bool { budget -= int64(n); return budget > 0 }, WireCutsRequests)
	}()
	w.pass(client, node, s, func(int) bool { return w.chance() }, WireCutsAnswers)
	<-other
}

func (w *Wire) chance() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rng.IntN(2) == 0
}

// pass copies one way. ok says of each piece whether a fault spares it.
func (w *Wire) pass(to, from *net.TCPConn, s *strand, ok func(n int) bool, by WireFault) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		w.mu.Lock()
		dead, fault := s.dead, w.fault
		w.mu.Unlock()
		spared := ok(n)
		if n > 0 && !dead && fault == by && !spared {
			w.mu.Lock()
			w.hits++
			w.mu.Unlock()
			s.cut()
			return
		}
		if n > 0 && !dead {
			if _, failed := to.Write(buf[:n]); failed != nil {
				s.cut()
				return
			}
		}
		switch {
		case err == nil:
		case dead: // it says nothing of that, either, until the strand ends
			return
		case errors.Is(err, io.EOF):
			_ = to.CloseWrite() // gone already
			return
		default:
			s.cut()
			return
		}
	}
}

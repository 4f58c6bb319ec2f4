package drill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Balancer is a dumb TCP balancer: each connection goes to a backend taken at
// random, and to another one only where nobody listens there. It knows no
// health and speaks no HTTP, so that what a node does while it starts and ends
// is met by the clients.
type Balancer struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu       sync.Mutex
	rng      *rand.Rand // guarded by mu
	backends []string   // guarded by mu
	// pairs are the connections that are open. Guarded by mu.
	pairs  map[*pair]struct{}
	closed bool // guarded by mu
}

// pair is a client's connection and the one to its backend.
type pair struct {
	client, node net.Conn
	backend      string
}

func (p *pair) cut() {
	p.client.Close()
	p.node.Close()
}

// backendDial bounds how long a backend may take to accept.
const backendDial = 2 * time.Second

// NewBalancer returns a balancer that listens at a free port of 127.0.0.1 and
// serves until Close. seed decides who goes where.
func NewBalancer(ctx context.Context, seed uint64) (*Balancer, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("balancer: %w", err)
	}
	b := &Balancer{listener: l, rng: rand.New(rand.NewPCG(seed, 2)), pairs: make(map[*pair]struct{})}
	b.serving.Go(func() { b.accept(context.WithoutCancel(ctx)) })
	return b, nil
}

// Addr is host:port of where clients connect.
func (b *Balancer) Addr() string { return b.listener.Addr().String() }

// Set names the backends, host:port each. Connections that are open stay.
func (b *Balancer) Set(backends ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.backends = slices.Clone(backends)
}

// Cut breaks n connections taken at random, as a network does that fails.
func (b *Balancer) Cut(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.pairs {
		if n--; n < 0 {
			return
		}
		p.cut()
	}
}

// Open is how many connections there are to a backend.
func (b *Balancer) Open(backend string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for p := range b.pairs {
		if p.backend == backend {
			n++
		}
	}
	return n
}

// Close ends all connections, and returns once nothing runs any more.
func (b *Balancer) Close() error {
	b.mu.Lock()
	b.closed = true
	for p := range b.pairs {
		p.cut()
	}
	b.mu.Unlock()
	err := b.listener.Close()
	b.serving.Wait()
	return err
}

func (b *Balancer) accept(ctx context.Context) {
	for {
		client, err := b.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: clients try again
			if rest(ctx, 10*time.Millisecond) != nil {
				return
			}
			continue
		}
		b.serving.Go(func() { b.serve(ctx, client) })
	}
}

// serve joins a client to a backend until one of them is gone.
func (b *Balancer) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	node, backend := b.dial(ctx)
	if node == nil {
		return
	}
	p := &pair{client: client, node: node, backend: backend}
	defer p.cut()
	if !b.enter(p) {
		return
	}
	defer b.leave(p)
	other := make(chan struct{})
	go func() {
		defer close(other)
		relay(node, client)
		p.cut()
	}()
	relay(client, node)
	p.cut()
	<-other
}

// relay copies until one of the two is gone. Not by the kernel, as io.Copy would:
// that takes a pipe for each direction, and thousands of clients as many files
// again.
func relay(to io.Writer, from io.Reader) {
	_, _ = io.CopyBuffer(struct{ io.Writer }{to}, struct{ io.Reader }{from}, make([]byte, 4<<10)) // whatever ended it, the pair is over
}

// dial tries the backends in a random order.
func (b *Balancer) dial(ctx context.Context) (net.Conn, string) {
	b.mu.Lock()
	backends := slices.Clone(b.backends)
	b.rng.Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
	b.mu.Unlock()
	d := net.Dialer{Timeout: backendDial}
	for _, addr := range backends {
		if c, err := d.DialContext(ctx, "tcp", addr); err == nil {
			return c, addr
		}
	}
	return nil, ""
}

func (b *Balancer) enter(p *pair) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	b.pairs[p] = struct{}{}
	return true
}

func (b *Balancer) leave(p *pair) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pairs, p)
}

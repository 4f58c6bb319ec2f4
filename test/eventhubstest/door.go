package eventhubstest

import (
	"context"
	"crypto/tls"
	"net"
	"sync"

	"postroad/internal/loopback"
)

// door is the broker's listener. It can be shut and opened again without the
// broker knowing.
type door struct {
	d    *Double
	addr net.Addr
	came chan net.Conn
	gone chan struct{} // closed by Close

	mu    sync.Mutex
	inner net.Listener       // guarded by mu: nil while it is shut
	conns map[*conn]struct{} // guarded by mu
	over  bool               // guarded by mu: gone is closed
	serve sync.WaitGroup
}

func openDoor(d *Double) (*door, error) {
	o := &door{d: d, came: make(chan net.Conn), gone: make(chan struct{}), conns: map[*conn]struct{}{}}
	address, err := loopback.Address(context.Background()) // taken again after it was shut
	if err != nil {
		return nil, err
	}
	if err := o.open(address); err != nil {
		return nil, err
	}
	o.addr = o.inner.Addr()
	return o, nil
}

// open listens.
func (o *door) open(addr string) error {
	inner, err := o.d.opts.Listen("tcp", addr)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.inner = inner
	o.serve.Add(1)
	go o.accept(inner)
	return nil
}

func (o *door) accept(inner net.Listener) {
	defer o.serve.Done()
	for {
		raw, err := inner.Accept()
		if err != nil {
			return
		}
		c := newConn(o.d, tls.Server(raw, o.d.tls), raw)
		o.mu.Lock()
		if o.inner != inner {
			o.mu.Unlock()
			_ = c.Close() // the client is to see it, and nothing else
			return
		}
		o.conns[c] = struct{}{}
		o.mu.Unlock()
		select {
		case o.came <- c:
		case <-o.gone:
			_ = c.Close() // the client is to see it, and nothing else
			return
		}
	}
}

// forget is for a connection that is closed.
func (o *door) forget(c *conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.conns, c)
}

// live is how many connections there are by which messages came, and that still
// bring answers.
func (o *door) live() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for c := range o.conns {
		if c.carries.Load() && !c.silent.Load() {
			n++
		}
	}
	return n
}

// drop closes all connections.
func (o *door) drop() {
	o.mu.Lock()
	all := make([]*conn, 0, len(o.conns))
	for c := range o.conns {
		all = append(all, c)
	}
	o.mu.Unlock()
	for _, c := range all {
		_ = c.Close() // the client is to see it, and nothing else
	}
}

// shut closes the listener and all connections. It may be called more than once.
func (o *door) shut() {
	o.mu.Lock()
	inner := o.inner
	o.inner = nil
	o.mu.Unlock()
	if inner != nil {
		inner.Close()
	}
	o.drop()
}

// Accept implements net.Listener.
func (o *door) Accept() (net.Conn, error) {
	select {
	case c := <-o.came:
		return c, nil
	case <-o.gone:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. The broker closes it when it ends.
func (o *door) Close() error {
	o.mu.Lock()
	over := o.over
	o.over = true
	o.mu.Unlock()
	if !over {
		close(o.gone)
	}
	o.shut()
	o.serve.Wait()
	return nil
}

// Addr implements net.Listener.
func (o *door) Addr() net.Addr { return o.addr }

package httpserve

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// limits are ClientLimits that may change while they are used.
type limits struct{ now atomic.Pointer[ClientLimits] }

func (l *limits) set(c ClientLimits) { l.now.Store(&c) }
func (l *limits) get() ClientLimits  { return *l.now.Load() }

// limited is a listener that counts connections, and resets those over a limit. It
// does not wait until there is room: a client that is refused at once can go to
// another door.
type limited struct {
	net.Listener
	limits  *limits
	metrics *edgeMetrics
	trusted func(netip.Addr) bool

	mu    sync.Mutex
	total int                // guarded by mu
	per   map[netip.Addr]int // guarded by mu
}

func newLimited(l net.Listener, limits *limits, m *edgeMetrics, trusted func(netip.Addr) bool) *limited {
	if trusted == nil {
		trusted = func(netip.Addr) bool { return false }
	}
	return &limited{Listener: l, limits: limits, metrics: m, trusted: trusted, per: map[netip.Addr]int{}}
}

// Accept returns the next connection that is within the limits.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from := clientOf(c.RemoteAddr())
		why := l.admit(from)
		if why == "" {
			return &clientConn{Conn: c, from: from, home: l}, nil
		}
		l.metrics.refused(why)
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // no state of it is kept
		}
		_ = c.Close()
	}
}

// admit counts a connection, or says which limit is against it.
func (l *limited) admit(from netip.Addr) (why string) {
	lim := l.limits.get()
	counted := from.IsValid() && !l.trusted(from)
	l.mu.Lock()
	defer l.mu.Unlock()
	if lim.Connections > 0 && l.total >= lim.Connections {
		return "total"
	}
	if counted && lim.ConnectionsPerAddress > 0 && l.per[network(from)] >= lim.ConnectionsPerAddress {
		return "address"
	}
	l.total++
	if from.IsValid() { // trusted ones too: what is trusted may change meanwhile
		l.per[network(from)]++
	}
	l.metrics.connections.Set(float64(l.total))
	return ""
}

func (l *limited) release(from netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	l.metrics.connections.Set(float64(l.total))
	if !from.IsValid() {
		return
	}
	if key := network(from); l.per[key] > 1 {
		l.per[key]--
	} else {
		delete(l.per, key)
	}
}

func (l *limited) open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}

func clientOf(a net.Addr) netip.Addr {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	return t.AddrPort().Addr().Unmap().WithZone("")
}

// network is what counts as one client: of IPv6 the 64 bits that one is given.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// writePart is how much is written within one write_timeout, in bytes: a client
// that takes it more slowly than that takes nothing, for our purposes.
const writePart = 64 << 10

// clientConn is a connection of a client: counted until it is closed, and cut off
// by write_timeout. A deadline that somebody else sets holds instead, until it is
// taken back.
type clientConn struct {
	net.Conn
	from  netip.Addr
	home  *limited
	once  sync.Once
	until atomic.Int64 // the deadline of writing that write set, Unix nanoseconds; 0 for none
	other atomic.Bool  // somebody else's deadline holds
}

// Write writes in parts, each of which has its own time.
func (c *clientConn) Write(b []byte) (n int, err error) {
	for {
		c.extend()
		m, err := c.Conn.Write(b[n:min(len(b), n+writePart)])
		n += m
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// extend moves the deadline of writing on where a quarter of it has passed: a
// system's timer for each write of a busy connection would be dear.
func (c *clientConn) extend() {
	timeout := c.home.limits.now.Load().WriteTimeout
	if timeout <= 0 || c.other.Load() {
		return
	}
	now := time.Now()
	if c.until.Load()-now.UnixNano() > int64(timeout)*3/4 {
		return
	}
	until := now.Add(timeout)
	c.until.Store(until.UnixNano())
	_ = c.Conn.SetWriteDeadline(until) // fails on a closed connection, as the write will
}

// SetWriteDeadline sets a deadline that holds instead of write_timeout.
func (c *clientConn) SetWriteDeadline(t time.Time) error {
	c.other.Store(!t.IsZero())
	c.until.Store(0)
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline sets both deadlines.
func (c *clientConn) SetDeadline(t time.Time) error {
	c.other.Store(!t.IsZero())
	c.until.Store(0)
	return c.Conn.SetDeadline(t)
}

// CloseWrite ends what is sent, for the server's orderly end of a connection.
func (c *clientConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Close gives the connection's place back.
func (c *clientConn) Close() error {
	c.once.Do(func() { c.home.release(c.from) })
	return c.Conn.Close()
}

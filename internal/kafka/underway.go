package kafka

import (
	"context"
	"net"
	"sync"
	"time"
)

// underway knows until when a client's requests may have been on their way.
type underway struct {
	mu   sync.Mutex
	open int       // guarded by mu: connections
	last time.Time // guarded by mu: when one was last closed
}

type dialer func(ctx context.Context, network, host string) (net.Conn, error)

// watch has the connections of a dialer counted.
func (u *underway) watch(dial dialer) dialer {
	return func(ctx context.Context, network, host string) (net.Conn, error) {
		conn, err := dial(ctx, network, host)
		if err != nil {
			return nil, err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.open++
		return &watchedConn{Conn: conn, close: sync.OnceFunc(u.closed)}, nil
	}
}

func (u *underway) closed() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.open--
	u.last = time.Now()
}

// until is now while a connection is open, else when the last one was closed; zero
// where there was none.
func (u *underway) until() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.open > 0 {
		return time.Now()
	}
	return u.last
}

// watchedConn tells when it is closed.
type watchedConn struct {
	net.Conn
	close func()
}

// Close implements net.Conn.
func (c *watchedConn) Close() error {
	defer c.close()
	return c.Conn.Close()
}

// GivenUp tells when any connection was last open of the clients that Reset has
// given up; zero where none ever was. What they have sent was sent before that, and
// a hub that has been away for long since has nothing of it under way any more.
func (s *Sink) GivenUp() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.givenUp
}

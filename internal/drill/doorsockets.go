package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gobwas/ws"
)

// Sockets are clients that each keep a WebSocket open through a proxy, and make a
// new one at once when theirs ends. They send nothing and wait for nothing.
type Sockets struct {
	opts SocketsOptions
	// dials bounds how many connect at a time, as their number does in a world
	// where each client is a machine of its own.
	dials chan struct{}

	mu sync.Mutex
	// at is how many are connected by origin, as the proxy names it. Guarded by mu.
	at map[string]int
	// ended is what ended. Guarded by mu.
	ended  []ending
	failed int   // connections that were not made; guarded by mu
	last   error // why the last of them was not; guarded by mu
}

// ending is the end of a client's connection.
type ending struct {
	at     time.Time
	client int
}

// SocketsOptions say which clients there are.
type SocketsOptions struct {
	// URL is the proxy's base URL.
	URL string
	// Clients is how many there are.
	Clients int
	// Sources are addresses that the clients come from, in turn; none leaves that
	// to the system. One address has fewer ports than there may be clients.
	Sources []string
	// Control, where set, prepares each socket before it is bound.
	Control func(network, address string, c syscall.RawConn) error
	// Dials is how many connect at a time; 0 is 64.
	Dials int
}

// originHeader is where Postroad's door names the origin.
const originHeader = "Postroad-Origin"

// NewSockets makes clients; none is connected yet.
func NewSockets(o SocketsOptions) (*Sockets, error) {
	if _, err := HostOf(o.URL); err != nil {
		return nil, err
	}
	return &Sockets{opts: o, dials: make(chan struct{}, cmp.Or(o.Dials, 64)), at: make(map[string]int)}, nil
}

// Run keeps all clients connected until ctx ends.
func (s *Sockets) Run(ctx context.Context) {
	var all sync.WaitGroup
	for i := range s.opts.Clients {
		all.Go(func() { s.keep(ctx, i) })
	}
	all.Wait()
}

// At is how many clients are connected by origin.
func (s *Sockets) At() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.at)
}

// Failed is how many connections were not made, and why the last of them was not.
func (s *Sockets) Failed() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed, s.last
}

// Ended is when connections ended, from a time on.
func (s *Sockets) Ended(from time.Time) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var after []time.Time
	for _, e := range s.ended {
		if e.at.After(from) {
			after = append(after, e.at)
		}
	}
	return after
}

// Most is how many connections of one client ended, from a time on: of the client
// of whom the most did.
func (s *Sockets) Most(from time.Time) (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ended := make(map[int]int)
	for _, e := range s.ended {
		if e.at.After(from) {
			ended[e.client]++
			most = max(most, ended[e.client])
		}
	}
	return most
}

// socketPause is how long a client rests that could not connect.
const socketPause = 100 * time.Millisecond

func (s *Sockets) keep(ctx context.Context, i int) {
	for ctx.Err() == nil {
		conn, origin, err := s.connect(ctx, i)
		if err != nil {
			s.mu.Lock()
			s.failed++
			s.last = err
			s.mu.Unlock()
			_ = rest(ctx, socketPause) // the loop looks at ctx
			continue
		}
		s.change(i, origin, 1)
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		_, _ = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{conn}, make([]byte, 64)) // whatever ended it, it is over
		stop()
		conn.Close()
		s.change(i, origin, -1)
	}
}

func (s *Sockets) change(client int, origin string, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[origin] += by
	if s.at[origin] == 0 {
		delete(s.at, origin)
	}
	if by < 0 {
		s.ended = append(s.ended, ending{time.Now(), client})
	}
}

func (s *Sockets) connect(ctx context.Context, i int) (net.Conn, string, error) {
	select {
	case s.dials <- struct{}{}:
		defer func() { <-s.dials }()
	case <-ctx.Done():
		return nil, "", context.Cause(ctx)
	}
	origin := "?"
	d := net.Dialer{Control: s.opts.Control}
	if n := len(s.opts.Sources); n > 0 {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(s.opts.Sources[i%n])}
	}
	dialer := ws.Dialer{
		Timeout: startTimeout, ReadBufferSize: 512, WriteBufferSize: 512, NetDial: d.DialContext,
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), originHeader) {
				origin = string(value)
			}
			return nil
		},
	}
	conn, _, _, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(s.opts.URL, "http")+"/connection/websocket")
	return conn, origin, err
}

// WaitAll waits until all clients are connected, and those whose origin want
// accepts.
func (s *Sockets) WaitAll(ctx context.Context, limit time.Duration, want func(origin string) bool) error {
	connected := 0
	err := Until(ctx, limit, fmt.Sprintf("%d clients are connected", s.opts.Clients), func() (bool, error) {
		connected = 0
		for origin, n := range s.At() {
			if want(origin) {
				connected += n
			}
		}
		return connected == s.opts.Clients, nil
	})
	if err != nil {
		failed, last := s.Failed()
		return fmt.Errorf("%w: %d are, by origin %v; %d connections were not made: %w", err, connected, s.At(), failed, errors.Join(last))
	}
	return nil
}

// WaitMoved waits until all clients are connected and each is where want accepts,
// or was moved since a time and stays where it is.
func (s *Sockets) WaitMoved(ctx context.Context, limit time.Duration, since time.Time, want func(origin string) bool) error {
	err := Until(ctx, limit, fmt.Sprintf("%d clients are moved", s.opts.Clients), func() (bool, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		connected, there := 0, 0
		for origin, n := range s.at {
			connected += n
			if want(origin) {
				there += n
			}
		}
		moved := make(map[int]bool)
		for _, e := range s.ended {
			if e.at.After(since) {
				moved[e.client] = true
			}
		}
		return connected == s.opts.Clients && (there == connected || len(moved) == connected), nil
	})
	if err != nil {
		failed, last := s.Failed()
		return fmt.Errorf("%w: by origin %v; %d connections were not made: %w", err, s.At(), failed, errors.Join(last))
	}
	return nil
}

// busiest is the most that happened within any window, and how long all lasted.
func busiest(times []time.Time, window time.Duration) (most int, lasted time.Duration) {
	times = slices.SortedFunc(slices.Values(times), time.Time.Compare)
	first := 0
	for i, t := range times {
		for t.Sub(times[first]) >= window {
			first++
		}
		most = max(most, i-first+1)
	}
	if len(times) > 0 {
		lasted = times[len(times)-1].Sub(times[0])
	}
	return most, lasted
}

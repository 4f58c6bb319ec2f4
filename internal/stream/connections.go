package stream

import (
	"container/heap"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// leave says why the node ends a connection.
type leave int

const (
	leaveDrain   leave = iota // the node stops
	leaveAge                  // it was open long enough
	leaveExpired              // the client's token is no longer good
)

func (l leave) String() string { return [...]string{"drain", "age", "expired"}[l] }

// Why a connection is not taken.
var (
	errNodeFull   = errors.New("this node has as many connections as it may")
	errClientFull = errors.New("this client has as many connections as it may")
	errClosing    = errors.New("this node is about to stop")
)

// connections are all that are open, of either protocol: to count them, and to end
// them when they are old or the node stops.
type connections struct {
	limits LimitOptions
	age    AgeOptions

	mu      sync.Mutex
	byAge   ageHeap        // guarded by mu
	clients map[string]int // connections by client, see connection.client; guarded by mu
	closing bool           // nobody is let in any more; guarded by mu
	empty   chan struct{}  // closed when the last one has gone, while closing; guarded by mu
}

// connection is one of them. Its fields are guarded by the mutex of all.
type connection struct {
	all *connections
	// stop ends it. It must not block, and may be called more than once.
	stop func(leave)
	// due is when it is old.
	due time.Time
	at  int // in byAge; -1 once it is gone
	// client is what it counts for: an address, or who its token names.
	client []string
}

func newConnections(limits LimitOptions, age AgeOptions) *connections {
	return &connections{limits: limits, age: age, clients: map[string]int{}}
}

// open takes a connection in, which the caller gives back by done.
func (c *connections) open(address string, stop func(leave)) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closing:
		return nil, errClosing
	case len(c.byAge) >= c.limits.Connections:
		return nil, errNodeFull
	}
	n := &connection{all: c, stop: stop, at: -1}
	if !n.count("address "+address, c.limits.ConnectionsPerAddress) {
		return nil, errClientFull
	}
	n.due = time.Now().Add(c.age.random())
	heap.Push(&c.byAge, n)
	return n, nil
}

// identify counts the connection for whom its token names, where it names one.
// Without the limit one user with a loop in a program takes the whole node.
func (n *connection) identify(name string) error {
	if name == "" {
		return nil
	}
	c := n.all
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.at < 0 || len(n.client) > 0 && n.client[len(n.client)-1] == "user "+name {
		return nil // gone already, or a token that was renewed
	}
	if !n.count("user "+name, c.limits.ConnectionsPerUser) {
		return errClientFull
	}
	return nil
}

// count adds the connection to a client's where the limit lets it; 0 is no limit,
// and nothing is counted. The caller holds the mutex.
func (n *connection) count(client string, limit int) bool {
	switch {
	case limit == 0:
		return true
	case n.all.clients[client] >= limit:
		return false
	}
	n.all.clients[client]++
	n.client = append(n.client, client)
	return true
}

// done says that the connection is closed. It may be called more than once.
func (n *connection) done() {
	c := n.all
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.at < 0 {
		return
	}
	heap.Remove(&c.byAge, n.at)
	for _, client := range n.client {
		if c.clients[client]--; c.clients[client] == 0 {
			delete(c.clients, client)
		}
	}
	if c.closing && len(c.byAge) == 0 {
		close(c.empty)
	}
}

func (c *connections) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byAge)
}

// run ends connections that are old, until ctx ends. One look a second does for
// all, so that a connection needs no timer.
func (c *connections) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, n := range c.old(time.Now()) {
			n.stop(leaveAge)
		}
	}
}

// old returns the connections that are due, and makes them due again some time
// later, should one not go.
func (c *connections) old(now time.Time) []*connection {
	c.mu.Lock()
	defer c.mu.Unlock()
	var due []*connection
	for len(c.byAge) > 0 && !c.byAge[0].due.After(now) {
		n := c.byAge[0]
		due = append(due, n)
		n.due = now.Add(time.Minute)
		heap.Fix(&c.byAge, 0)
	}
	return due
}

// drain lets nobody in any more and ends all connections, in random order, at
// o.Rate a second, or faster where they would not all be ended within o.Timeout:
// clients then come to the other nodes as a stream instead of as a wave. It
// returns once all have gone; those that have not when ctx ends, or o.Timeout and
// a moment after it, are left to whoever closes the listener.
func (c *connections) drain(ctx context.Context, o DrainOptions) {
	all, empty := c.close()
	ctx, cancel := context.WithTimeout(ctx, o.Timeout+drainMoment)
	defer cancel()
	step := o.step(len(all))
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := time.Now()
	for i, n := range all {
		// Each in its own slot, but anywhere in it: an even beat would meet the
		// beat of another node that drains.
		due := begin.Add(time.Duration(i)*step + rand.N(step+1))
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		n.stop(leaveDrain)
	}
	select {
	case <-empty:
	case <-ctx.Done():
	}
}

// drainMoment is how long connections that were told to go may take to do so.
const drainMoment = 5 * time.Second

// close returns all connections, shuffled, and a channel that closes once they
// are gone.
func (c *connections) close() ([]*connection, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closing {
		c.closing, c.empty = true, make(chan struct{})
		if len(c.byAge) == 0 {
			close(c.empty)
		}
	}
	all := append([]*connection(nil), c.byAge...)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, c.empty
}

// isClosing says whether nobody is let in any more.
func (c *connections) isClosing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// ageHeap holds connections, the one that is due next first.
type ageHeap []*connection

func (h ageHeap) Len() int           { return len(h) }
func (h ageHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h ageHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *ageHeap) Push(x any) {
	n := x.(*connection)
	n.at = len(*h)
	*h = append(*h, n)
}

// Pop implements heap.Interface.
func (h *ageHeap) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	n.at = -1
	return n
}

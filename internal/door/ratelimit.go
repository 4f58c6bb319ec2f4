package door

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// clientRates gives each client a rate of its own. The table is bounded: where it
// is full, the client that asked longest ago is forgotten, and begins anew with a
// full burst. So a flood from very many addresses is not held up here, and never
// takes more memory than the table.
type clientRates struct {
	now func() time.Time

	mu      sync.Mutex
	every   rate.Limit                     // 0: no limit; guarded by mu
	burst   int                            // guarded by mu
	most    int                            // guarded by mu
	clients map[netip.Prefix]*list.Element // guarded by mu
	recent  *list.List                     // of *clientRate, newest first; guarded by mu
}

type clientRate struct {
	client netip.Prefix
	bucket *rate.Limiter
}

func newClientRates(o RateLimit, now func() time.Time) *clientRates {
	c := &clientRates{now: now, clients: map[netip.Prefix]*list.Element{}, recent: list.New()}
	c.set(o)
	return c
}

// set changes the limit. Who is known keeps what is left of its burst.
func (c *clientRates) set(o RateLimit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.every, c.burst, c.most = rate.Limit(o.PerSecond), o.Burst, o.Clients
	for e := c.recent.Front(); e != nil; e = e.Next() {
		if r, ok := e.Value.(*clientRate); ok {
			r.bucket.SetLimitAt(c.now(), c.every)
			r.bucket.SetBurstAt(c.now(), c.burst)
		}
	}
	c.trim()
}

// trim forgets until the table has room. The caller holds mu.
func (c *clientRates) trim() {
	for c.recent.Len() > c.most || c.every == 0 && c.recent.Len() > 0 {
		oldest := c.recent.Back()
		if r, ok := c.recent.Remove(oldest).(*clientRate); ok {
			delete(c.clients, r.client)
		}
	}
}

// who is the client that an address stands for: one IPv4 address, or the /64 of
// an IPv6 one, of which a single host may use every address.
func who(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // an address that is none: all such share one rate
	}
	return p
}

// admit reports whether a request of a client may pass, and if not after which
// time one may.
func (c *clientRates) admit(a netip.Addr) (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.every == 0 {
		return 0, true
	}
	now := c.now()
	r := c.of(who(a))
	if r.AllowN(now, 1) {
		return 0, true
	}
	missing := 1 - r.TokensAt(now)
	return time.Duration(missing / float64(c.every) * float64(time.Second)), false
}

// of returns the bucket of a client. The caller holds mu.
func (c *clientRates) of(client netip.Prefix) *rate.Limiter {
	if e, ok := c.clients[client]; ok {
		c.recent.MoveToFront(e)
		if r, ok := e.Value.(*clientRate); ok {
			return r.bucket
		}
	}
	r := &clientRate{client, rate.NewLimiter(c.every, c.burst)}
	c.clients[client] = c.recent.PushFront(r)
	c.trim()
	return r.bucket
}

// known is how many clients are in the table.
func (c *clientRates) known() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recent.Len()
}

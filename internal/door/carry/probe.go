package carry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// Addresses returns the addresses of an origin; none if it has none yet.
func (c *Carrier) Addresses(origin string) []string {
	t := c.target(origin)
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.addresses)
}

// Probe sends a request to one address of an origin, over a connection of its
// own, whatever the policy thinks of the origin. Scheme and host of the URL are
// set here.
func (c *Carrier) Probe(origin, address string, req *http.Request) (*http.Response, error) {
	t := c.target(origin)
	if t == nil {
		return nil, fmt.Errorf("origin %s: no address", origin)
	}
	out := req.WithContext(context.WithValue(req.Context(), onlyAddress{}, address))
	out.URL = t.address(req)
	out.Host = ""
	return t.probe.RoundTrip(out)
}

// Probed tells what came of the probe of one address. Where an origin has several,
// one that fails or asks to be left alone gets new connections only if all others
// do, until a probe of it passes.
func (c *Carrier) Probed(origin, address string, passed bool) {
	if t := c.target(origin); t != nil {
		t.probed(address, passed)
	}
}

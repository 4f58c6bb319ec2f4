package door

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"postroad/internal/door/carry"
	"postroad/internal/door/policy"
)

// watch probes one origin until ctx ends, at once and then as the policy says.
func (d *Door) watch(ctx context.Context, groupName, originName string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		// What is in force may have changed since the last probe.
		g := d.state.Load().groups[groupName]
		if g == nil {
			return
		}
		o := g.origin(originName)
		if o == nil {
			return
		}
		p := d.probe(ctx, g, originName, turn)
		if ctx.Err() != nil {
			return // it may have failed for that reason
		}
		d.metrics.probed(groupName, originName, p)
		if !carry.Lacking(p.Err) { // what this machine lacks is no verdict on the origin
			o.Probed(p)
		}
		timer.Reset(o.NextProbe())
	}
}

// probe asks an origin once: the address whose turn it is. Where that does not
// pass, or asks to be left alone, and there are others, it does not speak for the
// origin: all others are asked, and one of them that passes does. Without this one
// instance of ten that is being renewed would take the other nine out with it.
func (d *Door) probe(ctx context.Context, g *group, name string, turn int) policy.Probe {
	addresses := g.carrier.Addresses(name)
	if len(addresses) == 0 {
		return policy.Probe{Err: fmt.Errorf("probe: origin %s has no address", name)}
	}
	first := turn % len(addresses)
	word := d.probeAt(ctx, g, name, addresses[first])
	if serves(word) || len(addresses) == 1 {
		return word
	}
	others := slices.Delete(addresses, first, first+1)
	answers := make(chan policy.Probe, len(others))
	for _, a := range others {
		go func() { answers <- d.probeAt(ctx, g, name, a) }()
	}
	best := word
	for range others {
		if p := <-answers; weight(p) > weight(best) {
			best = p
		}
	}
	return best
}

// serves: the probe passed, and the address takes requests.
func serves(p policy.Probe) bool { return p.Err == nil && !leaves(p.Said) }

// weight of the word of one address among those of an origin: who serves speaks for
// it, and where somebody could not be asked nobody is held against it.
func weight(p policy.Probe) int {
	switch {
	case serves(p):
		return 3
	case carry.Lacking(p.Err):
		return 2
	case leaves(p.Said):
		return 1
	}
	return 0
}

func leaves(said policy.Announcement) bool { return said.Drain || said.Maintenance }

// probeAt asks one address, and has the carrier know what came of it.
func (d *Door) probeAt(ctx context.Context, g *group, name, address string) policy.Probe {
	p := d.ask(ctx, g, name, address)
	if ctx.Err() == nil && !carry.Lacking(p.Err) {
		g.carrier.Probed(name, address, serves(p))
	}
	return p
}

// ask probes one address. A redirect is an answer other than 200. What an origin
// says of itself counts although it answers otherwise: one that drains answers 503
// and says why.
func (d *Door) ask(ctx context.Context, g *group, name, address string) policy.Probe {
	rule := g.settings.Probe
	ctx, cancel := context.WithTimeout(ctx, rule.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, rule.Method, "http://origin"+rule.Path, http.NoBody)
	if err != nil {
		return policy.Probe{Err: fmt.Errorf("probe: %w", err)}
	}
	req.Header.Set("User-Agent", "postroad-door")
	begin := time.Now()
	res, err := g.carrier.Probe(name, address, req)
	took := time.Since(begin)
	if err != nil {
		return policy.Probe{Err: fmt.Errorf("probe: %w", err), Took: took}
	}
	defer res.Body.Close()
	p := policy.Probe{Took: took}
	body, err := io.ReadAll(io.LimitReader(res.Body, policy.MaxAnnouncement+1))
	if err == nil {
		// What is no announcement says nothing, and is no failure: other services
		// answer with JSON of their own, in which "weight" may mean anything.
		p.Said, _ = policy.ParseAnnouncement(body)
	}
	switch {
	case res.StatusCode != http.StatusOK:
		p.Err = fmt.Errorf("probe: %s answered %d", rule.Path, res.StatusCode)
	case err != nil:
		p.Err = fmt.Errorf("probe: %w", err)
	}
	return p
}

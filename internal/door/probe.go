package door

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"postroad/internal/door/policy"
)

// watch probes one origin until ctx ends, at once and then as the policy says.
func (d *Door) watch(ctx context.Context, groupName, originName string) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
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
		p := d.probe(ctx, g, originName)
		if ctx.Err() != nil {
			return // it may have failed for that reason
		}
		d.metrics.probed(groupName, originName, p)
		o.Probed(p)
		timer.Reset(o.NextProbe())
	}
}

// probe asks an origin once. A redirect is an answer other than 200. What an
// origin says of itself counts although it answers otherwise: one that drains
// answers 503 and says why.
func (d *Door) probe(ctx context.Context, g *group, name string) policy.Probe {
	rule := g.settings.Probe
	ctx, cancel := context.WithTimeout(ctx, rule.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, rule.Method, "http://origin"+rule.Path, http.NoBody)
	if err != nil {
		return policy.Probe{Err: fmt.Errorf("probe: %w", err)}
	}
	req.Header.Set("User-Agent", "postroad-door")
	begin := time.Now()
	res, err := g.carrier.Probe(name, req)
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

package policy

import "time"

// Status is a group as it is now, for the admin API, metrics and the console.
type Status struct {
	// Panic: too few origins are usable, requests are spread over suspects.
	Panic bool `json:"panic"`
	// Stalled: this machine slept a moment ago, and silence says nothing.
	Stalled bool         `json:"stalled"`
	Budget  BudgetStatus `json:"budget"`
	// Origins by priority, then as configured.
	Origins []OriginStatus `json:"origins"`
}

// OriginStatus is one origin as it is now.
type OriginStatus struct {
	Name     string `json:"name"`
	Priority int    `json:"priority"`
	Weight   int    `json:"weight"`
	// Percent of its weight that an operator and the origin itself leave it.
	Percent int       `json:"percent"`
	State   State     `json:"state"`
	Reason  string    `json:"reason"`
	Since   time.Time `json:"since"`
	// Healthy and Usable are as the methods of Origin say.
	Healthy bool `json:"healthy"`
	Usable  bool `json:"usable"`
	// Fast: within the latency sensitivity of the fastest of its priority.
	Fast bool `json:"fast"`
	// Ramp is the part of its share that it gets while it is restored, 0 to 1.
	Ramp float64 `json:"ramp"`
	// Isolations that are not forgotten; the last one ends at IsolatedUntil at the
	// earliest.
	Isolations    int       `json:"isolations"`
	IsolatedUntil time.Time `json:"isolated_until,omitzero"`
	// Problem is what failed last.
	Problem  string    `json:"problem,omitempty"`
	ProbedAt time.Time `json:"probed_at,omitzero"`
	// ProbeSeconds is the median of the last probes, HedgeSeconds the delay of a
	// hedge.
	ProbeSeconds float64 `json:"probe_seconds"`
	HedgeSeconds float64 `json:"hedge_seconds"`
	// Slow: answers take much longer than they used to.
	Slow bool `json:"slow"`
	// InFlight is how many requests are under way, Silent how many in a row wait
	// longer than they should.
	InFlight int `json:"in_flight"`
	Silent   int `json:"silent"`
	// Answered, Failed and Abandoned count flights since the origin is known.
	Answered  uint64       `json:"answered"`
	Failed    uint64       `json:"failed"`
	Abandoned uint64       `json:"abandoned"`
	Said      Announcement `json:"said"`
}

// Status returns the group as it is now.
func (g *Group) Status() Status {
	now := g.now()
	v := g.current(now)
	s := Status{Panic: v.panics, Stalled: g.stalled(now), Budget: g.budget.status(now)}
	g.mu.Lock()
	defer g.mu.Unlock()
	conf := g.conf.Load()
	for _, o := range g.origins {
		s.Origins = append(s.Origins, o.status(conf, now))
	}
	return s
}

// status: the caller holds group.mu.
func (o *Origin) status(conf *Options, now instant) OriginStatus {
	g := o.group
	s := OriginStatus{
		Name: o.name, Priority: o.opts.Priority, Weight: o.opts.Weight, Percent: o.percent() * o.said.percent() / 100,
		State: o.mode(), Reason: o.why(), Since: g.at(max(o.since, o.toldAt)),
		Healthy: o.Healthy(), Usable: o.Usable(), Fast: o.fast,
		Isolations: o.isolations, Problem: o.lastProblem,
		ProbeSeconds: o.pace.median().Seconds(), HedgeSeconds: time.Duration(o.delay.Load()).Seconds(),
		Slow: int64(now) < o.slowUntil.Load(), Said: o.said,
	}
	switch s.State {
	case Healthy:
		s.Ramp = 1
	case Restoring:
		c := cand{from: o.since, to: o.since + conf.Health.Restore.Ramp}
		s.Ramp = c.ramp(now)
	}
	if o.state == Suspect && o.isolations > 0 {
		s.IsolatedUntil = g.at(o.until)
	}
	if o.everProbed {
		s.ProbedAt = g.at(o.probedAt)
	}
	t := &o.traffic
	t.mu.Lock()
	defer t.mu.Unlock()
	s.InFlight, s.Silent = t.flying, t.silent
	s.Answered, s.Failed, s.Abandoned = t.answered, t.failed, t.abandoned
	return s
}

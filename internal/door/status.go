package door

import (
	"time"

	"postroad/internal/door/carry"
	"postroad/internal/door/policy"
)

// Status is a door as it is now, for the admin API and the console.
type Status struct {
	Started time.Time `json:"started"`
	// Since is when the configuration in force was taken, Reloads how often one was.
	Since   time.Time `json:"since"`
	Reloads int       `json:"reloads"`
	// Streams is how many streams are carried.
	Streams int           `json:"streams"`
	Groups  []GroupStatus `json:"groups"` // by name
	Routes  []RouteStatus `json:"routes"` // in the order in which they count
}

// GroupStatus is one group as it is now.
type GroupStatus struct {
	Name     string              `json:"name"`
	Affinity string              `json:"affinity"`
	Panic    bool                `json:"panic"`
	Stalled  bool                `json:"stalled"`
	Budget   policy.BudgetStatus `json:"budget"`
	Carried  CarriedStatus       `json:"carried"`
	Origins  []OriginStatus      `json:"origins"` // by priority, then as configured
}

// CarriedStatus counts what was sent more than once, and why.
type CarriedStatus struct {
	Repeats  int64 `json:"repeats"`
	Hedges   int64 `json:"hedges"`
	Refused  int64 `json:"refused"`
	Minted   int64 `json:"minted"`
	Streamed int64 `json:"streamed"`
	Buffered int64 `json:"buffered_bytes"`
	Orphans  int64 `json:"orphans"`
}

// OriginStatus is one origin as it is now.
type OriginStatus struct {
	policy.OriginStatus
	// URLs are its addresses as configured.
	URLs []string `json:"urls"`
	// Streams is how many it carries.
	Streams int `json:"streams"`
}

// RouteStatus is one route, hosts and paths taken apart.
type RouteStatus struct {
	Host  string `json:"host,omitempty"`
	Path  string `json:"path,omitempty"`
	Group string `json:"group"`
	Kind  string `json:"kind"`
}

// Status returns the door as it is now.
func (d *Door) Status() Status {
	l := d.state.Load()
	d.mu.Lock()
	reloads := d.reloads
	d.mu.Unlock()
	s := Status{Started: d.started, Since: l.since, Reloads: reloads, Streams: d.live.total()}
	for _, g := range l.sorted() {
		s.Groups = append(s.Groups, d.statusOf(g))
	}
	if l.toStreams != nil {
		s.Routes = append(s.Routes, RouteStatus{Path: "what stream nodes serve", Group: l.toStreams.group.name, Kind: l.toStreams.kind.String()})
	}
	for _, r := range l.routes {
		kind := r.kind.String()
		if r.byPath {
			kind = "by path"
		}
		s.Routes = append(s.Routes, RouteStatus{Host: r.host, Path: r.path, Group: r.group.name, Kind: kind})
	}
	return s
}

func (d *Door) statusOf(g *group) GroupStatus {
	p, c := g.policy.Status(), g.carried()
	s := GroupStatus{
		Name: g.name, Affinity: g.settings.Affinity, Panic: p.Panic, Stalled: p.Stalled, Budget: p.Budget,
		Carried: CarriedStatus{c.Repeats, c.Hedges, c.Refused, c.Minted, c.Streamed, c.Buffered, c.Orphans},
	}
	urls := map[string][]string{}
	for _, o := range g.origins {
		t := o.target()
		urls[o.Name] = t.URLs
		if t.DNS != "" {
			urls[o.Name] = []string{t.DNS}
		}
	}
	for _, o := range p.Origins {
		s.Origins = append(s.Origins, OriginStatus{OriginStatus: o, URLs: urls[o.Name], Streams: d.live.count(place{g.name, o.Name})})
	}
	return s
}

// Group returns the state of one group by its name; false where there is none.
func (d *Door) Group(name string) (GroupStatus, bool) {
	g := d.state.Load().groups[name]
	if g == nil {
		return GroupStatus{}, false
	}
	return d.statusOf(g), true
}

// carried are the counts of the group's carrier and of those before it.
func (g *group) carried() carry.Stats {
	s, b := g.carrier.Stats(), g.earlier
	s.Repeats += b.Repeats
	s.Hedges += b.Hedges
	s.Refused += b.Refused
	s.Minted += b.Minted
	s.Streamed += b.Streamed
	s.Lacking += b.Lacking
	return s
}

package bench

import (
	"fmt"
	"io"
	"strings"

	"postroad/internal/drill"
)

// DoorReport is what Door measured.
type DoorReport struct {
	Machine Machine     `json:"machine"`
	Options DoorOptions `json:"options"`
	Parts   []DoorPart  `json:"parts"`
	// Faults are drills, by proxy, fault and size of bodies.
	Faults []DoorFault `json:"faults,omitempty"`
	// Versions are what programs of others say of themselves.
	Versions []string `json:"versions,omitempty"`
	// Trouble are drills of other proxies that could not be done, and why.
	Trouble []string `json:"trouble,omitempty"`
	// Missing are proxies that are not installed.
	Missing []string `json:"missing,omitempty"`
}

// DoorPart is one kind of request through all proxies.
type DoorPart struct {
	Name       string          `json:"name"`
	About      string          `json:"about"`
	Contenders []DoorContender `json:"contenders"`
}

// DoorContender is what one proxy took.
type DoorContender struct {
	Name string `json:"name"`
	// CPU is the processor time of the proxy's processes for a request, in
	// microseconds.
	CPU Figure `json:"cpu_us"`
	// Rate is the requests a second; load generator and origins run beside it.
	Rate Figure `json:"rate"`
	// OfHAProxy and OfPlain are shares of what HAProxy and httputil.ReverseProxy
	// took in the same round; nil where they did not take part.
	OfHAProxy *Figure `json:"of_haproxy,omitempty"`
	OfPlain   *Figure `json:"of_reverse_proxy,omitempty"`
}

// The targets of D1.
const (
	ofHAProxyTarget = 3
	ofPlainTarget   = 0.95
)

// Goals compares the report with the targets.
func (r *DoorReport) Goals() []Goal {
	var goals []Goal
	for _, part := range r.Parts {
		for _, c := range part.Contenders {
			if c.Name != frontDoor {
				continue
			}
			if c.OfHAProxy != nil {
				goals = append(goals, atMost("D1, "+part.Name+": processor time, share of HAProxy", ofHAProxyTarget, c.OfHAProxy.Median, ""))
			}
			if c.OfPlain != nil {
				goals = append(goals, atMost("D1, "+part.Name+": processor time, share of httputil.ReverseProxy", ofPlainTarget, c.OfPlain.Median, ""))
			}
		}
	}
	return append(goals, r.faultGoals()...)
}

// frontTitle names a proxy for a table.
func frontTitle(name string) string {
	switch name {
	case frontDoor:
		return "Postroad front door"
	case frontHAProxy:
		return "HAProxy"
	case "haproxy-retry":
		return "HAProxy, repeats"
	case "nginx-retry":
		return "nginx, repeats"
	case "caddy":
		return "Caddy"
	case "caddy-retry":
		return "Caddy, repeats"
	case drill.ReverseProxy:
		return "httputil.ReverseProxy"
	}
	return name
}

// Write prints the report as Markdown tables.
func (r *DoorReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	if len(r.Parts) > 0 {
		p.f("%d rounds of %v each over %d connections, proxies in turn, each on one core; median (least–most).\n\n", r.Options.Rounds, r.Options.Duration, r.Options.Connections)
	}
	if len(r.Versions) > 0 {
		p.f("Programs of others: %s.\n\n", strings.Join(r.Versions, "; "))
	}
	if len(r.Missing) > 0 {
		p.f("Not installed: %s.\n\n", strings.Join(r.Missing, ", "))
	}
	for _, part := range r.Parts {
		p.f("%s:\n\n", part.About)
		var rows [][]string
		for _, c := range part.Contenders {
			rows = append(rows, []string{frontTitle(c.Name), spread(c.CPU, "%.1f"), optional(c.OfHAProxy), optional(c.OfPlain), spread(c.Rate, "%.0f")})
		}
		p.table([]string{"", "µs of processor time a request", "share of HAProxy", "share of ReverseProxy", "requests/s"}, rows)
	}
	r.writeFaults(p)
	p.goals(r.Goals())
	return p.err
}

func optional(f *Figure) string {
	if f == nil {
		return "–"
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", f.Median, f.Min, f.Max)
}

package gateway

import (
	"encoding/json"
	"net/http"
)

// Announcement is what a gateway says of its stamp in the answer of /healthz, by
// which a front door weighs it against others. The zero value says nothing.
type Announcement struct {
	// Weight is how much of its usual share it asks for, in percent; nil is the whole.
	Weight *int `json:"weight,omitempty"`
	// Drain asks for no further requests: it is about to stop.
	Drain bool `json:"drain,omitempty"`
	// Maintenance asks for none until it says otherwise.
	Maintenance bool `json:"maintenance,omitempty"`
	// Fill is how full the queue is, 0 to 1.
	Fill float64 `json:"fill,omitempty"`
	// Throttled: the hub makes the stamp wait, or is not sent to.
	Throttled bool `json:"throttled,omitempty"`
}

// announcement is what is said now.
func (g *Gateway) announcement() (a Announcement) {
	if g.deps.Announce != nil {
		a = g.deps.Announce()
	}
	a.Drain = a.Drain || g.draining.Load()
	a.Maintenance = g.opts.Announce.Maintenance
	if g.opts.Announce.Weight != fullWeight {
		a.Weight = &g.opts.Announce.Weight
	}
	return a
}

// on adds what is said to a refusal: a door reads it whatever the status is.
func (a Announcement) on(e *refusal) *refusal {
	if a.Weight != nil {
		e = e.with("weight", *a.Weight)
	}
	for name, is := range map[string]bool{"drain": a.Drain, "maintenance": a.Maintenance, "throttled": a.Throttled} {
		if is {
			e = e.with(name, true)
		}
	}
	if a.Fill > 0 {
		e = e.with("fill", a.Fill)
	}
	return e
}

// healthState says why messages are not taken now, or nil.
func (g *Gateway) healthState() *refusal {
	if g.draining.Load() {
		return refuse(errUnavailable, "draining")
	}
	if g.deps.Ready != nil {
		if err := g.deps.Ready(); err != nil {
			return refuse(errUnavailable, "not ready: %v", err)
		}
	}
	return nil
}

// getHealth is GET /healthz and /ServiceAPI/health: 200 while messages are
// taken, else 503, with what the stamp announces.
func (g *Gateway) getHealth(w http.ResponseWriter, _ *http.Request) (int, error) {
	said := g.announcement()
	if refused := g.healthState(); refused != nil {
		return 0, said.on(refused)
	}
	text, err := json.Marshal(struct {
		Status string `json:"status"`
		Stamp  string `json:"stamp"`
		Announcement
	}{"ok", g.deps.Identity.Stamp, said})
	if err != nil {
		return 0, err
	}
	return g.writeJSON(w, http.StatusOK, text), nil
}

// getDefault is GET /default: which machine of which stamp answers. It asks
// nobody.
func (g *Gateway) getDefault(w http.ResponseWriter, _ *http.Request) (int, error) {
	id := g.deps.Identity
	ip := ""
	if len(g.deps.IPs) > 0 {
		ip = g.deps.IPs[0]
	}
	return g.writeJSON(w, http.StatusOK, marshal(struct {
		Hostname string `json:"hostname"`
		IP       string `json:"ip"`
		Stamp    string `json:"stamp"`
		Region   string `json:"region"`
		Zone     string `json:"zone"`
		Version  string `json:"version"`
	}{id.Hostname, ip, id.Stamp, id.Region, id.Zone, id.Version})), nil
}

// writeJSON answers a GET.
func (g *Gateway) writeJSON(w http.ResponseWriter, status int, b []byte) int {
	h := w.Header()
	h["Content-Type"] = g.static.json
	h["Cache-Control"] = g.static.noStore
	w.WriteHeader(status)
	w.Write(b) // nobody is told when a reader went away
	return status
}

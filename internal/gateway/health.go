package gateway

import "net/http"

// healthState says why messages are not taken now, or nil.
func (g *Gateway) healthState() error {
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
// taken, else 503.
func (g *Gateway) getHealth(w http.ResponseWriter, _ *http.Request) (int, error) {
	if err := g.healthState(); err != nil {
		return 0, err
	}
	return g.writeJSON(w, http.StatusOK, g.static.health), nil
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

package stream

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// origins decides which web pages may use the node. Those that the node or its
// front door serve may always; others where they are listed. Without it a page
// that a visitor has open elsewhere could read, in the visitor's network, what
// was meant for pages of ours: a browser asks nobody before it opens a WebSocket.
type origins struct {
	any    bool
	listed []string
}

func newOrigins(listed []string) origins {
	return origins{any: slices.Contains(listed, "*"), listed: listed}
}

// allows says whether the page that sent r may. What sends no Origin is no page.
func (o origins) allows(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return origin == "" || o.any || slices.Contains(o.listed, origin) || sameHost(r, origin)
}

// sameHost tells a page of this host: the one that was asked for here or, as the
// door says in X-Forwarded-Host, there. No page of another origin can have a
// browser send that field: with a WebSocket there is no way to, and elsewhere a
// preflight would have to allow it.
func sameHost(r *http.Request, origin string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" {
		return false
	}
	forwarded := r.Header.Get("X-Forwarded-Host")
	return strings.EqualFold(u.Host, r.Host) || forwarded != "" && strings.EqualFold(u.Host, forwarded)
}

const (
	corsMethods = "GET, HEAD"
	corsHeaders = "authorization, cache-control, last-event-id"
	// corsAge is how long a browser remembers a preflight, in seconds.
	corsAge = "600"
)

// headers lets a page that is listed read the answer.
func (o origins) headers(h http.Header, r *http.Request) {
	if o.any {
		h.Set("Access-Control-Allow-Origin", "*")
		return
	}
	if len(o.listed) == 0 {
		return
	}
	h.Add("Vary", "Origin")
	if origin := r.Header.Get("Origin"); slices.Contains(o.listed, origin) {
		h.Set("Access-Control-Allow-Origin", origin)
	}
}

// preflight answers OPTIONS.
func (o origins) preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Allow", allowGet)
	if o.headers(h, r); h.Get("Access-Control-Allow-Origin") != "" && r.Header.Get("Access-Control-Request-Method") != "" {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsHeaders)
		h.Set("Access-Control-Max-Age", corsAge)
	}
	w.WriteHeader(http.StatusNoContent)
}

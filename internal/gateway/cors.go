package gateway

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// cors decides which web pages may call the gateway. A page that the gateway
// or its front door serves always may; others by cors.origins. A browser's
// POST for any other page is refused: it may carry "simple" requests across
// origins without asking, and the answer being hidden from the page would not
// unsend the message.
type cors struct {
	any     bool
	origins []string
	cross   *http.CrossOriginProtection
}

const (
	corsMethods = "GET, HEAD, POST"
	corsHeaders = "authorization, content-type, idempotency-key, postroad-key, prefer, traceparent, tracestate"
	corsExpose  = "Idempotency-Key, Idempotent-Replayed, Postroad-Receipt, Preference-Applied, Retry-After, Allow"
	// corsAge is how long a browser remembers a preflight, in seconds.
	corsAge = "600"
)

func newCORS(o CORSOptions) (*cors, error) {
	c := &cors{any: slices.Contains(o.Origins, "*"), origins: o.Origins, cross: http.NewCrossOriginProtection()}
	if c.any {
		return c, nil
	}
	for _, origin := range o.Origins {
		if err := c.cross.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("cors origin: %w", err)
		}
	}
	return c, nil
}

// headers adds what lets a page of an allowed origin read the answer.
func (c *cors) headers(h http.Header, r *http.Request) (allowed bool) {
	if len(c.origins) == 0 {
		return false
	}
	if c.any {
		h.Set("Access-Control-Allow-Origin", "*")
	} else {
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin == "" || !slices.Contains(c.origins, origin) {
			return false
		}
		h.Set("Access-Control-Allow-Origin", origin)
	}
	h.Set("Access-Control-Expose-Headers", corsExpose)
	return true
}

// check refuses a browser's POST for a page of an origin that is not listed.
// A page of the front door's is no other origin: the door says in
// X-Forwarded-Host what host its client asked for. No page of another origin
// can have a browser send that header without being allowed to by a preflight.
func (c *cors) check(r *http.Request) error {
	if c.any || c.cross.Check(r) == nil {
		return nil
	}
	if host := r.Header.Get("X-Forwarded-Host"); host != "" {
		if u, err := url.Parse(r.Header.Get("Origin")); err == nil && strings.EqualFold(u.Host, host) {
			return nil
		}
	}
	return refuse(errForbidden, "a page of origin %q may not send here; cors.origins lists those that may", clip(r.Header.Get("Origin")))
}

// preflight answers OPTIONS.
func (c *cors) preflight(w http.ResponseWriter, r *http.Request, allow string) int {
	h := w.Header()
	h.Set("Allow", allow)
	if r.Header.Get("Access-Control-Request-Method") != "" && c.headers(h, r) {
		h.Set("Access-Control-Allow-Methods", corsMethods)
		h.Set("Access-Control-Allow-Headers", corsHeaders+eventFields(r.Header.Get("Access-Control-Request-Headers")))
		h.Set("Access-Control-Max-Age", corsAge)
	}
	w.WriteHeader(http.StatusNoContent)
	return http.StatusNoContent
}

// eventFields lists those of the asked-for fields that are CloudEvents
// attributes, which may have any name.
func eventFields(asked string) string {
	var list strings.Builder
	for field := range strings.SplitSeq(asked, ",") {
		field = strings.ToLower(strings.TrimSpace(field))
		if name, ok := strings.CutPrefix(field, "ce-"); ok && checkAttribute(attribute{name: name}) == nil {
			list.WriteString(", " + field)
		}
	}
	return list.String()
}

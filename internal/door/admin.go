package door

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"postroad/internal/door/policy"
	"postroad/internal/httpserve"
)

// Admin serves the state of the door and takes orders about its origins:
//
//	GET  /door                                             Status
//	GET  /door/events?limit=N                              {"events": […]}, the newest first
//	POST /door/origins/{group}/{origin}/drain              no more requests
//	POST /door/origins/{group}/{origin}/hold               out, whatever its health
//	POST /door/origins/{group}/{origin}/release            ends drain and hold
//	POST /door/origins/{group}/{origin}/weight?percent=N   0 to 100 of its share
//
// An order answers with the group's new state. Orders hold until they are taken
// back or the process ends; a reload keeps them. It asks for no credentials: it
// belongs on a listener that only operators reach.
func (d *Door) Admin() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /door", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, d.Status()) })
	mux.HandleFunc("GET /door/events", d.listEvents)
	mux.HandleFunc("POST /door/origins/{group}/{origin}/{verb}", d.order)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		httpserve.Problem{
			Name: "not-found", Status: http.StatusNotFound, Title: "Not found", Detail: "nothing is served at " + r.URL.Path,
		}.Write(w)
	})
	return mux
}

func (d *Door) listEvents(w http.ResponseWriter, r *http.Request) {
	limit := 100
	if s := r.URL.Query().Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			badRequest("limit must be a whole number from 1").Write(w)
			return
		}
		limit = n
	}
	writeJSON(w, map[string][]Event{"events": d.events.newest(limit)})
}

// errVerb: there is no such order.
var errVerb = errors.New("the orders are drain, hold, release and weight")

func (d *Door) order(w http.ResponseWriter, r *http.Request) {
	name, origin, verb := r.PathValue("group"), r.PathValue("origin"), r.PathValue("verb")
	g := d.state.Load().groups[name]
	if g == nil {
		httpserve.Problem{Name: "not-found", Status: http.StatusNotFound, Title: "Not found", Detail: fmt.Sprintf("there is no group %q", name)}.Write(w)
		return
	}
	said, err := g.order(origin, verb, r.URL.Query().Get("percent"))
	switch {
	case errors.Is(err, policy.ErrUnknownOrigin):
		httpserve.Problem{
			Name: "not-found", Status: http.StatusNotFound, Title: "Not found",
			Detail: fmt.Sprintf("group %s has no origin %q", name, origin),
		}.Write(w)
		return
	case err != nil:
		badRequest(err.Error()).Write(w)
		return
	}
	d.events.add(Event{Kind: "order", Group: name, Origin: origin, Reason: said})
	d.log.InfoContext(r.Context(), "order about an origin", "group", name, "origin", origin, "order", said)
	writeJSON(w, d.statusOf(g))
}

// order carries out one order and says it in words.
func (g *group) order(origin, verb, percent string) (string, error) {
	switch verb {
	case "drain":
		return verb, g.policy.Drain(origin, true)
	case "hold":
		return verb, g.policy.Hold(origin, true)
	case "release":
		return verb, g.policy.Release(origin)
	case "weight":
		n, err := strconv.Atoi(percent)
		if err != nil || n < 0 || n > 100 {
			return "", fmt.Errorf("percent: %q: must be a whole number from 0 to 100", percent)
		}
		return fmt.Sprintf("weight %d%%", n), g.policy.SetWeight(origin, n)
	}
	return "", errVerb
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	// What is encoded holds nothing that JSON cannot, and an error of writing is
	// the reader's own.
	_ = json.NewEncoder(w).Encode(v)
}

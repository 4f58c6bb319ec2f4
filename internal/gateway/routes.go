package gateway

import (
	"net/http"
	"strings"
	"time"

	"postroad/internal/message"
)

// Names of the routes, as in metrics.
const (
	routeClassic = "classic"
	routeTopics  = "topics"
	routeLocate  = "locate"
	routeHealth  = "health"
	routeDefault = "default"
	routeDocs    = "docs"
	routeNone    = "none"
)

// route is what a path stands for. Exactly one of post and get is set, or
// neither where there is no such path.
type route struct {
	name string
	post func(*Gateway, *call) (int, error)
	get  func(*Gateway, http.ResponseWriter, *http.Request) (int, error)
	// topic is the part of the path in between.
	topic string
}

const (
	allowPost = "POST, OPTIONS"
	allowGet  = "GET, HEAD, OPTIONS"
)

// find returns the route of a path. Paths under /ServiceAPI match in any
// letter case, all others exactly.
func find(path string) route {
	if topic, ok := strings.CutPrefix(path, "/v1/topics/"); ok {
		if topic, ok := strings.CutSuffix(topic, "/messages"); ok {
			return route{name: routeTopics, post: (*Gateway).postTopic, topic: topic}
		}
	}
	if id, ok := strings.CutPrefix(path, "/v1/messages/"); ok && id != "" {
		return route{name: routeLocate, get: func(g *Gateway, w http.ResponseWriter, r *http.Request) (int, error) {
			return g.getMessage(w, r, id)
		}}
	}
	switch path {
	case "/healthz":
		return route{name: routeHealth, get: (*Gateway).getHealth}
	case "/default", "/default/":
		return route{name: routeDefault, get: (*Gateway).getDefault}
	case "/openapi.json":
		return route{name: routeDocs, get: (*Gateway).getOpenAPI}
	}
	if path == "/docs" || strings.HasPrefix(path, "/docs/") {
		return route{name: routeDocs, get: (*Gateway).getDocs}
	}
	switch {
	case strings.EqualFold(path, "/ServiceAPI/message"):
		return route{name: routeClassic, post: (*Gateway).postClassic}
	case strings.EqualFold(path, "/ServiceAPI/health"):
		return route{name: routeHealth, get: (*Gateway).getHealth}
	}
	return route{name: routeNone}
}

// serve answers one request.
func (g *Gateway) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if isRelay(r.URL.Path) {
		g.serveRelay(w, r, start)
		return
	}
	to := find(r.URL.Path)
	if to.post != nil && r.Method == http.MethodPost {
		g.servePost(w, r, to, start)
		return
	}
	g.cors.headers(w.Header(), r)
	boundDrain(w, r)
	status, err := g.serveOther(w, r, to)
	if err != nil {
		status = g.fail(w, r, err)
	}
	g.metrics.answered(to.name, status, time.Since(start))
}

func (g *Gateway) serveOther(w http.ResponseWriter, r *http.Request, to route) (int, error) {
	allow := allowGet
	switch {
	case to.post != nil:
		allow = allowPost
	case to.get == nil:
		return 0, notFoundPath(r.URL.Path)
	}
	switch {
	case r.Method == http.MethodOptions:
		return g.cors.preflight(w, r, allow), nil
	case to.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		if err := checkFields(r.Header); err != nil {
			return 0, err
		}
		return to.get(g, w, r)
	}
	w.Header().Set("Allow", allow)
	return 0, refuse(errMethod, "%s is not taken here; %s are", clip(r.Method), allow)
}

func notFoundPath(path string) error {
	return refuse(message.ErrNotFound, "there is no path %q; /docs lists those there are", clip(path))
}

// servePost answers a POST of messages. Its key is in the answer whatever
// becomes of it.
func (g *Gateway) servePost(w http.ResponseWriter, r *http.Request, to route, start time.Time) {
	if g.deps.Observer != nil {
		g.deps.Observer.RequestStarted()
	}
	key, keyErr := readKey(r.Header)
	w.Header()["Idempotency-Key"] = []string{key.field}
	g.cors.headers(w.Header(), r)
	b, _ := g.batches.Get().(*batch)
	if b == nil {
		b = new(batch)
	}
	b.key, b.topic = key, to.topic
	c := &call{w: w, r: r, b: b}
	finished := false
	defer func() {
		if !finished && b.body != nil { // a panic, which the server survives
			g.bodies.forget(b.body)
		}
	}()
	status, err := 0, keyErr
	if err == nil {
		status, err = g.admit(c, to)
	}
	if err != nil {
		status = g.fail(w, r, err)
	}
	finished = true
	b.dropBody(g)
	b.reset()
	g.batches.Put(b)
	g.metrics.answered(to.name, status, time.Since(start))
	if g.deps.Observer != nil {
		g.deps.Observer.Answered(status, c.synced)
	}
}

// admit runs a POST if the gateway can take one now.
func (g *Gateway) admit(c *call, to route) (int, error) {
	if err := g.cors.check(c.r); err != nil {
		return 0, err
	}
	if err := checkFields(c.r.Header); err != nil {
		return 0, err
	}
	if g.draining.Load() {
		return 0, refuse(errUnavailable, "draining: this stamp takes no more messages")
	}
	var err error
	if c.b.caller, err = g.caller(c.w.Header(), c.r); err != nil {
		return 0, err
	}
	if err := g.load.enter(); err != nil {
		return 0, err
	}
	defer g.load.leave()
	return to.post(g, c)
}

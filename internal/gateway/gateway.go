package gateway

import (
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// Gateway serves the HTTP interface of a stamp. It is safe for concurrent use.
type Gateway struct {
	opts     Options
	deps     Deps
	problems []problemKind
	index    *keyIndex
	load     load
	bodies   bodies
	batches  sync.Pool
	json     jsonReaders
	metrics  *metrics
	cors     *cors
	draining atomic.Bool
	// keysLoaded is set once LoadKeys has loaded what there is.
	keysLoaded atomic.Bool
	static     static
	relay      *relay // nil where no stamp may relay to this one
	callers    *callers
}

// static is what answers and records have in common, made once. Nobody may
// change it: the slices are shared with the headers of all answers.
type static struct {
	json, yes, noStore []string
	stamp              []byte
	classicType        message.Header
}

// New checks options and collaborators and returns a gateway that is ready to
// serve. The error holds every problem that was found.
func New(o Options, d Deps) (*Gateway, error) {
	if err := errors.Join(o.Validate(), d.validate()); err != nil {
		return nil, err
	}
	if o.Auth.Enabled && d.Callers == nil {
		return nil, errors.New("gateway: auth is enabled and Deps.Callers is nil")
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	g := &Gateway{opts: o, deps: d, problems: problemTable(), metrics: newMetrics()}
	g.relay, g.callers = newRelay(o.Relay, d.Relay), newCallers(o, d.Callers)
	g.load.maxRequests, g.load.maxBytes = int64(o.Overload.MaxRequests), o.Overload.MaxBytes
	g.bodies.load = &g.load
	g.index = newKeyIndex(o.Idempotency, g.metrics.evicted.Inc)
	var err error
	if g.cors, err = newCORS(o.CORS); err != nil {
		return nil, err
	}
	classicType := "application/json"
	if o.Classic.Value == ClassicLines {
		classicType = "text/plain; charset=utf-8"
	}
	stamp := appendString(nil, d.Identity.Stamp)
	g.static = static{
		json: []string{"application/json"}, yes: []string{"true"}, noStore: []string{"no-store"},
		stamp:       stamp,
		classicType: message.Header{Name: "content-type", Value: []byte(classicType)},
	}
	return g, g.metrics.register(d.Registerer, g)
}

// Handler returns the gateway as a handler for a traffic listener. The server
// it runs in should limit the size of header fields; the gateway bounds them
// again, and sets the deadline for bodies itself.
func (g *Gateway) Handler() http.Handler { return http.HandlerFunc(g.serve) }

// Drain makes the gateway refuse new messages with 503, and /healthz too, from
// now on. Requests in progress go on, and messages can still be located.
func (g *Gateway) Drain() { g.draining.Store(true) }

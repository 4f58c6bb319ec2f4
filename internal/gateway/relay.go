package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"postroad/internal/auth"
	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// RelayStore is what taking messages of other stamps needs of the queue.
type RelayStore interface {
	// Group returns the messages that one Append stored, of any process's lane,
	// by the place of the first; message.ErrNotFound where they are not kept.
	Group(ctx context.Context, first message.Place) ([]message.Stored, error)
	// Tails hands out groups at the ends of other processes' lanes that will be
	// drained although nothing tells yet whether they were acknowledged.
	Tails(ctx context.Context, yield func([]message.Stored)) error
	// OtherWriters reports whether other processes may still acknowledge
	// messages. ended is for it to remember lanes that are over.
	OtherWriters(ctx context.Context, ended map[string]bool) (bool, error)
}

// routeRelay names the routes of relaying in metrics.
const routeRelay = "relay"

// errMisdirected: the request was meant for another process of the stamp, or is
// too old to be stored.
var errMisdirected = errors.New("meant for another process")

// relay takes messages of other stamps. What it promises them, and how, is in
// docs/adr/0012-a-relay-asks-what-is-stored.md.
type relay struct {
	stamps *auth.Stamps
	store  RelayStore
	index  *relayIndex
	orders relayOrders
	// process names this run of the gateway, began is when its ticks begin.
	process string
	began   time.Time
}

const (
	// relayLease is for how long a tick is good. A batch that is stored later
	// than that after the answer its tick came with is refused, so that one which
	// was lost on its way does not come up after its sender has looked.
	relayLease = 15 * time.Second
	// relayAppend bounds how long storing a batch may take.
	relayAppend = 5 * time.Second
	// relaySettle is what other processes get to make known what they have
	// stored: two renewals of their heartbeats.
	relaySettle = 5 * time.Second
	// relaySkew is by how much the clocks of gateways that share a queue may
	// differ.
	relaySkew = time.Minute
)

func newRelay(o RelayOptions, store RelayStore) *relay {
	if len(o.Stamps) == 0 || store == nil {
		return nil
	}
	known := make([]auth.Stamp, len(o.Stamps))
	for i, s := range o.Stamps {
		known[i] = auth.Stamp{Name: s.Name, TokenFile: s.File}
	}
	return &relay{
		stamps: auth.NewStamps(known), store: store, index: newRelayIndex(o), orders: relayOrders{all: map[relayOrder]*relayPending{}},
		process: ulid.Make().String(), began: time.Now(),
	}
}

// isRelay reports whether a path is one of relaying.
func isRelay(path string) bool {
	return path == wire.PathHello || strings.HasPrefix(path, wire.PathHello+"/")
}

// serveRelay answers one request of another stamp.
func (g *Gateway) serveRelay(w http.ResponseWriter, r *http.Request, start time.Time) {
	status, err := g.relayed(w, r)
	if err != nil {
		if errors.Is(err, errUnauthorized) {
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		status = g.fail(w, r, err)
	}
	g.metrics.answered(routeRelay, status, time.Since(start))
}

func (g *Gateway) relayed(w http.ResponseWriter, r *http.Request) (int, error) {
	if g.relay == nil {
		return 0, notFoundPath(r.URL.Path)
	}
	if err := checkFields(r.Header); err != nil {
		return 0, err
	}
	stamp, err := g.relay.stamps.Identify(r)
	switch {
	case errors.Is(err, auth.ErrSecret):
		g.deps.Log.Error("a token of gateway.relay.stamps cannot be read", "err", err)
		return 0, refuse(errUnavailable, "a token file of this stamp cannot be read")
	case err != nil:
		return 0, refuse(errUnauthorized, "relaying asks for the bearer token of a stamp that gateway.relay.stamps names")
	case stamp == g.deps.Identity.Stamp:
		return 0, refuse(errForbidden, "stamp %s relays to itself", stamp)
	}
	switch {
	case r.URL.Path == wire.PathHello && r.Method == http.MethodGet:
		return g.relayHello(w)
	case r.URL.Path == wire.PathMessages && r.Method == http.MethodPost:
		return g.relayMessages(w, r, stamp)
	case r.URL.Path == wire.PathPlaces && r.Method == http.MethodPost:
		return g.relayPlaces(w, r, stamp)
	}
	return 0, notFoundPath(r.Method + " " + r.URL.Path)
}

// hello is what every answer says of this process.
func (g *Gateway) hello() wire.Hello {
	return wire.Hello{
		Stamp: g.deps.Identity.Stamp, Process: g.relay.process,
		Tick: time.Since(g.relay.began).Milliseconds(), Time: g.deps.Now().UnixMicro(),
	}
}

// relayHello is GET /v1/relay: who answers, and what it takes. A stamp that can
// store nothing now says so here, too, so that a sender's probe finds out.
func (g *Gateway) relayHello(w http.ResponseWriter) (int, error) {
	if err := g.relayReady(); err != nil {
		return 0, err
	}
	h := g.hello()
	h.Lease = relayLease.Milliseconds()
	h.MaxMessageBytes, h.MaxBatchBytes, h.MaxBatchMessages = g.opts.Message.MaxBytes, g.opts.Batch.MaxBytes, g.opts.Batch.MaxMessages
	return g.relayAnswer(w, h)
}

func (g *Gateway) relayReady() error {
	if g.draining.Load() {
		return refuse(errUnavailable, "draining: this stamp takes no more messages")
	}
	if g.deps.Ready == nil {
		return nil
	}
	err := g.deps.Ready()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, message.ErrFull):
		return refuse(message.ErrFull, "no space left in the queue of stamp %s", g.deps.Identity.Stamp)
	}
	return refuse(errUnavailable, "stamp %s takes no messages now", g.deps.Identity.Stamp)
}

// addressed checks that a batch is meant for this process and that its sender has
// heard of it a moment ago.
func (x *relay) addressed(h http.Header) error {
	tick, err := strconv.ParseInt(h.Get(wire.FieldTick), 10, 64)
	if err != nil || tick < 0 || tick > 1<<50 {
		return refuse(message.ErrInvalid, "%s: %q is no tick", wire.FieldTick, clip(h.Get(wire.FieldTick)))
	}
	if to := h.Get(wire.FieldProcess); to != x.process {
		return refuse(errMisdirected, "the batch is for process %s of this stamp; this is %s", clip(to), x.process)
	}
	if age := time.Since(x.began) - time.Duration(tick)*time.Millisecond; age > relayLease {
		return refuse(errMisdirected, "the batch came %v after its tick; %v at most", age.Round(time.Millisecond), relayLease)
	}
	return nil
}

// takesTopic returns why messages of a topic are not taken from other stamps, or
// "".
func (o RelayOptions) takesTopic(topic string) string {
	if len(o.Topics) == 0 {
		return ""
	}
	for _, p := range o.Topics {
		if ok, err := path.Match(p, topic); err == nil && ok {
			return ""
		}
	}
	return "gateway.relay.topics there does not list the topic"
}

// relayAnswer writes an answer as JSON.
func (g *Gateway) relayAnswer(w http.ResponseWriter, v any) (int, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return 0, err
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = g.static.json, g.static.noStore
	w.WriteHeader(http.StatusOK)
	w.Write(b) // a stamp that is gone asks again
	return http.StatusOK, nil
}

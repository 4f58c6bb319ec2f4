package door

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/httpserve"
)

// OriginHeader names the origin that answered, on every answer that is not the
// door's own.
const OriginHeader = "Postroad-Origin"

// Deps are the collaborators of a Door.
type Deps struct {
	// Log takes changes of state; nil discards them.
	Log *slog.Logger
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// Local are handlers that the door serves itself, by path prefix with a
	// slash at both ends, such as "/console/". The longest prefix wins.
	Local map[string]http.Handler
	// TLS configures connections to origins with https; nil trusts the
	// certificate authorities of the system.
	TLS *tls.Config
}

// Door is a front door. Its Handler serves whether or not Run runs; without
// Run an origin that was found unreachable stays so.
type Door struct {
	origins []*origin // by priority, then as configured
	carrier *carrier
	proxied http.Handler
	// The same of stream nodes; nil where no origin has one.
	streams       []*origin
	streamCarrier *carrier
	streamed      http.Handler

	local     []local // longest prefix first
	rule      Probe
	metrics   *metrics
	log       *slog.Logger
	probeOver *http.Transport
}

type local struct {
	prefix  string
	handler http.Handler
}

// New makes a door; it opens no connection yet.
func New(opts Options, deps Deps) (*Door, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the door's metrics: %w", err)
	}
	d := &Door{rule: opts.Probe, metrics: m, log: deps.Log}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	for prefix, h := range deps.Local {
		if len(prefix) < 3 || prefix[0] != '/' || prefix[len(prefix)-1] != '/' {
			return nil, fmt.Errorf("local handler at %q: must be a path with a slash at both ends", prefix)
		}
		d.local = append(d.local, local{prefix, h})
	}
	slices.SortFunc(d.local, func(a, b local) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	for _, o := range opts.Origins {
		u, err := parseURL(o.URL)
		if err != nil {
			return nil, fmt.Errorf("origin %s: %w", o.Name, err)
		}
		d.origins = append(d.origins, newOrigin(o, u, opts.Probe, d.log, m))
	}
	slices.SortStableFunc(d.origins, byPriority)

	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if deps.TLS != nil {
		config = deps.TLS.Clone()
	}
	d.carrier = newCarrier(opts, d.origins, m, config)
	d.probeOver = &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	d.proxied = endWithDrain(d.proxy(d.carrier))
	if err := d.addStreams(opts, config); err != nil {
		return nil, err
	}
	return d, nil
}

func byPriority(a, b *origin) int { return cmp.Compare(a.priority, b.priority) }

// proxy is the part that carries requests. It sends each piece of an answer on
// as it comes, so that event streams and upgraded connections live.
func (d *Door) proxy(over *carrier) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:        rewrite,
		Transport:      over,
		FlushInterval:  -1,
		ModifyResponse: d.answered,
		ErrorHandler:   d.failed,
		ErrorLog:       slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
	}
}

// rewrite makes the outgoing request what the client sent, but for the headers
// that speak of the way here: those a client sent itself are not believed.
func rewrite(pr *httputil.ProxyRequest) {
	for name := range pr.Out.Header {
		if strings.HasPrefix(name, "X-Forwarded-") {
			delete(pr.Out.Header, name)
		}
	}
	pr.SetXForwarded()
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // untouched, for the door reads none of it
}

// Handler serves /healthz and the local prefixes itself and carries everything
// else to an origin.
func (d *Door) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/healthz":
			healthz(w, r)
		case r.Method == http.MethodConnect:
			httpserve.Problem{
				Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
				Detail: "the door opens no tunnels",
			}.Write(w)
		default:
			d.find(r.URL.Path).ServeHTTP(w, r)
		}
	})
}

// find returns the local handler of a path, or the proxy.
func (d *Door) find(path string) http.Handler {
	for _, l := range d.local {
		if strings.HasPrefix(path, l.prefix) {
			return l.handler
		}
		if path+"/" == l.prefix {
			return http.RedirectHandler(l.prefix, http.StatusMovedPermanently)
		}
	}
	return d.carries(path)
}

// healthz speaks for the door alone: a balancer before several doors gains
// nothing by leaving this one while its origins are down.
func healthz(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		httpserve.Problem{
			Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
			Detail: "/healthz answers GET and HEAD",
		}.Write(w)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = io.WriteString(w, "ok\n")
}

func (d *Door) answered(res *http.Response) error {
	d.metrics.answered(res.Header.Get(OriginHeader), res.StatusCode)
	if res.StatusCode == http.StatusSwitchingProtocols || strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		markEndless(res.Request.Context())
	}
	return nil
}

// failed answers a request that no origin answered. It serves design section
// 4: unavailable promises that nothing was stored, outcome-unknown does not.
func (d *Door) failed(w http.ResponseWriter, r *http.Request, err error) {
	p := httpserve.Problem{
		Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Not available now",
		Detail:     "no origin could be reached; nothing of this request was sent to one",
		RetryAfter: d.rule.Interval,
	}
	var attempt *attemptError
	var broken *bodyError
	var silent *silentError
	switch {
	case errors.As(err, &broken):
		p = httpserve.Problem{
			Name: "bad-request", Status: http.StatusBadRequest, Title: "Bad request",
			Detail: "the request body ended before it was complete, or is not well-formed",
		}
	case errors.As(err, &silent):
		p.Detail = silent.Error() + "; ask again later"
	case errors.As(err, &attempt) && attempt.sent:
		p = httpserve.Problem{
			Name: "outcome-unknown", Status: http.StatusGatewayTimeout, Title: "Outcome unknown",
			Detail: "origin " + attempt.origin + " may have the request but gave no answer",
		}
		if key := r.Header.Values("Idempotency-Key"); len(key) > 0 {
			w.Header()["Idempotency-Key"] = key
			p.Detail += "; it is safe to send it again with the same Idempotency-Key"
		}
	}
	takeRest(w, r)
	d.metrics.answered(none, p.Status)
	d.log.Debug("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
	p.Write(w)
}

const (
	// restBytes is how much of an unread body is taken before an answer, in
	// bytes: as much as the largest batch. A client that writes while its
	// connection closes gets a reset instead of the answer.
	restBytes   = 8 << 20
	restTimeout = 5 * time.Second
)

// takeRest reads what is left of the body of a request that failed. A client
// that waits to be told to go on is not told.
func takeRest(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Header.Get("Expect") != "" || r.Context().Err() != nil {
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTimeout)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, restBytes)
}

// Status returns the origins in the order in which they are tried.
func (d *Door) Status() []OriginStatus { return statusOf(d.origins) }

func statusOf(origins []*origin) []OriginStatus {
	list := make([]OriginStatus, len(origins))
	for i, o := range origins {
		list[i] = o.status()
	}
	return list
}

// Run probes the origins until ctx ends, and then closes the connections that
// are not in use. It returns nil.
func (d *Door) Run(ctx context.Context) error {
	client := &http.Client{
		Transport:     d.probeOver,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var wg sync.WaitGroup
	for _, o := range slices.Concat(d.origins, d.streams) {
		wg.Go(func() { o.watch(ctx, client) })
	}
	wg.Wait()
	d.carrier.transport.CloseIdleConnections()
	if d.streamCarrier != nil {
		d.streamCarrier.transport.CloseIdleConnections()
	}
	return nil
}

package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/httpserve"
)

// Deps are the collaborators of a Console.
type Deps struct {
	// Endpoints are what the page can send to, in the order of display.
	Endpoints []Endpoint
	// Feed shows the messages of the hub.
	Feed Feed
	// Ping reports whether the hub can be reached, if there is a way to ask
	// that is quicker than Feed's failing; nil leaves it to Feed.
	Ping func(context.Context) error
	// Client sends to the endpoints; nil means one that uses no proxy. It is
	// not followed to other addresses.
	Client *http.Client
	// Log takes changes of state; nil discards them.
	Log *slog.Logger
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
}

// Console serves the page. Without Run the page shows no messages.
type Console struct {
	opts    Options
	feed    Feed
	ping    func(context.Context) error
	client  *http.Client
	log     *slog.Logger
	metrics *metrics
	mux     *http.ServeMux
	guard   *http.CrossOriginProtection
	recent  *recent
	board   *board
	viewers atomic.Int64
	run     string // names this run of the console in the positions of viewers
	// own is the transport of a client made here, closed by Run.
	own *http.Transport
}

// New makes a console; it connects to nothing yet.
func New(opts Options, deps Deps) (*Console, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if deps.Feed == nil {
		return nil, errors.New("console: no feed")
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register the console's metrics: %w", err)
	}
	c := &Console{opts: opts, feed: deps.Feed, ping: deps.Ping, log: deps.Log, metrics: m, recent: newRecent(opts), run: rand.Text()}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.client = c.newClient(deps.Client)
	if c.board, err = newBoard(deps.Endpoints, c.client, opts.ProbeTimeout); err != nil {
		return nil, err
	}
	c.guard = http.NewCrossOriginProtection()
	c.guard.SetDenyHandler(http.HandlerFunc(refuseCrossOrigin))
	if err := c.routes(); err != nil {
		return nil, err
	}
	return c, nil
}

// newClient never follows a redirect: a message goes to the endpoint that was
// chosen or nowhere.
func (c *Console) newClient(given *http.Client) *http.Client {
	client := http.Client{}
	if given != nil {
		client = *given
	} else {
		c.own = &http.Transport{MaxIdleConnsPerHost: 16, MaxResponseHeaderBytes: 64 << 10}
		client.Transport = c.own
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

func (c *Console) routes() error {
	c.mux = http.NewServeMux()
	if err := c.mountPage(); err != nil {
		return err
	}
	for path, call := range map[string]struct {
		method string
		handle http.HandlerFunc
	}{
		"/console/api/endpoints": {http.MethodGet, c.endpoints},
		"/console/api/send":      {http.MethodPost, c.send},
		"/console/api/messages":  {http.MethodGet, c.messages},
	} {
		c.mux.HandleFunc(call.method+" "+path, call.handle)
		c.mux.HandleFunc(path, allowOnly(call.method))
	}
	c.mux.HandleFunc("/console/", notFound)
	return nil
}

// Handler serves /console/ and what is below it. Requests that could change
// anything are taken from pages of its own origin only.
func (c *Console) Handler() http.Handler {
	guarded := c.guard.Handler(c.mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		guarded.ServeHTTP(w, r)
	})
}

// secure sets what protects the page, on every answer: nothing from elsewhere,
// no inline script or style, no framing, and no text ever taken for script.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
		"require-trusted-types-for 'script'", "trusted-types 'none'",
	}, "; "))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

func notFound(w http.ResponseWriter, r *http.Request) {
	httpserve.Problem{
		Name: "not-found", Status: http.StatusNotFound, Title: "Not found",
		Detail: "the console has nothing for " + r.Method + " " + r.URL.Path,
	}.Write(w)
}

func allowOnly(method string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", method)
		httpserve.Problem{
			Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
			Detail: r.URL.Path + " answers " + method,
		}.Write(w)
	}
}

func refuseCrossOrigin(w http.ResponseWriter, r *http.Request) {
	_, _ = io.CopyN(io.Discard, r.Body, 64<<10) // so that a small body does not cost the connection
	httpserve.Problem{
		Name: "forbidden", Status: http.StatusForbidden, Title: "Forbidden",
		Detail: "the console sends nothing for pages of another origin",
	}.Write(w)
}

// Run follows the hub until ctx ends. It returns nil.
func (c *Console) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { c.follow(ctx) })
	if c.ping != nil {
		wg.Go(func() { c.keepPinging(ctx) })
	}
	wg.Wait()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

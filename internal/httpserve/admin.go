package httpserve

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metricsTimeout bounds one scrape.
const metricsTimeout = 10 * time.Second

// AdminDeps are the collaborators of an Admin.
type AdminDeps struct {
	// Log takes state changes; nil discards them.
	Log *slog.Logger
	// Gatherer is what /metrics serves.
	Gatherer prometheus.Gatherer
}

// Admin is the admin listener: /livez, /readyz, /startupz, /metrics, profiles
// where asked for, and what the app mounts with Handle.
//
// It refuses what a browser sends from a page of another origin, except reads;
// it asks for no credentials.
type Admin struct {
	*Server
	mux      *http.ServeMux
	mu       sync.Mutex
	mounted  []string // guarded by mu
	checks   []check  // guarded by mu
	started  bool     // guarded by mu
	stopping bool     // guarded by mu
}

// NewAdmin binds the admin listener.
func NewAdmin(opts AdminOptions, deps AdminDeps) (*Admin, error) {
	if deps.Gatherer == nil {
		return nil, fmt.Errorf("admin listener: no gatherer of metrics")
	}
	a := &Admin{mux: http.NewServeMux()}
	serve := DefaultOptions()
	serve.Listen = opts.Listen
	serve.ShutdownTimeout = 2 * time.Second
	guard := http.NewCrossOriginProtection()
	guard.SetDenyHandler(http.HandlerFunc(refuseCrossOrigin))
	s, err := New(serve, guard.Handler(a.mux), Deps{Log: deps.Log, Name: "admin"})
	if err != nil {
		return nil, err
	}
	a.Server = s
	a.Handle("GET /livez", http.HandlerFunc(a.livez))
	a.Handle("GET /readyz", http.HandlerFunc(a.readyz))
	a.Handle("GET /startupz", http.HandlerFunc(a.startupz))
	a.Handle("GET /metrics", promhttp.HandlerFor(deps.Gatherer, promhttp.HandlerOpts{
		ErrorHandling:     promhttp.ContinueOnError,
		EnableOpenMetrics: true,
		Timeout:           metricsTimeout,
	}))
	if opts.Pprof {
		a.Handle("/debug/pprof/", http.HandlerFunc(pprof.Index))
		a.mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		a.mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		a.mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		a.mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	a.mux.HandleFunc("GET /{$}", a.index)
	a.mux.HandleFunc("/", notFound)
	return a, nil
}

// Handle mounts a handler; patterns are those of http.ServeMux. It may be
// called while Run serves. A pattern mounted twice panics, as in ServeMux.
func (a *Admin) Handle(pattern string, handler http.Handler) {
	a.mux.Handle(pattern, handler)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mounted = append(a.mounted, pattern)
}

// index lists what is mounted, for a person who opens the address.
func (a *Admin) index(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	list := strings.Join(a.mounted, "\n")
	a.mu.Unlock()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintln(w, "postroad admin\n\n"+list)
}

func notFound(w http.ResponseWriter, r *http.Request) {
	Problem{
		Name:   "not-found",
		Status: http.StatusNotFound,
		Title:  "not found",
		Detail: "nothing is served at " + r.URL.Path + "; / lists what is",
	}.Write(w)
}

func refuseCrossOrigin(w http.ResponseWriter, _ *http.Request) {
	Problem{
		Name:   "forbidden",
		Status: http.StatusForbidden,
		Title:  "forbidden",
		Detail: "the admin listener takes no changes from pages of another origin",
	}.Write(w)
}

// Addr is the address bound.
func (a *Admin) Addr() net.Addr { return a.Server.Addr() }

// Run serves until ctx ends. The app ends it after everything else, so that
// probes and metrics can be read during the drain.
func (a *Admin) Run(ctx context.Context) error { return a.Server.Run(ctx) }

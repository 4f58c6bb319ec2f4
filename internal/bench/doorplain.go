package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"time"
)

// ServeReverseProxy is the plainest proxy in Go, which a front door is measured
// against: httputil.ReverseProxy over http.Transport, origins in turn, no health,
// no repeats. It serves until ctx ends; listening is told where.
func ServeReverseProxy(ctx context.Context, listen string, origins []string, listening func(net.Addr) error) error {
	if len(origins) == 0 {
		return errors.New("reverse proxy: no origins")
	}
	targets := make([]*url.URL, len(origins))
	for i, o := range origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" {
			return errors.Join(fmt.Errorf("reverse proxy: origin %q: want http://host:port", o), err)
		}
		targets[i] = u
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented so
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, 512
	transport.Proxy = nil
	defer transport.CloseIdleConnections()
	var turn atomic.Uint64
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		Rewrite: func(pr *httputil.ProxyRequest) {
			pr.SetURL(targets[turn.Add(1)%uint64(len(targets))])
			pr.SetXForwarded()
		},
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("reverse proxy: %w", err)
	}
	if err := listening(l.Addr()); err != nil {
		return errors.Join(err, l.Close())
	}
	server := &http.Server{Handler: proxy, ReadHeaderTimeout: time.Minute}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("reverse proxy: %w", err)
	case <-ctx.Done():
		return server.Close()
	}
}

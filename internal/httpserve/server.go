package httpserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// cutGrace is how long handlers get to return after their requests were
// cancelled at the end of ShutdownTimeout, before their connections close.
const cutGrace = 500 * time.Millisecond

// Deps are the collaborators of a Server.
type Deps struct {
	// Log takes state changes and panics of handlers; nil discards them.
	Log *slog.Logger
	// Name says in logs and errors which listener this is, such as "gateway".
	Name string
}

// Server is one bound HTTP listener. It speaks HTTP/1.1 and HTTP/2: without TLS by
// prior knowledge (h2c), with it (see NewTraffic) as the client asks by ALPN.
type Server struct {
	opts     Options
	log      *slog.Logger
	name     string
	listener net.Listener
	http     *http.Server
	certs    *certificates      // nil without TLS
	inside   *inside            // nil without TLS
	cut      context.CancelFunc // cancels the requests still in flight
	draining chan struct{}      // closed when Run is told to stop
	inFlight atomic.Int64
	leaving  atomic.Bool // each answer ends its connection
	closing  atomic.Bool // nothing more is accepted
}

// New binds opts.Listen at once, so that an address that is taken is known
// before anything else starts; the error is then a *ListenError. Whoever does
// not call Run calls Close.
func New(opts Options, handler http.Handler, deps Deps) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	log := deps.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l, err := listen(opts.Listen)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:     opts,
		log:      log.With("listener", deps.Name, "addr", l.Addr().String()),
		name:     deps.Name,
		listener: l,
		draining: make(chan struct{}),
	}
	base, cut := context.WithCancel(context.WithValue(context.Background(), drainKey{}, s.draining))
	s.cut = cut
	s.http = &http.Server{
		Handler:           s.counting(recovering(handler, s.log, &s.leaving)),
		ReadHeaderTimeout: opts.ReadHeaderTimeout,
		IdleTimeout:       opts.IdleTimeout,
		MaxHeaderBytes:    opts.MaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		Protocols:         protocols(),
	}
	return s, nil
}

func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// counting keeps the number of requests in flight, which the end of a drain
// reports.
func (s *Server) counting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.inFlight.Add(1)
		defer s.inFlight.Add(-1)
		next.ServeHTTP(w, r)
	})
}

// Addr is the address bound, with the port that :0 became.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is the address bound as http://host:port, or https with TLS, for a client on
// this machine.
func (s *Server) URL() string {
	u := url(s.listener.Addr())
	if s.certs != nil {
		return "https" + strings.TrimPrefix(u, "http")
	}
	return u
}

// InFlight is the number of requests being handled.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// Accepting says whether the listener takes connections, or will once Run begins:
// false from the end of the drain delay on.
func (s *Server) Accepting() bool { return !s.closing.Load() }

// Leave asks clients to come by another connection, as long as this one is still
// served: from now on each answer says so, by Connection: close over HTTP/1.1 and by
// GOAWAY behind the answer over HTTP/2. Connections without a request stay open until
// the listener closes: to close one at once could hit a request that is on its way.
// Run does this when it is told to stop; it is for those who drain before that.
func (s *Server) Leave() { s.leaving.Store(true) }

// Close gives up the listener and every connection at once. It is for a Server
// whose Run is never called; Run closes by itself.
func (s *Server) Close() error {
	s.closing.Store(true)
	s.cut()
	if s.inside != nil {
		_ = s.inside.Close() // it never fails
	}
	return errors.Join(s.http.Close(), ignoreClosed(s.listener.Close()))
}

// Run serves until ctx ends, then drains: it asks clients to leave, goes on
// accepting for DrainDelay, stops accepting and closes connections without a request, lets requests in flight finish for up to
// ShutdownTimeout, cancels the rest and closes. It returns nil if all
// finished, and otherwise an error that says how many were cut off.
func (s *Server) Run(ctx context.Context) error {
	defer s.cut()
	defer s.followCertificates(ctx)()
	served := make(chan error, 1)
	go func() { served <- s.serve() }()
	s.log.InfoContext(ctx, "listening")

	select {
	case err := <-served:
		return fmt.Errorf("serve %s at %s: %w", s.name, s.Addr(), err)
	case <-ctx.Done():
	}
	s.Leave()
	close(s.draining)
	if err := s.delay(served); err != nil {
		return err
	}
	err := s.shutdown()
	if e := <-served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve %s at %s: %w", s.name, s.Addr(), e))
	}
	s.log.Info("listener closed")
	return err
}

// serve serves the network, and with TLS the process itself.
func (s *Server) serve() error {
	if s.certs == nil {
		return s.http.Serve(s.listener)
	}
	var own sync.WaitGroup
	defer own.Wait() // it ends with the other, or before: both are the server's
	own.Go(func() { _ = s.http.Serve(s.inside) })
	err := s.http.ServeTLS(s.listener, "", "")
	return errors.Join(err, s.inside.Close())
}

// followCertificates looks at the files of certificates until it is told to stop.
func (s *Server) followCertificates(ctx context.Context) (stop func()) {
	if s.certs == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a drain may outlive a certificate
	var looking sync.WaitGroup
	looking.Go(func() { s.certs.run(ctx) })
	return func() { cancel(); looking.Wait() }
}

// delay keeps serving for DrainDelay.
func (s *Server) delay(served <-chan error) error {
	if s.opts.DrainDelay <= 0 {
		return nil
	}
	s.log.Info("draining, still accepting", "delay", s.opts.DrainDelay)
	t := time.NewTimer(s.opts.DrainDelay)
	defer t.Stop()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s at %s: %w", s.name, s.Addr(), err)
	case <-t.C:
		return nil
	}
}

// shutdown stops accepting and waits for the requests in flight.
func (s *Server) shutdown() error {
	s.closing.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), s.opts.ShutdownTimeout)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	left := s.InFlight()
	s.cut() // a handler that watches its request returns now
	grace, cancel := context.WithTimeout(context.Background(), cutGrace)
	defer cancel()
	_ = s.http.Shutdown(grace)
	if err := s.http.Close(); err != nil {
		return fmt.Errorf("close %s at %s: %w", s.name, s.Addr(), err)
	}
	if left == 0 {
		return nil // only connections that never sent a request
	}
	return fmt.Errorf("drain %s at %s: %d requests were cut off after %s", s.name, s.Addr(), left, s.opts.ShutdownTimeout)
}

type drainKey struct{}

// Draining returns a channel that closes when the server of a request is told
// to stop. A handler that streams without end returns on it, or it would hold
// the drain up until it is cut off. For a context that is no request's of a
// Server's it returns nil, which never closes.
func Draining(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(drainKey{}).(chan struct{})
	return c
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

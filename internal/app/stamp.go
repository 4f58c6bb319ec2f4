package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/config"
	"postroad/internal/drill"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
	"postroad/internal/kafka"
	"postroad/internal/queue"
	"postroad/internal/telemetry"
)

// process is what the stamps of one process share.
type process struct {
	log      *slog.Logger
	registry *prometheus.Registry
	version  telemetry.Version
	// recorder is nil but in drills.
	recorder *drill.Recorder
}

// stamp is a gateway, a queue and a forwarder.
type stamp struct {
	settings config.Stamp
	version  telemetry.Version
	log      *slog.Logger
	queue    *queue.Queue
	sink     *kafka.Sink
	forward  *forward.Forwarder
	gateway  *gateway.Gateway
	server   *httpserve.Server
	started  time.Time
	// board is set once the forwarder is made: metrics may be asked for before.
	board atomic.Pointer[forward.Board]
	// draining is set when the gateway was told to stop.
	draining atomic.Bool
}

var errDraining = errors.New("draining")

// newStamp binds the stamp's listener and opens its queue; nothing runs yet. On
// an error it has undone what it did.
func newStamp(settings config.Stamp, p process) (_ *stamp, err error) {
	s := &stamp{
		settings: settings, version: p.version, started: time.Now().UTC(),
		log: p.log.With("stamp", settings.Stamp.Name),
	}
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"stamp": settings.Stamp.Name}, p.registry)
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0 && err != nil; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	// The listener first: an address in use is the likeliest error, and should
	// leave no trace in the queue.
	var handler http.Handler
	if s.server, err = httpserve.New(settings.HTTP, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
	}), httpserve.Deps{Log: s.log, Name: "gateway " + settings.Stamp.Name}); err != nil {
		return nil, err
	}
	undo = append(undo, s.server.Close)
	if s.queue, err = queue.Open(settings.Queue, queue.Deps{
		Log: s.log, Registerer: reg, Stamp: settings.Stamp.Name, Synced: p.recorder.GroupsSynced,
		Forwarded: s.forwarded,
	}); err != nil {
		return nil, err
	}
	undo = append(undo, s.queue.Close)
	if s.sink, err = kafka.NewSink(settings.Hub, kafka.Deps{Log: s.log, Registerer: reg, Stamp: settings.Stamp.Name}); err != nil {
		return nil, err
	}
	undo = append(undo, func() error { s.sink.Close(); return nil })
	if s.forward, err = forward.New(settings.Forward, forward.Deps{
		Source: source{s.queue}, Sink: p.recorded(s.sink), Log: s.log, Registerer: reg,
	}); err != nil {
		return nil, err
	}
	s.board.Store(s.forward.Board())
	if s.gateway, err = gateway.New(settings.Gateway, s.gatewayDeps(reg, p)); err != nil {
		return nil, err
	}
	handler = s.gateway.Handler()
	return s, nil
}

func (s *stamp) gatewayDeps(reg prometheus.Registerer, p process) gateway.Deps {
	id := s.settings.Stamp
	host, err := os.Hostname()
	if err != nil {
		s.log.Warn("this machine does not know its name", "err", err)
	}
	d := gateway.Deps{
		Store:    s.queue,
		Tracker:  tracker{s.queue, s.forward.Board()},
		Identity: gateway.Identity{Stamp: id.Name, Region: id.Region, Zone: id.Zone, Hostname: host, Version: s.version.Version},
		IPs:      addresses(),
		Retain:   s.settings.Queue.Retain,
		Ready:    s.ready,
		Log:      s.log, Registerer: reg,
	}
	if p.recorder != nil {
		d.Observer = p.recorder
	}
	return d
}

// addresses lists this machine's addresses, those that others reach it at
// first.
func addresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var outer, local []string
	for _, a := range all {
		ip, ok := a.(*net.IPNet)
		switch {
		case !ok || ip.IP.IsLinkLocalUnicast():
		case ip.IP.IsLoopback():
			local = append(local, ip.IP.String())
		default:
			outer = append(outer, ip.IP.String())
		}
	}
	return append(outer, local...)
}

// forwarded tells the queue how far a lane is known to be in the hub.
func (s *stamp) forwarded(lane string) uint64 {
	if b := s.board.Load(); b != nil {
		return b.Next(lane)
	}
	return 0
}

// ready says why the stamp takes no messages now, or nil.
func (s *stamp) ready() error {
	if s.draining.Load() {
		return errDraining
	}
	return s.queue.Ready()
}

// push starts the stamp's parts on a stack, the queue lowest.
func (s *stamp) push(st *stack) {
	name := func(part string) string { return part + " of " + s.settings.Stamp.Name }
	st.push(layer{name: name("queue"), run: s.queue.Run, close: s.queue.Close})
	st.push(layer{name: name("connection to the hub"), close: func() error { s.sink.Close(); return nil }})
	st.push(layer{name: name("forwarder"), run: s.forward.Run})
	st.push(layer{name: name("gateway"), run: func(ctx context.Context) error {
		// Not ready at once, so that balancers leave; what still comes is taken
		// until the delay is over.
		stop := context.AfterFunc(ctx, func() {
			s.draining.Store(true)
			time.AfterFunc(s.settings.HTTP.DrainDelay, s.gateway.Drain)
		})
		defer stop()
		return s.server.Run(ctx)
	}, grace: s.settings.HTTP.DrainDelay + s.settings.HTTP.ShutdownTimeout + defaultGrace})
}

// abandon gives back what newStamp took, of a stamp that was never pushed.
func (s *stamp) abandon() error {
	s.sink.Close()
	return errors.Join(s.server.Close(), s.queue.Close())
}

// RunStamp runs one stamp until ctx ends, then drains it.
func RunStamp(ctx context.Context, settings config.Stamp, d Deps) (err error) {
	p, err := newProcess(d)
	if err != nil {
		return err
	}
	st := newStack(p.log)
	defer func() { err = errors.Join(err, st.stop(), p.close()) }()
	admin, err := p.admin(settings.Admin)
	if err != nil {
		return err
	}
	st.push(layer{name: "admin", run: admin.Run})
	s, err := newStamp(settings, p)
	if err != nil {
		return err
	}
	s.push(st)
	if _, err := p.console(st, admin, settings.Console, []*stamp{s}); err != nil {
		return err
	}
	admin.AddCheck("queue", func(context.Context) error { return s.ready() })
	mountStatus(admin, []*stamp{s}, nil)
	context.AfterFunc(ctx, admin.Stopping)
	admin.Started()
	fmt.Fprintf(d.Stdout, "stamp %s: gateway %s, admin %s\n", settings.Stamp.Name, s.server.URL(), admin.URL())
	if err := writeAddresses(d.AddressesFile, Addresses{
		Gateways: map[string]string{settings.Stamp.Name: s.server.URL()}, Admin: admin.URL(),
	}); err != nil {
		return err
	}
	return st.wait(ctx)
}

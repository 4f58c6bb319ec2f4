package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/config"
	"postroad/internal/drill"
	"postroad/internal/forward"
	"postroad/internal/gateway"
	"postroad/internal/httpserve"
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

// stamp is a gateway, a queue and a forwarder, or, where the halves run apart,
// the queue with one of the two.
type stamp struct {
	settings config.Stamp
	part     queue.Part
	version  telemetry.Version
	log      *slog.Logger
	queue    *queue.Queue
	// sink and forward are nil in a gateway alone.
	sink    forward.Sink
	forward *forward.Forwarder
	// gateway and server are nil in a forwarder alone.
	gateway *gateway.Gateway
	server  *httpserve.Server
	// callers is nil where the gateway asks for no tokens.
	callers *auth.Verifier
	started time.Time
	flow    flow
	said    said
	// board is set once the forwarder is made: metrics may be asked for before.
	board atomic.Pointer[forward.Board]
	// draining is set when the gateway was told to stop: it still accepts, and asks
	// balancers to leave.
	draining atomic.Bool
}

var errDraining = errors.New("draining")

// writes and drains say which halves run in this process.
func (s *stamp) writes() bool { return s.part != queue.Drains }
func (s *stamp) drains() bool { return s.part != queue.Writes }

// newStamp binds the stamp's listener and opens its queue; nothing runs yet. On
// an error it has undone what it did.
func newStamp(settings config.Stamp, part queue.Part, p process) (_ *stamp, err error) {
	s := &stamp{
		settings: settings, part: part, version: p.version, started: time.Now().UTC(),
		log: p.log.With("stamp", settings.Stamp.Name),
	}
	reg := prometheus.WrapRegistererWith(prometheus.Labels{"stamp": settings.Stamp.Name}, p.registry)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	// The listener first: an address in use is the likeliest error, and should
	// leave no trace in the queue.
	var handler http.Handler
	if s.writes() {
		if s.server, err = httpserve.NewTraffic(settings.HTTP, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			handler.ServeHTTP(w, r)
		}), httpserve.TrafficDeps{Deps: httpserve.Deps{Log: s.log, Name: "gateway"}, Registerer: reg}); err != nil {
			return nil, fmt.Errorf("http: %w", err)
		}
	}
	if s.queue, err = queue.Open(settings.Queue, queue.Deps{
		Part: part, Log: s.log, Registerer: reg, Stamp: settings.Stamp.Name, Synced: p.recorder.GroupsSynced,
		Forwarded: s.forwarded, KeysRetain: settings.Gateway.Idempotency.Retention,
	}); err != nil {
		return nil, err
	}
	if s.drains() {
		if err := s.newForwarder(reg, p); err != nil {
			return nil, err
		}
	}
	if s.writes() {
		d := s.gatewayDeps(reg, p)
		if d.Callers, err = s.newCallers(reg); err != nil {
			return nil, err
		}
		if s.gateway, err = gateway.New(settings.Gateway, d); err != nil {
			return nil, err
		}
		handler = s.gateway.Handler()
	}
	return s, nil
}

// newForwarder makes the half that drains the queue.
func (s *stamp) newForwarder(reg prometheus.Registerer, p process) (err error) {
	var transactor forward.Transactor
	if s.sink, transactor, err = s.newSink(reg); err != nil {
		return err
	}
	twins, _ := s.sink.(forward.Log) // another stamp looks by itself
	if s.forward, err = forward.New(s.settings.Forward, forward.Deps{
		Source: source{s.queue}, Sink: p.recorded(s.sink), Transactor: transactor, Twins: twins, Log: s.log, Registerer: reg,
	}); err != nil {
		return err
	}
	s.board.Store(s.forward.Board())
	return nil
}

func (s *stamp) gatewayDeps(reg prometheus.Registerer, p process) gateway.Deps {
	id := s.settings.Stamp
	host, err := os.Hostname()
	if err != nil {
		s.log.Warn("this machine does not know its name", "err", err)
	}
	d := gateway.Deps{
		Store:    counted{s.queue, &s.flow},
		Tracker:  s.newTracker(),
		Keys:     keys{s.queue},
		Relay:    s.queue,
		Identity: gateway.Identity{Stamp: id.Name, Region: id.Region, Zone: id.Zone, Hostname: host, Version: s.version.Version},
		IPs:      addresses(),
		Retain:   s.settings.Queue.Retain,
		Ready:    s.ready,
		Announce: s.announce,
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

// ready says why no messages should be sent to the stamp now, or nil.
func (s *stamp) ready() error {
	if s.draining.Load() {
		return errDraining
	}
	return s.queue.Ready()
}

// serving says why the stamp takes no messages now, or nil: unlike ready it goes on
// until the gateway has ceased to accept.
func (s *stamp) serving() error {
	if s.server != nil && !s.server.Accepting() {
		return errDraining
	}
	return s.queue.Ready()
}

// push starts the stamp's parts on a stack, the queue lowest.
func (s *stamp) push(st *stack) {
	name := func(part string) string { return part + " of " + s.settings.Stamp.Name }
	st.push(layer{name: name("queue"), run: s.queue.Run, close: s.queue.Close})
	st.push(layer{name: name("flow"), run: s.measure})
	if s.drains() {
		st.push(layer{name: name("connection to the hub"), close: func() error { s.sink.Close(); return nil }})
		st.push(layer{name: name("forwarder"), run: s.forward.Run})
	}
	if s.callers != nil {
		st.push(layer{name: name("keys of tokens"), run: s.callers.Run})
	}
	if s.writes() {
		st.push(layer{
			name: name("gateway"), run: s.serve,
			grace: s.settings.HTTP.DrainDelay + s.settings.HTTP.ShutdownTimeout + defaultGrace,
		})
	}
}

// serve runs the gateway's listener until ctx ends: /healthz fails at once, so that
// balancers leave; what still comes is taken until the listener has closed.
func (s *stamp) serve(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { s.draining.Store(true) })
	defer stop()
	defer s.gateway.Drain() // of requests that were cut off, and go on
	var loading sync.WaitGroup
	loading.Go(func() { s.gateway.LoadKeys(ctx) })
	defer loading.Wait()
	return s.server.Run(ctx)
}

// abandon gives back what newStamp took, of a stamp that was never pushed.
func (s *stamp) abandon() error {
	var errs []error
	if s.sink != nil {
		s.sink.Close()
	}
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.server != nil {
		errs = append(errs, s.server.Close())
	}
	return errors.Join(errs...)
}

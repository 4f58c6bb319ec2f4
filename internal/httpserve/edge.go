package httpserve

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// EdgeOptions are the settings of a listener that faces clients whom nobody knows.
type EdgeOptions struct {
	Options `yaml:",inline"`
	// TLS says how the listener shows who it is, and what it asks of clients.
	TLS TLSOptions `yaml:"tls"`
	// Clients limits what clients may take.
	Clients ClientLimits `yaml:"clients"`
}

// ClientLimits say how many connections clients may have, and how slow they may
// be. No limit is on how long a request or an answer may take that goes on: event
// streams, WebSockets and long answers live as long as both sides want.
type ClientLimits struct {
	// Connections is how many connections may be open at once; one more is reset
	// as it comes. 0 is no limit but that of open files. Default 50000.
	Connections int `yaml:"connections"`
	// ConnectionsPerAddress is how many of them one address may have, of IPv6 one
	// network of 64 bits; the addresses of trusted proxies are not counted. 0 is no
	// limit. Default 2000.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// BodyTimeout is how long a client may send nothing of a request's body before
	// the request is answered 408. It ends when the answer begins: what a client
	// sends from then on may pause. 0 is no limit. Default 30s.
	BodyTimeout time.Duration `yaml:"body_timeout"`
	// BodyRate is the least rate, in bytes a second, at which a body must come,
	// looked at each time that body_timeout was spent waiting for it. 0 is no limit.
	// Default 512.
	BodyRate int `yaml:"body_rate"`
	// WriteTimeout is how long a client may take nothing of an answer that there is
	// more of, before it is cut off. It also holds for WebSockets. 0 is no limit.
	// Default 30s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
	// Streams is how many requests one HTTP/2 connection may have at once. Default
	// 250.
	Streams int `yaml:"streams"`
}

// DefaultEdgeOptions are DefaultOptions without TLS and with the limits that their
// comments state.
func DefaultEdgeOptions() EdgeOptions {
	return EdgeOptions{
		Options: DefaultOptions(), TLS: DefaultTLSOptions(),
		Clients: ClientLimits{
			Connections: 50000, ConnectionsPerAddress: 2000,
			BodyTimeout: 30 * time.Second, BodyRate: 512, WriteTimeout: 30 * time.Second, Streams: 250,
		},
	}
}

// Validate returns every problem of the options, joined.
func (o EdgeOptions) Validate() error {
	return errors.Join(o.Options.Validate(), within("tls", o.TLS.Validate()), within("clients", o.Clients.Validate()))
}

// Validate returns every problem of the limits, joined.
func (l ClientLimits) Validate() error {
	errs := []error{
		intWithin("connections", l.Connections, 0, 1<<22),
		intWithin("connections_per_address", l.ConnectionsPerAddress, 0, 1<<22),
		intWithin("body_rate", l.BodyRate, 0, 1<<30),
		intWithin("streams", l.Streams, 1, 10000),
	}
	for _, t := range []struct {
		path string
		d    time.Duration
	}{{"body_timeout", l.BodyTimeout}, {"write_timeout", l.WriteTimeout}} {
		if t.d != 0 {
			errs = append(errs, durationWithin(t.path, t.d, 50*time.Millisecond, time.Hour))
		}
	}
	return errors.Join(errs...)
}

// within puts a section before the path of each problem.
func within(section string, err error) error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return fmt.Errorf("%s.%w", section, err)
	}
	var errs []error
	for _, e := range joined.Unwrap() {
		errs = append(errs, within(section, e))
	}
	return errors.Join(errs...)
}

// EdgeDeps are the collaborators of an Edge.
type EdgeDeps struct {
	Deps
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// Trusted, where set, tells the addresses of proxies before the listener, which
	// bring the connections of many clients.
	Trusted func(netip.Addr) bool
}

// Edge is a Server for clients whom nobody knows: with TLS, caps on connections,
// and an end to clients that hold on without sending or taking.
type Edge struct {
	*Server
	limited *limited
	streams int
}

// NewEdge binds the listener at once and reads its certificates.
func NewEdge(opts EdgeOptions, handler http.Handler, deps EdgeDeps) (*Edge, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	m, err := newEdgeMetrics(deps.Registerer, deps.Name)
	if err != nil {
		return nil, fmt.Errorf("register the metrics of listener %s: %w", deps.Name, err)
	}
	e := &Edge{streams: opts.Clients.Streams}
	limits := &limits{}
	limits.set(opts.Clients)
	traffic := TrafficOptions{Options: opts.Options, TLS: opts.TLS}
	if e.Server, err = NewTraffic(traffic, paced(handler, limits, m), TrafficDeps{deps.Deps, deps.Registerer}); err != nil {
		return nil, err
	}
	e.limited = newLimited(e.listener, limits, m, deps.Trusted)
	e.listener = e.limited
	e.http.HTTP2.MaxConcurrentStreams = opts.Clients.Streams
	return e, nil
}

// Connections is how many connections are open.
func (e *Edge) Connections() int { return e.limited.open() }

// Reload uses other limits and certificates from now on, and reads the files again
// even where they are the same. Connections that exist live on. On an error nothing
// has changed. What of opts needs a new start is not looked at; see NeedsStart.
func (e *Edge) Reload(opts EdgeOptions) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	switch {
	case opts.TLS.Enabled() != (e.certs != nil):
		return errTLSSwitched
	case e.certs != nil:
		if err := e.certs.reload(opts.TLS); err != nil {
			return err
		}
	}
	e.limited.limits.set(opts.Clients)
	return nil
}

// NeedsStart names the settings that differ from those in use, and that only a new
// start changes.
func (e *Edge) NeedsStart(opts EdgeOptions) []string {
	var names []string
	was, is := e.opts, opts.Options
	for _, s := range []struct {
		name    string
		differs bool
	}{
		{"listen", was.Listen != is.Listen},
		{"read_header_timeout", was.ReadHeaderTimeout != is.ReadHeaderTimeout},
		{"idle_timeout", was.IdleTimeout != is.IdleTimeout},
		{"max_header_bytes", was.MaxHeaderBytes != is.MaxHeaderBytes},
		{"drain_delay", was.DrainDelay != is.DrainDelay},
		{"shutdown_timeout", was.ShutdownTimeout != is.ShutdownTimeout},
		{"clients.streams", e.streams != opts.Clients.Streams},
	} {
		if s.differs {
			names = append(names, s.name)
		}
	}
	return names
}

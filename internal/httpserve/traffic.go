package httpserve

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TrafficOptions are the settings of a listener that clients, balancers and front
// doors reach a gateway or a stream node at.
type TrafficOptions struct {
	Options `yaml:",inline"`
	// TLS says how the listener shows who it is, and what it asks of clients, of
	// balancers that look at /healthz, too.
	TLS TLSOptions `yaml:"tls"`
}

// DefaultTrafficOptions are DefaultOptions without TLS.
func DefaultTrafficOptions() TrafficOptions {
	return TrafficOptions{Options: DefaultOptions(), TLS: DefaultTLSOptions()}
}

// Validate returns every problem of the options, joined.
func (o TrafficOptions) Validate() error {
	return errors.Join(o.Options.Validate(), within("tls", o.TLS.Validate()))
}

// TrafficDeps are the collaborators of a Server with TrafficOptions.
type TrafficDeps struct {
	Deps
	// Registerer takes the metrics of certificates, where there are any; nil keeps
	// them unseen.
	Registerer prometheus.Registerer
}

// NewTraffic is New with TLS where the options ask for it: it reads the certificates
// at once, and Run looks at their files.
func NewTraffic(opts TrafficOptions, handler http.Handler, deps TrafficDeps) (*Server, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	var certs *certificates
	if opts.TLS.Enabled() {
		m, err := newCertificateMetrics(deps.Registerer, deps.Name)
		if err != nil {
			return nil, fmt.Errorf("register the metrics of listener %s: %w", deps.Name, err)
		}
		log := deps.Log
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		if certs, err = newCertificates(opts.TLS, log, m.looked); err != nil {
			return nil, err
		}
	}
	s, err := New(opts.Options, handler, deps.Deps)
	if err != nil {
		return nil, err
	}
	s.http.HTTP2 = &http.HTTP2Config{
		// A client that is gone without a word is noticed, whatever its streams wait for.
		SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
	}
	if certs != nil {
		s.certs = certs
		s.http.TLSConfig = certs.config()
		s.http.Protocols.SetHTTP2(true)
		s.http.Protocols.SetUnencryptedHTTP2(false)
		s.inside = newInside()
	}
	return s, nil
}

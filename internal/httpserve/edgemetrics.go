package httpserve

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// edgeMetrics are those of one Edge; listeners of one process differ by label.
type edgeMetrics struct {
	connections prometheus.Gauge
	turnedAway  *prometheus.CounterVec
	slow        *prometheus.CounterVec
}

func newEdgeMetrics(reg prometheus.Registerer, name string) (*edgeMetrics, error) {
	label := prometheus.Labels{"listener": name}
	m := &edgeMetrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_listener_connections", ConstLabels: label,
			Help: "Connections of clients that are open.",
		}),
		turnedAway: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_listener_connections_refused_total", ConstLabels: label,
			Help: "Connections reset as they came, by the limit: total or address.",
		}, []string{"limit"}),
		slow: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_listener_slow_clients_total", ConstLabels: label,
			Help: "Requests ended because the client sent its body, or took the answer, too slowly: body or answer.",
		}, []string{"what"}),
	}
	for _, limit := range []string{"total", "address"} {
		m.turnedAway.WithLabelValues(limit)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.connections, m.turnedAway, m.slow} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *edgeMetrics) refused(limit string) { m.turnedAway.WithLabelValues(limit).Inc() }

// certificateMetrics are those of the certificates of one listener.
type certificateMetrics struct {
	expires prometheus.Gauge
	looks   *prometheus.CounterVec
}

func newCertificateMetrics(reg prometheus.Registerer, name string) (*certificateMetrics, error) {
	label := prometheus.Labels{"listener": name}
	m := &certificateMetrics{
		expires: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_listener_certificate_expiry_timestamp_seconds", ConstLabels: label,
			Help: "When the first certificate of the listener ends; only with TLS.",
		}),
		looks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_listener_certificate_reads_total", ConstLabels: label,
			Help: "Changed certificates taken into use, and looks at files that could not be used.",
		}, []string{"result"}),
	}
	if reg == nil {
		return m, nil
	}
	return m, errors.Join(reg.Register(m.expires), reg.Register(m.looks))
}

// looked counts a look at the files of certificates.
func (m *certificateMetrics) looked(id *identity, err error) {
	if err != nil {
		m.looks.WithLabelValues("failed").Inc()
		return
	}
	m.looks.WithLabelValues("used").Inc()
	m.expires.Set(float64(id.expires.Unix()))
}

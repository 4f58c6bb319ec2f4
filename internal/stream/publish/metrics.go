package publish

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	results  *prometheus.CounterVec
	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
}

func newMetrics() *metrics {
	return &metrics{
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_publishes_total",
			Help: "Messages that clients published, by result: accepted, denied, invalid, too_large, unavailable (surely not stored) or unknown.",
		}, []string{"result"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_publish_attempts_total",
			Help: "Attempts at gateways, by the status of the answer, or failed without one.",
		}, []string{"status"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postroad_stream_publish_seconds", Help: "How long it took until a published message was accepted or given up.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.results, m.attempts, m.seconds} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics of publish: %w", err)
		}
	}
	return nil
}

// published counts; a nil publisher has no metrics.
func (p *Publisher) published(err error, took time.Duration) {
	if p == nil {
		return
	}
	result := "accepted"
	for _, r := range []struct {
		err  error
		name string
	}{
		{ErrDenied, "denied"}, {ErrInvalid, "invalid"}, {ErrTooLarge, "too_large"}, {ErrUnavailable, "unavailable"}, {ErrUnknown, "unknown"},
	} {
		if errors.Is(err, r.err) {
			result = r.name
		}
	}
	p.metrics.results.WithLabelValues(result).Inc()
	p.metrics.seconds.Observe(took.Seconds())
}

func (m *metrics) attempted(status string) { m.attempts.WithLabelValues(status).Inc() }

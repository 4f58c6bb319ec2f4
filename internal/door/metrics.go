package door

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// none stands for the origin of an answer that the door made itself.
const none = "none"

type metrics struct {
	requests *prometheus.CounterVec
	failures *prometheus.CounterVec
	answer   *prometheus.HistogramVec
	healthy  *prometheus.GaugeVec
	changes  *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_requests_total",
			Help: "Requests answered, by the origin that answered and the class of the status; the door's own answers have origin none.",
		}, []string{"origin", "class"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_attempt_failures_total",
			Help: "Attempts at an origin that brought no answer, by whether anything was sent (outcome unknown) or surely not.",
		}, []string{"origin", "sent"}),
		answer: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postroad_door_answer_seconds",
			Help:    "Time from the choice of an origin to the header of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"origin"}),
		healthy: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postroad_door_origin_healthy",
			Help: "1 while the origin gets traffic, 0 while it does not.",
		}, []string{"origin"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_origin_changes_total",
			Help: "Changes of an origin's health, by what it became.",
		}, []string{"origin", "to"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.requests, m.failures, m.answer, m.healthy, m.changes} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) answered(origin string, status int) {
	classes := [...]string{"1xx", "2xx", "3xx", "4xx", "5xx"}
	class := "other"
	if i := status/100 - 1; i >= 0 && i < len(classes) {
		class = classes[i]
	}
	m.requests.WithLabelValues(origin, class).Inc()
}

func (m *metrics) failed(origin string, sent bool) {
	label := "no"
	if sent {
		label = "maybe"
	}
	m.failures.WithLabelValues(origin, label).Inc()
}

func (m *metrics) took(origin string, d time.Duration) {
	m.answer.WithLabelValues(origin).Observe(d.Seconds())
}

func (m *metrics) changed(origin string, healthy bool) {
	to, value := "unhealthy", 0.0
	if healthy {
		to, value = "healthy", 1
	}
	m.healthy.WithLabelValues(origin).Set(value)
	m.changes.WithLabelValues(origin, to).Inc()
}

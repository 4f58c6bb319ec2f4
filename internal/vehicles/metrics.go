package vehicles

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	accepted prometheus.Counter
	refused  prometheus.Counter
	repeats  prometheus.Counter
	answer   prometheus.Histogram
	waiting  prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_vehicles_accepted_messages_total",
			Help: "Positions of simulated vehicles that the front door accepted.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_vehicles_refused_messages_total",
			Help: "Positions that were refused for good, such as by a door that lets nobody in; any is a mistake in the set-up.",
		}),
		repeats: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_vehicles_repeats_total",
			Help: "Further attempts of requests that got no answer, or were told to come again; they rise while the door or all stamps are away.",
		}),
		answer: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "postroad_vehicles_accept_seconds",
			Help:    "Time from the first attempt of a request to its acceptance.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_vehicles_waiting_streams",
			Help: "Streams of requests that wait between two attempts; all of them while the door is away.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.accepted, m.refused, m.repeats, m.answer, m.waiting} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) took(positions int, d time.Duration) {
	m.accepted.Add(float64(positions))
	m.answer.Observe(d.Seconds())
}

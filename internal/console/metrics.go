package console

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	viewers prometheus.Gauge
	skipped prometheus.Counter
	sent    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		viewers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_console_viewers", Help: "Pages that watch messages.",
		}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_console_skipped_messages_total", Help: "Messages that a page was not shown because it fell behind.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_console_sends_total", Help: "Messages sent from the page, by endpoint and whether an answer came.",
		}, []string{"endpoint", "answered"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.viewers, m.skipped, m.sent} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

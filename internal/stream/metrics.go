package stream

import (
	"runtime/metrics"

	"github.com/prometheus/client_golang/prometheus"
)

// nodeMetrics are those of the whole node and of event streams; those of WebSocket
// connections are wire's, those of messages live's.
type nodeMetrics struct {
	connections *prometheus.GaugeVec
	total       *prometheus.CounterVec
	ended       *prometheus.CounterVec
	refusals    *prometheus.CounterVec
	delivered   prometheus.Counter
	bytes       prometheus.Counter
	conflated   prometheus.Counter
	waits       prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, n *Node) (*nodeMetrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	m := &nodeMetrics{
		connections: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "postroad_stream_node_connections",
			Help: "Connections that are open, by protocol.",
		}, []string{"protocol"}),
		total:     vec("postroad_stream_node_connections_total", "Connections that were taken in, by protocol.", "protocol"),
		refusals:  vec("postroad_stream_node_refusals_total", "Connections that were not taken in, by the reason.", "reason"),
		ended:     vec("postroad_stream_sse_ended_total", "Event streams that ended, by who or what ended them.", "by"),
		delivered: counter("postroad_stream_sse_messages_total", "Messages sent as events."),
		bytes:     counter("postroad_stream_sse_bytes_total", "Bytes sent to event streams."),
		conflated: counter("postroad_stream_sse_conflated_total", "Messages left out of event streams, since their viewers are slow and newer ones of their keys follow."),
		waits:     counter("postroad_stream_node_room_waits_total", "Times that reading the hub waited because too much was still to be sent."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.connections, m.total, m.refusals, m.ended, m.delivered, m.bytes, m.conflated, m.waits,
		gauge("postroad_stream_node_pending_bytes", "Bytes that wait to be sent on all connections.", func() float64 { return float64(n.pendingBytes()) }),
		gauge("postroad_stream_node_ready", "1 while the node takes clients and its picture of the hub is fresh, 0 while not.", func() float64 {
			if n.Ready() != nil {
				return 0
			}
			return 1
		}),
		gauge("postroad_stream_node_gc_pause_seconds", "The longest pause of the garbage collector since the process began, to the width of the runtime's buckets.", longestPause),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *nodeMetrics) opened(protocol string) {
	m.connections.WithLabelValues(protocol).Inc()
	m.total.WithLabelValues(protocol).Inc()
}

func (m *nodeMetrics) closed(protocol string) { m.connections.WithLabelValues(protocol).Dec() }

// longestPause reads the runtime's own count of pauses.
func longestPause() float64 {
	sample := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return 0
	}
	h := sample[0].Value.Float64Histogram()
	for i := len(h.Counts) - 1; i >= 0; i-- {
		if h.Counts[i] > 0 {
			return h.Buckets[i] // the lower bound: the upper one of the last bucket has no end
		}
	}
	return 0
}

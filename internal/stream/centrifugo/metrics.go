package centrifugo

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	// connections by Encoding.
	connections   [2]prometheus.Gauge
	subscriptions prometheus.Gauge
	commands      *prometheus.CounterVec
	ignored       prometheus.Counter
	asked         prometheus.Counter
	complete      prometheus.Counter
	failed        prometheus.Counter
	recovered     prometheus.Counter
	disconnects   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	connections := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "postroad_stream_client_connections", Help: "WebSocket connections of clients, by the protocol they speak.",
	}, []string{"protocol"})
	recoveries := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postroad_stream_client_recoveries_total",
		Help: "Subscriptions that clients came back to with a position: asked for; complete, with all that was missed; failed, so that the client was told or refused.",
	}, []string{"outcome"})
	m := &metrics{
		connections: [2]prometheus.Gauge{JSON: connections.WithLabelValues(JSON.String()), Protobuf: connections.WithLabelValues(Protobuf.String())},
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_stream_client_subscriptions", Help: "Subscriptions of WebSocket clients.",
		}),
		commands: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_client_commands_total", Help: "Commands of WebSocket clients, by the code they were answered with; 0 is success.",
		}, []string{"method", "code"}),
		ignored: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_stream_client_sends_ignored_total", Help: "Messages without a reply that clients sent, which go nowhere.",
		}),
		asked: recoveries.WithLabelValues("asked"), complete: recoveries.WithLabelValues("complete"), failed: recoveries.WithLabelValues("failed"),
		recovered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_stream_client_recovered_messages_total", Help: "Messages that clients had missed and were sent when they came back.",
		}),
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_client_disconnects_total", Help: "WebSocket connections that ended, by the code they were closed with; codes that only clients give are one.",
		}, []string{"code"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{connections, m.subscriptions, m.commands, m.ignored, recoveries, m.recovered, m.disconnects} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// command counts a command that was answered with a code; 0 is success.
func (m *metrics) command(method string, code uint32) {
	m.commands.WithLabelValues(method, strconv.Itoa(int(code))).Inc()
}

// closed counts a connection's end. A client may close with any of thousands of
// codes, each of which would be a series.
func (m *metrics) closed(code uint16) {
	name := "other"
	if code >= 1000 && code <= 1015 || code >= 3000 && code <= 3014 || code >= 3500 && code <= 3509 {
		name = strconv.Itoa(int(code))
	}
	m.disconnects.WithLabelValues(name).Inc()
}

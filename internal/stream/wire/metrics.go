package wire

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of all connections of a node.
type metrics struct {
	bytes, writes, chases, conflated prometheus.Counter
	disconnects                      *prometheus.CounterVec
}

func newMetrics() *metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		bytes:     counter("postroad_stream_sent_bytes_total", "Bytes written to WebSocket connections, frame headers included."),
		writes:    counter("postroad_stream_writes_total", "Writes to WebSocket connections; one carries all that waits for a connection."),
		chases:    counter("postroad_stream_slow_writes_total", "Times that a connection's socket took no more and a goroutine went on with it."),
		conflated: counter("postroad_stream_conflated_messages_total", "Messages that slow clients were not sent since a newer one of their key replaced them."),
		disconnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_disconnects_total", Help: "WebSocket connections that ended, by close code.",
		}, []string{"code"}),
	}
}

// register puts the metrics on reg, where there is one.
func (m *metrics) register(reg prometheus.Registerer, w *Writers) error {
	if reg == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.bytes, m.writes, m.chases, m.conflated, m.disconnects,
		gauge("postroad_stream_connections", "WebSocket connections that are open.",
			func() float64 { return float64(w.Connections()) }),
		gauge("postroad_stream_pending_bytes", "Bytes that wait to be written to WebSocket connections; what several are sent counts for each.",
			func() float64 { return float64(w.Pending()) }),
	} {
		errs = append(errs, reg.Register(c))
	}
	return errors.Join(errs...)
}

func (m *metrics) count(w result) {
	m.writes.Inc()
	m.bytes.Add(float64(w.n))
}

// lowestOwnCode is the first that is not of the WebSocket protocol itself.
const lowestOwnCode = 3000

// ended counts the end of a connection. What a client may send as a code is its
// own choice: codes without a meaning here share one series, or a client could
// make thousands.
func (m *metrics) ended(code uint16) {
	label := "other"
	if code >= 1000 && code <= codeTooBig || code >= lowestOwnCode && code < lowestOwnCode+20 || code >= 3500 && code < 3520 {
		label = strconv.Itoa(int(code))
	}
	m.disconnects.WithLabelValues(label).Inc()
}

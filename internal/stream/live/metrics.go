package live

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	recoveries *prometheus.CounterVec
	scans      prometheus.Counter
	scanned    prometheus.Counter
}

func newMetrics(e *Engine, reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		recoveries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_stream_recoveries_total",
			Help: "Subscriptions with a position, by result: complete with nothing missed (current), from memory (ring), from a node that was ahead (floor) or by reading the hub (scan); incomplete; refused because too many wait; failed.",
		}, []string{"result"}),
		scans:   prometheus.NewCounter(prometheus.CounterOpts{Name: "postroad_stream_scans_total", Help: "Times a partition was read again for recovery."}),
		scanned: prometheus.NewCounter(prometheus.CounterOpts{Name: "postroad_stream_scanned_records_total", Help: "Records read again for recovery, look-back included."}),
	}
	for _, r := range results {
		m.recoveries.WithLabelValues(r)
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.recoveries, m.scans, m.scanned, &collector{e}} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

var results = []string{"current", "ring", "floor", "scan", "incomplete", "refused", "failed"}

// recovered counts a recovery; result is empty for a subscription without one.
func (m *metrics) recovered(result string) {
	if result != "" {
		m.recoveries.WithLabelValues(result).Inc()
	}
}

// result is the label that stands for how a recovery ended.
func (c *catchUp) result(err error) string {
	switch {
	case c.request.Since == nil, errors.Is(err, context.Canceled):
		return ""
	case errors.Is(err, ErrBusy):
		return "refused"
	case err != nil:
		return "failed"
	case c.lost:
		return "incomplete"
	}
	return results[c.used]
}

// collector reads what partitions hold when it is asked.
type collector struct{ e *Engine }

type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*partition, time.Time) float64
	// most takes the highest of the partitions instead of their sum.
	most bool
}

func perTopic(name, help string, kind prometheus.ValueType, most bool, of func(*partition, time.Time) float64) gauge {
	return gauge{desc: prometheus.NewDesc("postroad_stream_"+name, help, []string{"topic"}, nil), kind: kind, most: most, of: of}
}

func gauges() []gauge {
	const g, c = prometheus.GaugeValue, prometheus.CounterValue
	return []gauge{
		perTopic("lag_records", "Offsets between what was read and the end, as far as known.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(max(0, p.lag.end-p.head)) }),
		perTopic("lag_seconds", "Time since the partition furthest behind was at an end that is known, or was heard of.", g, true,
			func(p *partition, now time.Time) float64 {
				return max(p.lag.behind(now, p.head), now.Sub(p.lag.heard)).Seconds()
			}),
		perTopic("records_total", "Committed records read, look-back included.", c, false,
			func(p *partition, _ time.Time) float64 { return float64(p.records) }),
		perTopic("duplicates_total", "Records that were not shown because their dedupe id stood in the look-back.", c, false,
			func(p *partition, _ time.Time) float64 { return float64(p.duplicates) }),
		perTopic("ring_records", "Newest records held for recovery.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(p.ring.len()) }),
		perTopic("ring_bytes", "Bytes of their keys and values.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(p.ring.bytes) }),
		perTopic("last_values", "Keys of which the last message is held.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(p.values.count) }),
		perTopic("last_values_bytes", "Bytes of their keys and values.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(p.values.bytes) }),
		perTopic("last_values_evicted_total", "Last messages let go because there were too many, or too many bytes.", c, false,
			func(p *partition, _ time.Time) float64 { return float64(p.values.evicted) }),
		perTopic("window_bytes", "Memory of the windows of dedupe ids.", g, false,
			func(p *partition, _ time.Time) float64 { return float64(p.windowBytes) }),
	}
}

// Describe is prometheus.Collector's.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, g := range gauges() {
		ch <- g.desc
	}
}

// Collect is prometheus.Collector's.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	now := time.Now()
	for name, t := range c.e.topics {
		t.mu.Lock()
		st := t.state
		t.mu.Unlock()
		if st == nil {
			continue
		}
		all := gauges()
		values := make([]float64, len(all))
		for _, p := range st.parts {
			p.mu.Lock()
			for i, g := range all {
				v := g.of(p, now)
				if g.most {
					values[i] = max(values[i], v)
				} else {
					values[i] += v
				}
			}
			p.mu.Unlock()
		}
		for i, g := range all {
			ch <- prometheus.MustNewConstMetric(g.desc, g.kind, values[i], name)
		}
	}
}

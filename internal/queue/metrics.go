package queue

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	messages       prometheus.Counter
	groups         prometheus.Counter
	bytes          prometheus.Counter
	sync           prometheus.Histogram
	lanesFailed    prometheus.Counter
	setAside       *prometheus.CounterVec
	cutBytes       prometheus.Counter
	ballastDropped prometheus.Counter
	grown          prometheus.Counter
	dead           prometheus.Counter
}

func newMetrics(q *Queue, reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		messages: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_appended_messages_total", Help: "Messages made durable.",
		}),
		groups: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_appended_groups_total", Help: "Frame groups (requests) taken by the committer.",
		}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_appended_bytes_total", Help: "Bytes of frame groups taken by the committer.",
		}),
		sync: f.NewHistogram(prometheus.HistogramOpts{
			Name: "postroad_queue_commit_seconds", Help: "Time of one write, sync and fence check.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		lanesFailed: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_lanes_failed_total", Help: "Lanes ended by their writer because of an error.",
		}),
		setAside: f.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_queue_set_aside_messages_total", Help: "Messages set aside because they cannot be read, by kind.",
		}, []string{"kind"}),
		dead: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_dead_letters_total", Help: "Messages set aside as dead letters.",
		}),
		grown: f.NewCounter(prometheus.CounterOpts{
			Name: "postroad_queue_lanes_grown_total", Help: "Lanes that were written to after they were ended by another process.",
		}),
	}
	m.space(q, f)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postroad_queue_unforwarded_messages", Help: "Messages that are durable in the queue and not known to be in the hub.",
	}, func() float64 { return float64(q.Status().UnforwardedMessages) })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postroad_queue_oldest_unforwarded_seconds", Help: "Age of the oldest message that is not forwarded.",
	}, func() float64 { return q.Status().OldestAgeSeconds })
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postroad_queue_disk_free_bytes", Help: "Free space of the queue's file system.",
	}, func() float64 { return float64(q.Status().DiskFreeBytes) })
	return m
}

func (m *metrics) committed(b *batch) {
	m.groups.Add(float64(len(b.requests)))
	m.bytes.Add(float64(b.bytes))
}

package forward

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

type metrics struct {
	messages   prometheus.Counter
	bytes      prometheus.Counter
	duplicates prometheus.Counter
	lost       prometheus.Counter
	twins      prometheus.Counter
	lateUnsure prometheus.Counter
	lateRead   prometheus.Counter
	refused    *prometheus.CounterVec
	saves      prometheus.Counter
	saveErrors prometheus.Counter
	resets     prometheus.Counter
	dead       prometheus.Counter
	diverted   prometheus.Counter
	copiesLost prometheus.Counter
	claimsLost prometheus.Counter
	// transactions of exactly-once delivery, by outcome.
	transactions *prometheus.CounterVec
	latency      prometheus.Histogram
	breaker      prometheus.Gauge
}

// newMetrics makes the metrics; inFlight and chains are asked when they are
// read.
func newMetrics(reg prometheus.Registerer, inFlight, chains, held func() float64) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "postroad_forward_" + name, Help: help})
	}
	m := &metrics{
		messages:   counter("messages_total", "Messages that the hub acknowledged."),
		bytes:      counter("bytes_total", "Bytes of keys, headers and values that the hub acknowledged."),
		duplicates: counter("duplicates_skipped_total", "Messages that were not sent because reading back found them in the hub."),
		lost:       counter("marks_lost_total", "Partitions that could not be read back from their mark, so that messages were sent again unseen."),
		twins:      counter("late_duplicates_total", "Messages accepted more than late_after ago that were not sent because another stamp's copy is in the hub."),
		lateUnsure: counter("late_unsure_total", "Messages that were sent marked postroad-late, because another copy may have been in the hub and is not known."),
		lateRead:   counter("late_read_records_total", "Records that were read to find other stamps' copies of late messages."),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_forward_refused_total", Help: "Tries after which the hub had given messages back, by the worst class of error.",
		}, []string{"class"}),
		saves:      counter("saves_total", "Times progress was saved."),
		saveErrors: counter("save_errors_total", "Times progress could not be saved."),
		resets:     counter("resets_total", "Times messages were taken back from the client because the hub did not answer."),
		dead:       counter("dead_messages_total", "Messages that the hub refused for good, alone, and that became dead letters."),
		diverted:   counter("diverted_messages_total", "Messages of held topics that were moved to side lanes."),
		copiesLost: counter("dead_copies_lost_total", "Dead letters of which no copy got into dead_letter_topic."),
		claimsLost: counter("claims_lost_total", "Chains that another process took over while they were drained here."),
		transactions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_forward_transactions_total",
			Help: "Transactions of exactly-once delivery, by outcome: committed, aborted because the hub refused messages, failed as a whole.",
		}, []string{"outcome"}),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postroad_forward_latency_seconds", Help: "Time from a message's being accepted to the hub's acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30, 300, 3600, 86400},
		}),
		breaker: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "postroad_forward_breaker_state", Help: "State of the breaker around the hub: 0 closed, 1 half-open, 2 open.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.messages, m.bytes, m.duplicates, m.lost, m.twins, m.lateUnsure, m.lateRead, m.refused, m.saves, m.saveErrors, m.resets, m.dead, m.diverted,
		m.copiesLost, m.claimsLost, m.transactions, m.latency, m.breaker,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postroad_forward_in_flight_messages", Help: "Messages given to the hub and not yet answered.",
		}, inFlight),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postroad_forward_chains", Help: "Chains of lanes being drained.",
		}, chains),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "postroad_forward_held_topics", Help: "Topics that the hub refuses, counted once for each chain.",
		}, held),
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) forwarded(bytes int64, took time.Duration) {
	m.messages.Inc()
	m.bytes.Add(float64(bytes))
	m.latency.Observe(took.Seconds())
}

func (m *metrics) breakerState(s gobreaker.State) {
	m.breaker.Set(map[gobreaker.State]float64{gobreaker.StateHalfOpen: 1, gobreaker.StateOpen: 2}[s])
}

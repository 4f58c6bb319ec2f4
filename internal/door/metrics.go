package door

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/door/carry"
	"postroad/internal/door/policy"
)

// none stands for the origin, or group, of an answer that the door made itself.
const none = "none"

type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	attempts *prometheus.CounterVec
	answer   *prometheus.HistogramVec
	probes   *prometheus.HistogramVec
	changes  *prometheus.CounterVec
	limited  prometheus.Counter
	unlogged prometheus.Counter
	state    *stateCollector
	known    sync.Map // countKey to prometheus.Counter and the like, found without hashing labels
}

func newMetrics(d *Door) *metrics {
	buckets := prometheus.ExponentialBuckets(0.0005, 2, 16)
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_requests_total",
			Help: "Requests answered, by the origin that answered and the class of the status; the door's own answers have origin none.",
		}, []string{"group", "origin", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postroad_door_request_seconds",
			Help:    "Time from a request's headers to the end of its answer, streams left out, by the origin that answered.",
			Buckets: buckets,
		}, []string{"group", "origin"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_attempts_total",
			Help: "Attempts at an origin, by what came of them: answered, unsent (surely not executed) or broken (outcome unknown); hedges apart.",
		}, []string{"group", "origin", "result", "hedge"}),
		answer: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postroad_door_answer_seconds",
			Help:    "Time from the choice of an origin to the header of its answer.",
			Buckets: buckets,
		}, []string{"group", "origin"}),
		probes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "postroad_door_probe_seconds",
			Help:    "Time of probes, by whether they passed.",
			Buckets: buckets,
		}, []string{"group", "origin", "passed"}),
		changes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_door_origin_changes_total",
			Help: "Changes of an origin's state, by what it became.",
		}, []string{"group", "origin", "to"}),
		limited: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_door_rate_limited_total",
			Help: "Requests refused because their client was over its rate.",
		}),
		unlogged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_door_access_log_dropped_total",
			Help: "Lines of the access log that were dropped because what takes them did not keep up.",
		}),
	}
	m.state = newStateCollector(d)
	return m
}

// register shows the metrics, all or none.
func (m *metrics) register(reg prometheus.Registerer) error {
	if reg == nil {
		return nil
	}
	for i, c := range m.all() {
		if err := reg.Register(c); err != nil {
			for _, done := range m.all()[:i] {
				reg.Unregister(done)
			}
			return err
		}
	}
	return nil
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.attempts, m.answer, m.probes, m.changes, m.limited, m.unlogged, m.state}
}

// answeredKey finds the counter and histogram of an answer.
type answeredKey struct {
	group, origin string
	class         int
}

type answeredValue struct {
	count prometheus.Counter
	took  prometheus.Observer
}

func (m *metrics) answered(group, origin string, status int, took time.Duration, stream bool) {
	key := answeredKey{group, origin, status / 100}
	v, ok := m.known.Load(key)
	if !ok {
		classes := [...]string{"other", "1xx", "2xx", "3xx", "4xx", "5xx"}
		class := classes[0]
		if key.class > 0 && key.class < len(classes) {
			class = classes[key.class]
		}
		v, _ = m.known.LoadOrStore(key, answeredValue{m.requests.WithLabelValues(group, origin, class), m.duration.WithLabelValues(group, origin)})
	}
	if a, ok := v.(answeredValue); ok {
		a.count.Inc()
		if !stream {
			a.took.Observe(took.Seconds())
		}
	}
}

// attemptedKey finds the counter and histogram of an attempt.
type attemptedKey struct {
	group, origin, result string
	hedge                 bool
}

// attempted is told by the carriers.
func (m *metrics) attempted(group string, a carry.Attempted) {
	key := attemptedKey{group, a.Origin, "answered", a.Hedge}
	switch {
	case a.Status == 0 && a.Sent:
		key.result = "broken"
	case a.Status == 0:
		key.result = "unsent"
	}
	v, ok := m.known.Load(key)
	if !ok {
		hedge := "no"
		if a.Hedge {
			hedge = "yes"
		}
		v, _ = m.known.LoadOrStore(key, answeredValue{
			m.attempts.WithLabelValues(group, a.Origin, key.result, hedge), m.answer.WithLabelValues(group, a.Origin),
		})
	}
	if at, ok := v.(answeredValue); ok {
		at.count.Inc()
		if a.Status != 0 {
			at.took.Observe(a.Took.Seconds())
		}
	}
}

func (m *metrics) probed(group, origin string, p policy.Probe) {
	passed := "yes"
	if p.Err != nil {
		passed = "no"
	}
	m.probes.WithLabelValues(group, origin, passed).Observe(p.Took.Seconds())
}

func (m *metrics) changed(group, origin, to string) {
	m.changes.WithLabelValues(group, origin, to).Inc()
}

// stateCollector reads the state of the door when it is asked.
type stateCollector struct {
	door                                                          *Door
	healthy, usable, inFlight, streams, percent, panics           *prometheus.Desc
	repeats, hedges, refused, minted, streamed, buffered, orphans *prometheus.Desc
	ended, clients, lacking                                       *prometheus.Desc
}

func newStateCollector(d *Door) *stateCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("postroad_door_"+name, help, labels, nil)
	}
	return &stateCollector{
		door:     d,
		healthy:  desc("origin_healthy", "1 while the origin answers as far as is known.", "group", "origin"),
		usable:   desc("origin_usable", "1 while the origin takes requests in the usual way.", "group", "origin"),
		inFlight: desc("origin_in_flight", "Requests under way at the origin.", "group", "origin"),
		streams:  desc("streams", "Streams that the origin carries: WebSockets, event streams, long answers of stream nodes.", "group", "origin"),
		percent:  desc("origin_weight_percent", "How much of its share operators and the origin itself leave it.", "group", "origin"),
		panics:   desc("group_panic", "1 while too few origins are usable and requests are spread over suspects.", "group"),
		repeats:  desc("repeats_total", "POSTs sent to another origin after an attempt that failed.", "group"),
		hedges:   desc("hedges_total", "POSTs sent to another origin beside an attempt that was slow.", "group"),
		refused:  desc("repeats_refused_total", "Repeats and hedges that the budget did not allow: if it rises, clients repeat in the door's place.", "group"),
		minted:   desc("keys_minted_total", "Idempotency keys made for clients that sent none.", "group"),
		streamed: desc("bodies_streamed_total", "POSTs whose body was not kept, so that they could not have been repeated.", "group"),
		buffered: desc("buffered_bytes", "Memory of bodies and answers that are kept.", "group"),
		orphans:  desc("orphaned_attempts", "Attempts that go on although their request is answered.", "group"),
		lacking:  desc("connections_lacking_total", "Connections to origins that could not be opened because this machine had no port, file descriptor or memory left.", "group"),
		ended:    desc("streams_ended_total", "Streams that ended, by why: over (client or origin), idle, moved, drain.", "reason"),
		clients:  desc("rate_limited_clients", "Clients whose rate is remembered."),
	}
}

// Describe implements prometheus.Collector.
func (c *stateCollector) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, to) }

// Collect implements prometheus.Collector.
func (c *stateCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	total := func(d *prometheus.Desc, v int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(c.clients, float64(c.door.rates.known()))
	for reason, n := range c.door.live.endedBy() {
		total(c.ended, int64(n), reason)
	}
	for name, g := range c.door.state.Load().groups {
		s := g.policy.Status()
		gauge(c.panics, truth(s.Panic), name)
		for _, o := range s.Origins {
			gauge(c.healthy, truth(o.Healthy), name, o.Name)
			gauge(c.usable, truth(o.Usable), name, o.Name)
			gauge(c.inFlight, float64(o.InFlight), name, o.Name)
			gauge(c.percent, float64(o.Percent), name, o.Name)
			gauge(c.streams, float64(c.door.live.count(place{name, o.Name})), name, o.Name)
		}
		st := g.carried()
		total(c.repeats, st.Repeats, name)
		total(c.hedges, st.Hedges, name)
		total(c.refused, st.Refused, name)
		total(c.minted, st.Minted, name)
		total(c.streamed, st.Streamed, name)
		total(c.lacking, st.Lacking, name)
		gauge(c.buffered, float64(st.Buffered), name)
		gauge(c.orphans, float64(st.Orphans), name)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

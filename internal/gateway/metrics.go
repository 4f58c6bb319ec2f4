package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/message"
)

// metrics are those of one gateway.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	append   prometheus.Histogram
	messages prometheus.Counter
	bytes    prometheus.Counter
	replays  prometheus.Counter
	evicted  prometheus.Counter
	// routes holds the series that each POST needs, so that no label has to
	// be looked up for it.
	routes map[string]routeMetrics
}

type routeMetrics struct {
	ok, accepted prometheus.Counter
	duration     prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_gateway_requests_total", Help: "Requests answered, by route and status.",
		}, []string{"route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "postroad_gateway_request_duration_seconds", Help: "Time from a request's header to its answer, by route.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"route"}),
		append: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "postroad_gateway_append_duration_seconds", Help: "Time until the queue had made the messages of a request durable.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 18),
		}),
		messages: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_gateway_accepted_messages_total", Help: "Messages made durable.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_gateway_accepted_bytes_total", Help: "Keys, headers and values of the messages made durable, in bytes.",
		}),
		replays: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_gateway_replayed_requests_total", Help: "Requests answered with the answer to an earlier one of the same key.",
		}),
		evicted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "postroad_gateway_evicted_keys_total", Help: "Idempotency keys forgotten before their time because idempotency.max_keys was reached.",
		}),
		routes: make(map[string]routeMetrics),
	}
	for _, route := range []string{routeClassic, routeTopics} {
		m.routes[route] = routeMetrics{
			ok:       m.requests.WithLabelValues(route, strconv.Itoa(http.StatusOK)),
			accepted: m.requests.WithLabelValues(route, strconv.Itoa(http.StatusAccepted)),
			duration: m.duration.WithLabelValues(route),
		}
	}
	return m
}

// register puts the metrics, and gauges of the gateway's state, on reg.
func (m *metrics) register(reg prometheus.Registerer, g *Gateway) error {
	if reg == nil {
		return nil
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, m.duration, m.append, m.messages, m.bytes, m.replays, m.evicted,
		gauge("postroad_gateway_inflight_requests", "POSTs of messages in progress.", func() float64 { return float64(g.load.requests.Load()) }),
		gauge("postroad_gateway_inflight_bytes", "Memory for request bodies in progress, in bytes.", func() float64 { return float64(g.load.bytes.Load()) }),
		gauge("postroad_gateway_idempotency_keys", "Idempotency keys remembered.", func() float64 { return float64(g.index.len()) }),
		gauge("postroad_gateway_loaded_idempotency_keys", "Idempotency keys of earlier processes that are remembered.", func() float64 { return float64(g.index.loaded()) }),
		gauge("postroad_gateway_idempotency_keys_ready", "1 once the idempotency keys of earlier processes are loaded.", g.keysReady),
	} {
		if err := reg.Register(c); err != nil {
			errs = append(errs, fmt.Errorf("register a gateway metric: %w", err))
		}
	}
	return errors.Join(errs...)
}

// answered counts a request.
func (m *metrics) answered(route string, status int, took time.Duration) {
	r, ok := m.routes[route]
	switch {
	case ok && status == http.StatusOK:
		r.ok.Inc()
	case ok && status == http.StatusAccepted:
		r.accepted.Inc()
	default:
		m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	}
	if ok {
		r.duration.Observe(took.Seconds())
		return
	}
	m.duration.WithLabelValues(route).Observe(took.Seconds())
}

// stored counts messages that are durable.
func (m *metrics) stored(msgs []message.Message) {
	size := 0
	for i := range msgs {
		size += msgs[i].Size()
	}
	m.messages.Add(float64(len(msgs)))
	m.bytes.Add(float64(size))
}

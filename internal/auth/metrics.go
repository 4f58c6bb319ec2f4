package auth

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what became of tokens and of fetches of keys.
type metrics struct {
	tokens *prometheus.CounterVec
	keys   *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		tokens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_auth_tokens_total",
			Help: "Tokens that were checked, by result: good, none, expired, invalid, or unavailable where keys could not be had.",
		}, []string{"result"}),
		keys: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "postroad_auth_key_fetches_total",
			Help: "Fetches of jwks.url, by result: good or failed.",
		}, []string{"result"}),
	}
}

func (m *metrics) register(r prometheus.Registerer) error {
	if r == nil {
		return nil
	}
	for _, c := range []prometheus.Collector{m.tokens, m.keys} {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("register metrics of auth: %w", err)
		}
	}
	return nil
}

func (m *metrics) checked(err error) {
	result := "invalid"
	switch {
	case err == nil:
		result = "good"
	case errors.Is(err, ErrNoToken):
		result = "none"
	case errors.Is(err, ErrExpired):
		result = "expired"
	case errors.Is(err, ErrUnavailable):
		result = "unavailable"
	}
	m.tokens.WithLabelValues(result).Inc()
}

func (m *metrics) fetched(ok bool) {
	result := "failed"
	if ok {
		result = "good"
	}
	m.keys.WithLabelValues(result).Inc()
}

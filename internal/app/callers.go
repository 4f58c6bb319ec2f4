package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/gateway"
)

// newCallers makes what tells the callers of the stamp's gateway apart; nil
// where it asks nobody for a token.
func (s *stamp) newCallers(reg prometheus.Registerer) (gateway.Callers, error) {
	o := s.settings.Gateway.Auth
	if !o.Enabled {
		return nil, nil
	}
	v, err := auth.NewVerifier(o.Options, auth.Deps{Log: s.log, Registerer: reg})
	if err != nil {
		return nil, err
	}
	s.callers = v
	return v, nil
}

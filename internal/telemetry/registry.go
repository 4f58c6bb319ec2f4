package telemetry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// NewRegistry returns a registry that holds Go's metrics, those of the
// process, and postroad_build_info, which is always 1 and carries the version
// in its labels.
func NewRegistry(v Version) (*prometheus.Registry, error) {
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postroad_build_info",
		Help: "Which build this is; always 1.",
		ConstLabels: prometheus.Labels{
			"version":  v.Version,
			"revision": v.Revision,
			"go":       v.Go,
		},
	}, func() float64 { return 1 })
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		build,
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics of the process: %w", err)
		}
	}
	return r, nil
}

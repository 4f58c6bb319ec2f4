//go:build proof

package cluster

import (
	"context"
	"testing"
	"time"

	"postroad/internal/drill"
)

// Stream nodes are scaled from 3 to 5 and to 2, with a thousand clients of all
// protocols: each is complete, by the ledger.
func clients(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem, cloud}, "--set", "stream.replicas=3")
	s := w.stamps[onprem]
	report, err := drill.WatchSite(t.Context(), drill.StreamOptions{
		Binary: k.Postroad, Dir: t.TempDir(), Clients: 1000, Keys: 40, Pace: time.Second, Seed: 9, Logf: t.Logf,
	}, drill.Site{
		Hub: w.hub, Gateways: []string{s.gateway(t, 1), w.stamps[cloud].gateway(t, 1)},
		Streams: s.node(1) + ":" + s.port(t, "stream"),
		Drained: func(ctx context.Context) error {
			for _, s := range w.stamps {
				if err := s.drained(ctx); err != nil {
					return err
				}
			}
			return nil
		},
	}, func(context.Context) error {
		for _, n := range []string{"5", "2"} {
			began := time.Now()
			s.kubectl(t, "scale", "deployment", release+"-stream", "--replicas", n)
			s.waitReady(t, "stream", int(n[0]-'0'))
			t.Logf("%s stream nodes after %.1f s", n, time.Since(began).Seconds())
		}
		return nil
	})
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Error("the hub, or a client, is not complete")
	}
	if report.Backs == 0 {
		t.Error("no client had to come back, so this shows nothing")
	}
}

// The autoscaler adds gateways under load and takes them away after it.
func autoscaler(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem}, "--set", "gateway.autoscaling.enabled=true", "--set", "gateway.autoscaling.min=2", "--set", "gateway.autoscaling.max=4",
		"--set", "gateway.resources.requests.cpu=50m", "--set", "gateway.resources.limits.cpu=200m",
		// By default it waits five minutes for a load to come back, and goes down a pod
		// in two minutes.
		"--set", "scaleDown.afterSeconds=15", "--set", "scaleDown.everySeconds=15")
	s := w.stamps[onprem]
	s.waitReady(t, "gateway", 2)
	began := time.Now()
	view := w.load(s.gateway(t, 1), 300, func() {
		until(t, settled, "the autoscaler has added gateways, which take requests", func() (bool, error) {
			ready, err := s.ready(t.Context(), "gateway")
			return len(ready) > 2, err
		})
		t.Logf("more gateways after %.1f s: %s", time.Since(began).Seconds(), s.kubectl(t, "get", "hpa", release+"-gateway", "--no-headers"))
	})
	began = time.Now()
	s.waitReady(t, "gateway", 2)
	t.Logf("two again %.1f s after the load", time.Since(began).Seconds())
	if view.Failed > 0 {
		t.Errorf("%d requests failed", view.Failed)
	}
	w.judge() // what the pods that are gone had accepted
}

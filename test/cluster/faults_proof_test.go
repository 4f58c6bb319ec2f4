//go:build proof

package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/drill"
)

// Two of three nodes are drained at a time: the budgets hold, so that one of
// each component always takes requests, and nothing fails or is lost.
func drain(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem})
	s := w.stamps[onprem]
	t.Cleanup(func() {
		if _, err := s.run(context.Background(), "", k.Kubectl, "uncordon", "node2", "node3"); err != nil {
			t.Error(err)
		}
	})
	view := w.load(s.gateway(t, 1), 40, func() {
		least := s.least(t, func() {
			s.refusesTwo(t)
			began := time.Now()
			s.kubectl(t, "drain", "node2", "node3", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=170s")
			t.Logf("drained after %.1f s", time.Since(began).Seconds())
		})
		for component, n := range least {
			if n < 1 {
				t.Errorf("no pod of %s took requests for a time", component)
			}
		}
		for _, component := range []string{"gateway", "stream"} {
			for _, p := range s.waitReady(t, component, 2) {
				if p.Node != "node1" {
					t.Errorf("%s stands on %s, which was drained", p.Name, p.Node)
				}
			}
		}
	})
	if view.Failed > 0 {
		t.Errorf("%d requests failed", view.Failed)
	}
}

// refusesTwo evicts both gateways at once: the budget lets one go.
func (s *stamp) refusesTwo(t *testing.T) {
	t.Helper()
	refused := 0
	for _, p := range s.waitReady(t, "gateway", 2) {
		eviction := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": %q}}`, p.Name, s.namespace)
		_, err := s.run(t.Context(), eviction, s.Kubectl, "create", "--raw", fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", s.namespace, p.Name), "--filename", "-")
		switch {
		case err == nil:
		case strings.Contains(err.Error(), "disruption budget"):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if refused != 1 {
		t.Errorf("of two evictions at once the budget refused %d, want 1", refused)
	}
}

// least is how few pods of each component took requests while something was done.
func (s *stamp) least(t *testing.T, do func()) map[string]int {
	t.Helper()
	least := map[string]int{"gateway": 99, "stream": 99}
	ctx, cancel := context.WithCancel(t.Context())
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			for component := range least {
				if ready, err := s.ready(ctx, component); err == nil {
					least[component] = min(least[component], len(ready))
				}
			}
		}
	})
	do()
	cancel()
	looking.Wait()
	return least
}

// A node loses power under load. What is told to clients meanwhile is counted,
// and nothing that was acknowledged is lost.
func power(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem})
	s := w.stamps[onprem]
	victim := ""
	for _, p := range s.waitReady(t, "gateway", 2) {
		if p.Node != "node1" { // by which clients come
			victim = p.Node
		}
	}
	t.Cleanup(func() {
		if t.Failed() { // otherwise it is on
			_, _ = s.run(context.Background(), "", filepath.Join(k.Root, "test/cluster/fault"), "power-on", victim) // fails where it is
		}
	})
	w.load(s.gateway(t, 1), 40, func() {
		began := time.Now()
		s.fault(t, "power-cut", victim)
		for _, component := range []string{"gateway", "stream"} {
			until(t, settled, "two pods of "+component+" are ready on the nodes that are left", func() (bool, error) {
				ready, err := s.ready(t.Context(), component)
				n := 0
				for _, p := range ready {
					if p.Node != victim {
						n++
					}
				}
				return n == 2, err
			})
		}
		t.Logf("two of each on the other nodes after %.1f s", time.Since(began).Seconds())
		s.fault(t, "power-on", victim)
		s.kubectl(t, "wait", "--for=condition=Ready", "node/"+victim, "--timeout=120s")
	})
}

// A process that hangs is started again, without anybody being asked.
func liveness(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem})
	s := w.stamps[onprem]
	victim := s.waitReady(t, "gateway", 2)[0]
	w.load(s.gateway(t, 1), 40, func() {
		began := time.Now()
		s.fault(t, "hang", victim.Name)
		until(t, settled, victim.Name+" was started again and takes requests", func() (bool, error) {
			ready, err := s.ready(t.Context(), "gateway")
			for _, p := range ready {
				if p.Name == victim.Name && p.Restarts > victim.Restarts {
					return true, err
				}
			}
			return false, err
		})
		t.Logf("started again and ready after %.1f s", time.Since(began).Seconds())
	})
}

// A site is cut off from hub and world, and then every pod of it is started
// anew, as after a loss of power: it accepts again with what it has, and
// forwards all of it once the hub is back.
func island(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem})
	s := w.stamps[onprem]
	url := s.gateway(t, 1)
	w.load(url, 40, func() {})
	before := s.names(t)
	s.fault(t, "wan-cut")
	restored := false
	t.Cleanup(func() {
		if !restored {
			_, _ = s.run(context.Background(), "", filepath.Join(k.Root, "test/cluster/fault"), "wan-restore") // the test has failed already
		}
	})
	load, err := drill.NewDoorLoad(w.ledger, drill.DoorLoadOptions{URL: url, Rate: 20, BodyBytes: 200, Patience: 10 * time.Second, Seed: 77})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	sending.Go(func() { load.Run(ctx) })
	defer sending.Wait()
	defer cancel()
	w.sending = load
	w.flowing(60)
	began := time.Now()
	s.kubectl(t, "delete", "pods", "--all", "--grace-period=1", "--wait=true", "--timeout=150s")
	now := s.waitReady(t, "gateway", 2)
	w.flowing(60)
	t.Logf("every pod deleted; two new gateways accept after %.1f s, cut off as they are", time.Since(began).Seconds())
	for _, p := range now {
		for _, name := range before {
			if p.Name == name {
				t.Errorf("%s is not new", name)
			}
		}
	}
	cancel()
	sending.Wait()
	t.Logf("load: %s", load.View())
	if r, err := w.binary.JudgeHub(t.Context(), w.ledger, w.hub, drill.Topic); err != nil || r.Verdict.Lost.Count == 0 {
		t.Errorf("the hub has all that was acknowledged, so the site was not cut off: %v", err)
	}
	s.fault(t, "wan-restore")
	restored = true
	s.waitReady(t, "stream", 2)
	w.judge()
}

// A whole stamp goes and comes back, with the door in front of both.
func away(t *testing.T, k kit) {
	w := newWorld(t, k, []string{onprem, cloud})
	var origins []drill.FrontOrigin
	for i, name := range []string{onprem, cloud} {
		s := w.stamps[name]
		origins = append(origins, drill.FrontOrigin{Name: name, Address: s.node(1) + ":" + s.port(t, "gateway"), Priority: i + 1})
	}
	door, err := drill.NewFront(t.Context(), w.binary, drill.Fronts()[0], origins)
	if err != nil {
		t.Fatal(err)
	}
	if err := door.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := door.Stop(); err != nil {
			t.Error(err)
		}
	})
	s := w.stamps[onprem]
	cut := false
	t.Cleanup(func() {
		if cut {
			_, _ = s.run(context.Background(), "", filepath.Join(k.Root, "test/cluster/fault"), "lan-restore") // the test has failed already
		}
	})
	view := w.load(door.URL(), 40, func() {
		s.fault(t, "lan-cut")
		cut = true
		w.believed(door, onprem, false)
		w.flowing(400)
		s.fault(t, "lan-restore")
		cut = false
		s.waitReady(t, "gateway", 2)
		w.believed(door, onprem, true)
		w.flowing(200)
	})
	if view.Failed > 0 {
		t.Errorf("%d requests failed", view.Failed)
	}
}

// believed waits until the door takes an origin for healthy, or no longer.
func (w *world) believed(door *drill.Front, name string, healthy bool) {
	w.t.Helper()
	began := time.Now()
	var out []byte
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("the door said last: %s", out)
		}
	})
	until(w.t, settled, fmt.Sprintf("the door takes %s for healthy: %v", name, healthy), func() (bool, error) {
		var err error
		if out, err = door.Order(w.t.Context(), "show", "--json"); err != nil {
			return false, err
		}
		var report struct {
			Groups []struct {
				Origins []struct {
					Name  string `json:"name"`
					State string `json:"state"`
				} `json:"origins"`
			} `json:"groups"`
		}
		if err := json.Unmarshal(out, &report); err != nil {
			return false, err
		}
		for _, g := range report.Groups {
			for _, o := range g.Origins {
				if o.Name == name {
					return (o.State == "healthy") == healthy, nil
				}
			}
		}
		return false, fmt.Errorf("the door does not know %s: %s", name, out)
	})
	w.t.Logf("the door takes %s for healthy: %v, after %.1f s", name, healthy, time.Since(began).Seconds())
}

package door

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"postroad/internal/door/policy"
)

// instance is one of several addresses of an origin. Its probe is answered with
// what it says; "silence" is no answer at all, "dead" is a failure.
type instance struct {
	*stamp
	says atomic.Value
}

func newInstance(t *testing.T) *instance {
	t.Helper()
	i := &instance{}
	i.says.Store("")
	i.stamp = newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/ready" {
			return
		}
		switch says, _ := i.says.Load().(string); {
		case says == "silence":
			<-r.Context().Done()
		case says == "dead":
			w.WriteHeader(http.StatusInternalServerError)
		case says != "":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(says))
		}
	}))
	return i
}

// TestOneAddressSpeaksForItself: an origin of several addresses drains, is in
// maintenance or fails if all of them do.
func TestOneAddressSpeaksForItself(t *testing.T) {
	const drain, maintenance = `{"drain":true}`, `{"maintenance":true}`
	for _, c := range []struct {
		says [3]string
		want policy.State // after one probe of each
	}{
		{[3]string{"", "", ""}, policy.Healthy},
		{[3]string{drain, "", ""}, policy.Healthy},
		{[3]string{"", maintenance, drain}, policy.Healthy},
		{[3]string{"dead", "dead", ""}, policy.Healthy},
		{[3]string{"dead", "", drain}, policy.Healthy},
		{[3]string{"dead", drain, "dead"}, policy.Draining},
		{[3]string{drain, drain, drain}, policy.Draining},
		{[3]string{maintenance, maintenance, maintenance}, policy.Maintenance},
		{[3]string{"dead", "dead", "dead"}, policy.Suspect},
	} {
		t.Run(strings.Join(c.says[:], ","), func(t *testing.T) {
			f := openInstances(t, 20*time.Second, c.says[:]...)
			f.probeOnce(t, 3)
			if s := f.origin(gatewaysGroup, "a"); s.State != c.want {
				t.Errorf("the origin is %s (%s), want %s", s.State, s.Reason, c.want)
			}
		})
	}
}

// TestOneAddressSilent: a stopped process among several takes nobody with it, and
// gets no new connection although the kernel accepts for it.
func TestOneAddressSilent(t *testing.T) {
	f := openInstances(t, 20*time.Millisecond, "silence", "", "")
	// On a machine that is slow itself the others may be late as well, so that it
	// may take some rounds until just the first is known for what it is.
	eventually(t, "requests go to the others alone", func() bool {
		f.probeOnce(t, 1)
		if f.origin(gatewaysGroup, "a").State != policy.Healthy {
			return false
		}
		before := f.instances[0].asked.Load()
		for range 6 {
			ask(t, "POST", f.url, strings.NewReader("x"))
		}
		return f.instances[0].asked.Load() == before
	})
}

// TestProbeLacks: a probe for which this machine has no port left is no verdict.
func TestProbeLacks(t *testing.T) {
	o := testOptions(origins(newStamp(t, "a", nil).URL)...)
	o.Origins[0].SourceAddresses = []string{"240.0.0.1"} // nobody's
	reg := prometheus.NewRegistry()
	f := open(t, o, Deps{Registerer: reg})
	f.probing(t)
	g := f.state.Load().groups[gatewaysGroup]
	eventually(t, "several probes", func() bool { return g.carrier.Stats().Lacking >= 10 })
	if s := f.origin(gatewaysGroup, "a"); s.State != policy.Healthy || !s.ProbedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	families, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(families, func(m *dto.MetricFamily) bool {
		return m.GetName() == "postroad_door_connections_lacking_total" && m.GetMetric()[0].GetCounter().GetValue() >= 10
	}) {
		t.Errorf("not counted: %v", err)
	}
}

// instances is a door before one origin of several addresses.
type instances struct {
	*front
	instances []*instance
}

func openInstances(t *testing.T, timeout time.Duration, says ...string) *instances {
	t.Helper()
	in := &instances{}
	var urls []string
	for _, s := range says {
		i := newInstance(t)
		i.says.Store(s)
		in.instances = append(in.instances, i)
		urls = append(urls, i.URL)
	}
	o := testOptions(Origin{Name: "a", URLs: urls})
	o.Probe.Path, o.Probe.Timeout = "/ready", timeout
	o.Policy.Health.Unhealthy, o.Policy.Health.Window = 2, 4
	in.front = open(t, o, Deps{})
	return in
}

// probeOnce probes each address in turn, rounds times.
func (in *instances) probeOnce(t *testing.T, rounds int) {
	t.Helper()
	g := in.state.Load().groups[gatewaysGroup]
	for turn := range rounds * len(in.instances) {
		g.origin("a").Probed(in.probe(context.Background(), g, "a", turn))
	}
}

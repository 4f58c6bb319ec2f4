package door

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestProbes: a failing origin loses its traffic without a request having to
// fail, and gets it back when its probes pass.
func TestProbes(t *testing.T) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	reg := prometheus.NewRegistry()
	f := open(t, testOptions(origins(a.URL, b.URL)...), Deps{Registerer: reg})
	f.probing(t)
	answers := func(want string) {
		t.Helper()
		if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != want {
			t.Errorf("%q answered, want %s; %+v", res.header.Get("Stamp"), want, f.Status())
		}
	}
	eventually(t, "a probed", func() bool { return f.Status()[0].Reason == "probes pass" })
	answers("a")
	a.sick.Store(true)
	eventually(t, "a unhealthy", func() bool { return !f.healthy("a") })
	answers("b")
	if n := a.asked.Load(); n != 1 {
		t.Errorf("a was asked %d times", n)
	}
	a.sick.Store(false)
	eventually(t, "a healthy again", func() bool { return f.healthy("a") })
	answers("a")
	if !f.log.has("level=WARN", "origin is unhealthy", "origin=a", "/healthz answered 503") || !f.log.has("level=INFO", "origin is healthy", "origin=a") {
		t.Error("the changes were not logged with their reasons")
	}
	for to, want := range map[string]float64{"healthy": 1, "unhealthy": 1} {
		if n := value(t, f.metrics.changes.WithLabelValues("a", to)); n != want {
			t.Errorf("%v changes to %s, want %v", n, to, want)
		}
	}
	if n := value(t, f.metrics.healthy.WithLabelValues("a")); n != 1 {
		t.Errorf("origin_healthy is %v", n)
	}
	if got, err := reg.Gather(); err != nil || len(got) < 4 {
		t.Errorf("%d families gathered, %v", len(got), err)
	}
}

// TestProbeSeesSilence: an origin that takes connections and answers nothing,
// as a stopped process does, is unhealthy.
func TestProbeSeesSilence(t *testing.T) {
	silent := listenRaw(t) // the kernel accepts for it
	defer silent.Close()
	b := newStamp(t, "b", nil)
	o := testOptions(origins("http://"+silent.Addr().String(), b.URL)...)
	o.Probe.Timeout = 20 * time.Millisecond
	f := open(t, o, Deps{})
	f.probing(t)
	eventually(t, "a unhealthy", func() bool { return !f.healthy("a") })
	if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != "b" {
		t.Errorf("answer %d from %q", res.status, res.header.Get("Stamp"))
	}
}

// TestProbeTakesNoRedirect: another address that is healthy does not make this
// one so.
func TestProbeTakesNoRedirect(t *testing.T) {
	b := newStamp(t, "b", nil)
	a := newStamp(t, "a", http.RedirectHandler(b.URL+"/healthz", http.StatusFound))
	o := testOptions(origins(a.URL, b.URL)...)
	o.Probe.Path = "/ready"
	f := open(t, o, Deps{})
	f.probing(t)
	eventually(t, "a unhealthy", func() bool { return !f.healthy("a") })
	if !strings.Contains(f.Status()[0].Reason, "answered 302") {
		t.Errorf("reason %q", f.Status()[0].Reason)
	}
}

// TestRestart: the same address comes back after it was found unreachable.
func TestRestart(t *testing.T) {
	b := newStamp(t, "b", nil)
	a := newStamp(t, "a", nil)
	f := open(t, testOptions(origins(a.URL, b.URL)...), Deps{})
	addr := a.Listener.Addr().String()
	a.kill()
	if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != "b" || f.healthy("a") {
		t.Fatalf("answer from %q, %+v", res.header.Get("Stamp"), f.Status())
	}
	f.probing(t)
	again := &http.Server{Addr: addr, Handler: a}
	done := make(chan error, 1)
	go func() { done <- again.ListenAndServe() }()
	defer func() {
		_ = again.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	eventually(t, "a healthy again", func() bool { return f.healthy("a") })
	if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != "a" {
		t.Errorf("answer from %q", res.header.Get("Stamp"))
	}
}

// TestThresholds: so many in a row, and a failed connection at once.
func TestThresholds(t *testing.T) {
	o := testOptions(origins("http://127.0.0.1:1")...)
	o.Probe.Healthy, o.Probe.Unhealthy = 2, 3
	f := open(t, o, Deps{})
	org, bad := f.origins[0], errors.New("no")
	steps := []struct {
		do   func()
		want bool
	}{
		{func() { org.probed(bad) }, true},
		{func() { org.probed(bad) }, true},
		{func() { org.probed(nil) }, true}, // begins anew
		{func() { org.probed(bad) }, true},
		{func() { org.probed(bad) }, true},
		{func() { org.probed(bad) }, false},
		{func() { org.probed(nil) }, false},
		{func() { org.probed(bad) }, false},
		{func() { org.probed(nil) }, false},
		{func() { org.probed(nil) }, true},
		{func() { org.unreachable(bad) }, false},
		{func() { org.probed(nil) }, false},
		{func() { org.probed(nil) }, true},
	}
	for i, s := range steps {
		if s.do(); org.isHealthy() != s.want {
			t.Fatalf("after step %d healthy is %v", i, !s.want)
		}
	}
}

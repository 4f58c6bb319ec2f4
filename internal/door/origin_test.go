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
			t.Errorf("%q answered, want %s; %+v", res.header.Get("Stamp"), want, f.Status().Groups)
		}
	}
	eventually(t, "a probed", func() bool { return !f.origin(gatewaysGroup, "a").ProbedAt.IsZero() })
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
	eventually(t, "the change to be told", func() bool { return f.log.has("origin changed its state", "origin=a", "to=healthy") })
	if !f.log.has("level=WARN", "origin changed its state", "origin=a", "to=suspect", "/healthz answered 503") || !f.log.has("level=INFO", "origin changed its state", "origin=a", "to=healthy") {
		t.Error("the changes were not logged with their reasons")
	}
	for to, want := range map[string]float64{"healthy": 1, "suspect": 1} {
		if n := value(t, f.metrics.changes.WithLabelValues(gatewaysGroup, "a", to)); n != want {
			t.Errorf("%v changes to %s, want %v", n, to, want)
		}
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
	if !strings.Contains(f.origin(gatewaysGroup, "a").Reason, "answered 302") {
		t.Errorf("reason %q", f.origin(gatewaysGroup, "a").Reason)
	}
}

// TestRestart: the same address comes back after it was found unreachable.
func TestRestart(t *testing.T) {
	b := newStamp(t, "b", nil)
	a := newStamp(t, "a", nil)
	f := open(t, testOptions(origins(a.URL, b.URL)...), Deps{})
	addr := a.Listener.Addr().String()
	a.kill()
	if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != "b" {
		t.Fatalf("answer from %q, %+v", res.header.Get("Stamp"), f.Status().Groups)
	}
	f.leaves(t, "a")
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

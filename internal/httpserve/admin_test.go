package httpserve

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func newAdmin(t *testing.T, pprof bool) *Admin {
	t.Helper()
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "postroad_test_total", Help: "test"})
	reg.MustRegister(c)
	a, err := NewAdmin(AdminOptions{Listen: "127.0.0.1:0", Pprof: pprof}, AdminDeps{Gatherer: reg})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, a.Run)
	t.Cleanup(func() {
		if err := r.stop(t); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return a
}

func TestReadiness(t *testing.T) {
	a := newAdmin(t, false)
	c := client(t, nil)
	probe := func(path string, wantStatus int, want probeAnswer) {
		t.Helper()
		resp, body := get(t, c, a.URL()+path)
		var got probeAnswer
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v: %s", path, err, body)
		}
		if resp.StatusCode != wantStatus || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %d %s, want %d %+v", path, resp.StatusCode, body, wantStatus, want)
		}
	}
	starting := []failure{{"startup", "still starting"}}
	probe("/livez", 200, probeAnswer{Status: "ok"})
	probe("/startupz", 503, probeAnswer{Status: "starting", Failing: starting})
	probe("/readyz", 503, probeAnswer{Status: "unavailable", Failing: starting})

	a.Started()
	probe("/startupz", 200, probeAnswer{Status: "ok"})
	probe("/readyz", 200, probeAnswer{Status: "ok"})

	broken := errors.New("disk is read-only")
	a.AddCheck("queue", func(context.Context) error { return broken })
	a.AddCheck("hub", func(context.Context) error { return nil })
	a.AddCheck("bug", func(context.Context) error { panic("oops") })
	probe("/readyz", 503, probeAnswer{
		Status:  "unavailable",
		Failing: []failure{{"queue", "disk is read-only"}, {"bug", "check panicked: oops"}},
		Passing: []string{"hub"},
	})
	a.Stopping()
	probe("/livez", 200, probeAnswer{Status: "ok"})
	_, body := get(t, c, a.URL()+"/readyz")
	if !strings.Contains(body, `{"check":"drain","error":"draining, about to stop"}`) {
		t.Errorf("readyz while draining: %s", body)
	}
}

func TestHangingCheckFails(t *testing.T) {
	a := newAdmin(t, false)
	a.Started()
	release := make(chan struct{})
	defer close(release)
	a.AddCheck("stuck", func(context.Context) error { <-release; return nil })
	_, body := get(t, client(t, nil), a.URL()+"/readyz")
	if !strings.Contains(body, `{"check":"stuck","error":"no answer within 2s"}`) {
		t.Errorf("readyz: %s", body)
	}
}

func TestAdminPages(t *testing.T) {
	a := newAdmin(t, false)
	a.Handle("/console/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "console here")
	}))
	c := client(t, nil)
	for path, want := range map[string]string{
		"/metrics":      "postroad_test_total 0",
		"/console/x":    "console here",
		"/":             "/console/",
		"/debug/pprof/": "not-found",
		"/nowhere":      "not-found",
	} {
		if _, body := get(t, c, a.URL()+path); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %q in it", path, body, want)
		}
	}
	if resp, _ := get(t, client(t, nil), newAdmin(t, true).URL()+"/debug/pprof/"); resp.StatusCode != 200 {
		t.Errorf("profiles asked for: status %d", resp.StatusCode)
	}
}

// A page of another origin that a browser shows to an operator cannot use the
// operator's reach of the admin listener.
func TestAdminRefusesForeignPages(t *testing.T) {
	a := newAdmin(t, false)
	a.Handle("POST /admin/v1/act", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "done")
	}))
	for site, want := range map[string]int{"cross-site": http.StatusForbidden, "same-origin": http.StatusOK, "": http.StatusOK} {
		req, err := http.NewRequest(http.MethodPost, a.URL()+"/admin/v1/act", nil)
		if err != nil {
			t.Fatal(err)
		}
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		resp, err := client(t, nil).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("from %q: status %d, want %d", site, resp.StatusCode, want)
		}
	}
}

func TestProblem(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		Problem{
			Name: "unavailable", Status: 503, Title: "unavailable", Detail: "draining",
			RetryAfter: 1500_000_000, Extra: map[string]any{"line": 3},
		}.Write(w)
	}))
	r := start(t, s.Run)
	resp, body := get(t, client(t, nil), s.URL())
	want := `{"detail":"draining","line":3,"status":503,"title":"unavailable","type":"urn:postroad:problem:unavailable"}`
	if body != want || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "2" {
		t.Errorf("%d, Retry-After %q: %s", resp.StatusCode, resp.Header.Get("Retry-After"), body)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

package door

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/door/doortest"
)

// order sends an order, or a question, to the admin API.
func (f *front) order(t *testing.T, method, path string) answer {
	t.Helper()
	w := httptest.NewRecorder()
	f.Admin().ServeHTTP(w, httptest.NewRequest(method, path, http.NoBody))
	return answer{w.Code, w.Header(), w.Body.String()}
}

func TestAdmin(t *testing.T) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	f := open(t, testOptions(origins(a.URL, b.URL)...), Deps{})
	answers := func(want string) {
		t.Helper()
		if res := ask(t, "GET", f.url, nil); res.header.Get("Stamp") != want {
			t.Errorf("%q answered, want %s", res.header.Get("Stamp"), want)
		}
	}
	const at = "/door/origins/gateways/"
	for _, c := range []struct {
		path   string
		status int
		by     string
		state  string // of a afterwards
	}{
		{at + "a/drain", 200, "b", "draining"},
		{at + "a/release", 200, "a", "healthy"},
		{at + "a/weight?percent=0", 200, "b", "healthy"},
		{at + "a/weight?percent=100", 200, "a", "healthy"},
		{at + "a/hold", 200, "b", "held"},
		{at + "a/release", 200, "a", "healthy"},
		{at + "a/weight?percent=101", 400, "a", "healthy"},
		{at + "a/weight", 400, "a", "healthy"},
		{at + "a/explode", 400, "a", "healthy"},
		{at + "c/drain", 404, "a", "healthy"},
		{"/door/origins/none/a/drain", 404, "a", "healthy"},
		{"/door/origins/a/drain", 404, "a", "healthy"},
	} {
		res := f.order(t, "POST", c.path)
		if res.status != c.status {
			t.Errorf("%s: %d %s", c.path, res.status, res.body)
		}
		if c.status == 200 {
			var g GroupStatus
			if err := json.Unmarshal([]byte(res.body), &g); err != nil || g.Name != gatewaysGroup || string(g.Origins[0].State) != c.state {
				t.Errorf("%s: %s, %v", c.path, res.body, err)
			}
		} else {
			problemName(t, res)
		}
		answers(c.by)
	}
	if res := f.order(t, "GET", at+"a/drain"); res.status == 200 {
		t.Error("a GET was taken for an order")
	}
	var s Status
	res := f.order(t, "GET", "/door")
	if err := json.Unmarshal([]byte(res.body), &s); err != nil || len(s.Groups) != 1 || len(s.Groups[0].Origins) != 2 || s.Groups[0].Origins[1].URLs[0] != b.URL || len(s.Routes) != 1 {
		t.Errorf("status %s, %v", res.body, err)
	}
	var e struct{ Events []Event }
	res = f.order(t, "GET", "/door/events?limit=3")
	if err := json.Unmarshal([]byte(res.body), &e); err != nil || len(e.Events) != 3 || e.Events[0].Kind != "order" || e.Events[0].Reason != "release" || e.Events[0].At.IsZero() {
		t.Errorf("events %s, %v", res.body, err)
	}
	for _, path := range []string{"/door/events?limit=0", "/door/events?limit=x"} {
		if res := f.order(t, "GET", path); res.status != 400 {
			t.Errorf("%s: %d", path, res.status)
		}
	}
	if res := f.order(t, "GET", "/door/x"); res.status != 404 {
		t.Errorf("/door/x: %d", res.status)
	}
}

// TestEventsAreBounded: the newest are kept, in their order.
func TestEventsAreBounded(t *testing.T) {
	e := newEvents(time.Now)
	if n := len(e.newest(5)); n != 0 {
		t.Errorf("%d events of none", n)
	}
	for i := range mostEvents*2 + 7 {
		e.add(Event{At: time.Unix(int64(i), 0)})
		if got := e.newest(3); got[0].At.Unix() != int64(i) || i > 2 && got[2].At.Unix() != int64(i-2) {
			t.Fatalf("after %d: %v", i, got)
		}
	}
	if n := len(e.newest(1 << 20)); n != mostEvents {
		t.Errorf("%d events are kept", n)
	}
}

// TestMetrics: what a dashboard needs is there, by group and origin.
func TestMetrics(t *testing.T) {
	a := newStamp(t, "a", nil)
	reg := prometheus.NewRegistry()
	f := open(t, testOptions(origins(a.URL, doortest.DeadURL(t))...), Deps{Registerer: reg})
	f.probing(t)
	ask(t, "POST", f.url+"/v1/topics/t/messages", strings.NewReader("x"))
	ask(t, "CONNECT", f.url, nil)
	eventually(t, "b suspect", func() bool { return !f.healthy("b") })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, fam := range families {
		for _, m := range fam.GetMetric() {
			labels := url.Values{}
			for _, l := range m.GetLabel() {
				labels.Set(l.GetName(), l.GetValue())
			}
			got[fam.GetName()+"{"+labels.Encode()+"}"] = m.GetGauge().GetValue()+m.GetCounter().GetValue()+float64(m.GetHistogram().GetSampleCount()) > 0
		}
	}
	for name, some := range map[string]bool{
		"requests_total{class=2xx&group=gateways&origin=a}":                true,
		"requests_total{class=4xx&group=none&origin=none}":                 true,
		"request_seconds{group=gateways&origin=a}":                         true,
		"attempts_total{group=gateways&hedge=no&origin=a&result=answered}": true,
		"answer_seconds{group=gateways&origin=a}":                          true,
		"probe_seconds{group=gateways&origin=b&passed=no}":                 true,
		"origin_changes_total{group=gateways&origin=b&to=suspect}":         true,
		"origin_healthy{group=gateways&origin=a}":                          true,
		"origin_healthy{group=gateways&origin=b}":                          false,
		"origin_usable{group=gateways&origin=a}":                           true,
		"origin_in_flight{group=gateways&origin=a}":                        false,
		"origin_weight_percent{group=gateways&origin=a}":                   true,
		"group_panic{group=gateways}":                                      false,
		"streams{group=gateways&origin=a}":                                 false,
		"keys_minted_total{group=gateways}":                                true,
		"repeats_total{group=gateways}":                                    false,
		"rate_limited_total{}":                                             false,
		"access_log_dropped_total{}":                                       false,
	} {
		if is, there := got["postroad_door_"+name]; !there || is != some {
			t.Errorf("%s: there %v, more than 0 %v", name, there, is)
		}
	}
}

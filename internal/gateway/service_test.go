package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/message"
)

func TestHealth(t *testing.T) {
	var failure error
	r := newRig(t, func(_ *Options, d *Deps) { d.Ready = func() error { return failure } })
	for _, path := range []string{"/healthz", "/ServiceAPI/health", "/serviceapi/HEALTH"} {
		failure = nil
		r.want(r.do(http.MethodGet, path, ""), http.StatusOK, `{"status":"ok","stamp":"onprem"}`)
		failure = errors.New("no lane")
		r.want(r.do(http.MethodGet, path, ""), http.StatusServiceUnavailable, "not ready: no lane", "problem:unavailable")
		if a := r.do(http.MethodHead, path, ""); a.status != http.StatusServiceUnavailable || a.body != "" {
			t.Errorf("HEAD: %d %q", a.status, a.body)
		}
	}
}

// What the stamp announces stands in the answer whatever its status is.
func TestAnnouncement(t *testing.T) {
	var failure error
	var said Announcement
	r := newRig(t, func(o *Options, d *Deps) {
		d.Ready, d.Announce = func() error { return failure }, func() Announcement { return said }
		o.Announce.Weight = 30
	})
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusOK, `{"status":"ok","stamp":"onprem","weight":30}`)
	said = Announcement{Fill: 0.25, Throttled: true}
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusOK, `{"status":"ok","stamp":"onprem","weight":30,"fill":0.25,"throttled":true}`)
	said, failure = Announcement{Fill: 1, Drain: true}, errors.New("disk full")
	a := r.do(http.MethodGet, "/healthz", "")
	r.want(a, http.StatusServiceUnavailable, "problem:unavailable", `"weight":30`, `"fill":1`, `"drain":true`)
	if strings.Contains(a.body, "throttled") || strings.Contains(a.body, "maintenance") {
		t.Errorf("says more: %s", a.body)
	}
	r = newRig(t, func(o *Options, _ *Deps) { o.Announce.Maintenance = true })
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusOK, `{"status":"ok","stamp":"onprem","maintenance":true}`)
	r.want(r.post(topicPath, "x"), http.StatusAccepted) // what comes all the same is taken
	r.gateway.Drain()
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusServiceUnavailable, `"drain":true`, `"maintenance":true`)
}

func TestDefault(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{"/default", "/default/"} {
		a := r.do(http.MethodGet, path, "")
		r.want(a, http.StatusOK)
		want := `{"hostname":"host-a","ip":"192.0.2.7","stamp":"onprem","region":"north","zone":"1","version":"v1"}` + "\n"
		if a.body != want {
			t.Errorf("%s: %s", path, a.body)
		}
	}
	r = newRig(t, func(_ *Options, d *Deps) { d.IPs = nil })
	r.want(r.do(http.MethodGet, "/default", ""), http.StatusOK, `"ip":""`)
}

// TestDrain: no new messages and not healthy; what is stored can be asked for.
func TestDrain(t *testing.T) {
	r := newRig(t, nil)
	receipt := receiptOf(t, r.post(topicPath, "x"))
	r.gateway.Drain()
	a := r.post(topicPath, "y")
	r.want(a, http.StatusServiceUnavailable, "draining", "problem:unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.want(r.post("/ServiceAPI/message", classicBody), http.StatusServiceUnavailable)
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusServiceUnavailable, "draining")
	r.want(r.do(http.MethodGet, "/v1/messages/"+receipt, ""), http.StatusOK)
	r.one()
}

func receiptOf(t *testing.T, a reply) string {
	t.Helper()
	var answer struct{ IDs []string }
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || len(answer.IDs) == 0 {
		t.Fatalf("%v: %s", err, a.body)
	}
	return answer.IDs[0]
}

func TestLocate(t *testing.T) {
	r := newRig(t, nil)
	receipt := receiptOf(t, r.post(topicPath, "minted"))
	indexed := receiptOf(t, r.post(topicPath, "indexed", "Idempotency-Key: k"))
	bare, indexedBare := receipt[:36], indexed[:36]

	r.want(r.do(http.MethodGet, "/v1/messages/"+receipt, ""), http.StatusOK,
		`{"id":"`+bare+`","receipt":"`+receipt+`","state":"queued","stamp":"onprem","lane":"`+testLane+`","seq":1,"complete":true}`)
	r.tracker.set(message.Place{Lane: testLane, Seq: 1}, message.Outcome{State: message.StateForwarded, Located: true, Partition: 2, Offset: 9})
	r.want(r.do(http.MethodGet, "/v1/messages/"+receipt, ""), http.StatusOK, `"state":"forwarded","partition":2,"offset":9,`)
	r.tracker.set(message.Place{Lane: testLane, Seq: 1}, message.Outcome{State: message.StateForwarded, Located: true, Partition: 2, Offset: 7, Duplicate: true})
	r.want(r.do(http.MethodGet, "/v1/messages/"+receipt, ""), http.StatusOK, `"state":"forwarded","partition":2,"offset":7,"duplicate":true,`)
	r.tracker.set(message.Place{Lane: testLane, Seq: 1}, message.Outcome{State: message.StateForwarded})
	if a := r.do(http.MethodGet, "/v1/messages/"+receipt, ""); strings.Contains(a.body, "partition") {
		t.Errorf("a partition that is not known: %s", a.body)
	}
	r.tracker.set(message.Place{Lane: testLane, Seq: 1}, message.Outcome{State: message.StateDead, Reason: "invalid"})
	r.want(r.do(http.MethodGet, "/v1/messages/"+receipt+"?scan=true", ""), http.StatusOK, `"state":"dead","reason":"invalid"`)

	r.want(r.do(http.MethodGet, "/v1/messages/"+indexedBare, ""), http.StatusOK, `"receipt":"`+indexed+`"`, `"seq":2`)
	r.want(r.do(http.MethodGet, "/v1/messages/"+strings.ToUpper(indexedBare), ""), http.StatusOK)
	r.want(r.do(http.MethodGet, "/v1/messages/"+bare, ""), http.StatusNotFound, "ask with the receipt, or with ?scan=true")
	r.want(r.do(http.MethodGet, "/v1/messages/"+bare+"?scan=true", ""), http.StatusOK, `"receipt":"`+receipt+`"`)

	unknown := "00000000-0000-8000-8000-000000000000"
	for _, path := range []string{unknown + "?scan=true", unknown + "." + testLane + ".7", receipt[:len(receipt)-1] + "99"} {
		r.want(r.do(http.MethodGet, "/v1/messages/"+path, ""), http.StatusNotFound, "unknown or older than 24h0m0s")
	}
	for _, path := range []string{"x", unknown + ".x.1", unknown + "." + testLane + ".0", unknown + "." + testLane, "..%2F..%2Fetc"} {
		r.want(r.do(http.MethodGet, "/v1/messages/"+path, ""), http.StatusBadRequest)
	}
	r.clock.advance(25 * time.Hour)
	r.want(r.do(http.MethodGet, "/v1/messages/"+indexedBare, ""), http.StatusNotFound, "?scan=true")
}

func TestCORS(t *testing.T) {
	const page = "https://console.example"
	preflight := []string{"Origin: " + page, "Access-Control-Request-Method: POST", "Access-Control-Request-Headers: ce-id, content-type, x-evil, CE-Type, ce-bad_name"}
	for _, c := range []struct {
		name    string
		origins []string
		origin  string
		allowed string
		status  int
	}{
		{"none", nil, page, "", 403},
		{"listed", []string{"https://other.example", page}, page, page, 202},
		{"not listed", []string{"https://other.example"}, page, "", 403},
		{"any", []string{"*"}, page, "*", 202},
		{"null origin", []string{page}, "null", "", 403},
		{"no browser", nil, "", "", 202},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *Options, _ *Deps) { o.CORS.Origins = c.origins })
			var fields []string
			if c.origin != "" {
				fields = []string{"Origin: " + c.origin}
			}
			a := r.post(topicPath, "x", append(fields, "Content-Type: text/plain")...)
			if a.status != c.status || a.header.Get("Access-Control-Allow-Origin") != c.allowed {
				t.Errorf("POST: %d, allowed %q", a.status, a.header.Get("Access-Control-Allow-Origin"))
			}
			if exposed := a.header.Get("Access-Control-Expose-Headers"); (c.allowed != "") != strings.Contains(exposed, "Idempotency-Key") {
				t.Errorf("exposed %q", exposed)
			}
			if stored := len(r.store.all()) == 1; stored != (c.status == 202) {
				t.Errorf("stored: %v", stored)
			}
			a = r.do(http.MethodGet, "/default", "", fields...)
			if a.status != 200 || a.header.Get("Access-Control-Allow-Origin") != c.allowed {
				t.Errorf("GET: %d, allowed %q", a.status, a.header.Get("Access-Control-Allow-Origin"))
			}
		})
	}
	r := newRig(t, func(o *Options, _ *Deps) { o.CORS.Origins = []string{page} })
	a := r.do(http.MethodOptions, topicPath, "", preflight...)
	headers := a.header.Get("Access-Control-Allow-Headers")
	if a.status != 204 || a.header.Get("Access-Control-Allow-Origin") != page || !strings.Contains(a.header.Get("Access-Control-Allow-Methods"), "POST") ||
		!strings.Contains(headers, "idempotency-key") || !strings.HasSuffix(headers, ", ce-id, ce-type") || a.header.Get("Vary") != "Origin" {
		t.Errorf("preflight: %d %v", a.status, a.header)
	}
	r = newRig(t, nil)
	if a := r.do(http.MethodOptions, topicPath, "", preflight...); a.header.Get("Access-Control-Allow-Origin") != "" || a.header.Get("Access-Control-Allow-Headers") != "" {
		t.Errorf("preflight without configured origins: %v", a.header)
	}
	// A page of the gateway's own is no other origin.
	if a := r.post(topicPath, "x", "Origin: https://front.example", "Sec-Fetch-Site: same-origin", "Content-Type: text/plain"); a.status != 202 {
		t.Errorf("same origin: %d", a.status)
	}
	// Nor is one of the front door's.
	for host, status := range map[string]int{"front.example:8080": 202, "front.example": 403, "": 403} {
		if a := r.post(topicPath, "x", "Origin: http://front.example:8080", "X-Forwarded-Host: "+host, "Content-Type: text/plain"); a.status != status {
			t.Errorf("forwarded for %q: %d, want %d", host, a.status, status)
		}
	}
}

func TestDocs(t *testing.T) {
	r := newRig(t, nil)
	for path, contentType := range map[string]string{
		"/docs": "text/html; charset=utf-8", "/docs/": "text/html; charset=utf-8", "/docs/docs.js": "text/javascript; charset=utf-8",
		"/docs/docs.css": "text/css; charset=utf-8", "/openapi.json": "application/json",
	} {
		a := r.do(http.MethodGet, path, "")
		r.want(a, http.StatusOK)
		if a.header.Get("Content-Type") != contentType || len(a.body) < 500 {
			t.Errorf("%s: %s, %d bytes", path, a.header.Get("Content-Type"), len(a.body))
		}
		if strings.HasPrefix(path, "/docs") && !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: policy %q", path, a.header.Get("Content-Security-Policy"))
		}
		for _, outside := range []string{`src="http`, `href="http`, "<style", "onclick=", "innerHTML", "eval("} {
			if strings.HasPrefix(path, "/docs") && strings.Contains(a.body, outside) {
				t.Errorf("%s contains %s", path, outside)
			}
		}
	}
	for _, path := range []string{"/docs/openapi.json", "/docs/../openapi.yaml", "/docs/x", "/docsx"} {
		r.want(r.do(http.MethodGet, path, ""), http.StatusNotFound)
	}
}

// recorder counts how far requests have come.
type recorder struct {
	mu                       sync.Mutex
	started, synced, pending int
	answered                 map[int]int
}

func (o *recorder) RequestStarted() { o.mu.Lock(); defer o.mu.Unlock(); o.started++ }
func (o *recorder) Synced()         { o.mu.Lock(); defer o.mu.Unlock(); o.synced++; o.pending++ }
func (o *recorder) Answered(status int, synced bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answered[status]++
	if synced {
		o.pending--
	}
}

func TestObserver(t *testing.T) {
	o := &recorder{answered: make(map[int]int)}
	r := newRig(t, func(_ *Options, d *Deps) { d.Observer = o })
	r.post(topicPath, "x", "Idempotency-Key: k")
	r.post(topicPath, "x", "Idempotency-Key: k")
	r.post("/ServiceAPI/message", classicBody)
	r.post("/ServiceAPI/message", "{}")
	r.do(http.MethodGet, "/healthz", "")
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.started != 4 || o.synced != 2 || o.pending != 0 || o.answered[202] != 2 || o.answered[200] != 1 || o.answered[400] != 1 {
		t.Errorf("observed %+v", o)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	r := newRig(t, func(_ *Options, d *Deps) {
		d.Registerer = prometheus.WrapRegistererWith(prometheus.Labels{"stamp": "onprem"}, reg)
	})
	r.post(topicPath, "x", "Idempotency-Key: k")
	r.post(topicPath, "x", "Idempotency-Key: k")
	r.post(topicPath, "y", "Idempotency-Key: k")
	r.do(http.MethodGet, "/nowhere", "")
	got := gathered(t, reg)
	for name, want := range map[string]float64{
		`postroad_gateway_requests_total route=topics stamp=onprem status=202`: 2,
		`postroad_gateway_requests_total route=topics stamp=onprem status=422`: 1,
		`postroad_gateway_requests_total route=none stamp=onprem status=404`:   1,
		`postroad_gateway_accepted_messages_total stamp=onprem`:                1,
		`postroad_gateway_replayed_requests_total stamp=onprem`:                1,
		`postroad_gateway_evicted_keys_total stamp=onprem`:                     0,
		`postroad_gateway_idempotency_keys stamp=onprem`:                       1,
		`postroad_gateway_inflight_requests stamp=onprem`:                      0,
		`postroad_gateway_inflight_bytes stamp=onprem`:                         0,
		`postroad_gateway_append_duration_seconds stamp=onprem`:                1,
		`postroad_gateway_request_duration_seconds route=topics stamp=onprem`:  3,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
	m := r.one()
	if got[`postroad_gateway_accepted_bytes_total stamp=onprem`] != float64(m.Size()) {
		t.Errorf("bytes %v, want %d", got[`postroad_gateway_accepted_bytes_total stamp=onprem`], m.Size())
	}
	_, err := New(DefaultOptions(), Deps{Store: r.store, Tracker: r.tracker, Log: quiet(), Identity: Identity{Stamp: "b"}, Registerer: prometheus.WrapRegistererWith(prometheus.Labels{"stamp": "onprem"}, reg)})
	if err == nil {
		t.Error("two gateways under one label were registered")
	}
}

// gathered returns counters and gauges by value, histograms by count.
func gathered(t *testing.T, reg prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			switch {
			case m.GetCounter() != nil:
				all[name] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				all[name] = m.GetGauge().GetValue()
			case m.GetHistogram() != nil:
				all[name] = float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return all
}

func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatalf("defaults: %v", err)
	}
	o := DefaultOptions()
	o.Message.MaxBytes, o.Batch.MaxMessages, o.Classic.Topic, o.Classic.Value = 0, 0, "a/b", "xml"
	o.Idempotency.Retention, o.Idempotency.MaxKeys = 0, 0
	o.CORS.Origins = []string{"https://a.example", "https://a.example/path", "*"}
	o.Overload = OverloadOptions{MaxRequests: 0, MaxBytes: 8 << 20}
	o.BodyTimeout, o.AppendTimeout, o.WaitMax, o.Principal = 0, 0, -1, "a\nb"
	err := o.Validate()
	if err == nil {
		t.Fatal("nothing was found")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, path := range []string{
		"message.max_bytes: 0: must be between 1024 and", "batch.max_messages: 0:", "classic.topic: a/b:", "classic.value: xml:", "idempotency.retention: 0s:", "idempotency.max_keys: 0:", "cors.origins[1]: https://a.example/path:", "cors.origins[2]: *:",
		"overload.max_requests: 0:", "overload.max_bytes: 8388608:", "body_timeout: 0s:", "append_timeout: 0s:", "wait_max: -1ns:", "principal: a",
	} {
		if i >= len(lines) || !strings.HasPrefix(lines[min(i, len(lines)-1)], path) {
			t.Fatalf("problem %d is not %q:\n%v", i, path, err)
		}
	}
	if _, err := New(o, Deps{}); err == nil || !strings.Contains(err.Error(), "Deps.Store is nil") || !strings.Contains(err.Error(), "classic.value") {
		t.Errorf("New: %v", err)
	}
}

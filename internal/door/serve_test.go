package door

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/door/doortest"
)

// even is a door of two stamps that are equal in everything.
func even(t *testing.T, affinity string) *front {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	o := testOptions(Origin{Name: "a", URL: a.URL}, Origin{Name: "b", URL: b.URL})
	o.Affinity = affinity
	return open(t, o, Deps{})
}

// TestAffinity: what belongs together goes to one origin, whichever way it says
// so, and all together to both.
func TestAffinity(t *testing.T) {
	type request struct {
		method, path, body string
		header             []string
	}
	for name, c := range map[string]struct {
		affinity string
		of       func(key string) []request
	}{
		"key": {"key", func(key string) []request {
			return []request{
				{"POST", "/v1/topics/t/messages", "x", []string{"Postroad-Key", key}},
				{"POST", "/v1/topics/t/messages?a=b&key=" + key, "x", nil},
				{"POST", "/ServiceAPI/message", fmt.Sprintf(`{"Value":"v","SENDERID":%q}`, key), nil},
				{"POST", "/serviceapi/MESSAGE", fmt.Sprintf(`{"senderId":%q,"value":"v"}`, key), []string{"Content-Type", "application/json"}},
			}
		}},
		"header": {"header:x-tenant", func(key string) []request {
			return []request{
				{"GET", "/", "", []string{"X-Tenant", key}},
				{"POST", "/v1/topics/t/messages", "x", []string{"X-Tenant", key, "Postroad-Key", "other"}},
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := even(t, c.affinity)
			seen := map[string]int{}
			for i := range 40 {
				var at string
				for _, r := range c.of(fmt.Sprintf("key-%d", i)) {
					a := ask(t, r.method, f.url+r.path, strings.NewReader(r.body), r.header...)
					switch got := a.header.Get("Stamp"); {
					case at == "":
						at = got
					case at != got:
						t.Errorf("key %d: %s %s went to %s, another request to %s", i, r.method, r.path, got, at)
					}
				}
				seen[at]++
			}
			if seen["a"] < 5 || seen["b"] < 5 {
				t.Errorf("keys went to %v", seen)
			}
		})
	}
}

// TestCookie: a client comes back to the origin that it had, as long as that is
// usable, and a cookie that names none does no harm.
func TestCookie(t *testing.T) {
	f := even(t, "cookie")
	seen := map[string]int{}
	for range 40 {
		first := ask(t, "GET", f.url, nil)
		cookie := first.header.Get("Set-Cookie")
		value, _, _ := strings.Cut(cookie, ";")
		if value != "postroad-gateways="+first.header.Get("Stamp") || !strings.Contains(cookie, "HttpOnly") || !strings.Contains(cookie, "SameSite=Lax") {
			t.Fatalf("cookie %q from %s", cookie, first.header.Get("Stamp"))
		}
		seen[first.header.Get("Stamp")]++
		for range 3 {
			again := ask(t, "GET", f.url, nil, "Cookie", "x=y; "+value)
			if again.header.Get("Stamp") != first.header.Get("Stamp") || again.header.Get("Set-Cookie") != "" {
				t.Errorf("came back to %s, cookie %q", again.header.Get("Stamp"), again.header.Get("Set-Cookie"))
			}
		}
	}
	if seen["a"] < 5 || seen["b"] < 5 {
		t.Errorf("clients went to %v", seen)
	}
	if a := ask(t, "GET", f.url, nil, "Cookie", "postroad-gateways=nowhere"); a.status != 200 || a.header.Get("Set-Cookie") == "" {
		t.Errorf("a cookie that names no origin: %d, cookie %q", a.status, a.header.Get("Set-Cookie"))
	}
}

// TestLimits: what is too large or too much is refused by name, and no origin sees
// it.
func TestLimits(t *testing.T) {
	a := newStamp(t, "a", nil)
	o := testOptions(origins(a.URL)...)
	o.Limits.BodyBytes = 2000
	o.Limits.Rate = RateLimit{PerSecond: 0.5, Burst: 6, Clients: 10}
	now := newClock()
	f := open(t, o, Deps{Now: now.now})
	large := strings.Repeat("x", 3000)
	for _, path := range []string{"/", "/v1/topics/t/messages"} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(large)
			if chunked {
				body = io.MultiReader(body)
			}
			if res := ask(t, "POST", f.url+path, body, "Postroad-Key", "k"); res.status != 413 || problemName(t, res) != "too-large" {
				t.Errorf("%s, chunked %v: %d %s", path, chunked, res.status, res.body)
			}
		}
	}
	for range 2 {
		if res := ask(t, "POST", f.url, strings.NewReader(large[:2000])); res.status != 200 {
			t.Errorf("as large as allowed: %d %s", res.status, res.body)
		}
	}
	n := a.asked.Load()
	if res := ask(t, "GET", f.url, nil); res.status != 429 || problemName(t, res) != "too-many-requests" || res.header.Get("Retry-After") != "2" {
		t.Errorf("over the rate: %d %s, Retry-After %q", res.status, res.body, res.header.Get("Retry-After"))
	}
	if a.asked.Load() != n {
		t.Error("a request over the rate reached the origin")
	}
	if res := ask(t, "GET", f.url+"/healthz", nil); res.status != 200 {
		t.Errorf("health over the rate: %d", res.status)
	}
	now.add(2 * time.Second)
	if res := ask(t, "GET", f.url, nil); res.status != 200 {
		t.Errorf("after Retry-After: %d", res.status)
	}
}

// TestRequire: with trusted_header.require only what comes by our proxies is let
// in.
func TestRequire(t *testing.T) {
	a := newStamp(t, "a", nil)
	o := testOptions(origins(a.URL)...)
	o.TrustedProxies = []string{"127.0.0.1"}
	o.TrustedHeader = TrustedHeader{Name: "X-Azure-FDID", Values: []string{"mine"}, Require: true}
	f := open(t, o, Deps{})
	if res := ask(t, "GET", f.url, nil); res.status != 403 || problemName(t, res) != "forbidden" {
		t.Errorf("without the header: %d", res.status)
	}
	if res := ask(t, "GET", f.url, nil, "X-Azure-FDID", "mine"); res.status != 200 {
		t.Errorf("with the header: %d", res.status)
	}
}

// TestTrustedAttempt: what a trusted door before this one counted is counted on.
func TestTrustedAttempt(t *testing.T) {
	var seen http.Header
	a := newStamp(t, "a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = r.Header.Clone() }))
	o := testOptions(origins(a.URL)...)
	o.TrustedProxies = []string{"127.0.0.0/8"}
	f := open(t, o, Deps{})
	ask(t, "POST", f.url+"/v1/topics/t/messages", strings.NewReader("x"), "Idempotency-Key", "k", "Postroad-Attempt", "2", "X-Forwarded-For", "192.0.2.7")
	if seen.Get("Postroad-Attempt") != "2" || seen.Get("X-Forwarded-For") != "192.0.2.7, 127.0.0.1" {
		t.Errorf("the origin saw %v", seen)
	}
}

// TestLoop: an origin that leads back to the door is found at the first turn.
func TestLoop(t *testing.T) {
	a := newStamp(t, "a", nil)
	o := testOptions(origins(a.URL)...)
	f := open(t, o, Deps{})
	o.Origins = origins(f.url)
	if err := f.Reload(o); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{"GET", "POST"} {
		for _, path := range []string{"/x", "/v1/topics/t/messages"} {
			if res := ask(t, method, f.url+path, strings.NewReader("x"), "Via", "1.0 other"); res.status != 421 || problemName(t, res) != "misdirected" {
				t.Errorf("%s %s: %d %s", method, path, res.status, res.body)
			}
		}
	}
	if n := value(t, f.metrics.requests.WithLabelValues(none, none, "4xx")); n != 4 {
		t.Errorf("%v turns for 4 requests", n)
	}
}

// lines is a log that tests read.
func (b *logBuffer) lines() []map[string]any {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []map[string]any
	for line := range bytes.Lines(b.buf.Bytes()) {
		var m map[string]any
		if json.Unmarshal(line, &m) == nil {
			all = append(all, m)
		}
	}
	return all
}

// TestAccessLog: each request is a line that says what happened and no secret.
func TestAccessLog(t *testing.T) {
	a := newStamp(t, "a", nil)
	o := testOptions(origins(a.URL)...)
	o.AccessLog.Enabled = true
	to := &logBuffer{}
	f := open(t, o, Deps{AccessLog: to})
	f.probing(t)
	ask(t, "POST", f.url+"/v1/topics/t/messages?token=hush", strings.NewReader("hush"), "Authorization", "Bearer hush", "User-Agent", "a \"quoted\"\tname",
		"traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	ask(t, "TRACE", f.url+"/a%20b?hush", nil)
	eventually(t, "two lines", func() bool { return len(to.lines()) >= 2 })
	got := to.lines()
	for key, want := range map[string]any{
		"method": "POST", "path": "/v1/topics/t/messages", "status": 200.0, "group": "gateways", "origin": "a", "client": "127.0.0.1",
		"bytes_in": 4.0, "bytes_out": 4.0, "trace_id": "0af7651916cd43dd8448eb211c80319c", "user_agent": "a \"quoted\"\tname", "proto": "HTTP/1.1", "attempts": 1.0,
	} {
		if got[0][key] != want {
			t.Errorf("%s: %v, want %v", key, got[0][key], want)
		}
	}
	if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(got[0]["time"])); err != nil {
		t.Error(err)
	}
	if got[1]["status"] != 405.0 || got[1]["origin"] != nil || got[1]["path"] != "/a%20b" {
		t.Errorf("refused: %v", got[1])
	}
	if to.has("hush") {
		t.Error("a secret is in the access log")
	}
}

// TestAccessLogOfStreams: a stream's line comes when it is over, with its bytes.
func TestAccessLogOfStreams(t *testing.T) {
	a := streams(t)
	o := testOptions(origins(a.URL)...)
	o.AccessLog.Enabled = true
	to := &logBuffer{}
	f := open(t, o, Deps{AccessLog: to})
	f.probing(t)
	res, err := client(t).Get(f.url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(res.Body).ReadString('\n')
	if len(to.lines()) != 0 {
		t.Error("a line before the stream is over")
	}
	_ = res.Body.Close()
	eventually(t, "a line", func() bool { return len(to.lines()) == 1 })
	if l := to.lines()[0]; l["stream"] != true || l["bytes_out"] != 9.0 || l["status"] != 200.0 {
		t.Errorf("%v", l)
	}
}

// TestSample: of what went well a share is logged, of what did not all.
func TestSample(t *testing.T) {
	log := newAccessLog(io.Discard, prometheus.NewCounter(prometheus.CounterOpts{Name: "lines_total", Help: "Lines."}))
	if _, ok := log.wants(500, true, 0, 0); ok {
		t.Error("logged although it is not enabled")
	}
	log.rule.Store(&AccessLog{Enabled: true, Sample: 0.25, Slow: time.Second})
	next := 0.0
	log.random = func() float64 { next += 0.1; return next - 0.1 }
	n := 0
	for range 10 {
		if share, ok := log.wants(200, false, 1, time.Millisecond); ok && share == 0.25 {
			n++
		}
	}
	if n != 3 { // 0, 0.1 and 0.2
		t.Errorf("%d of 10 logged", n)
	}
	for name, always := range map[string]func() (float64, bool){
		"an origin's 5xx": func() (float64, bool) { return log.wants(503, false, 1, 0) },
		"the door's 4xx":  func() (float64, bool) { return log.wants(429, true, 0, 0) },
		"slow":            func() (float64, bool) { return log.wants(200, false, 1, 2*time.Second) },
	} {
		if share, ok := always(); !ok || share != 1 {
			t.Errorf("%s: share %v, %v", name, share, ok)
		}
	}
}

// TestSlowLog: nobody waits for a log that is not written; what is lost is counted.
func TestSlowLog(t *testing.T) {
	dropped := prometheus.NewCounter(prometheus.CounterOpts{Name: "lines_total", Help: "Lines."})
	log := newAccessLog(io.Discard, dropped)
	for range pendingLines + 5 {
		log.write(&accessEntry{path: strings.Repeat("ü", 2000) + "\xff"})
	}
	if n := value(t, dropped); n != 5 {
		t.Errorf("%v lines counted as dropped", n)
	}
	line := <-log.lines
	if !json.Valid(line) || len(line) > 2*longest {
		t.Errorf("%d bytes: %.100s", len(line), line)
	}
}

// FuzzAccessLog: whatever a client sends, a line is one line of JSON.
func FuzzAccessLog(f *testing.F) {
	f.Add("GET", "/", "x", "agent")
	f.Add("\n", "\"\\", "\xff\x00", "\u2028")
	f.Fuzz(func(t *testing.T, method, path, host, agent string) {
		e := accessEntry{method: method, path: path, host: host, agent: agent, share: 0.5}
		line := e.append(nil)
		if bytes.Count(line, []byte("\n")) != 1 || !json.Valid(line) {
			t.Errorf("%q", line)
		}
	})
}

// alone is a body that notices when two read it at once.
type alone struct {
	io.ReadCloser
	busy atomic.Bool
	both *atomic.Bool
}

func (a *alone) Read(p []byte) (int, error) {
	if !a.busy.CompareAndSwap(false, true) {
		a.both.Store(true)
	}
	defer a.busy.Store(false)
	return a.ReadCloser.Read(p)
}

// TestOneReaderOfABody: where an origin answers before a body has come, what is
// left is taken without reading beside the transport, which is still at it.
func TestOneReaderOfABody(t *testing.T) {
	const half = 1 << 20 // the whole is more than is kept
	origin := doortest.RawOrigin(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, c)
		}
	})
	f := open(t, testOptions(origins(origin)...), Deps{})
	var both atomic.Bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = &alone{ReadCloser: r.Body, both: &both}
		f.Handler().ServeHTTP(w, r)
	}))
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = fmt.Fprintf(c, "POST /v1/topics/t/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", 2*half)
	_, _ = io.WriteString(c, strings.Repeat("a", half))
	eventually(t, "the failure", func() bool { return f.log.has("request failed") })
	_, _ = io.WriteString(c, strings.Repeat("a", half))
	_ = c.SetReadDeadline(time.Now().Add(60 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("answered %d", res.StatusCode)
	}
	if both.Load() {
		t.Error("two read the body at once")
	}
}

// TestTrailers: what a gateway sends after its answer arrives after it; what a
// client sends after its body does not.
func TestTrailers(t *testing.T) {
	for _, path := range []string{"/v1/x", "/v1/topics/t/messages", "/x"} {
		got := make(chan http.Header, 1)
		a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			got <- r.Trailer
			w.Header().Set("Trailer", "Sum")
			w.WriteHeader(200)
			_, _ = io.WriteString(w, "body")
			w.Header().Set("Sum", "42")
		}))
		f := open(t, testOptions(origins(a.URL)...), Deps{})
		method := http.MethodPut
		if path == "/v1/topics/t/messages" {
			method = http.MethodPost
		}
		req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, io.MultiReader(strings.NewReader("x")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"Mine": {"7"}}
		res, err := client(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(body) != "body" || res.Trailer.Get("Sum") != "42" && method == http.MethodPut {
			t.Errorf("%s: %q, trailer %v, %v", path, body, res.Trailer, err)
		}
		if trailer := <-got; len(trailer) > 0 {
			t.Errorf("%s: the origin got trailer %v", path, trailer)
		}
	}
}

// BenchmarkDoor carries one request after another to an origin in the process.
func BenchmarkDoor(b *testing.B) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer origin.Close()
	d, err := New(testOptions(origins(origin.URL)...), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	h := d.Handler()
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/v1/topics/t/messages", strings.NewReader("hello"))
		r.Header.Set("Postroad-Key", "k")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusAccepted {
			b.Fatalf("answer %d", w.Code)
		}
	}
}

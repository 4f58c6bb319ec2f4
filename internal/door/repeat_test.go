package door

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/door/doortest"
)

// sizes of bodies: none, within the transport's buffer of 4 KiB, over it, over
// what a server reads ahead.
func sizes() []int { return []int{0, 100, 5 << 10, 1 << 20} }

func problemName(t *testing.T, a answer) string {
	t.Helper()
	if ct := a.header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("answer %d has content type %q, want a problem; body %q", a.status, ct, a.body)
	}
	var p struct{ Type, Title, Detail string }
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatal(err)
	}
	if p.Title == "" || p.Detail == "" {
		t.Errorf("problem %q lacks a title or a detail", a.body)
	}
	return strings.TrimPrefix(p.Type, "urn:postroad:problem:")
}

// TestDeadOrigin: where no connection opens nothing was sent, so every method
// goes on to the next origin, with the body as the client sent it.
func TestDeadOrigin(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		for _, size := range sizes() {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/chunked=%v", method, size, chunked), func(t *testing.T) {
					b := newStamp(t, "b", nil)
					f := open(t, testOptions(origins(doortest.DeadURL(t), b.URL)...), Deps{})
					want := strings.Repeat("x", size)
					var body io.Reader = strings.NewReader(want)
					if chunked {
						body = io.MultiReader(body)
					}
					a := ask(t, method, f.url+"/v1/x", body)
					if method == "HEAD" {
						want = ""
					}
					if a.status != 200 || a.header.Get("Stamp") != "b" || a.body != want {
						t.Fatalf("answer %d from %q with %d bytes, want 200 from b with %d: %.200s", a.status, a.header.Get("Stamp"), len(a.body), len(want), a.body)
					}
					if n := b.asked.Load(); n != 1 {
						t.Errorf("b was asked %d times", n)
					}
					f.leaves(t, "a")
					if !f.healthy("b") {
						t.Errorf("health after a failed dial: %+v", f.Status().Groups)
					}
					eventually(t, "the change of state in the log", func() bool {
						return f.log.has("level=WARN", "origin changed its state", "origin=a", "to=suspect")
					})
				})
			}
		}
	}
}

// TestSilentDial is TestDeadOrigin where the network swallows the SYN.
func TestSilentDial(t *testing.T) {
	b := newStamp(t, "b", nil)
	o := testOptions(origins("http://"+doortest.FullBacklog(t), b.URL)...)
	o.Carry.DialTimeout = 50 * time.Millisecond
	f := open(t, o, Deps{})
	a := ask(t, "POST", f.url, strings.NewReader("hello"))
	if a.status != 200 || a.body != "hello" {
		t.Fatalf("answer %d %q, health %+v", a.status, a.body, f.Status().Groups)
	}
	f.leaves(t, "a")
}

// TestCutAfterSend: an origin that took the request and then vanished may have
// executed it, so only GET and HEAD go on.
func TestCutAfterSend(t *testing.T) {
	resets := func(c net.Conn) {
		_, _ = c.Read(make([]byte, 512)) // some of the request, not necessarily all
		doortest.Reset(c)
	}
	closes := func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
	}
	silent := func(c net.Conn) {
		_, _ = io.Copy(io.Discard, c) // until the door gives up
	}
	for name, serve := range map[string]func(net.Conn){"reset": resets, "close": closes, "silence": silent, "stop": nil} {
		for _, size := range []int{0, 100, 8 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				t.Parallel() // most of it is waiting
				// What is silent is given up; the origin beside it has to answer in
				// that time, too.
				timeout := 20 * time.Second
				if name == "silence" || name == "stop" {
					timeout = 500 * time.Millisecond
				}
				serve := serve
				if serve == nil { // reads nothing, so that a large body gets stuck
					serve = func(net.Conn) { <-t.Context().Done() }
				}
				cutAfterSend(t, serve, size, timeout)
			})
		}
	}
}

func cutAfterSend(t *testing.T, serve func(net.Conn), size int, timeout time.Duration) {
	b := newStamp(t, "b", nil)
	o := testOptions(origins(doortest.RawOrigin(t, serve), b.URL)...)
	o.Carry.ResponseTimeout = timeout
	f := open(t, o, Deps{})

	for i, method := range []string{"GET", "HEAD"} {
		if a := ask(t, method, f.url, nil); a.status != 200 || a.header.Get("Stamp") != "b" {
			t.Errorf("%s: answer %d from %q, want 200 from b", method, a.status, a.header.Get("Stamp"))
		}
		if n := b.asked.Load(); n != int64(i+1) {
			t.Errorf("%s: b was asked %d times", method, n)
		}
	}
	a := ask(t, "POST", f.url, strings.NewReader(strings.Repeat("x", size)), "Idempotency-Key", "k1", "Connection", "close")
	if a.status != 504 || problemName(t, a) != "outcome-unknown" || a.header.Get("Idempotency-Key") != "k1" {
		t.Errorf("POST: answer %d %s, key %q", a.status, a.body, a.header.Get("Idempotency-Key"))
	}
	a = ask(t, "POST", f.url, strings.NewReader("y"))
	if a.status != 504 || a.header.Get("Idempotency-Key") != "" {
		t.Errorf("POST without a key: answer %d, key %q", a.status, a.header.Get("Idempotency-Key"))
	}
	if n := b.asked.Load(); n != 2 {
		t.Errorf("b was asked %d times, the POST went on to it", n)
	}
	if !f.healthy("a") {
		t.Error("an origin that took the connection was called unreachable")
	}
	if n := value(t, f.metrics.attempts.WithLabelValues(gatewaysGroup, "a", "broken", "no")); n != 4 {
		t.Errorf("%v attempts counted as maybe sent, want 4", n)
	}
}

// TestAllDown: the answer promises that nothing was stored.
func TestAllDown(t *testing.T) {
	o := testOptions(origins(doortest.DeadURL(t), doortest.DeadURL(t))...)
	o.Probe.Interval = 1500 * time.Millisecond
	f := open(t, o, Deps{Local: map[string]http.Handler{"/console/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "page "+r.URL.Path)
	})}})
	for range 2 { // the second finds them known to be down
		a := ask(t, "POST", f.url+"/ServiceAPI/message", strings.NewReader("{}"))
		if a.status != 503 || problemName(t, a) != "unavailable" || a.header.Get("Retry-After") != "2" {
			t.Fatalf("answer %d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
		}
	}
	if a := ask(t, "GET", f.url+"/healthz", nil); a.status != 200 || a.body != "ok\n" {
		t.Errorf("the door's own health: %d %q", a.status, a.body)
	}
	if a := ask(t, "GET", f.url+"/console/api/x", nil); a.status != 200 || a.body != "page /console/api/x" {
		t.Errorf("local page: %d %q", a.status, a.body)
	}
}

// TestBadBody: what the client did wrong is neither blamed on an origin nor
// called unknown.
func TestBadBody(t *testing.T) {
	a := newStamp(t, "a", nil)
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 400 || problemName(t, answer{400, res.Header, string(body)}) != "bad-request" || !f.healthy("a") {
		t.Errorf("answer %d %s, health %v", res.StatusCode, body, f.Status().Groups)
	}
}

// TestKilledUnderLoad kills the first of two origins while requests are in
// flight, and compares what clients were told with what was executed.
func TestKilledUnderLoad(t *testing.T) {
	var mu sync.Mutex
	executed := map[string]int{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		executed[strings.TrimRight(string(id), " ")]++
		mu.Unlock()
		_, _ = w.Write(id)
	})
	a, b := newStamp(t, "a", handler), newStamp(t, "b", handler)
	f := open(t, testOptions(origins(a.URL, b.URL)...), Deps{})
	const workers, each = 8, 60
	tr := &http.Transport{MaxIdleConnsPerHost: workers}
	defer tr.CloseIdleConnections()
	told := make(map[string]int) // guarded by mu
	half := make(chan struct{}, workers*each)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", w, i)
				padded := id + strings.Repeat(" ", i%3*20_000)
				res, err := tr.RoundTrip(newPost(t, f.url, padded))
				if err != nil {
					t.Errorf("%s: %v", id, err)
					return
				}
				_, _ = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
				mu.Lock()
				told[id] = res.StatusCode
				mu.Unlock()
				half <- struct{}{}
			}
		})
	}
	for range workers * each / 3 {
		<-half
	}
	a.kill()
	wg.Wait()
	counts := map[int]int{}
	for id, status := range told {
		counts[status]++
		n := executed[id]
		if n > 1 || status == 200 && n != 1 || status == 503 && n != 0 || status != 200 && status != 503 && status != 504 {
			t.Errorf("%s: told %d, executed %d times", id, status, n)
		}
	}
	if counts[200] < workers*each/2 || b.asked.Load() == 0 || len(told) != workers*each {
		t.Errorf("answers by status %v, b was asked %d times", counts, b.asked.Load())
	}
	t.Logf("answers by status: %v", counts)
}

func newPost(t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.GetBody = nil // the client's transport must not repeat it
	return req
}

package door

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"postroad/internal/door/doortest"
)

// TestNoReplayOnKeptConnection: the transport repeats a request without a body
// on its own if a kept connection ends and the method or a key calls it
// idempotent. The door knows of one execution at most, so there must be no
// second one.
func TestNoReplayOnKeptConnection(t *testing.T) {
	for scheme, start := range map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer} {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			for _, key := range []string{"", "Idempotency-Key", "X-Idempotency-Key"} {
				t.Run(scheme+"/"+method+"/"+key, func(t *testing.T) { noReplay(t, start, method, key) })
			}
		}
	}
}

func noReplay(t *testing.T, start func(http.Handler) *httptest.Server, method, key string) {
	var taken atomic.Int64
	origin, b := doortest.Forgetful(t, &taken, start), newStamp(t, "b", nil)
	list := origins(origin.URL, b.URL)
	if c := origin.Certificate(); c != nil {
		list[0].TLS.CAFile = caFile(t, c)
	}
	f := open(t, testOptions(list...), Deps{})
	if a := ask(t, "GET", f.url+"/kept", nil); a.status != 200 || a.header.Get(OriginHeader) != "a" {
		t.Fatalf("answer %d from %q before the connection is kept", a.status, a.header.Get(OriginHeader))
	}
	var header []string
	if key != "" {
		header = []string{key, "k"}
	}
	// What is for gateways goes to another one, with its key; see TestRepeatedPost.
	a := ask(t, method, f.url+"/x", http.NoBody, header...)
	if a.status != 504 || problemName(t, a) != "outcome-unknown" {
		t.Errorf("answer %d %s, want outcome-unknown", a.status, a.body)
	}
	if n := taken.Load(); n != 1 {
		t.Errorf("the origin took the request %d times, want once", n)
	}
	if n := b.asked.Load(); n != 0 {
		t.Errorf("the request went on to b %d times", n)
	}
	if n := value(t, f.metrics.attempts.WithLabelValues(gatewaysGroup, "a", "broken", "no")); n != 1 {
		t.Errorf("%v attempts counted as maybe sent, want 1", n)
	}
	if !f.healthy("a") {
		t.Error("an origin that took the connection was called unreachable")
	}
}

// TestEmptyPost: what keeps a request from being repeated does not change it.
func TestEmptyPost(t *testing.T) {
	lines := make(chan string, 1)
	url := doortest.RawOrigin(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		lines <- strings.Join(req.Header.Values("Content-Length"), ",") + " " + strings.Join(req.TransferEncoding, ",") + " " + req.Header.Get("Idempotency-Key")
		_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	f := open(t, testOptions(origins(url)...), Deps{})
	a := ask(t, "POST", f.url+"/v1/topics/t/messages", http.NoBody, "Idempotency-Key", "k")
	if got := <-lines; a.status != 202 || got != "0  k" {
		t.Errorf("answer %d, the origin saw %q", a.status, got)
	}
}

// TestRepeatedPost: a POST of messages that a gateway took without an answer goes
// to the other one, once, with the key that the client is told.
func TestRepeatedPost(t *testing.T) {
	for _, key := range []string{"", "k"} {
		var taken atomic.Int64
		origin := doortest.Forgetful(t, &taken, httptest.NewServer)
		var seen http.Header
		b := newStamp(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Clone()
			w.WriteHeader(http.StatusAccepted)
		}))
		f := open(t, testOptions(origins(origin.URL, b.URL)...), Deps{})
		var header []string
		if key != "" {
			header = []string{"Idempotency-Key", key}
		}
		a := ask(t, "POST", f.url+"/v1/topics/t/messages", strings.NewReader("x"), header...)
		told := a.header.Get("Idempotency-Key")
		if a.status != 202 || taken.Load() != 1 || b.asked.Load() != 1 || a.header.Get(OriginHeader) != "b" {
			t.Fatalf("answer %d %s from %q; the first was asked %d times, the second %d", a.status, a.body, a.header.Get(OriginHeader), taken.Load(), b.asked.Load())
		}
		if told == "" || key != "" && told != key || seen.Get("Idempotency-Key") != told || seen.Get("Postroad-Attempt") != "2" {
			t.Errorf("key %q: told %q, the second saw %q and attempt %q", key, told, seen.Get("Idempotency-Key"), seen.Get("Postroad-Attempt"))
		}
	}
}

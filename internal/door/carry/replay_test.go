package carry

import (
	"bufio"
	"fmt"
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
// on its own, at the same origin, if a kept connection ends and the method or a
// key calls it idempotent. The door knows of one execution at most, so there
// must be no second one.
func TestNoReplayOnKeptConnection(t *testing.T) {
	for scheme, start := range starts() {
		for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
			for _, key := range []string{"", "Idempotency-Key", "X-Idempotency-Key"} {
				for _, kind := range []Kind{Gateway, Plain} {
					for _, lines := range []bool{false, true} {
						t.Run(fmt.Sprintf("%s/%s/%s/%v/lines=%v", scheme, method, key, kind, lines), func(t *testing.T) {
							if n := replays(t, start, kind, method, key, lines, nil); n != 1 {
								t.Errorf("the origin took the request %d times, want once", n)
							}
						})
					}
				}
			}
		}
	}
	// The twin: without the guard the transport does it.
	n := replays(t, httptest.NewServer, Plain, "DELETE", "Idempotency-Key", false, func(g *guards) {
		g.once = func(string) bool { return false }
	})
	if n < 2 {
		t.Errorf("without the guard the origin took the request %d times: the test sees nothing", n)
	}
}

func starts() map[string]func(http.Handler) *httptest.Server {
	return map[string]func(http.Handler) *httptest.Server{"http": httptest.NewServer, "https": httptest.NewTLSServer}
}

func replays(t *testing.T, start func(http.Handler) *httptest.Server, kind Kind, method, key string, lines bool, sabotage func(*guards)) int64 {
	var taken atomic.Int64
	origin := doortest.Forgetful(t, &taken, start)
	r := newRig(t, rigging{targets: func(targets []Target) { targets[0].TLS.CAFile = caFile(t, origin) }}, origin.URL)
	if !lines {
		r.noLines()
	}
	if sabotage != nil {
		sabotage(&r.guards)
	}
	if a := r.do(t, request(t.Context(), kind, "GET", "/kept", nil)); a.status != 200 {
		t.Fatalf("answer %v before the connection is kept", a)
	}
	req := request(t.Context(), kind, method, topic, http.NoBody)
	if key != "" {
		req.Header.Set(key, "k")
	}
	wantUnknown(t, r.do(t, req))
	if !r.group.Origins()[0].Healthy() {
		t.Error("an origin that took the connection was called unreachable")
	}
	return taken.Load()
}

// TestEmptyPost: what keeps a request from being repeated does not change it.
func TestEmptyPost(t *testing.T) {
	lines := make(chan string, 1)
	url := doortest.RawOrigin(t, func(c net.Conn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		lines <- strings.Join(req.Header.Values("Content-Length"), ",") + " " + strings.Join(req.TransferEncoding, ",") + " " + req.Header.Get(KeyHeader)
		_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	r := newRig(t, rigging{}, url)
	a := r.do(t, request(t.Context(), Gateway, "POST", topic, http.NoBody, KeyHeader, "k"))
	if got := <-lines; a.status != 202 || got != "0  k" {
		t.Errorf("answer %v, the origin saw %q", a, got)
	}
}

// TestUpgrade: an upgraded connection is passed on both ways, and counts as in
// flight until it ends.
func TestUpgrade(t *testing.T) {
	url := doortest.RawOrigin(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, br)
	})
	r := newRig(t, rigging{}, url)
	res, err := r.RoundTrip(request(t.Context(), Stream, "GET", "/connection/websocket", nil, "Connection", "Upgrade", "Upgrade", "echo"))
	if err != nil {
		t.Fatal(err)
	}
	both, ok := res.Body.(io.ReadWriteCloser)
	if !ok || res.StatusCode != 101 {
		t.Fatalf("status %d, body %T", res.StatusCode, res.Body)
	}
	if _, err := io.WriteString(both, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(both, got); err != nil || string(got) != "hello" {
		t.Errorf("echo %q: %v", got, err)
	}
	if n := r.group.Status().Origins[0].InFlight; n != 1 {
		t.Errorf("%d in flight", n)
	}
	_ = both.Close()
	if n := r.group.Status().Origins[0].InFlight; n != 0 {
		t.Errorf("%d in flight after the end", n)
	}
}

package door

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postroad/internal/door/doortest"
	"postroad/internal/httpserve"
)

// TestOrder: the lowest priority number first, however they are named.
func TestOrder(t *testing.T) {
	one, two, three := newStamp(t, "one", nil), newStamp(t, "two", nil), newStamp(t, "three", nil)
	f := open(t, testOptions(
		Origin{Name: "three", URL: three.URL, Priority: 3},
		Origin{Name: "one", URL: one.URL}, // 1 where left out
		Origin{Name: "two", URL: two.URL + "/", Priority: 2},
	), Deps{})
	for _, want := range []*stamp{one, two, three} {
		// A GET, since a kept connection that dies as it is written to leaves a
		// POST with an unknown outcome.
		a := ask(t, "GET", f.url, nil)
		if a.header.Get("Stamp") != want.name || a.header.Get(OriginHeader) != want.name {
			t.Fatalf("%s answered, header %q, want %s", a.header.Get("Stamp"), a.header.Get(OriginHeader), want.name)
		}
		want.kill()
	}
}

// TestHeaders: what speaks of the way here is the door's word, all else the
// client's.
func TestHeaders(t *testing.T) {
	var got *http.Request
	a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Clone(context.Background())
		w.Header().Set(OriginHeader, "forged")
		w.WriteHeader(http.StatusTeapot)
	}))
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	res := ask(t, "POST", f.url+"/v1/topics/a%2Fb//c/../x?q=1;2&&%zz", strings.NewReader("{}"),
		"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Host", "evil", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "1",
		"Forwarded", "for=6.6.6.6", "Idempotency-Key", "k", "Postroad-Key", "ключ")
	if res.status != http.StatusTeapot || res.header.Get(OriginHeader) != "a" {
		t.Fatalf("answer %d, origin %q", res.status, res.header.Get(OriginHeader))
	}
	if want := "/v1/topics/a%2Fb//c/../x?q=1;2&&%zz"; got.RequestURI != want {
		t.Errorf("request for %s, want %s", got.RequestURI, want)
	}
	for name, want := range map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": strings.TrimPrefix(f.url, "http://"), "X-Forwarded-Proto": "http",
		"X-Forwarded-Port": "", "Forwarded": "", "Idempotency-Key": "k", "Postroad-Key": "ключ", "User-Agent": "Go-http-client/1.1",
	} {
		if v := strings.Join(got.Header.Values(name), ","); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	if want := strings.TrimPrefix(a.URL, "http://"); got.Host != want {
		t.Errorf("host %s, want %s", got.Host, want)
	}
}

// raw sends bytes and reads one answer.
func raw(t *testing.T, url, request string) (*http.Response, *bufio.Reader, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res, r, c
}

// TestNotAnOpenProxy: a request that names another host goes to the origin all
// the same, and tunnels are refused.
func TestNotAnOpenProxy(t *testing.T) {
	other, a := newStamp(t, "other", nil), newStamp(t, "a", nil)
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	res, _, _ := raw(t, f.url, "GET "+other.URL+"/x HTTP/1.1\r\nHost: "+strings.TrimPrefix(other.URL, "http://")+"\r\n\r\n")
	if res.StatusCode != 200 || res.Header.Get("Stamp") != "a" {
		t.Errorf("answer %d from %q", res.StatusCode, res.Header.Get("Stamp"))
	}
	host := strings.TrimPrefix(other.URL, "http://")
	res, _, _ = raw(t, f.url, "CONNECT "+host+" HTTP/1.1\r\nHost: "+host+"\r\n\r\n")
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("CONNECT answered %d", res.StatusCode)
	}
	res, _, _ = raw(t, f.url, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
	if res.StatusCode != 200 {
		t.Errorf("OPTIONS * answered %d", res.StatusCode)
	}
	if n := other.asked.Load(); n != 0 {
		t.Errorf("the other host was asked %d times", n)
	}
}

// TestLocal: the door's own paths never reach an origin.
func TestLocal(t *testing.T) {
	a := newStamp(t, "a", nil)
	says := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
	}
	f := open(t, testOptions(origins(a.URL)...), Deps{Local: map[string]http.Handler{"/console/": says("console"), "/console/deep/": says("deep")}})
	for path, want := range map[string]string{
		"/console/": "console", "/console/x/y": "console", "/console/deep/x": "deep", "/healthz": "ok\n", "/consolex": "", "/": "",
	} {
		res := ask(t, "GET", f.url+path, nil)
		if res.body != want || (res.header.Get("Stamp") == "a") != (want == "") {
			t.Errorf("%s: %q from %q", path, res.body, res.header.Get("Stamp"))
		}
	}
	if res := ask(t, "GET", f.url+"/console", nil); res.status != 301 || res.header.Get("Location") != "/console/" {
		t.Errorf("/console: %d to %q", res.status, res.header.Get("Location"))
	}
	if res := ask(t, "POST", f.url+"/healthz", nil); res.status != 405 {
		t.Errorf("POST /healthz: %d", res.status)
	}
	if _, err := New(f.carrierOptions(), Deps{Local: map[string]http.Handler{"console": says("")}}); err == nil {
		t.Error("a prefix without slashes was taken")
	}
}

func (f *front) carrierOptions() Options { return testOptions(origins(f.url)...) }

// TestCutAnswer: half an answer is never completed from another origin, nor
// passed off as a whole one.
func TestCutAnswer(t *testing.T) {
	cut := doortest.RawOrigin(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		doortest.Reset(c)
	})
	b := newStamp(t, "b", nil)
	f := open(t, testOptions(origins(cut, b.URL)...), Deps{})
	res, err := client(t).Get(f.url)
	if err == nil {
		var body []byte
		body, err = io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err == nil {
			t.Errorf("the client took %q for a whole answer", body)
		}
	}
	if b.asked.Load() != 0 {
		t.Error("the request went on to another origin after its answer had begun")
	}
}

// streams is an origin with an event stream and an upgrade that echoes.
func streams(t *testing.T) *stamp {
	return newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, "data: 1\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	}))
}

const upgrade = "GET /connection/websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"

// TestStreams: events and upgraded connections pass piece by piece, and end
// when the listener drains, so that they do not hold it up.
func TestStreams(t *testing.T) {
	a := streams(t)
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	o := httpserve.DefaultOptions()
	srv, err := httpserve.New(o, f.Handler(), httpserve.Deps{Name: "door"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	defer stop()

	events, err := client(t).Get(srv.URL() + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewReader(events.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "data: 1\n" {
		t.Fatalf("first event %q, %v", line, err)
	}
	res, r, c := raw(t, srv.URL(), upgrade)
	if res.StatusCode != http.StatusSwitchingProtocols || res.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("upgrade answered %d", res.StatusCode)
	}
	for i := range 3 {
		want := fmt.Sprintf("frame %d\n", i)
		_, _ = io.WriteString(c, want)
		if line, err := r.ReadString('\n'); err != nil || line != want {
			t.Fatalf("echo %q, %v", line, err)
		}
	}
	stop()
	if _, err := io.ReadAll(lines); errors.Is(err, context.DeadlineExceeded) {
		t.Error("the event stream outlived the drain")
	}
	if _, err := r.ReadByte(); err == nil {
		t.Error("the upgraded connection goes on after the drain")
	}
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
}

// caFile writes a certificate to a file.
func caFile(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestTLSOrigin: an origin with https is used if its certificate is trusted,
// and otherwise sees nothing of the request.
func TestTLSOrigin(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it tells of the handshake that fails
	defer secure.Close()
	b := newStamp(t, "b", nil)
	for name, file := range map[string]string{"a": caFile(t, secure.Certificate()), "b": ""} {
		list := origins(secure.URL, b.URL)
		list[0].TLS.CAFile = file
		f := open(t, testOptions(list...), Deps{})
		res := ask(t, "POST", f.url, strings.NewReader("hello"))
		if res.status != 200 || res.header.Get(OriginHeader) != name || res.body != "hello" {
			t.Errorf("answer %d %q from %s, want %s", res.status, res.body, res.header.Get(OriginHeader), name)
		}
		if name == "b" {
			f.leaves(t, "a")
		} else if !f.healthy("a") {
			t.Errorf("a trusted origin is left out: %+v", f.Status().Groups)
		}
	}
}

package httpserve

import (
	"crypto/tls"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func startTraffic(t *testing.T, o TrafficOptions) (*Server, *logBuffer, *prometheus.Registry) {
	t.Helper()
	log, buf := newLog()
	reg := prometheus.NewRegistry()
	s, err := NewTraffic(o, http.HandlerFunc(echo), TrafficDeps{Deps{Log: log, Name: "gateway"}, reg})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, s.Run)
	t.Cleanup(func() {
		if err := r.stop(t); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return s, buf, reg
}

func trafficOptions() TrafficOptions {
	o := DefaultTrafficOptions()
	o.ShutdownTimeout = 10 * time.Second
	return o
}

// A listener with a certificate speaks both protocols over TLS and none without; its
// files are looked at while it runs, and connections that exist live on.
func TestTrafficOverTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	o := trafficOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, dir)
	o.TLS.CheckInterval = 10 * time.Millisecond
	s, _, reg := startTraffic(t, o)
	if !strings.HasPrefix(s.URL(), "https://127.0.0.1:") {
		t.Errorf("URL %s", s.URL())
	}
	for want, h2 := range map[string]bool{"HTTP/1.1 posted": false, "HTTP/2.0 posted": true} {
		tr := &http.Transport{TLSClientConfig: ca.trust(t), ForceAttemptHTTP2: h2}
		resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Post(s.URL(), "text/plain", strings.NewReader("posted"))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); err != nil || string(b) != want {
			t.Errorf("answer %q, %v, want %q", b, err, want)
		}
		resp.Body.Close()
		tr.CloseIdleConnections()
	}
	if resp, body := get(t, client(t, nil), "http"+strings.TrimPrefix(s.URL(), "https")); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("without TLS: %s %q", resp.Status, body)
	}
	kept, first, err := handshake(s.Addr().String(), ca.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	ca.issue(t, "door.test", good()).write(t, dir)
	waitUntil(t, func() bool {
		c, now, err := handshake(s.Addr().String(), ca.trust(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return now != first
	})
	if got := askOn(t, kept); got != "HTTP/1.1 " {
		t.Errorf("on the connection from before: %q", got)
	}
	if f, err := reg.Gather(); err != nil || len(f) != 2 ||
		f[0].GetName() != "postroad_listener_certificate_expiry_timestamp_seconds" || f[0].GetMetric()[0].GetGauge().GetValue() < float64(time.Now().Unix()) {
		t.Errorf("metrics of certificates: %v, %v", f, err)
	}
}

func TestTrafficAsksForCertificates(t *testing.T) {
	ca, clients := newAuthority(t, "ca"), newAuthority(t, "clients")
	o := trafficOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, t.TempDir())
	o.TLS.ClientAuth, o.TLS.ClientCAFile = ClientAuthRequire, filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, o.TLS.ClientCAFile, clients.pem)
	s, _, _ := startTraffic(t, o)
	ask := func(config *tls.Config) error {
		tr := &http.Transport{TLSClientConfig: config}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get(s.URL())
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	if err := ask(ca.trust(t, clients.issue(t, "somebody", good()))); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	if err := ask(ca.trust(t)); err == nil {
		t.Error("without a certificate: answered")
	}
	// The process itself shows none.
	inside := &http.Client{Transport: s.Inside(), Timeout: time.Minute}
	defer inside.CloseIdleConnections()
	if _, body := get(t, inside, s.URL()); body != "HTTP/1.1 " {
		t.Errorf("from inside: %q", body)
	}
}

func TestTrafficWithoutTLS(t *testing.T) {
	s, _, reg := startTraffic(t, trafficOptions())
	if s.Inside() != nil {
		t.Error("a way inside though the network does")
	}
	if _, body := get(t, client(t, nil), s.URL()); body != "HTTP/1.1 " {
		t.Errorf("answer %q", body)
	}
	if f, err := reg.Gather(); len(f) != 0 || err != nil {
		t.Errorf("metrics of certificates that are not there: %v, %v", f, err)
	}
}

// The way inside ends with the server, and never waits for one that does not run.
func TestInsideEnds(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := trafficOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, t.TempDir())
	s, err := NewTraffic(o, http.HandlerFunc(echo), TrafficDeps{})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, s.Run)
	c := &http.Client{Transport: s.Inside(), Timeout: time.Minute}
	if _, body := get(t, c, s.URL()); body != "HTTP/1.1 " {
		t.Errorf("answer %q", body)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("stop: %v", err)
	}
	if resp, err := c.Get(s.URL()); err == nil {
		resp.Body.Close()
		t.Error("answered though the server has ended")
	}
	never, err := NewTraffic(o, http.HandlerFunc(echo), TrafficDeps{})
	if err != nil {
		t.Fatal(err)
	}
	if err := never.Close(); err != nil {
		t.Fatal(err)
	}
	if resp, err := (&http.Client{Transport: never.Inside(), Timeout: time.Minute}).Get(never.URL()); err == nil {
		resp.Body.Close()
		t.Error("answered though the server never ran")
	}
}

func TestTrafficOptionsNameAllProblems(t *testing.T) {
	o := DefaultTrafficOptions()
	o.Listen = "nowhere"
	o.TLS.CertFile, o.TLS.ClientAuth, o.TLS.MinVersion = "cert.pem", "maybe", "1.1"
	err := o.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`listen: "nowhere": `, `tls.key_file: "": `, `tls.client_auth: "maybe": `, `tls.min_version: "1.1": `} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	if _, err := NewTraffic(o, http.NotFoundHandler(), TrafficDeps{}); err == nil {
		t.Error("used all the same")
	}
	o = DefaultTrafficOptions()
	o.TLS.CertFile, o.TLS.KeyFile = filepath.Join(t.TempDir(), "none.pem"), "key.pem"
	if _, err := NewTraffic(o, http.NotFoundHandler(), TrafficDeps{}); err == nil || !strings.Contains(err.Error(), "tls: cert_file: open "+o.TLS.CertFile) {
		t.Errorf("a file that is not there: %v", err)
	}
}

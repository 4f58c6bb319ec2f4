package app_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/app"
	"postroad/internal/httpserve"
)

// shown is a certificate in files, with its key, for stamp.test alone: a client that
// comes by 127.0.0.1 does not trust it unless it asks for that name.
type shown struct {
	dir    string
	key    *ecdsa.PrivateKey
	root   *x509.Certificate
	serial int64
}

func newShown(t *testing.T) *shown {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{dir: t.TempDir(), key: key}
	template := s.template()
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if s.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	s.renew(t)
	return s
}

func (s *shown) template() *x509.Certificate {
	s.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(s.serial), Subject: pkix.Name{CommonName: "of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
	}
}

// renew puts another certificate in the place of the one before.
func (s *shown) renew(t *testing.T) {
	t.Helper()
	template := s.template()
	template.DNSNames = []string{"stamp.test"}
	der, err := x509.CreateCertificate(rand.Reader, template, s.root, s.key.Public(), s.key)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalECPrivateKey(s.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "EC PRIVATE KEY", Bytes: key}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}} {
		path := filepath.Join(s.dir, name)
		if err := os.WriteFile(path+".new", pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *shown) options() httpserve.TLSOptions {
	o := httpserve.DefaultTLSOptions()
	o.CertFile, o.KeyFile = filepath.Join(s.dir, "cert.pem"), filepath.Join(s.dir, "key.pem")
	o.CheckInterval = 10 * time.Millisecond
	return o
}

func (s *shown) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(s.root)
	return &tls.Config{RootCAs: pool, ServerName: "stamp.test", MinVersion: tls.VersionTLS12}
}

// clients are one that speaks HTTP/1.1 and one that speaks HTTP/2.
func (s *shown) clients(t *testing.T) map[string]*http.Client {
	t.Helper()
	all := map[string]*http.Client{}
	for proto, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		tr := &http.Transport{TLSClientConfig: s.trust(), ForceAttemptHTTP2: h2}
		t.Cleanup(tr.CloseIdleConnections)
		all[proto] = &http.Client{Transport: tr}
	}
	return all
}

// now is the serial number of the certificate that is shown to who comes now.
func (s *shown) now(t *testing.T, url string) string {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: s.trust()}
	c, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// do asks for something, and says by which protocol it was answered.
func do(t *testing.T, c *http.Client, method, url, body string) (status int, proto, answer string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Proto, string(b)
}

// A stamp with a certificate takes messages over TLS by both protocols, and shows a
// renewed one without a restart. Its own console sends to it, though its certificate
// is not of the address at which it listens.
func TestAStampOverTLS(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	cert := newShown(t)
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	settings.HTTP.TLS = cert.options()
	stamp := startHalf(t, app.RunStamp, settings)
	url := stamp.Gateways["onprem"]
	for want, c := range cert.clients(t) {
		if status, proto, body := do(t, c, http.MethodPost, url+"/v1/topics/messages/messages?key=k", `"x"`); status != http.StatusAccepted || proto != want {
			t.Errorf("over %s: %d by %s: %s", want, status, proto, body)
		}
		if status, _, body := do(t, c, http.MethodGet, url+"/healthz", ""); status != http.StatusOK {
			t.Errorf("healthz: %d %s", status, body)
		}
	}
	status, _, body := do(t, http.DefaultClient, http.MethodPost, stamp.Admin+"/console/api/send", `{"endpoint":"onprem","senderId":"s","value":"v"}`)
	if status != http.StatusOK || !strings.Contains(body, `"status":200`) {
		t.Errorf("the console: %d %s", status, body)
	}
	first := cert.now(t, url)
	cert.renew(t)
	await(t, "the renewed certificate", func() bool { return cert.now(t, url) != first })
	if _, body := get(t, stamp.Admin+"/metrics"); !strings.Contains(body, `postroad_listener_certificate_expiry_timestamp_seconds{listener="gateway",stamp="onprem"} `) {
		t.Error("the certificate's end is not told")
	}
	if err := stamp.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// A stream node with a certificate serves WebSockets and event streams over TLS, event
// streams by both protocols. A certificate that is renewed disturbs none of them, and
// a stop ends all.
func TestAStreamNodeOverTLS(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	addr, stopHub := startTestHub(t)
	defer stopHub()
	cert := newShown(t)
	settings := streamSettings(t, "n", addr)
	settings.HTTP.TLS = cert.options()
	addresses, stop := started(t, func(ctx context.Context, d app.Deps) error { return app.RunStream(ctx, settings, d) })
	stop = sync.OnceValue(stop)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	url, clients := addresses.Streams["n"], cert.clients(t)
	for want, c := range clients {
		await(t, "the node to be ready", func() bool {
			status, proto, _ := do(t, c, http.MethodGet, url+"/healthz", "")
			return status == http.StatusOK && proto == want
		})
	}
	all := map[string]*seen{"WebSocket": new(seen)}
	watchSocketOver(t, cert.trust(), all["WebSocket"], url, "messages/k")
	for proto, c := range clients {
		s := new(seen)
		all["events over "+proto] = s
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = readEventStream(ctx, c, url+"/v1/topics/messages/stream?key=k", s)
		}()
		t.Cleanup(func() { cancel(); <-ended })
		await(t, "the position of the stream over "+proto, func() bool { return s.lastID() != "" })
	}
	arrives := func(value string) {
		t.Helper()
		write(t, addr, "k", value)
		for name, s := range all {
			await(t, value+" at "+name, func() bool { return len(s.all()) > 0 && s.all()[len(s.all())-1] == value })
		}
	}
	arrives(`"first"`)
	first := cert.now(t, url)
	cert.renew(t)
	await(t, "the renewed certificate", func() bool { return cert.now(t, url) != first })
	arrives(`"second"`)
	for name, s := range all {
		if got := s.all(); len(got) != 2 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A certificate that cannot be used keeps a process from starting, and is named.
func TestNoStartWithoutTheCertificate(t *testing.T) {
	cert := newShown(t)
	o := cert.options()
	o.KeyFile = filepath.Join(t.TempDir(), "none.pem")
	stamp := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	stream := streamSettings(t, "n", "127.0.0.1:1")
	stamp.HTTP.TLS, stream.HTTP.TLS = o, o
	for name, run := range map[string]func(context.Context, app.Deps) error{
		"gateway": func(ctx context.Context, d app.Deps) error { return app.RunGateway(ctx, stamp, d) },
		"stream":  func(ctx context.Context, d app.Deps) error { return app.RunStream(ctx, stream, d) },
	} {
		if err := run(t.Context(), app.Deps{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "http: tls: key_file: open "+o.KeyFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

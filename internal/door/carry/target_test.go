package carry

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/door/doortest"
)

// caFile writes the certificate of a test server to a file; "" without TLS.
func caFile(t testing.TB, s *httptest.Server) string {
	t.Helper()
	c := s.Certificate()
	if c == nil {
		return ""
	}
	name := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, name, "CERTIFICATE", c.Raw)
	return name
}

func writePEM(t testing.TB, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestAddresses: connections are spread over the addresses of an origin, and one
// that takes none costs neither a request nor the health of the origin.
func TestAddresses(t *testing.T) {
	one, two := newStamp(t, "one", nil), newStamp(t, "two", nil)
	dead := doortest.DeadURL(t)
	r := newRig(t, rigging{targets: func(targets []Target) { targets[0].URLs = []string{dead, one.URL, two.URL} }}, one.URL)
	for range 12 {
		req := request(t.Context(), Gateway, "POST", topic, strings.NewReader("x"))
		if a := r.do(t, req); a.status != 200 {
			t.Fatalf("answer %v", a)
		}
		r.target("a").close()
	}
	if a, b := one.asked.Load(), two.asked.Load(); a < 3 || b < 3 || a+b != 12 {
		t.Errorf("asked %d and %d times", a, b)
	}
	if !r.group.Origins()[0].Healthy() {
		t.Error("one dead address takes the origin out")
	}
	if tgt := r.target("a"); len(tgt.bad) != 1 {
		t.Errorf("%d addresses are called bad", len(tgt.bad))
	}
}

// TestSources: connections come from the source addresses in turn.
func TestSources(t *testing.T) {
	var mu sync.Mutex
	from := map[string]int{}
	a := newStamp(t, "a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		mu.Lock()
		defer mu.Unlock()
		from[host]++
	}))
	sources := []string{"127.0.0.2", "127.0.0.3"}
	r := newRig(t, rigging{targets: func(targets []Target) { targets[0].SourceAddresses = sources }}, a.URL)
	for range 6 {
		if got := r.post(t, "x"); got.status != 200 {
			t.Fatalf("answer %v", got)
		}
		r.target("a").close()
	}
	mu.Lock()
	defer mu.Unlock()
	if from["127.0.0.2"] != 3 || from["127.0.0.3"] != 3 {
		t.Errorf("connections came from %v", from)
	}
}

// TestResolve: the addresses of a name are looked up again; what is gone gets no
// more connections, and a lookup that fails changes nothing.
func TestResolve(t *testing.T) {
	a := newStamp(t, "a", nil)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(a.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	answer, failure := []string{"127.0.0.9", "127.0.0.1", "127.0.0.9"}, error(nil)
	deps := Deps{Log: slog.New(slog.DiscardHandler), Resolve: func(_ context.Context, host string) ([]string, error) {
		mu.Lock()
		defer mu.Unlock()
		if host != "stamp.test" {
			return nil, errors.New("wrong name " + host)
		}
		return answer, failure
	}}
	set := func(to []string, err error) {
		mu.Lock()
		defer mu.Unlock()
		answer, failure = to, err
	}
	r := newRig(t, rigging{deps: deps, targets: func(targets []Target) {
		targets[0].URLs, targets[0].DNS = nil, "http://stamp.test:"+port
	}}, a.URL)
	tgt := r.target("a")
	want := func(what string, changed bool, err bool, addresses ...string) {
		t.Helper()
		c, e := tgt.resolve(t.Context(), r.deps.Resolve)
		if c != changed || (e != nil) != err || !slices.Equal(tgt.addresses, addresses) {
			t.Errorf("%s: changed %v, %v, addresses %v", what, c, e, tgt.addresses)
		}
	}
	want("first", true, false, "127.0.0.1:"+port, "127.0.0.9:"+port)
	want("again", false, false, "127.0.0.1:"+port, "127.0.0.9:"+port)
	if got := r.post(t, "x"); got.status != 200 {
		t.Fatalf("answer %v", got) // 127.0.0.9 refuses
	}
	set(nil, errors.New("no server"))
	want("failed", false, true, "127.0.0.1:"+port, "127.0.0.9:"+port)
	set(nil, nil)
	want("empty", false, true, "127.0.0.1:"+port, "127.0.0.9:"+port)
	set([]string{"127.0.0.1"}, nil)
	want("fewer", true, false, "127.0.0.1:"+port)
	if got := r.post(t, "x"); got.status != 200 {
		t.Errorf("answer %v", got)
	}
}

// TestRun keeps names and files current.
func TestRun(t *testing.T) {
	a := newStamp(t, "a", nil)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(a.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	log := &safeBuffer{}
	o := testOptions()
	o.ResolveInterval, o.ReloadInterval = 10*time.Millisecond, 10*time.Millisecond
	r := newRig(t, rigging{carry: o, deps: Deps{
		Log:     slog.New(slog.NewTextHandler(log, nil)),
		Resolve: func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil },
	}, targets: func(targets []Target) {
		targets[0].URLs, targets[0].DNS = nil, "http://stamp.test:"+port
	}}, a.URL)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	eventually(t, "the name is looked up", func() bool { return strings.Contains(log.String(), "addresses of an origin changed") })
	if got := r.post(t, "x"); got.status != 200 {
		t.Errorf("answer %v", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, spec, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, t.TempDir()}
}

// sign writes a certificate for name and its key to files.
func (a *authority) sign(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spec := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, spec, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(a.dir, name+".pem"), filepath.Join(a.dir, name+".key")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", secret)
	return certFile, keyFile
}

// TestTLS shows a certificate to the origin, checks the origin's, and takes new
// files for new connections without losing one.
func TestTLS(t *testing.T) {
	trusted := newAuthority(t)
	serverCert, serverKey := trusted.sign(t, "stamp.test")
	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(trusted.cert)
	names := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { names <- r.TLS.PeerCertificates[0].Subject.CommonName }))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)

	files := TLS{CAFile: filepath.Join(trusted.dir, "ca.pem"), ServerName: "stamp.test"}
	writePEM(t, files.CAFile, "CERTIFICATE", trusted.cert.Raw)
	files.CertFile, files.KeyFile = trusted.sign(t, "door")
	log := &safeBuffer{}
	r := newRig(t, rigging{
		deps:    Deps{Log: slog.New(slog.NewTextHandler(log, nil))},
		targets: func(targets []Target) { targets[0].TLS = files },
	}, s.URL)
	shown := func(want string) {
		t.Helper()
		if a := r.post(t, "x"); a.status != 200 || <-names != want {
			t.Fatalf("answer %v", a)
		}
	}
	shown("door")
	r.reload()
	shown("door")
	cert, key := trusted.sign(t, "other")
	move(t, cert, files.CertFile)
	r.reload() // the key is still the old one
	shown("door")
	if !strings.Contains(log.String(), "stay as they were") || strings.Contains(log.String(), "PRIVATE") {
		t.Errorf("log %s", log.String())
	}
	move(t, key, files.KeyFile)
	r.reload()
	shown("other")

	writePEM(t, files.CAFile, "CERTIFICATE", newAuthority(t).cert.Raw)
	r.reload()
	a := r.post(t, "x")
	if failed, ok := errors.AsType[*Attempt](a.err); !ok || failed.Sent || r.group.Origins()[0].Healthy() {
		t.Errorf("an origin with a certificate that is not trusted: %v", a)
	}
	res, err := r.Probe("a", r.Addresses("a")[0], httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
	if err == nil {
		_ = res.Body.Close()
		t.Error("the probe trusts it")
	}
}

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestUpdate: targets that stay the same keep their connections, others change,
// and a set with a problem changes nothing.
func TestUpdate(t *testing.T) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	r := newRig(t, rigging{}, a.URL)
	kept := r.target("a")
	if err := r.Update([]Target{{Name: "a", URLs: []string{a.URL}}, {Name: "b", URLs: []string{b.URL}}}); err != nil || r.target("a") != kept || r.target("b") == nil {
		t.Errorf("update: %v", err)
	}
	for _, bad := range [][]Target{
		{{Name: "a"}},
		{{Name: "a", URLs: []string{a.URL}, DNS: b.URL}},
		{{Name: "a", URLs: []string{"ftp://x"}}},
		{{Name: "a", URLs: []string{"http://x/path"}}},
		{{Name: "a", URLs: []string{"http://x", "https://x"}}},
		{{Name: "a", URLs: []string{a.URL}}, {Name: "a", URLs: []string{b.URL}}},
		{{Name: "a", URLs: []string{"https://x"}, TLS: TLS{CertFile: "x"}}},
		{{Name: "a", URLs: []string{"https://x"}, TLS: TLS{CAFile: "/not/there"}}},
		{{Name: "a", URLs: []string{a.URL}, SourceAddresses: []string{"localhost"}}},
	} {
		if err := r.Update(bad); err == nil || r.target("a") != kept || r.target("b") == nil {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := r.Update([]Target{{Name: "a", URLs: []string{b.URL}}}); err != nil {
		t.Fatal(err)
	}
	if got := r.post(t, "x"); got.status != 200 || b.asked.Load() != 1 {
		t.Errorf("answer %v", got)
	}
	probe, err := r.Probe("a", r.Addresses("a")[0], httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
	if err != nil || probe.StatusCode != 200 || probe.Body.Close() != nil || b.asked.Load() != 2 {
		t.Errorf("probe: %v", err)
	}
	if _, err := r.Probe("z", "x:1", httptest.NewRequestWithContext(t.Context(), "GET", "/", nil)); err == nil {
		t.Error("an origin without an address was probed")
	}
}

// TestOptions: every limit is checked, and all problems are told at once.
func TestOptions(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
	err := Options{MaxRepeatBody: -1, MaxBuffered: -1}.Validate()
	for _, path := range []string{"max_repeat_body: -1", "max_buffered: -1", "dial_timeout: 0s", "response_timeout", "lookup_timeout", "resolve_interval", "reload_interval", "max_idle"} {
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s is not told: %v", path, err)
		}
	}
}

// TestWarnings: what has no effect is said, and nothing else.
func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		change func(*Options, *Target)
		want   string
	}{
		{func(*Options, *Target) {}, ""},
		{func(_ *Options, t *Target) { t.TLS.CAFile = "ca.pem" }, "origin a: tls: has no effect: http://x"},
		{func(_ *Options, t *Target) { t.TLS.ServerName = "x" }, "origin a: tls: has no effect: http://x"},
		{func(_ *Options, t *Target) { t.URLs, t.DNS, t.TLS.CertFile = nil, "http://y:80", "x" }, "origin a: tls: has no effect: http://y:80"},
		{func(_ *Options, t *Target) { t.URLs, t.TLS.CAFile = []string{"https://x"}, "ca.pem" }, ""},
		{func(_ *Options, t *Target) { t.URLs, t.DNS, t.TLS.CAFile = nil, "https://x", "ca.pem" }, ""},
		{func(o *Options, _ *Target) { o.MaxBuffered = 0 }, "no body is kept"},
		{func(o *Options, _ *Target) { o.MaxRepeatBody = 0 }, "no body is kept"},
		{func(o *Options, _ *Target) { o.MaxBuffered = o.MaxRepeatBody - 1 }, "max_repeat_body: 1048576"},
		{func(o *Options, _ *Target) { o.MaxBuffered = o.MaxRepeatBody }, ""},
	} {
		o, a := DefaultOptions(), Target{Name: "a", URLs: []string{"http://x"}}
		c.change(&o, &a)
		got := strings.Join(Warnings(o, []Target{a, {Name: "b", URLs: []string{"http://z"}}}), "; ")
		if !strings.Contains(got, c.want) || c.want == "" && got != "" || strings.Contains(got, ";") {
			t.Errorf("warned of %q, want %q", got, c.want)
		}
	}
}

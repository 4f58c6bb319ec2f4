package httpserve

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func edgeOptions() EdgeOptions {
	o := DefaultEdgeOptions()
	o.ShutdownTimeout = 10 * time.Second
	o.TLS.CheckInterval = time.Hour // tests look when they want to
	return o
}

// edge is a running Edge with its log and metrics.
type edge struct {
	*Edge
	log *logBuffer
	reg *prometheus.Registry
}

func startEdge(t *testing.T, o EdgeOptions, h http.Handler, trusted func(netip.Addr) bool) edge {
	t.Helper()
	log, buf := newLog()
	reg := prometheus.NewRegistry()
	e, err := NewEdge(o, h, EdgeDeps{Deps: Deps{Log: log, Name: "door"}, Registerer: reg, Trusted: trusted})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, e.Run)
	t.Cleanup(func() {
		if err := r.stop(t); err != nil {
			t.Errorf("Run: %v", err)
		}
		waitUntil(t, func() bool { return e.Connections() == 0 }) // those taken over end by themselves
	})
	return edge{e, buf, reg}
}

// metric reads one value by the name and the value of its label.
func (e edge) metric(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := e.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || labelled(m, label)) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func labelled(m *dto.Metric, value string) bool {
	for _, l := range m.GetLabel() {
		if l.GetValue() == value {
			return true
		}
	}
	return false
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return c
}

// handshake opens a connection and returns the serial number that it was shown.
func handshake(addr string, config *tls.Config) (*tls.Conn, string, error) {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Minute}, Config: config}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return nil, "", err
	}
	conn := c.(*tls.Conn) //nolint:forcetypeassert // what a tls.Dialer gives
	return conn, conn.ConnectionState().PeerCertificates[0].SerialNumber.String(), nil
}

func echo(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if errors.Is(err, ErrSlowBody) {
		w.WriteHeader(http.StatusRequestTimeout)
		return
	}
	fmt.Fprintf(w, "%s %s", r.Proto, b)
}

func TestEdgeSpeaksTLS(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := edgeOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, t.TempDir())
	o.TLS.MinVersion = "1.3"
	e := startEdge(t, o, http.HandlerFunc(echo), nil)
	if !strings.HasPrefix(e.URL(), "https://127.0.0.1:") {
		t.Errorf("URL %s", e.URL())
	}
	for want, http2 := range map[string]bool{"HTTP/1.1 ": false, "HTTP/2.0 ": true} {
		tr := &http.Transport{TLSClientConfig: ca.trust(t), ForceAttemptHTTP2: http2}
		c := &http.Client{Transport: tr, Timeout: time.Minute}
		if _, body := get(t, c, e.URL()); body != want {
			t.Errorf("served %q, want %q", body, want)
		}
		tr.CloseIdleConnections()
	}
	old := ca.trust(t)
	old.MaxVersion = tls.VersionTLS12
	if c, _, err := handshake(e.Addr().String(), old); err == nil {
		c.Close()
		t.Error("TLS 1.2 passes where 1.3 is the least")
	}
	if e.metric(t, "postroad_listener_certificate_expiry_timestamp_seconds", "") < float64(time.Now().Unix()) {
		t.Error("the expiry is not told")
	}
}

// New handshakes see the new certificate, while a connection that was there goes
// on to be used, and one in the middle of an answer ends it.
func TestCertificatesAreReloadedWithoutDroppingAConnection(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	o := edgeOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, dir)
	release := make(chan struct{})
	e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "begun")
		w.(http.Flusher).Flush()
		if r.URL.Path == "/long" {
			<-release
			_, _ = io.WriteString(w, " and ended")
		}
	}), nil)
	addr := e.Addr().String()
	kept, first, err := handshake(addr, ca.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	c := client(t, nil)
	c.Transport.(*http.Transport).TLSClientConfig = ca.trust(t)
	long, err := c.Get(e.URL() + "/long")
	if err != nil {
		t.Fatal(err)
	}
	defer long.Body.Close()

	ca.issue(t, "door.test", good()).write(t, dir)
	e.certs.look()
	again, second, err := handshake(addr, ca.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if first == second {
		t.Errorf("serial numbers %s and %s: the old certificate is still shown", first, second)
	}
	for _, conn := range []*tls.Conn{kept, again} {
		if got := askOn(t, conn); got != "begun" {
			t.Errorf("answer %q", got)
		}
	}
	close(release)
	if b, err := io.ReadAll(long.Body); err != nil || string(b) != "begun and ended" {
		t.Errorf("the answer under way: %q, %v", b, err)
	}
}

// askOn asks for / on a connection and leaves it open.
func askOn(t *testing.T, conn net.Conn) string {
	t.Helper()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: door.test\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Clients send while certificates and limits change many times; none sees an
// error.
func TestReloadsUnderLoad(t *testing.T) {
	const reloads, clients = 20, 4
	ca := newAuthority(t, "ca")
	pairs := []pair{ca.issue(t, "door.test", good()), ca.issue(t, "door.test", good())}
	dir := t.TempDir()
	o := edgeOptions()
	o.TLS.CertFile, o.TLS.KeyFile = pairs[0].write(t, dir)
	e := startEdge(t, o, http.HandlerFunc(echo), nil)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var served atomic.Int64
	failed := make(chan error, clients)
	for i := range clients {
		go func() { failed <- hammer(ctx, e.URL(), ca.trust(t), i%2 == 0, &served) }()
	}
	for i := range reloads {
		before := served.Load()
		pairs[i%2].write(t, dir)
		o.Clients.Connections = 1000 + i
		if err := e.Reload(o); err != nil {
			t.Error(err)
		}
		waitUntil(t, func() bool { return served.Load() > before+clients || len(failed) > 0 })
	}
	stop()
	for range clients {
		if err := <-failed; err != nil {
			t.Errorf("a client failed: %v", err)
		}
	}
}

// hammer sends one request after the other until ctx ends; keep says that one
// connection does for all.
func hammer(ctx context.Context, url string, config *tls.Config, keep bool, served *atomic.Int64) error {
	tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: !keep, ForceAttemptHTTP2: keep}
	defer tr.CloseIdleConnections()
	c := &http.Client{Transport: tr, Timeout: time.Minute}
	for ctx.Err() == nil {
		// Not with ctx: a request that its end cuts off would count as failed.
		resp, err := c.Post(url, "text/plain", strings.NewReader("x")) //nolint:noctx // see above
		if err != nil {
			return err
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasSuffix(string(b), " x") {
			return fmt.Errorf("answer %q, %w", b, err)
		}
		served.Add(1)
	}
	return nil
}

// What cannot be used is not; the log says so once, and not for what is being
// replaced in two steps.
func TestUnusableCertificatesChangeNothing(t *testing.T) {
	ca := newAuthority(t, "ca")
	dir := t.TempDir()
	o := edgeOptions()
	first := ca.issue(t, "door.test", good())
	o.TLS.CertFile, o.TLS.KeyFile = first.write(t, dir)
	e := startEdge(t, o, http.HandlerFunc(echo), nil)
	shown := func() string {
		c, serial, err := handshake(e.Addr().String(), ca.trust(t))
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		return serial
	}
	was := shown()
	second := ca.issue(t, "door.test", good())
	writeFile(t, o.TLS.CertFile, second.cert) // its key is still to come
	e.certs.look()
	if strings.Contains(e.log.String(), "cannot be used") {
		t.Error("the first of two steps is logged as a mistake")
	}
	for range 3 {
		e.certs.look()
	}
	if n := strings.Count(e.log.String(), "cannot be used"); n != 1 || shown() != was {
		t.Errorf("logged %d times, shown %s, was %s", n, shown(), was)
	}
	if strings.Contains(e.log.String(), "PRIVATE KEY") {
		t.Error("a key is in the log")
	}
	if err := e.Reload(o); err == nil || !strings.Contains(err.Error(), o.TLS.KeyFile) {
		t.Errorf("Reload: %v", err)
	}
	writeFile(t, o.TLS.KeyFile, second.key)
	e.certs.look()
	if shown() == was {
		t.Error("the pair that is whole is not used")
	}
	if e.metric(t, "postroad_listener_certificate_reads_total", "used") != 2 || e.metric(t, "postroad_listener_certificate_reads_total", "failed") != 5 {
		t.Error("reads are not counted")
	}
	o.TLS.CertFile, o.TLS.KeyFile = "", ""
	if err := e.Reload(o); !errors.Is(err, errTLSSwitched) {
		t.Errorf("TLS taken away: %v", err)
	}
}

func TestSecondNameGetsItsCertificate(t *testing.T) {
	ca := newAuthority(t, "ca")
	o := edgeOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, t.TempDir())
	cert, key := ca.issue(t, "other.test", time.Now().Add(time.Hour)).write(t, t.TempDir())
	o.TLS.Certificates = []Certificate{{CertFile: cert, KeyFile: key}}
	e := startEdge(t, o, http.HandlerFunc(echo), nil)
	for _, name := range []string{"door.test", "other.test"} {
		config := ca.trust(t)
		config.ServerName = name
		c, _, err := handshake(e.Addr().String(), config)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.Close()
	}
	if !strings.Contains(e.log.String(), "certificate expires soon") {
		t.Error("that one expires within the hour is not said")
	}
}

func TestClientCertificates(t *testing.T) {
	ca, clients, strangers := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "strangers")
	site, stranger := clients.issue(t, "site", good()), strangers.issue(t, "stranger", good())
	expired := clients.issue(t, "expired", time.Now().Add(-time.Minute))
	for _, row := range []struct {
		auth string
		show []pair
		want string // who the handler sees; "refused" for nobody
	}{
		{ClientAuthNone, nil, ""},
		{ClientAuthNone, []pair{stranger}, ""}, // not asked for
		{ClientAuthRequest, nil, ""},
		{ClientAuthRequest, []pair{site}, "site"},
		{ClientAuthRequest, []pair{stranger}, "refused"},
		{ClientAuthRequest, []pair{expired}, "refused"},
		{ClientAuthRequire, []pair{site}, "site"},
		{ClientAuthRequire, nil, "refused"},
		{ClientAuthRequire, []pair{stranger}, "refused"},
		{ClientAuthRequire, []pair{expired}, "refused"},
	} {
		t.Run(fmt.Sprintf("%s/%d/%s", row.auth, len(row.show), row.want), func(t *testing.T) {
			dir := t.TempDir()
			o := edgeOptions()
			o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, dir)
			if o.TLS.ClientAuth = row.auth; row.auth != ClientAuthNone {
				o.TLS.ClientCAFile = dir + "/clients.pem"
				writeFile(t, o.TLS.ClientCAFile, clients.pem)
			}
			e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if len(r.TLS.VerifiedChains) > 0 {
					_, _ = io.WriteString(w, r.TLS.PeerCertificates[0].Subject.CommonName)
				}
			}), nil)
			config := ca.trust(t)
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if len(row.show) == 0 {
					return &tls.Certificate{}, nil
				}
				k, err := tls.X509KeyPair(row.show[0].cert, row.show[0].key) // whatever the server asks for
				return &k, err
			}
			tr := &http.Transport{TLSClientConfig: config}
			defer tr.CloseIdleConnections()
			got := "refused"
			if resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get(e.URL()); err == nil {
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				got = string(b)
			}
			if got != row.want {
				t.Errorf("the handler sees %q, want %q", got, row.want)
			}
		})
	}
}

// An authority that is taken out of the file admits nobody any more, not even a
// client that has been there.
func TestClientAuthorityIsWithdrawn(t *testing.T) {
	ca, clients, others := newAuthority(t, "ca"), newAuthority(t, "clients"), newAuthority(t, "others")
	dir := t.TempDir()
	o := edgeOptions()
	o.TLS.CertFile, o.TLS.KeyFile = ca.issue(t, "door.test", good()).write(t, dir)
	o.TLS.ClientAuth, o.TLS.ClientCAFile = ClientAuthRequire, dir+"/clients.pem"
	writeFile(t, o.TLS.ClientCAFile, clients.pem)
	e := startEdge(t, o, http.HandlerFunc(echo), nil)
	config := ca.trust(t, clients.issue(t, "site", good()))
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	ask := func() error {
		tr := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		resp, err := (&http.Client{Transport: tr, Timeout: time.Minute}).Get(e.URL())
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	writeFile(t, o.TLS.ClientCAFile, others.pem)
	e.certs.look()
	if err := ask(); err == nil {
		t.Error("a client of an authority that was withdrawn is admitted")
	}
}

func TestConnectionCaps(t *testing.T) {
	o := edgeOptions()
	o.Clients.Connections, o.Clients.ConnectionsPerAddress = 3, 2
	trusted := atomic.Bool{}
	e := startEdge(t, o, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "begun") }),
		func(a netip.Addr) bool { return trusted.Load() && a == netip.MustParseAddr("127.0.0.1") })
	addr := e.Addr().String()
	admitted := func() (net.Conn, bool) {
		c, err := net.Dial("tcp", addr)
		if errors.Is(err, syscall.ECONNRESET) {
			return nil, false // reset before the dialer looked
		} else if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err = bufio.NewReader(c).ReadByte()
		return c, err == nil
	}
	first, ok := admitted()
	if !ok {
		t.Fatal("the first is refused")
	}
	if _, ok := admitted(); !ok {
		t.Fatal("the second is refused")
	}
	if _, ok := admitted(); ok {
		t.Error("one address has three connections, of two")
	}
	trusted.Store(true)
	if _, ok := admitted(); !ok {
		t.Error("a trusted proxy is counted")
	}
	if _, ok := admitted(); ok {
		t.Error("a fourth connection, of three in all")
	}
	if total, per := e.metric(t, "postroad_listener_connections_refused_total", "total"), e.metric(t, "postroad_listener_connections_refused_total", "address"); total != 1 || per != 1 {
		t.Errorf("refused %v and %v", total, per)
	}
	first.Close()
	waitUntil(t, func() bool { return e.Connections() == 2 })
	if _, ok := admitted(); !ok {
		t.Error("a place that was given back is not given away again")
	}
	o.Clients.Connections = 0
	if err := e.Reload(o); err != nil {
		t.Fatal(err)
	}
	if _, ok := admitted(); !ok {
		t.Error("a limit that was taken away holds")
	}
}

// Addresses of one network of 64 bits are one client.
func TestNetworkOfAnAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "2001:db8::1": "2001:db8::", "2001:db8:0:1:ffff::2": "2001:db8:0:1::",
	} {
		if got := network(netip.MustParseAddr(addr)); got != netip.MustParseAddr(want) {
			t.Errorf("%s counts as %s, want %s", addr, got, want)
		}
	}
	if got := clientOf(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7"), Port: 1}); got != netip.MustParseAddr("192.0.2.7") {
		t.Errorf("a mapped address is %s", got)
	}
	if clientOf(&net.UnixAddr{}).IsValid() {
		t.Error("a socket's path has an address")
	}
}

func TestEdgeOptionsNameAllProblems(t *testing.T) {
	o := DefaultEdgeOptions()
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	o.Listen = "nowhere"
	o.TLS = TLSOptions{CertFile: "c", Certificates: []Certificate{{CertFile: "x"}}, ClientAuth: ClientAuthRequire, MinVersion: "1.1"}
	o.Clients = ClientLimits{Connections: -1, BodyTimeout: time.Millisecond, WriteTimeout: 2 * time.Hour}
	want := []string{
		`listen: "nowhere": must be host:port`,
		`tls.check_interval: 0s: must be between 10ms and 1h0m0s`,
		`tls.key_file: "": must be given together with cert_file`,
		`tls.certificates[0]: must have both cert_file and key_file`,
		`tls.client_ca_file: empty: must be given where client_auth is require`,
		`tls.min_version: "1.1": must be 1.2 or 1.3`,
		`clients.connections: -1: must be between 0 and 4194304`,
		`clients.streams: 0: must be between 1 and 10000`,
		`clients.body_timeout: 1ms: must be between 50ms and 1h0m0s`,
		`clients.write_timeout: 2h0m0s: must be between 50ms and 1h0m0s`,
	}
	err := o.Validate()
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v\nwant\n%s", err, strings.Join(want, "\n"))
	}
	for _, row := range []struct {
		auth, ca, cert, want string
	}{
		{ClientAuthNone, "ca", "c", "tls.client_auth: none: must be request or require"},
		{"maybe", "", "c", `tls.client_auth: "maybe": must be none, request or require`},
		{ClientAuthRequire, "ca", "", "tls.client_auth: require: must be none without a certificate"},
	} {
		o := DefaultEdgeOptions()
		o.TLS.ClientAuth, o.TLS.ClientCAFile, o.TLS.CertFile, o.TLS.KeyFile = row.auth, row.ca, row.cert, row.cert
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), row.want) {
			t.Errorf("%+v: %v", row, err)
		}
	}
}

package relay

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/drill"
	"postroad/internal/kafka"
	"postroad/test/binary"
)

var built binary.Built

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// patience is how long anything may take that the stamps do by themselves.
const patience = 60 * time.Second

const (
	topic = "relayed"
	token = "token-of-the-site-0123456789abcdef"
)

// road is the way from the site to the other stamp's gateway: TLS ends in it, as
// it does in what stands before a gateway, and connections are cut in it.
type road struct {
	*httptest.Server
	to    atomic.Pointer[url.URL]
	cuts  atomic.Bool
	mu    sync.Mutex
	rng   *rand.Rand // guarded by mu
	seen  map[string]int
	http2 atomic.Int64
}

func newRoad(t *testing.T, seed uint64) *road {
	r := &road{rng: rand.New(rand.NewPCG(seed, 1)), seen: map[string]int{}}
	pass := &httputil.ReverseProxy{
		Rewrite:      func(p *httputil.ProxyRequest) { p.SetURL(r.to.Load()) },
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.ProtoMajor == 2 {
			r.http2.Add(1)
		}
		fate := r.roll()
		if fate == 0 {
			panic(http.ErrAbortHandler) // before it gets there
		}
		if fate == 1 { // it gets there, and the answer does not come back
			pass.ServeHTTP(&lost{header: http.Header{}}, req)
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, req)
	}))
	r.EnableHTTP2 = true
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

func (r *road) roll() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.cuts.Load() {
		return -1
	}
	return r.rng.IntN(12)
}

// lost is where an answer goes that is lost.
type lost struct{ header http.Header }

func (l *lost) Header() http.Header         { return l.header }
func (l *lost) Write(b []byte) (int, error) { return len(b), nil }
func (l *lost) WriteHeader(int)             {}

// caFile holds the certificate of the road's end.
func (r *road) caFile(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "ca.pem")
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw})
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// connector is an HTTP proxy that takes CONNECT from who has a password.
func connector(t *testing.T, count *atomic.Int64) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		if r.Method != http.MethodConnect || user != "site" || password != "secret" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		var d net.Dialer
		out, err := d.DialContext(r.Context(), "tcp", r.Host)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer out.Close()
		count.Add(1)
		w.WriteHeader(http.StatusOK)
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer in.Close()
		var both sync.WaitGroup
		for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
			both.Go(func() {
				_, _ = io.Copy(way[1], way[0]) // the end of either is the end
				_ = in.Close()
				_ = out.Close()
			})
		}
		both.Wait()
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// stand is a hub and two stamps.
type stand struct {
	t      *testing.T
	dir    string
	binary drill.Binary
	road   *road
	hub    *drill.Process
	centre *drill.Process
	site   *drill.Process
}

func (s *stand) file(name, text string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

func (s *stand) start(args ...string) *drill.Process {
	s.t.Helper()
	p, err := s.binary.Start(s.t.Context(), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		select {
		case <-p.Ended():
		default:
			if err := p.Kill(); err != nil {
				s.t.Error(err)
			}
		}
	})
	return p
}

const common = `
http: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
`

func (s *stand) startCentre() {
	s.t.Helper()
	s.centre = s.start("stamp", "--config", s.file("centre.yaml", common+fmt.Sprintf(`
stamp: {name: centre}
queue: {dir: %q, unsafe_file_system: true}
hub: {brokers: [%q]}
gateway: {relay: {stamps: ["site=%s"]}}
`, filepath.Join(s.dir, "centre"), s.hub.Addresses.Hub, filepath.Join(s.dir, "token"))))
	to, err := url.Parse(s.centre.Addresses.Gateways["centre"])
	if err != nil {
		s.t.Fatal(err)
	}
	s.road.to.Store(to)
}

func (s *stand) startSite(proxy string) {
	s.t.Helper()
	s.site = s.start("stamp", "--config", s.file("site.yaml", common+fmt.Sprintf(`
stamp: {name: site}
queue: {dir: %q, unsafe_file_system: true}
hub:
  dialect: postroad
  relay: {url: %q, token_file: %q}
  tls: {ca_file: %q}
  proxy: %q
  proxy_credentials_file: %q
`, filepath.Join(s.dir, "site"), s.road.URL, filepath.Join(s.dir, "token"), s.road.caFile(s.t, s.dir), proxy, s.file("proxy", "site:secret\n"))))
}

// post sends a value to the site and reports whether it was acknowledged.
func (s *stand) post(ctx context.Context, client *http.Client, key, value string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost,
		s.site.Addresses.Gateways["site"]+"/v1/topics/"+topic+"/messages?key="+key, strings.NewReader(value))
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, resp.Body) // for the connection's sake
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusAccepted
}

// reader is what a reader of the hub is shown.
type reader struct {
	mu    sync.Mutex
	order []kafka.Record // guarded by mu
}

func (r *reader) all() []kafka.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]kafka.Record(nil), r.order...)
}

func (s *stand) read(ctx context.Context) *reader {
	s.t.Helper()
	o := kafka.DefaultOptions()
	o.Brokers = []string{s.hub.Addresses.Hub}
	from, err := kafka.NewReader(o, kafka.Deps{})
	if err != nil {
		s.t.Fatal(err)
	}
	r := &reader{}
	var done sync.WaitGroup
	done.Go(func() {
		err := from.Follow(ctx, kafka.FollowOptions{Topic: topic}, func(rec kafka.Record) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.order = append(r.order, rec)
			return nil
		})
		if err != nil && !errors.Is(err, context.Canceled) {
			s.t.Errorf("read the hub: %v", err)
		}
	})
	s.t.Cleanup(done.Wait)
	return r
}

// Two stamps as they are shipped: what is acknowledged at the site is shown once
// to a reader of the hub that the site cannot reach, in the order of each key,
// while connections are cut and both stamps are killed.
func TestRelayOverTLS(t *testing.T) {
	seed := binary.Seed(t)
	s := &stand{t: t, dir: t.TempDir(), road: newRoad(t, seed)}
	s.binary = drill.Binary{Path: built.Path(t), Dir: s.dir, Plain: true}
	s.file("token", token+"\n")
	s.hub = s.start("hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(s.dir, "hub"), "--partitions", "3")
	var connects atomic.Int64
	proxy := connector(t, &connects)
	s.startCentre()
	s.startSite(proxy)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	shown := s.read(ctx)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	rng := rand.New(rand.NewPCG(seed, 2))
	acked := map[string]bool{}
	s.road.cuts.Store(true)
	for n := range 900 {
		value := fmt.Sprintf("%d", n)
		acked[value] = s.post(ctx, client, fmt.Sprintf("key-%d", rng.IntN(5)), value)
		switch n {
		case 200, 500:
			s.kill(s.site)
			s.startSite(proxy)
		case 350, 700:
			s.kill(s.centre)
			s.startCentre()
		}
	}
	s.road.cuts.Store(false)
	s.judge(ctx, shown, acked)
	if connects.Load() == 0 || s.road.http2.Load() == 0 {
		t.Errorf("%d connections through the proxy, %d requests by HTTP/2", connects.Load(), s.road.http2.Load())
	}
	s.status(ctx)
	cancel()
}

func (s *stand) kill(p *drill.Process) {
	s.t.Helper()
	if err := p.Kill(); err != nil {
		s.t.Fatal(err)
	}
}

// judge waits until all has come and compares.
func (s *stand) judge(ctx context.Context, shown *reader, acked map[string]bool) {
	s.t.Helper()
	err := drill.Until(ctx, patience, "all is shown", func() (bool, error) {
		there := map[string]bool{}
		for _, r := range shown.all() {
			there[string(r.Value)] = true
		}
		for value, ok := range acked {
			if ok && !there[value] {
				return false, nil
			}
		}
		return true, nil
	})
	if err != nil {
		s.t.Fatalf("%v; the site's log ends:\n%s\nthe centre's:\n%s", err, s.site.LogTail(), s.centre.LogTail())
	}
	seen, last := map[string]bool{}, map[string]int{}
	n := 0
	for _, r := range shown.all() {
		value := string(r.Value)
		if seen[value] {
			s.t.Errorf("%q is shown twice", value)
		}
		seen[value] = true
		number := 0
		if _, err := fmt.Sscan(value, &number); err != nil {
			s.t.Fatal(err)
		}
		if r.Stamp != "site" {
			s.t.Errorf("%q is of stamp %q", value, r.Stamp)
		}
		of := string(r.Key) + " " + r.Lane
		if before, ok := last[of]; ok && number < before {
			s.t.Errorf("%q of %s is shown after %d", value, of, before)
		}
		last[of] = number
		n++
	}
	s.t.Logf("%d of %d acknowledged and %d shown", count(acked), len(acked), n)
}

func count(acked map[string]bool) (n int) {
	for _, ok := range acked {
		if ok {
			n++
		}
	}
	return n
}

// status names the other stamp as the hub, and holds no token.
func (s *stand) status(ctx context.Context) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.site.Addresses.Admin+"/admin/v1/status", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	for _, part := range []string{`"dialect":"postroad"`, `"name":"centre"`, s.road.URL} {
		if !strings.Contains(string(b), part) {
			s.t.Errorf("the status lacks %s: %s", part, b)
		}
	}
	if strings.Contains(string(b)+s.site.LogTail()+s.centre.LogTail(), token) {
		s.t.Error("the token is told")
	}
}

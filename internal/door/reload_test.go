package door

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestReload: other origins take over, what is known of one that stays is kept,
// and options that are wrong change nothing.
func TestReload(t *testing.T) {
	a, b, c := newStamp(t, "a", nil), newStamp(t, "b", nil), newStamp(t, "c", nil)
	o := testOptions(origins(a.URL, b.URL)...)
	f := open(t, o, Deps{})
	answers := func(want string) {
		t.Helper()
		if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != want {
			t.Errorf("%q answered, want %s; %+v", res.header.Get("Stamp"), want, f.Status().Groups)
		}
	}
	answers("a")
	g := f.state.Load().groups[gatewaysGroup].policy
	if err := g.Hold("a", true); err != nil {
		t.Fatal(err)
	}
	answers("b")

	for name, bad := range map[string]func(*Options){
		"no origins": func(o *Options) { o.Origins = nil },
		"a file not there": func(o *Options) {
			o.Origins[0].URL = "https://127.0.0.1:1"
			o.Origins[0].TLS.CAFile = "/nowhere/ca.pem"
		},
		"an unknown group": func(o *Options) { o.Routes = []Route{{Group: "nowhere"}} },
		"a bad network":    func(o *Options) { o.TrustedProxies = []string{"10.0.0.1/8"} },
		"a bad affinity":   func(o *Options) { o.Affinity = "mood" },
		"a secret header":  func(o *Options) { o.TrustedHeader = TrustedHeader{Values: []string{"hush"}} },
	} {
		wrong := testOptions(origins(c.URL, b.URL)...)
		bad(&wrong)
		err := f.Reload(wrong)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error shows a secret: %v", name, err)
		}
		answers("b")
	}
	if s := f.Status(); s.Reloads != 0 || len(s.Groups[0].Origins) != 2 {
		t.Errorf("after options that were refused: %+v", s)
	}

	next := testOptions(origins(a.URL, b.URL, c.URL)...)
	next.Origins[1].Disabled = true
	if err := f.Reload(next); err != nil {
		t.Fatal(err)
	}
	if s := f.origin(gatewaysGroup, "a").State; s != "held" {
		t.Errorf("a is %s after the reload, an operator held it", s)
	}
	f.probing(t) // a new origin gets requests once its probes pass
	eventually(t, "c usable", func() bool { return f.origin(gatewaysGroup, "c").Usable })
	answers("c")
	if err := g.Release("a"); err != nil {
		t.Fatal(err)
	}
	answers("a")
	if s := f.Status(); s.Reloads != 1 || f.events.newest(10)[1].Kind == "" {
		t.Errorf("reloads: %d", s.Reloads)
	}

	// Another address under the same name, and another kind of carrying.
	moved := next
	moved.Origins = origins(b.URL)
	moved.Carry.MaxIdle = 7
	if err := f.Reload(moved); err != nil {
		t.Fatal(err)
	}
	answers("b")
	if n := len(f.runners); n != 2 { // one prober, one carrier
		t.Errorf("%d runners after origins went", n)
	}
}

// TestReloadReadsFilesOnce: a file that is replaced while a reload goes on cannot
// have it fail half-way, for no part of it is read twice. The file is a pipe that
// gives its certificate to the first who reads; whoever reads again waits.
func TestReloadReadsFilesOnce(t *testing.T) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	secure := httptest.NewTLSServer(a)
	defer secure.Close()
	pipe := filepath.Join(t.TempDir(), "ca.pem")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	write := func(content []byte) {
		w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for one that reads
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = w.Write(content)
		_ = w.Close()
	}
	f := open(t, testOptions(origins(b.URL)...), Deps{})
	next := testOptions(origins(secure.URL)...)
	next.Origins[0].TLS.CAFile = pipe
	go write(ca)
	reloaded := make(chan error, 1)
	go func() { reloaded <- f.Reload(next) }()
	select {
	case err := <-reloaded:
		if err != nil {
			t.Errorf("refused: %v", err)
		}
	case <-time.After(20 * time.Second):
		write([]byte("something else"))
		t.Fatalf("the file was read again, and Reload says: %v", <-reloaded)
	}
	if res := ask(t, "POST", f.url, strings.NewReader("x")); res.header.Get("Stamp") != "a" {
		t.Errorf("%q answered, %d", res.header.Get("Stamp"), res.status)
	}
}

// TestReloadUnderLoad: a hundred reloads, and every request is answered by an
// origin, once.
func TestReloadUnderLoad(t *testing.T) {
	var executed atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		executed.Add(1)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	a, b, s := newStamp(t, "a", handler), newStamp(t, "b", handler), sockets(t, "s")
	list := origins(a.URL, b.URL)
	list[0].Stream = s.URL
	f := open(t, testOptions(list...), Deps{Registerer: prometheus.NewRegistry()})
	f.probing(t)
	_, stream, conn := socket(t, f.url)
	tr := &http.Transport{MaxIdleConnsPerHost: 8}
	defer tr.CloseIdleConnections()
	stop := make(chan struct{})
	var sent, dropped atomic.Int64
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				want := fmt.Sprintf("%d-%d", w, i)
				res, err := tr.RoundTrip(newPost(t, f.url+"/v1/topics/t/messages", want))
				if err != nil {
					dropped.Add(1)
					continue
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if err != nil || res.StatusCode != 200 || string(got) != want {
					dropped.Add(1)
					t.Errorf("answer %d %q, %v", res.StatusCode, got, err)
				}
				sent.Add(1)
			}
		})
	}
	for i := range 100 {
		o := testOptions(list...)
		o.Carry.MaxIdle = 16 + i%3 // a new carrier two times of three
		o.Origins = append([]Origin(nil), list...)
		o.Origins[i%2].Priority = 3
		if err := f.Reload(o); err != nil {
			t.Fatal(err)
		}
		before := sent.Load()
		eventually(t, "a request after the reload", func() bool { return sent.Load() > before })
	}
	close(stop)
	wg.Wait()
	if dropped.Load() != 0 || executed.Load() != sent.Load() || sent.Load() < 100 {
		t.Errorf("%d requests, %d executed, %d failed", sent.Load(), executed.Load(), dropped.Load())
	}
	_, _ = io.WriteString(conn, "still here\n")
	if line, err := stream.ReadString('\n'); err != nil || line != "still here\n" {
		t.Errorf("a stream after a hundred reloads: %q, %v", line, err)
	}
	if s := f.Status(); s.Reloads != 100 {
		t.Errorf("%d reloads counted", s.Reloads)
	}
}

// TestCloseEndsEverything: goleak finds what is left.
func TestCloseEndsEverything(t *testing.T) {
	a := newStamp(t, "a", nil)
	reg := prometheus.NewRegistry()
	d, err := New(testOptions(origins(a.URL)...), Deps{Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(testOptions(origins(a.URL)...), Deps{Registerer: reg}); err == nil {
		t.Error("two doors share their metrics")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := d.Run(ctx); err != nil {
		t.Error(err)
	}
	d.Close()
	d.Close() // again is nothing
}

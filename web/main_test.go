package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/drill"
	"postroad/internal/vehicles"
	"postroad/test/binary"
	"postroad/test/browser"
)

var (
	built binary.Built
	shots = flag.String("shots", "", "directory that TestPageAtTheDoor/pictures writes pictures to")
)

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

// rig is everything in one process, further stream nodes of their own, and the
// vehicles, which this test drives.
type rig struct {
	t      *testing.T
	binary drill.Binary
	config string
	count  int // of vehicles
	dev    *drill.Process
	nodes  map[string]*drill.Process // by host:port; those that run
	told   *recorder
	stop   func() // ends the vehicles
}

func newRig(t *testing.T, count int) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, count: count, binary: drill.Binary{Path: built.Path(t), Dir: dir, Plain: true}, nodes: map[string]*drill.Process{}}
	r.start(t, drill.DevArgs(filepath.Join(dir, "data"))...)
	t.Cleanup(func() {
		if err := r.dev.Stop(); err != nil {
			t.Error(err)
		}
	})
	r.config = filepath.Join(dir, "stream.yaml")
	if err := drill.StreamConfig(r.config, r.dev.Addresses.Hub, []string{r.dev.Addresses.Gateways["onprem"]}, []string{`origins: ["*"]`}, "vehicles"); err != nil {
		t.Fatal(err)
	}
	r.drive(count)
	return r
}

// start starts everything in one process.
func (r *rig) start(t *testing.T, args ...string) {
	t.Helper()
	var err error
	if r.dev, err = r.binary.Start(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// restart kills everything and starts it on the same data and addresses.
func (r *rig) restart(t *testing.T) {
	t.Helper()
	if err := r.dev.Kill(); err != nil {
		t.Fatal(err)
	}
	a := r.dev.Addresses
	r.start(t, "dev", "--data", filepath.Join(r.binary.Dir, "data"), "--vehicles", "0", "--hub", a.Hub,
		"--door", hostOf(t, a.Door), "--admin", hostOf(t, a.Admin),
		"--onprem", hostOf(t, a.Gateways["onprem"]), "--cloud", hostOf(t, a.Gateways["cloud"]),
		"--stream-onprem", hostOf(t, a.Streams["onprem"]), "--stream-cloud", hostOf(t, a.Streams["cloud"]))
}

// node starts a stream node of its own and returns its host:port.
func (r *rig) node() string {
	r.t.Helper()
	p, err := r.binary.Start(r.t.Context(), "stream", "--config", r.config)
	if err != nil {
		r.t.Fatal(err)
	}
	address, err := p.Addresses.StreamHost()
	if err != nil {
		r.t.Fatal(err)
	}
	r.nodes[address] = p
	r.t.Cleanup(func() {
		if r.nodes[address] == nil {
			return
		}
		if err := p.Stop(); err != nil {
			r.t.Error(err)
		}
	})
	return address
}

// kill kills a node, which says nothing to anybody.
func (r *rig) kill(address string) {
	r.t.Helper()
	if err := r.nodes[address].Kill(); err != nil {
		r.t.Fatal(err)
	}
	r.nodes[address] = nil
}

// drive starts the vehicles.
func (r *rig) drive(count int) {
	r.t.Helper()
	r.told = &recorder{last: map[string]int64{}}
	o := vehicles.DefaultOptions()
	o.Count = count
	s, err := vehicles.New(o, vehicles.Deps{URL: r.dev.Addresses.Door, Client: &http.Client{Transport: r.told}})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			r.t.Errorf("vehicles: %v", err)
		}
		r.told.transport.CloseIdleConnections()
	})
	r.t.Cleanup(r.stop)
}

// recorder is the ledger: the last position of each vehicle that was accepted.
type recorder struct {
	transport http.Transport
	mu        sync.Mutex
	last      map[string]int64 // when it was told, by id; guarded by mu
	accepted  int              // guarded by mu
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = io.NopCloser(bytes.NewReader(body))
	res, err := r.transport.RoundTrip(req)
	if err != nil || res.StatusCode != http.StatusAccepted {
		return res, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for line := range strings.Lines(string(body)) {
		var m struct{ Value vehicles.Position }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return nil, err
		}
		r.last[m.Value.ID] = m.Value.At
		r.accepted++
	}
	return res, nil
}

func (r *recorder) seen() (last map[string]int64, accepted int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	last = make(map[string]int64, len(r.last))
	for id, at := range r.last {
		last[id] = at
	}
	return last, r.accepted
}

// open opens the page and waits until it shows all vehicles.
func (r *rig) open(t *testing.T, page string, v browser.View) *browser.Tab {
	t.Helper()
	b := browser.Open(t, page, v)
	last, _ := r.told.seen()
	b.Until(`document.getElementById("state").dataset.state === "up"`)
	b.Until(fmt.Sprintf(`Number(document.getElementById("vehicles").textContent) >= %d`, len(last)))
	b.Until(`document.getElementById("partitions").textContent === "8"`)
	return b
}

// shows waits until the page has the last position of every vehicle.
func (r *rig) shows(t *testing.T, b *browser.Tab) {
	t.Helper()
	last, _ := r.told.seen()
	want, err := json.Marshal(last)
	if err != nil {
		t.Fatal(err)
	}
	b.Do(evaluate(`document.getElementById("all").open = true`))
	b.Until(fmt.Sprintf(`Object.entries(%s).every(([id, at]) => Number(document.getElementById("row-" + id)?.dataset.at) >= at)`, want))
}

// sane checks that nothing was complained of but the connections that were lost,
// and nobody asked but the hosts given.
func sane(t *testing.T, b *browser.Tab, lost []string, hosts ...string) {
	t.Helper()
	for _, c := range b.Complaints() {
		excused := false
		for _, host := range lost {
			excused = excused || strings.Contains(c, "WebSocket connection to 'ws://"+host)
		}
		if !excused {
			t.Errorf("the page complains: %s", c)
		}
	}
	for _, host := range b.Hosts() {
		known := false
		for _, h := range hosts {
			known = known || h == host
		}
		if !known {
			t.Errorf("the page asked a foreign host: %q", host)
		}
	}
}

func hostOf(t *testing.T, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	if err := drill.Until(t.Context(), 30*time.Second, what, func() (bool, error) { return cond(), nil }); err != nil {
		t.Fatal(err)
	}
}

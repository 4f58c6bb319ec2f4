package carry

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"postroad/internal/door/doortest"
)

// TestFaultOf: what the other end says is told from what nobody says, and from
// what this machine has none left of.
func TestFaultOf(t *testing.T) {
	call := func(name string, err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError(name, err)}
	}
	for _, c := range []struct {
		err  error
		want dialFault
	}{
		{call("connect", syscall.ECONNREFUSED), denied},
		{call("connect", syscall.ECONNRESET), denied},
		{call("connect", syscall.EHOSTUNREACH), denied},
		{call("connect", syscall.ENETUNREACH), denied},
		{fmt.Errorf("tls with x: %w", io.EOF), denied},
		{fmt.Errorf("tls with x: %w", x509.UnknownAuthorityError{}), denied},
		{call("connect", syscall.ETIMEDOUT), late},
		{call("connect", os.ErrDeadlineExceeded), late},
		{fmt.Errorf("tls with x: %w", context.DeadlineExceeded), late},
		{&net.DNSError{Err: "no such host", Name: "stamp", IsNotFound: true}, late},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "stamp", IsTemporary: true}}, late},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "i/o timeout", Name: "stamp", IsTimeout: true}}, late},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Err: "dial udp 127.0.0.1:53: socket: too many open files", Name: "stamp"}}, lacking},
		{call("connect", syscall.EADDRNOTAVAIL), lacking},
		{call("bind", syscall.EADDRINUSE), lacking},
		{call("socket", syscall.EMFILE), lacking},
		{call("socket", syscall.ENFILE), lacking},
		{call("socket", syscall.ENOBUFS), lacking},
		{call("socket", syscall.ENOMEM), lacking},
		{errors.Join(call("bind", syscall.EADDRNOTAVAIL), call("bind", syscall.EADDRNOTAVAIL)), lacking},
	} {
		if got := faultOf(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

// TestLacking: what this machine has none left of says nothing about an origin.
// Requests go to one that can be reached, and the log is not flooded.
func TestLacking(t *testing.T) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	log := &safeBuffer{}
	elsewhere := []string{"240.0.0.1", "240.0.0.2"} // nobody's
	r := newRig(t, rigging{
		deps:    Deps{Log: slog.New(slog.NewTextHandler(log, nil))},
		targets: func(targets []Target) { targets[0].SourceAddresses = elsewhere },
	}, a.URL, b.URL)
	for _, size := range []int{10, 200 << 10} { // over a line, and over the transport
		for range 5 {
			if got := r.post(t, strings.Repeat("x", size)); got.status != 200 || got.header.Get(OriginHeader) != "b" {
				t.Fatalf("answer %v", got)
			}
		}
	}
	s := r.group.Status().Origins[0]
	if !s.Healthy || s.Failed != 0 || s.Abandoned != 10 {
		t.Errorf("charged to the origin: %+v", s)
	}
	if n := r.Stats().Lacking; n != 10 {
		t.Errorf("%d connections are counted", n)
	}
	if n := strings.Count(log.String(), "nothing left to open connections with"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	res, err := r.Probe("a", r.Addresses("a")[0], httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
	if err == nil {
		_ = res.Body.Close()
	}
	if !Lacking(err) {
		t.Errorf("the probe: %v", err)
	}
}

// TestOneSourceLeft: where one source has no port left the next one has the word.
func TestOneSourceLeft(t *testing.T) {
	for url, healthy := range map[string]bool{newStamp(t, "a", nil).URL: true, doortest.DeadURL(t): false} {
		r := newRig(t, rigging{targets: func(targets []Target) {
			targets[0].SourceAddresses = []string{"240.0.0.1", "127.0.0.1"}
		}}, url, newStamp(t, "b", nil).URL)
		for range 2 {
			if got := r.post(t, "x"); got.status != 200 || (got.header.Get(OriginHeader) == "a") != healthy {
				t.Errorf("answer %v", got)
			}
			r.target("a").close()
		}
		if r.group.Origins()[0].Healthy() != healthy || r.Stats().Lacking != 0 {
			t.Errorf("healthy is not %v, stats %+v", healthy, r.Stats())
		}
	}
}

// TestHandshakeOfOneAddress: an address that takes connections and no handshake, as
// one whose process is stopped or starting does, costs neither a request nor the
// health of the origin, and is tried last from then on.
func TestHandshakeOfOneAddress(t *testing.T) {
	var mu sync.Mutex
	taken := 0
	broken := doortest.RawOrigin(t, func(net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		taken++
	})
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(s.Close)
	r := newRig(t, rigging{targets: func(targets []Target) {
		targets[0].URLs = []string{strings.Replace(broken, "http:", "https:", 1), s.URL}
		targets[0].TLS.CAFile = caFile(t, s)
	}}, s.URL)
	for range 8 {
		if got := r.post(t, "x"); got.status != 200 {
			t.Fatalf("answer %v", got)
		}
		r.target("a").close()
	}
	if !r.group.Origins()[0].Healthy() {
		t.Error("one address takes the origin out")
	}
	mu.Lock()
	defer mu.Unlock()
	if taken != 1 {
		t.Errorf("it got %d connections, want 1: it is known then", taken)
	}
}

// TestProbedAddress: an address that fails its probe is tried last, though it takes
// connections, and loses the unused ones, until a probe passes.
func TestProbedAddress(t *testing.T) {
	one, two := newStamp(t, "one", nil), newStamp(t, "two", nil)
	r := newRig(t, rigging{targets: func(targets []Target) { targets[0].URLs = []string{one.URL, two.URL} }}, one.URL)
	tgt := r.target("a")
	address := strings.TrimPrefix(one.URL, "http://")
	open := func(want ...string) {
		t.Helper()
		for _, w := range want {
			l, err := tgt.lines.dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			tgt.lines.put(l)
			if l.wire.address != strings.TrimPrefix(w, "http://") {
				t.Errorf("connected to %s, want %s", l.wire.address, w)
			}
		}
	}
	open(one.URL, two.URL, one.URL, two.URL)
	r.Probed("a", address, false)
	for _, l := range tgt.lines.idle {
		if l.wire.address == address {
			t.Error("an unused connection to it is kept")
		}
	}
	if len(tgt.lines.idle) != 2 {
		t.Errorf("%d connections are kept, want the 2 to the other one", len(tgt.lines.idle))
	}
	open(two.URL, two.URL, two.URL)
	tgt.judge(address, true) // it takes connections all the time
	open(two.URL, two.URL)
	r.Probed("a", strings.TrimPrefix(two.URL, "http://"), false)
	turns := map[string]bool{}
	for range 2 {
		turns[tgt.turn()[0]] = true
	}
	if len(turns) != 2 {
		t.Errorf("where all are bad only %v is tried", turns)
	}
	r.Probed("a", address, true)
	open(one.URL, one.URL)
	r.Probed("a", "192.0.2.1:1", false) // was resolved a moment ago
	if _, there := tgt.bad["192.0.2.1:1"]; there {
		t.Error("an address that is gone is remembered")
	}
	r.Probed("z", address, false)
}

// TestProbeGoesToOneAddress: it says which.
func TestProbeGoesToOneAddress(t *testing.T) {
	one, two := newStamp(t, "one", nil), newStamp(t, "two", nil)
	r := newRig(t, rigging{targets: func(targets []Target) { targets[0].URLs = []string{one.URL, two.URL} }}, one.URL)
	list := r.Addresses("a")
	if want := []string{strings.TrimPrefix(one.URL, "http://"), strings.TrimPrefix(two.URL, "http://")}; !slices.Equal(list, want) || r.Addresses("z") != nil {
		t.Fatalf("addresses %v", list)
	}
	for range 3 {
		res, err := r.Probe("a", list[1], httptest.NewRequestWithContext(t.Context(), "GET", "/healthz", nil))
		if err != nil || res.Header.Get("Stamp") != "two" || res.Body.Close() != nil {
			t.Errorf("probe: %v", err)
		}
	}
	if one.asked.Load() != 0 {
		t.Error("another address was asked")
	}
}

// TestSurplusLeavesNoPort: connections beyond max_idle are closed so that their
// ports are free at once, which the other end sees as a reset.
func TestSurplusLeavesNoPort(t *testing.T) {
	ends := make(chan error, 3)
	url := doortest.RawOrigin(t, func(c net.Conn) {
		_, err := io.Copy(io.Discard, c)
		ends <- err
	})
	o := testOptions()
	o.MaxIdle = 1
	r := newRig(t, rigging{carry: o}, url)
	ls := r.target("a").lines
	var open []*line
	for range 3 {
		l, err := ls.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, l)
	}
	for _, l := range open {
		ls.put(l)
	}
	for range 2 {
		if err := <-ends; !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the connection ended with %v", err)
		}
	}
	r.target("a").close()
	if err := <-ends; err != nil {
		t.Errorf("one that was kept ended with %v", err)
	}
}

// TestOldConnectionsEnd: after a change of addresses or files no request goes over
// a connection from before, not even over one that was in use then.
func TestOldConnectionsEnd(t *testing.T) {
	for _, size := range []int{10, 200 << 10} { // over a line, and over the transport
		release := make(chan struct{})
		var mu sync.Mutex
		var from []string // of each request
		a := newStamp(t, "a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			from = append(from, r.RemoteAddr)
			first := len(from) == 1
			mu.Unlock()
			if first {
				<-release
			}
		}))
		r := newRig(t, rigging{}, a.URL)
		post := func() {
			if got := r.post(t, strings.Repeat("x", size)); got.status != 200 {
				t.Errorf("answer %v", got)
			}
		}
		var wg sync.WaitGroup
		wg.Go(post)
		eventually(t, "the first request arrives", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(from) == 1
		})
		r.target("a").close()
		post() // has the transport keep connections again
		close(release)
		wg.Wait()
		for range 3 {
			post()
		}
		mu.Lock()
		if slices.Contains(from[1:], from[0]) {
			t.Errorf("%d bytes: requests came from %v: the first connection was used again", size, from)
		}
		mu.Unlock()
	}
}

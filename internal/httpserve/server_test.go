package httpserve

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func testOptions() Options {
	o := DefaultOptions()
	o.ShutdownTimeout = 10 * time.Second
	return o
}

func newServer(t *testing.T, o Options, h http.Handler) (*Server, *logBuffer) {
	t.Helper()
	log, buf := newLog()
	s, err := New(o, h, Deps{Log: log, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return s, buf
}

// client makes requests that leave no idle connection behind.
func client(t *testing.T, protocols *http.Protocols) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: protocols}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestServesBothProtocols(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto)
	}))
	r := start(t, s.Run)
	h2 := new(http.Protocols)
	h2.SetUnencryptedHTTP2(true)
	for want, p := range map[string]*http.Protocols{"HTTP/1.1": nil, "HTTP/2.0": h2} {
		if _, body := get(t, client(t, p), s.URL()); body != want {
			t.Errorf("served %s, want %s", body, want)
		}
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestAddressTaken(t *testing.T) {
	first, _ := newServer(t, testOptions(), http.NotFoundHandler())
	defer first.Close()
	o := testOptions()
	o.Listen = first.Addr().String()
	_, err := New(o, http.NotFoundHandler(), Deps{})
	var le *ListenError
	if !errors.As(err, &le) || !le.Taken() {
		t.Fatalf("error %v, want a ListenError of an address that is taken", err)
	}
	want := "listen on " + o.Listen + ": the address is taken, another process listens there already"
	if err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}

func TestListenOnForeignAddress(t *testing.T) {
	o := testOptions()
	o.Listen = "192.0.2.1:0" // TEST-NET-1: no machine has it
	_, err := New(o, http.NotFoundHandler(), Deps{})
	if err == nil || !strings.Contains(err.Error(), "listen on 192.0.2.1:0: this machine does not have that address") {
		t.Errorf("error: %v", err)
	}
}

func TestCloseGivesUpTheAddress(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.NotFoundHandler())
	addr := s.Addr().String()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the address is still taken: %v", err)
	}
	l.Close()
}

// A request in flight when the server is told to stop is answered in full,
// while new connections are refused.
func TestDrainFinishesInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, _ := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-Draining(r.Context())
		<-release
		_, _ = io.WriteString(w, "whole")
	}))
	r := start(t, s.Run)
	answer := make(chan string, 1)
	c := client(t, nil)
	go func() {
		resp, err := c.Get(s.URL())
		if err != nil {
			answer <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		answer <- string(b)
	}()
	<-entered
	if !s.Accepting() {
		t.Error("said to accept nothing, though it does")
	}
	r.cancel()
	waitUntil(t, func() bool { return refused(s.Addr().String()) })
	if s.Accepting() {
		t.Error("said to accept, though it does not")
	}
	close(release)
	if got := <-answer; got != "whole" {
		t.Errorf("answer %q, want it whole", got)
	}
	if err := r.wait(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// What does not finish within ShutdownTimeout is cancelled, cut off and counted.
func TestDrainCutsOffWhatDoesNotFinish(t *testing.T) {
	entered, left := make(chan struct{}), make(chan error, 1)
	o := testOptions()
	o.ShutdownTimeout = 0
	s, _ := newServer(t, o, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		left <- r.Context().Err()
	}))
	r := start(t, s.Run)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-entered
	err = r.stop(t)
	if err == nil || !strings.Contains(err.Error(), "1 requests were cut off") {
		t.Errorf("Run: %v, want the cut request counted", err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the request's context ended with %v", err)
	}
}

// Within the drain delay the listener still takes new requests, so that a
// balancer that has not noticed yet sees no error.
func TestDrainDelayStillAccepts(t *testing.T) {
	o := testOptions()
	o.DrainDelay = time.Hour
	s, _ := newServer(t, o, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-Draining(r.Context())
		_, _ = io.WriteString(w, "accepted")
	}))
	r := start(t, s.Run)
	r.cancel()
	if _, body := get(t, client(t, nil), s.URL()); body != "accepted" {
		t.Errorf("answer %q", body)
	}
	if err := s.Close(); err != nil { // rather than to wait for an hour
		t.Fatal(err)
	}
	if err := r.wait(t); !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Run: %v", err)
	}
}

func TestPanicBecomesProblem(t *testing.T) {
	s, logged := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			panic("before the answer")
		case "/midway":
			_, _ = io.WriteString(w, "half")
			panic("midway")
		default:
			panic(http.ErrAbortHandler)
		}
	}))
	r := start(t, s.Run)
	c := client(t, nil)
	resp, body := get(t, c, s.URL()+"/before")
	if resp.StatusCode != http.StatusInternalServerError || resp.Header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(body, ProblemPrefix+"internal") {
		t.Errorf("status %d, %s: %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	if strings.Contains(body, "before the answer") {
		t.Error("the panic's value went to the client")
	}
	if !strings.Contains(logged.String(), "before the answer") || !strings.Contains(logged.String(), "server_test.go") {
		t.Errorf("panic and stack are not in the log: %s", logged)
	}
	for _, path := range []string{"/midway", "/abort"} {
		resp, err := c.Get(s.URL() + path)
		if err != nil {
			continue // cut before the header
		}
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: a cut answer reads as whole", path)
		}
		resp.Body.Close()
	}
	if strings.Contains(logged.String(), "abort Handler") {
		t.Error("a deliberate abort was logged")
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

// Handlers keep flushing, hijacking and deadlines through the wrapper.
func TestHandlerKeepsPowers(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hijack" {
			conn, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				panic(err)
			}
			defer conn.Close()
			_, _ = rw.WriteString("raw\n")
			_ = rw.Flush()
			return
		}
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			panic(err)
		}
		_, _ = io.WriteString(w, "part\n")
		w.(http.Flusher).Flush()
		<-Draining(r.Context())
	}))
	r := start(t, s.Run)
	resp, err := client(t, nil).Get(s.URL() + "/flush")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || line != "part\n" {
		t.Errorf("flushed %q, %v", line, err)
	}
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\n")
	if b, err := io.ReadAll(conn); err != nil || string(b) != "raw\n" {
		t.Errorf("hijacked connection gave %q, %v", b, err)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestSlowHeadersAreCut(t *testing.T) {
	o := testOptions()
	o.ReadHeaderTimeout = 100 * time.Millisecond
	s, _ := newServer(t, o, http.NotFoundHandler())
	r := start(t, s.Run)
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost:") // and no more
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the connection stayed open: %v", err)
	}
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestHugeHeadersAreRefused(t *testing.T) {
	s, _ := newServer(t, testOptions(), http.NotFoundHandler())
	r := start(t, s.Run)
	req, err := http.NewRequest(http.MethodGet, s.URL(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Huge", strings.Repeat("x", 256<<10))
	resp, err := client(t, nil).Do(req)
	if err == nil {
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("status %d", resp.StatusCode)
		}
	} // else the connection was cut while the rest was being sent, which is a refusal too
	if err := r.stop(t); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestOptionsValidateNamesAllProblems(t *testing.T) {
	o := Options{Listen: "nowhere", MaxHeaderBytes: 1, DrainDelay: -time.Second}
	err := o.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`listen: "nowhere": must be host:port`,
		`read_header_timeout: 0s: must be between 100ms and 1h0m0s`,
		`idle_timeout: 0s: must be between 1s and 24h0m0s`,
		`max_header_bytes: 1: must be between 4096 and 1048576`,
		`drain_delay: -1s: must be between 0s and 1h0m0s`,
	}
	if got := strings.Split(err.Error(), "\n"); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got\n%s\nwant\n%s", err, strings.Join(want, "\n"))
	}
	for _, listen := range []string{"a:b", "host:70000", "ho st:1", ":-1"} {
		if err := (AdminOptions{Listen: listen}).Validate(); err == nil {
			t.Errorf("listen %q passes", listen)
		}
	}
	for _, listen := range []string{":8081", "[::1]:0", "localhost:80"} {
		if err := (AdminOptions{Listen: listen}).Validate(); err != nil {
			t.Errorf("listen %q: %v", listen, err)
		}
	}
	if err := errors.Join(DefaultOptions().Validate(), DefaultAdminOptions().Validate()); err != nil {
		t.Errorf("defaults: %v", err)
	}
}

func TestURLOfUnspecifiedAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"0.0.0.0:80": "http://127.0.0.1:80", "[::]:80": "http://127.0.0.1:80",
		"[::1]:80": "http://[::1]:80", "10.1.2.3:80": "http://10.1.2.3:80",
	} {
		a, err := net.ResolveTCPAddr("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if got := url(a); got != want {
			t.Errorf("url(%s) = %s, want %s", addr, got, want)
		}
	}
}

func refused(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return true
	}
	c.Close()
	return false
}

// waitUntil polls for a condition that another goroutine brings about.
func waitUntil(t *testing.T, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline.C:
			t.Fatal("the condition did not come about")
		case <-tick.C:
		}
	}
}

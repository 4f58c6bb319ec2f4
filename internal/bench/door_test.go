package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/drill"
)

// All proxies measured as real processes, as small as it gets: the figures are
// there and the targets are named. It does not run beside others in this process,
// whose cores it takes.
func TestDoor(t *testing.T) {
	o := DefaultDoorOptions()
	o.Binary, o.Dir, o.Rounds, o.Connections, o.Duration = buildPostroad(t), t.TempDir(), 1, 4, 200*time.Millisecond
	o.Only = []string{doorPosts, doorGets}
	r, err := Door(t.Context(), o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Missing) > 0 && os.Getenv("CI") == "true" {
		t.Errorf("not installed: %v", r.Missing)
	}
	if len(r.Parts) != 2 {
		t.Fatalf("%+v", r.Parts)
	}
	for _, part := range r.Parts {
		if len(part.Contenders)+len(r.Missing) != len(doorFronts()) {
			t.Errorf("%s: %+v", part.Name, part.Contenders)
		}
		for _, c := range part.Contenders {
			// Processor time comes in hundredths of a second, so a short round may
			// find none.
			if c.Rate.Median <= 0 || c.CPU.Median < 0 {
				t.Errorf("%s through %s: %+v", part.Name, c.Name, c)
			}
		}
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Postroad front door", "httputil.ReverseProxy", "D1, posts", "D1, gets"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDoorOptions(t *testing.T) {
	err := DoorOptions{Only: []string{"all"}, Lead: -1, Length: 2 * time.Hour, Tail: -1}.Validate()
	for _, want := range []string{"binary, dir:", "rounds:", "connections:", "duration:", "fault rounds:", "lead:", "length:", "tail:", "only: all"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	o := DefaultDoorOptions()
	o.Binary, o.Dir, o.Only = "x", "y", []string{doorGets}
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// The targets are held against our proxy alone, and only where the others ran.
func TestDoorGoals(t *testing.T) {
	figure := func(x float64) *Figure { return &Figure{Median: x, Min: x, Max: x} }
	r := &DoorReport{Parts: []DoorPart{{Name: doorPosts, Contenders: []DoorContender{
		{Name: frontDoor, OfHAProxy: figure(2.5), OfPlain: figure(0.96)},
		{Name: "caddy", OfHAProxy: figure(7), OfPlain: figure(2)},
	}}, {Name: doorGets, Contenders: []DoorContender{{Name: frontDoor, OfPlain: figure(0.5)}}}}}
	var got []bool
	for _, g := range r.Goals() {
		got = append(got, g.Reached)
	}
	if !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("%+v", r.Goals())
	}
}

// The plain proxy, before origins that do next to nothing, under the load.
func TestServeReverseProxy(t *testing.T) {
	var origins []string
	for range 2 {
		o, err := newDoorOrigin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := o.close(); err != nil {
				t.Error(err)
			}
		})
		origins = append(origins, "http://"+o.addr())
	}
	ctx, cancel := context.WithCancel(t.Context())
	at := make(chan net.Addr, 1)
	done := make(chan error, 1)
	go func() {
		done <- ServeReverseProxy(ctx, "127.0.0.1:0", origins, func(a net.Addr) error { at <- a; return nil })
	}()
	url := "http://" + (<-at).String()
	for _, part := range doorParts() {
		host, err := drill.HostOf(url)
		if err != nil {
			t.Fatal(err)
		}
		l := &doorClients{url: url, request: part.request(host)}
		if err := l.connect(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if n, err := l.run(t.Context(), 20*time.Millisecond); err != nil || n < 3 {
			t.Errorf("%s: %d answers, %v", part.name, n, err)
		}
		l.close()
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := ServeReverseProxy(t.Context(), "127.0.0.1:0", []string{"nowhere"}, nil); err == nil {
		t.Error("an origin without a host is taken")
	}
	if err := ServeReverseProxy(t.Context(), "127.0.0.1:0", nil, nil); err == nil {
		t.Error("no origins are taken")
	}
	failed := errors.New("told nobody")
	if err := ServeReverseProxy(t.Context(), "127.0.0.1:0", origins, func(net.Addr) error { return failed }); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
}

// A connection that its server ends is made anew.
func TestDoorClientsConnectAgain(t *testing.T) {
	var conns, requests atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests.Add(1)%3 == 0 {
			w.Header().Set("Connection", "close")
		}
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	host, err := drill.HostOf(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	l := &doorClients{url: s.URL, request: doorParts()[0].request(host)}
	if err := l.connect(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	defer l.close()
	var n int64
	for range 10 {
		answered, err := l.run(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		n += answered
	}
	if n != 10 || requests.Load() != 10 || conns.Load() != 4 {
		t.Errorf("%d answers to %d requests on %d connections", n, requests.Load(), conns.Load())
	}
}

// An origin ends a connection on which something comes that it does not take.
func TestDoorOriginRefuses(t *testing.T) {
	o, err := newDoorOrigin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.close(); err != nil {
			t.Error(err)
		}
	})
	for _, text := range []string{
		"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
	} {
		c, err := drill.Dial(t.Context(), "http://"+o.addr())
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if a, err := c.Do([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, a)
		}
		c.Close()
	}
}

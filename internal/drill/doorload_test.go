package drill

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// forgetful is a server that answers the first request of each connection, and
// ends the connection at the second without a word, once it has read it.
type forgetful struct {
	net.Listener
	mu   sync.Mutex
	seen map[string]int // how often each body came; guarded by mu
	cut  int            // guarded by mu
}

func newForgetful(t *testing.T) *forgetful {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forgetful{Listener: l, seen: make(map[string]int)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return f
}

func (f *forgetful) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for first := true; ; first = false {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		f.mu.Lock()
		if req.Method == http.MethodPost {
			f.seen[string(body)]++
		}
		if !first {
			f.cut++
		}
		f.mu.Unlock()
		if !first {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

// counts are how many connections were cut, and which bodies came more than once.
func (f *forgetful) counts() (cut int, twice []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for body, n := range f.seen {
		if n > 1 {
			twice = append(twice, body)
		}
	}
	return f.cut, twice
}

// The client of the drills sends nothing again by itself, or it would hide what a
// proxy drops: each message comes once, and who got no answer has none.
func TestDoorLoadSendsOnce(t *testing.T) {
	f := newForgetful(t)
	l, err := NewDoorLoad(NewLedger(), DoorLoadOptions{URL: "http://" + f.Addr().String(), Rate: 500, BodyBytes: 50, Patience: testLimit, Seed: seed(t)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	err = Until(t.Context(), testLimit, "some connections are cut", func() (bool, error) {
		cut, _ := f.counts()
		return cut >= 20, nil
	})
	cancel()
	<-done
	cut, twice := f.counts()
	if v := l.View(); err != nil || len(twice) > 0 || v.Failed != cut {
		t.Errorf("%v: %d connections were cut, %d requests failed %v, sent again: %q", err, cut, v.Failed, v.Kinds, twice)
	}
}

// The sabotaged twin: the client of Go's library sends a request with a key again
// that got no answer on a connection that was used before.
func TestLibrarySendsAgain(t *testing.T) {
	f := newForgetful(t)
	transport := &http.Transport{MaxConnsPerHost: 1}
	defer transport.CloseIdleConnections()
	for _, body := range []string{"one", "two"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+f.Addr().String(), bytes.NewReader([]byte(body)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", `"`+body+`"`)
		res, err := transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		res.Body.Close()
	}
	if cut, twice := f.counts(); cut != 1 || strings.Join(twice, " ") != "two" {
		t.Errorf("%d connections were cut, sent again: %q", cut, twice)
	}
}

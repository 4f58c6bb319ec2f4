package doortest

import (
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// RawOrigin runs serve on each connection it accepts.
func RawOrigin(t testing.TB, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return "http://" + l.Addr().String()
}

// Forgetful is an origin that keeps the connections on which it answers /kept,
// and takes every other request without an answer to it. taken counts those.
func Forgetful(t testing.TB, taken *atomic.Int64, start func(http.Handler) *httptest.Server) *httptest.Server {
	t.Helper()
	s := start(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/kept" {
			taken.Add(1)
			panic(http.ErrAbortHandler) // closes the connection
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// Reset closes a connection so that its peer gets a RST.
func Reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

package httpserve

import (
	"context"
	"net"
	"net/http"
	"sync"
)

// inside is a listener that only this process reaches: its connections are pipes.
type inside struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{} // closed by Close
}

func newInside() *inside { return &inside{conns: make(chan net.Conn), over: make(chan struct{})} }

// Accept returns the server's end of the next pipe.
func (l *inside) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.over:
		return nil, net.ErrClosed
	}
}

func (l *inside) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.over:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends Accept and dial.
func (l *inside) Close() error {
	l.once.Do(func() { close(l.over) })
	return nil
}

// Addr is that of no network.
func (l *inside) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// insideTransport sends over pipes whatever a URL's scheme is.
type insideTransport struct{ pipes *http.Transport }

// RoundTrip implements http.RoundTripper.
func (t insideTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "https" {
		r = r.Clone(r.Context())
		r.URL.Scheme = "http"
	}
	return t.pipes.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.CloseIdleConnections.
func (t insideTransport) CloseIdleConnections() { t.pipes.CloseIdleConnections() }

// Inside brings requests of the process itself to the server while it runs, with TLS
// past it: a certificate is of the names that clients use, not of this machine's
// loopback address, and the process has none to show. It is nil without TLS, where
// URL does.
func (s *Server) Inside() http.RoundTripper {
	if s.inside == nil {
		return nil
	}
	return insideTransport{&http.Transport{DialContext: s.inside.dial, MaxIdleConnsPerHost: 16}}
}

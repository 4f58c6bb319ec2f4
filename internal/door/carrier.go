package door

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

// carrier takes one request to one origin after another until one answers or
// the request may not be tried again.
//
// What an origin may have seen is decided by the bytes that were handed to the
// kernel for this request, counted on the connection (see wire), not by the
// kind of the error. The transport opens the connection and writes the header
// before it touches the body, so whenever nothing was sent the body is as the
// client sent it (see body).
//
// The transport has its own idea of what may be repeated: it sends a request
// without a body again, on another connection to the same origin, if it carries
// an Idempotency-Key. flight takes that connection away from it.
type carrier struct {
	origins   []*origin // in the order in which they are tried
	transport *http.Transport
	metrics   *metrics
	dialer    net.Dialer
	tls       *tls.Config
	limits    limits
}

type limits struct {
	dial, response time.Duration
	sick           time.Duration // for the whole of a lookup at an unhealthy origin, up to the header of its answer
}

// errNoOrigin: every origin is unhealthy.
var errNoOrigin = errors.New("no origin is healthy")

// errRepeat: the transport wanted to send again what may have arrived.
var errRepeat = errors.New("the connection ended after something of the request was sent")

// attemptError is an attempt that brought no answer.
type attemptError struct {
	origin string
	sent   bool // something of the request may have reached the origin
	err    error
}

func (e *attemptError) Error() string { return fmt.Sprintf("origin %s: %v", e.origin, e.err) }
func (e *attemptError) Unwrap() error { return e.err }

// dialError: no connection to the origin could be opened.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func newCarrier(o Options, origins []*origin, m *metrics, tlsConfig *tls.Config) *carrier {
	c := &carrier{origins: origins, metrics: m, tls: tlsConfig, limits: limits{o.DialTimeout, o.ResponseTimeout, o.Probe.Timeout}}
	one := new(http.Protocols) // a connection carries one request at a time, so its bytes are that request's
	one.SetHTTP1(true)
	c.transport = &http.Transport{
		Protocols:             one,
		DialContext:           c.dial,
		DialTLSContext:        c.dialTLS,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       30 * time.Second, // before the gateway's own, which would race with a request
		ResponseHeaderTimeout: o.ResponseTimeout,
		ExpectContinueTimeout: time.Second,
	}
	return c
}

// RoundTrip implements http.RoundTripper. It returns errNoOrigin, a *bodyError,
// an *attemptError or a *silentError.
func (c *carrier) RoundTrip(req *http.Request) (*http.Response, error) {
	if isLookup(req) {
		return c.lookup(req)
	}
	b := lend(req)
	failed := errNoOrigin
	for _, o := range c.origins {
		if !o.isHealthy() {
			continue
		}
		res, sent, err := c.attempt(req, o, b)
		if err == nil {
			return res, nil
		}
		if broken := new(bodyError); errors.As(err, &broken) {
			return nil, broken // the client's doing, no origin's
		}
		c.metrics.failed(o.name, sent)
		failed = &attemptError{o.name, sent, err}
		if sent && !repeatable(req.Method) || req.Context().Err() != nil || !b.whole() {
			break
		}
	}
	return nil, failed
}

// repeatable tells whether a request may be sent again that may have arrived.
func repeatable(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// attempt sends req to o. On an error sent tells whether any byte of it may
// have left.
func (c *carrier) attempt(req *http.Request, o *origin, b *body) (res *http.Response, sent bool, err error) {
	ctx, cancel := context.WithCancelCause(req.Context()) // an answer keeps ctx, which ends with the request
	f := flight{once: !repeatable(req.Method), cancel: cancel}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: f.got})
	out := req.WithContext(ctx)
	target := *req.URL
	target.Scheme, target.Host, target.User = o.url.Scheme, o.url.Host, nil
	out.URL = &target
	out.Host = "" // the origin's; the client's stands in X-Forwarded-Host
	if b != nil {
		out.Body = b
	}
	begin := time.Now()
	res, err = c.transport.RoundTrip(out)
	if err != nil {
		cancel(err)
		if dial := new(dialError); errors.As(err, &dial) {
			o.unreachable(dial)
		}
		return nil, f.sent(), err
	}
	c.metrics.took(o.name, time.Since(begin))
	res.Header.Set(OriginHeader, o.name)
	return res, true, nil
}

// flight follows the connections that the transport uses for one attempt: more
// than one where a kept connection turns out to be closed. Its methods are
// called on the goroutine of RoundTrip.
type flight struct {
	once   bool // the request may not be sent again once something was sent
	cancel context.CancelCauseFunc
	wire   *wire
	before int64 // bytes written on wire before this request
	maybe  bool  // something was written on an earlier connection
}

func (f *flight) got(info httptrace.GotConnInfo) {
	f.maybe = f.sent()
	conn := info.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if f.maybe && f.once {
		// The end of the context stops the transport from taking yet another
		// connection, but it might still write on this one unless it is closed.
		f.cancel(errRepeat)
		_ = conn.Close()
	}
	f.wire, _ = conn.(*wire)
	if f.wire == nil { // not one that dial made: cannot be, but must not pass for unsent
		f.maybe = true
		return
	}
	f.before = f.wire.written.Load()
}

// sent is asked after RoundTrip failed, when the transport writes no more: it
// waits for its writing goroutine before it returns an error.
func (f *flight) sent() bool {
	return f.maybe || f.wire != nil && f.wire.written.Load() > f.before
}

// wire is a connection that counts the bytes the kernel took and gives up a
// write that makes no progress, as one to a stopped process does.
type wire struct {
	net.Conn
	written atomic.Int64
	stall   time.Duration
}

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.SetWriteDeadline(time.Now().Add(w.stall)); err != nil {
		return 0, err
	}
	n, err := w.Conn.Write(p)
	w.written.Add(int64(n))
	return n, err
}

func (c *carrier) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.dial)
	defer cancel()
	conn, err := c.dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, &dialError{err}
	}
	return &wire{Conn: conn, stall: c.limits.response}, nil
}

func (c *carrier) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.dial)
	defer cancel()
	conn, err := c.dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	config := c.tls.Clone()
	if config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(addr)
	}
	t := tls.Client(conn, config)
	if err := t.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &dialError{fmt.Errorf("tls with %s: %w", addr, err)}
	}
	return t, nil
}

package door

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"sync"
	"time"

	"postroad/internal/door/carry"
)

// forward carries a request to a gateway. It does what httputil.ReverseProxy does,
// but for upgrades, with fewer copies: these are the many small requests.
//
// What a client sends after a body stays here, both ways: it comes when the headers
// have been looked at, and an origin may take it for one of them.
func (x *exchange) forward(ctx context.Context, r *http.Request) {
	out := r.WithContext(ctx)
	out.Header = onward(r, x.hop, x.door.via)
	if _, ok := out.Header["User-Agent"]; !ok {
		out.Header["User-Agent"] = []string{""} // or the transport would name itself
	}
	out.RequestURI, out.Close, out.Trailer = "", false, nil
	switch {
	case r.ContentLength == 0:
		out.Body = http.NoBody
	case r.ContentLength < 0:
		out.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, x.state.limits.BodyBytes)
	}
	res, err := x.group.carrier.RoundTrip(out)
	if err != nil {
		x.failed(x.ResponseWriter, r, err)
		return
	}
	defer res.Body.Close()
	x.answered(res)
	control := http.NewResponseController(x.ResponseWriter)
	if x.cancel != nil {
		if err := x.lasts(res, carry.Gateway, func() { x.end(control) }); err != nil {
			x.failed(x.ResponseWriter, r, err)
			return
		}
	}
	x.pass(res, control)
}

// pass writes an answer to the client, piece by piece where its end is not known.
func (x *exchange) pass(res *http.Response, control *http.ResponseController) {
	h := x.ResponseWriter.Header()
	for _, value := range res.Header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				res.Header.Del(name)
			}
		}
	}
	for name, values := range res.Header {
		if !hopByHop(name) {
			h[name] = values
		}
	}
	for name := range res.Trailer {
		h.Add("Trailer", name)
	}
	x.ResponseWriter.WriteHeader(res.StatusCode)
	if !x.copyBody(res, control) {
		panic(http.ErrAbortHandler) // half an answer must not pass for a whole one
	}
	for name, values := range res.Trailer {
		h[name] = values
	}
}

// copyBody copies the body of an answer; false where the origin broke it off.
func (x *exchange) copyBody(res *http.Response, control *http.ResponseController) (whole bool) {
	from := x.door.large
	if x.stream != nil {
		from = x.door.small
	}
	buf := from.Get()
	defer from.Put(buf)
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			written, werr := x.ResponseWriter.Write(buf[:n])
			x.out += int64(written)
			if werr != nil {
				return true // the client is gone
			}
			if res.ContentLength < 0 {
				if control.Flush() != nil {
					return true
				}
				x.touch()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

func (x *exchange) touch() {
	if x.stream != nil {
		x.stream.touch()
	}
}

// pool lends buffers of one size.
type pool struct {
	size int
	free sync.Pool
}

// Get implements httputil.BufferPool.
func (p *pool) Get() []byte {
	if b, ok := p.free.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, p.size)
}

// Put implements httputil.BufferPool.
func (p *pool) Put(b []byte) { p.free.Put(&b) }

// addProxies makes the parts that carry what is not for gateways. They send each
// piece of an answer on as it comes.
func (d *Door) addProxies(g *group) {
	proxy := func(kind carry.Kind, buffers *pool) *httputil.ReverseProxy {
		return &httputil.ReverseProxy{
			Rewrite:        rewrite,
			Transport:      g.carrier,
			FlushInterval:  -1,
			BufferPool:     buffers,
			ModifyResponse: func(res *http.Response) error { return modify(res, kind) },
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				if x := exchangeOf(r.Context()); x != nil {
					x.failed(x.ResponseWriter, r, err)
				}
			},
			ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug),
		}
	}
	g.proxied, g.streamed = proxy(carry.Plain, d.large), proxy(carry.Stream, d.small)
}

func exchangeOf(ctx context.Context) *exchange {
	x, _ := ctx.Value(exchangeKey{}).(*exchange)
	return x
}

// rewrite makes the outgoing request what the client sent, but for the headers
// that speak of the way here.
func rewrite(pr *httputil.ProxyRequest) {
	x := exchangeOf(pr.In.Context())
	pr.Out.Header = onward(pr.In, x.hop, x.door.via)
	pr.Out.Trailer = nil
	pr.Out.URL.RawQuery = pr.In.URL.RawQuery // untouched, for the door reads none of it
}

func modify(res *http.Response, kind carry.Kind) error {
	x := exchangeOf(res.Request.Context())
	x.answered(res)
	control := http.NewResponseController(x.ResponseWriter)
	return x.lasts(res, kind, func() { x.end(control) })
}

// end ends a stream from outside: what comes from the origin, and a write to a
// client that takes nothing.
func (x *exchange) end(control *http.ResponseController) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return
	}
	x.hungUp = true
	if x.conn != nil {
		_ = x.conn.Close()
	} else {
		_ = control.SetWriteDeadline(time.Unix(1, 0))
	}
	x.cancel()
}

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if status >= 200 || status == http.StatusSwitchingProtocols {
		x.status = status
		if x.last && status >= 200 {
			x.closing()
		}
	}
	x.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (x *exchange) Write(p []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(p)
	x.out += int64(n)
	x.touch()
	return n, err
}

// Flush implements http.Flusher, which has no place for an error.
func (x *exchange) Flush() { _ = http.NewResponseController(x.ResponseWriter).Flush() }

// Hijack takes an upgraded connection over.
func (x *exchange) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(x.ResponseWriter).Hijack()
	if err != nil || x.stream == nil {
		return conn, rw, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.conn = conn
	if x.hungUp { // it was ended before it was there
		_ = conn.Close()
	}
	return &watched{conn, x.stream}, rw, nil
}

// Unwrap is for http.ResponseController.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

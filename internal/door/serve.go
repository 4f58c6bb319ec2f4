package door

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"postroad/internal/door/carry"
	"postroad/internal/httpserve"
)

// exchange is one request and what became of it. Where an answer passes through
// httputil.ReverseProxy it is the ResponseWriter, to see it.
type exchange struct {
	http.ResponseWriter
	door  *Door
	state *layout
	hop   hop
	group *group
	begin time.Time

	status   int
	out      int64 // bytes of the answer's body
	origin   string
	own      bool // the door answered itself
	last     bool // its connection is not used again
	attempts int  // origins that were tried
	stream   *stream
	unfollow func()
	cancel   context.CancelFunc // nil where the answer cannot last
	cookie   *http.Cookie
	body     sharedBody // that of the request, once it is carried

	mu     sync.Mutex
	conn   net.Conn // of an upgraded connection; guarded by mu
	hungUp bool     // guarded by mu
	over   bool     // guarded by mu
}

type exchangeKey struct{}

// Handler serves /healthz and the local prefixes itself and carries everything
// else to an origin.
func (d *Door) Handler() http.Handler { return http.HandlerFunc(d.serve) }

func (d *Door) serve(w http.ResponseWriter, r *http.Request) {
	r = rooted(r)
	if r.URL.Path == "/healthz" {
		d.healthz(w, r)
		return
	}
	l := d.state.Load()
	x := &exchange{ResponseWriter: w, door: d, state: l, begin: d.now()}
	defer x.finish(r)
	x.hop = l.trust.look(r)
	if cameHere(r.Header["Via"], d.via) {
		x.answer(w, r, &httpserve.Problem{
			Name: "misdirected", Status: http.StatusMisdirectedRequest, Title: "Misdirected",
			Detail: "the request came through this door already: an origin leads back to it",
		})
		return
	}
	if x.last = lastOnConnection(r); x.last {
		x.closing()
	}
	if p := d.refuse(l, x, r); p != nil {
		x.answer(w, r, p)
		return
	}
	if h := d.localFor(r.URL.Path); h != nil {
		x.own = true
		h.ServeHTTP(x, r)
		return
	}
	to, ambiguous := l.find(x.hop.host, r.URL.Path)
	switch {
	case ambiguous:
		x.answer(w, r, badRequest("the path leads elsewhere once its dot segments are resolved"))
	case to == nil:
		x.answer(w, r, &httpserve.Problem{
			Name: "not-found", Status: http.StatusNotFound, Title: "Not found", Detail: "nothing is served at this host and path",
		})
	default:
		x.carry(r, to)
	}
}

// closing has the connection close after the answer. httputil.ReverseProxy forgets
// it once an origin sends an answer before its answer, so it is said again with
// the last one.
func (x *exchange) closing() { x.ResponseWriter.Header()["Connection"] = []string{"close"} }

// refuse returns the problem of a request that goes no further, or nil.
func (d *Door) refuse(l *layout, x *exchange, r *http.Request) *httpserve.Problem {
	if l.trust.require && !x.hop.trusted {
		return &httpserve.Problem{
			Name: "forbidden", Status: http.StatusForbidden, Title: "Forbidden",
			Detail: "requests are taken only by way of the proxies before this door",
		}
	}
	if wait, ok := d.rates.admit(x.hop.client); !ok {
		d.metrics.limited.Inc()
		return &httpserve.Problem{
			Name: "too-many-requests", Status: http.StatusTooManyRequests, Title: "Too many requests",
			Detail: "the client is over its rate at this door", RetryAfter: wait,
		}
	}
	return l.refusal(r)
}

// localFor returns the local handler of a path, or nil.
func (d *Door) localFor(path string) http.Handler {
	for _, l := range d.local {
		if strings.HasPrefix(path, l.prefix) {
			return l.handler
		}
		if path+"/" == l.prefix {
			return http.RedirectHandler(l.prefix, http.StatusMovedPermanently)
		}
	}
	return nil
}

// healthz speaks for the door alone: a balancer before several doors gains
// nothing by leaving this one while its origins are down. Once the door is about
// to stop it says so in the words of an origin, for another door may be before
// this one.
func (d *Door) healthz(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		httpserve.Problem{
			Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
			Detail: "/healthz answers GET and HEAD",
		}.Write(w)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	if d.stopping.Load() {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"drain":true}`+"\n")
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "ok\n")
}

// carry takes the request to an origin of the route's group and the answer back.
func (x *exchange) carry(r *http.Request, to *route) {
	g := to.group
	if !g.carrier.enter() { // a reload was faster; what is in force now has another
		fresh := x.door.state.Load()
		if to, _ = fresh.find(x.hop.host, r.URL.Path); to == nil || !to.group.carrier.enter() {
			x.answer(x.ResponseWriter, r, unavailable(time.Second, "the door is being closed or configured anew"))
			return
		}
		x.state, g = fresh, to.group
	}
	defer g.carrier.leave()
	x.group = g
	if r.Body != nil && r.Body != http.NoBody {
		x.body.from = r.Body
		r.Body = &x.body
	}
	call := carry.Call{Kind: to.kindOf(r.URL.Path), Client: who(x.hop.client), Trusted: x.hop.trusted, Tried: &x.attempts}
	x.keepTogether(&call, r, to.keep)
	ctx := context.WithValue(r.Context(), exchangeKey{}, x)
	if call.Kind == carry.Gateway && r.Method != http.MethodGet && len(r.Header["Upgrade"]) == 0 {
		x.forward(carry.With(ctx, call), r)
		return
	}
	ctx, x.cancel = context.WithCancel(ctx) // of what may last, to end it
	defer x.cancel()
	if call.Kind == carry.Gateway && len(r.Header["Upgrade"]) == 0 {
		x.forward(carry.With(ctx, call), r)
		return
	}
	over := g.proxied
	if call.Kind == carry.Stream || isWebSocket(r) {
		over = g.streamed
	}
	if r.ContentLength < 0 {
		r.Body = http.MaxBytesReader(x.ResponseWriter, r.Body, x.state.limits.BodyBytes)
	}
	over.ServeHTTP(x, r.WithContext(carry.With(ctx, call)))
}

// keepTogether fills in what keeps requests at one origin.
func (x *exchange) keepTogether(call *carry.Call, r *http.Request, keep affinity) {
	switch keep.by {
	case affinityKey:
		call.ByKey = true
	case affinityHeader:
		if v := r.Header[keep.header]; len(v) == 1 {
			call.Affinity = []byte(v[0])
		}
	case affinityCookie:
		name := cookiePrefix + x.group.name
		if c, err := r.Cookie(name); err == nil && len(c.Value) <= 64 {
			call.Sticky = c.Value
		}
		x.cookie = &http.Cookie{
			Name: name, Value: call.Sticky, Path: "/", HttpOnly: true, Secure: x.hop.proto == "https", SameSite: http.SameSiteLaxMode,
		}
	}
}

// cookiePrefix and the name of the group are the name of the cookie of affinity;
// its value is the name of an origin.
const cookiePrefix = "postroad-"

// answered notes an origin's answer before it is passed on.
func (x *exchange) answered(res *http.Response) {
	x.status = res.StatusCode
	x.origin = res.Header.Get(OriginHeader)
	if x.cookie != nil && x.origin != "" && x.cookie.Value != x.origin {
		x.cookie.Value = x.origin
		res.Header.Add("Set-Cookie", x.cookie.String())
	}
}

// lasts registers the answer as a stream where it is one; the error says why it
// cannot be taken on. The answer to what may have changed something is passed on
// in any case: a 503 in its place would say that nothing had happened.
func (x *exchange) lasts(res *http.Response, kind carry.Kind, end func()) error {
	if !carry.Lasts(res, kind) {
		return nil
	}
	st, err := x.door.live.add(place{x.group.name, x.origin}, x.begin, x.group.settings.Streams.Idle, end)
	switch m := res.Request.Method; {
	case err == nil:
	case m == http.MethodGet || m == http.MethodHead:
		return err
	default:
		return nil
	}
	x.stream = st
	x.unfollow = x.door.live.follow(res.Request.Context())
	return nil
}

// answer sends a problem of the door's own.
func (x *exchange) answer(w http.ResponseWriter, r *http.Request, p *httpserve.Problem) {
	x.takeRest(w, r)
	if x.last {
		x.closing()
	}
	x.status, x.own, x.origin = p.Status, true, ""
	p.Write(w)
}

// messagesPath begins the paths that ask what became of a message.
const messagesPath = "/v1/messages/"

const (
	// restBytes is how much of an unread body is taken before an answer, in
	// bytes: as much as the largest batch. A client that writes while its
	// connection closes gets a reset instead of the answer.
	restBytes   = 8 << 20
	restTimeout = 5 * time.Second
)

// takeRest reads what is left of the body of a request that failed. A client
// that waits to be told to go on is not told.
func (x *exchange) takeRest(w http.ResponseWriter, r *http.Request) {
	body := r.Body
	if x.body.from != nil {
		body = &x.body // r.Body may be a reader before it, in use by the transport
	}
	if body == nil || body == http.NoBody || r.Header.Get("Expect") != "" || r.Context().Err() != nil {
		return
	}
	if r.ContentLength > restBytes {
		w.Header().Set("Connection", "close")
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(restTimeout)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, body, restBytes)
}

// sharedBody is a body that one reads at a time. An origin may answer before the
// body has come: then the transport goes on reading it for a while, beside whoever
// takes the rest.
type sharedBody struct {
	from io.ReadCloser
	mu   sync.Mutex // held while one reads
}

// Read implements io.Reader.
func (b *sharedBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.from.Read(p)
}

// Close implements io.Closer. It waits for nobody: closing a body is what ends a
// read that waits.
func (b *sharedBody) Close() error { return b.from.Close() }

// failed answers a request that no origin answered. It serves design section
// 4: unavailable promises that nothing was stored, outcome-unknown does not.
func (x *exchange) failed(w http.ResponseWriter, r *http.Request, err error) {
	p, key := x.problem(err)
	if strings.HasPrefix(r.URL.Path, messagesPath) && p.Status == http.StatusGatewayTimeout && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		// A question about a message changes nothing: what is unknown is the answer.
		p = unavailable(x.group.settings.Probe.Interval, "no stamp said what became of the message; ask again later")
		p.Extra = map[string]any{"complete": false}
	}
	switch own := r.Header["Idempotency-Key"]; {
	case key != "":
		w.Header()["Idempotency-Key"] = []string{key}
	case len(own) > 0:
		w.Header()["Idempotency-Key"] = own
	}
	x.door.log.Debug("request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status, "err", err)
	x.answer(w, r, p)
}

// problem says what a failed request is told, and the key that it had.
func (x *exchange) problem(err error) (p *httpserve.Problem, key string) {
	retry := x.group.settings.Probe.Interval
	var (
		attempt *carry.Attempt
		broken  *carry.Body
		silent  *carry.Silent
		none    *carry.NoOrigin
		large   *http.MaxBytesError
	)
	switch {
	case errors.As(err, &large):
		if errors.As(err, &broken) {
			key = broken.Key
		}
		return tooLarge(), key
	case errors.Is(err, httpserve.ErrSlowBody):
		if errors.As(err, &broken) {
			key = broken.Key
		}
		return &httpserve.Problem{
			Name: "timeout", Status: http.StatusRequestTimeout, Title: "Timeout",
			Detail: "the request body came too slowly; nothing of it was stored",
		}, key
	case errors.As(err, &broken):
		return badRequest("the request body ended before it was complete, or is not well-formed"), broken.Key
	case errors.As(err, &silent):
		p = unavailable(retry, silent.Error()+"; ask again later")
		p.Extra = map[string]any{"complete": false, "silent": silent.Origins}
		return p, ""
	case errors.As(err, &attempt) && attempt.Sent:
		p = &httpserve.Problem{
			Name: "outcome-unknown", Status: http.StatusGatewayTimeout, Title: "Outcome unknown",
			Detail: "origin " + attempt.Origin + " may have the request but gave no answer",
		}
		if attempt.Key != "" {
			p.Detail += "; it is safe to send it again with the same Idempotency-Key"
		}
		return p, attempt.Key
	case errors.As(err, &attempt):
		key = attempt.Key
	case errors.As(err, &none):
		key = none.Key
	case errors.Is(err, errManyStreams), errors.Is(err, errDraining):
		return unavailable(retry, err.Error()), ""
	}
	return unavailable(retry, "no origin could be reached; nothing of this request was sent to one"), key
}

func unavailable(retry time.Duration, detail string) *httpserve.Problem {
	return &httpserve.Problem{
		Name: "unavailable", Status: http.StatusServiceUnavailable, Title: "Not available now", Detail: detail, RetryAfter: retry,
	}
}

// finish counts and logs the request when it is over, however it ended.
func (x *exchange) finish(r *http.Request) {
	if x.stream != nil {
		x.mu.Lock()
		x.over = true // from here on the connection may carry another request
		x.mu.Unlock()
		x.unfollow()
		x.door.live.remove(x.stream)
	}
	took := x.door.now().Sub(x.begin)
	group := none
	if x.group != nil {
		group = x.group.name
	}
	origin := x.origin
	if origin == "" {
		origin = none
	}
	x.door.metrics.answered(group, origin, x.status, took, x.stream != nil)
	share, ok := x.door.access.wants(x.status, x.own, x.attempts, took)
	if !ok {
		return
	}
	x.door.access.write(&accessEntry{
		at: x.begin, took: took, client: x.hop.client.String(), method: r.Method, proto: r.Proto, host: x.hop.host,
		path: r.URL.EscapedPath(), agent: r.UserAgent(), trace: traceID(r.Header["Traceparent"]), group: groupName(x.group),
		origin: x.origin, status: x.status, in: r.ContentLength, out: x.out, attempts: x.attempts, stream: x.stream != nil, share: share,
	})
}

func groupName(g *group) string {
	if g == nil {
		return ""
	}
	return g.name
}

// traceID is that of a well-formed traceparent.
func traceID(fields []string) string {
	s := only(fields)
	if len(s) < 55 || s[2] != '-' || s[35] != '-' {
		return ""
	}
	for i := 3; i < 35; i++ {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ""
		}
	}
	return s[3:35]
}

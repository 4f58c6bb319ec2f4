package door

import (
	"net/http"
	"net/url"
	"path"
	"strings"

	"postroad/internal/httpserve"
)

// What a request may not be, although the HTTP server of the standard library
// takes it. It refuses by itself what has two lengths, NULs, spaces before colons
// or malformed chunks; and it reads away what can be read in one way only, such as
// folded lines. The door writes every request anew, with one length, so that what
// an origin reads is what the door read.

// refusal returns the problem of a request that is refused, or nil.
func (l *layout) refusal(r *http.Request) *httpserve.Problem {
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		return &httpserve.Problem{
			Name: "method-not-allowed", Status: http.StatusMethodNotAllowed, Title: "Method not allowed",
			Detail: "the door opens no tunnels and echoes no requests",
		}
	case !validToken(r.Method):
		return badRequest("the method has characters that no method has")
	case len(r.Header) > l.limits.HeaderFields:
		return &httpserve.Problem{
			Name: "headers-too-large", Status: http.StatusRequestHeaderFieldsTooLarge, Title: "Headers too large",
			Detail: "the request has more header fields than limits.header_fields",
		}
	case r.ContentLength > l.limits.BodyBytes:
		return tooLarge()
	case r.Host == "" && r.ProtoAtLeast(1, 1), !validHost(r.Host):
		return badRequest("the host is missing or has characters that no host has")
	case !plainTarget(r.URL), r.ProtoMajor > 1 && r.URL.Scheme != "":
		return badRequest("the target is neither a path nor the URL of a page, or has spaces or control characters in its query")
	case ambiguousPath(r.URL):
		return badRequest("the path has control characters, or means another one in a different reading")
	}
	for _, value := range r.Header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" && endToEnd(http.CanonicalHeaderKey(name)) {
				return badRequest("Connection names a header that is not for one hop alone")
			}
		}
	}
	return nil
}

func badRequest(detail string) *httpserve.Problem {
	return &httpserve.Problem{Name: "bad-request", Status: http.StatusBadRequest, Title: "Bad request", Detail: detail}
}

func tooLarge() *httpserve.Problem {
	return &httpserve.Problem{
		Name: "too-large", Status: http.StatusRequestEntityTooLarge, Title: "Too large",
		Detail: "the request body is over limits.body_bytes of the door",
	}
}

// plainTarget tells targets that are a path, or a URL with a host, and a query of
// one word. Of a target such as "x:http://other/path" the standard library sees no
// path at all, but would write all that follows the colon to the origin, which may
// take path and host from it. And over HTTP/2 a query may have spaces, which would
// make four words of the three of a request line.
func plainTarget(u *url.URL) bool {
	if u.Opaque != "" || u.Scheme != "" && u.Scheme != "http" && u.Scheme != "https" || !strings.HasPrefix(u.Path, "/") {
		return false
	}
	for i := range len(u.RawQuery) {
		if u.RawQuery[i] <= ' ' || u.RawQuery[i] == 0x7f {
			return false
		}
	}
	return true
}

// rooted gives a request for "http://host", without a path, the path that it means.
func rooted(r *http.Request) *http.Request {
	if r.URL.Path != "" || r.URL.Opaque != "" || r.URL.Host == "" {
		return r
	}
	u, out := *r.URL, r.WithContext(r.Context())
	u.Path, out.URL = "/", &u
	return out
}

// ambiguousPath tells paths that an origin could read as another one than the
// door did: control characters, and dot segments that hide behind escapes.
func ambiguousPath(u *url.URL) bool {
	for i := range len(u.Path) {
		if u.Path[i] < ' ' || u.Path[i] == 0x7f {
			return true
		}
	}
	return strings.Contains(u.Path, "\\")
}

// cleanPath is a path as an origin that resolves dot segments reads it.
func cleanPath(p string) string {
	if !strings.Contains(p, "/.") && !strings.Contains(p, "//") {
		return p
	}
	c := path.Clean("/" + p)
	if strings.HasSuffix(p, "/") && c != "/" {
		c += "/"
	}
	return c
}

// endToEnd tells headers that mean something beyond one connection, and that a
// client must not have removed on the way by naming them in Connection: the key by
// which a message is known, or what a proxy before the door says of the client.
func endToEnd(name string) bool {
	switch name {
	case "Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Authorization", "Cookie",
		"Idempotency-Key", "Traceparent", "Tracestate", "Prefer", "Origin":
		return true
	}
	return aboutTheWay(name) || foldPrefix(name, "Postroad-") || foldPrefix(name, "Ce-")
}

// hopByHop tells headers that are for one connection alone, RFC 9110 section
// 7.6.1 and what older clients send.
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Proxy-Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings":
		return true
	}
	return false
}

// inDisguise tells headers that an origin which takes underscores for hyphens
// would read a body's length from.
func inDisguise(name string) bool {
	return strings.Contains(name, "_") && (foldEqual(name, "Transfer-Encoding") || foldEqual(name, "Content-Length"))
}

// onward copies the headers of a request that go on to an origin; the values are
// shared. Of an upgrade only one to WebSocket goes on: another protocol behind the
// same connection would be out of the door's sight.
func onward(r *http.Request, h hop, via string) http.Header {
	out := make(http.Header, len(r.Header)+4)
	for name, values := range r.Header {
		if hopByHop(name) || inDisguise(name) || !h.trusted && aboutTheWay(name) {
			continue
		}
		out[name] = values
	}
	for _, value := range r.Header["Connection"] {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				delete(out, http.CanonicalHeaderKey(name))
			}
		}
	}
	delete(out, "Forwarded")
	for name := range out {
		if h.trusted && strings.Contains(name, "_") && aboutTheWay(name) {
			delete(out, name)
		}
	}
	if hasToken(r.Header["Te"], "trailers") {
		out["Te"] = []string{"trailers"}
	}
	if isWebSocket(r) {
		out["Connection"], out["Upgrade"] = []string{"Upgrade"}, []string{"websocket"}
	}
	if h.chain != "" {
		out["X-Forwarded-For"] = []string{h.chain}
	}
	out["Via"] = append(r.Header["Via"][:len(r.Header["Via"]):len(r.Header["Via"])], via)
	out["X-Forwarded-Host"] = []string{h.host}
	out["X-Forwarded-Proto"] = []string{h.proto}
	if t := r.Header["Traceparent"]; len(t) > 1 { // a trace with two parents begins anew
		delete(out, "Traceparent")
		delete(out, "Tracestate")
	}
	return out
}

// cameHere reports whether a request carries the name of this door among those of
// the proxies it came by. Without it an origin that leads back to the door would
// send a request around until every connection is used up.
func cameHere(values []string, via string) bool {
	_, name, _ := strings.Cut(via, " ")
	for _, v := range values {
		if strings.Contains(v, name) {
			return true
		}
	}
	return false
}

// isWebSocket tells requests that ask for a WebSocket. One with a body is none:
// where the body ends the frames would begin, and not all agree on where that is.
func isWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.Method == http.MethodGet && r.ContentLength == 0 && strings.EqualFold(only(r.Header["Upgrade"]), "websocket") &&
		hasToken(r.Header["Connection"], "Upgrade")
}

// lastOnConnection tells requests after which a connection is not used again:
// bodies whose length a proxy before the door may have read in another way. The
// standard library lets a chunked body win over a Content-Length beside it, and
// hides the latter; and it passes over Transfer-Encoding in HTTP/1.0.
func lastOnConnection(r *http.Request) bool {
	return r.ProtoMajor == 1 && (len(r.TransferEncoding) > 0 || r.ProtoMinor == 0)
}

// hasToken reports whether a list of tokens holds one, in any letter case.
func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

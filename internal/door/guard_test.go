package door

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recorder is an origin that keeps the bytes of the requests that it reads, and
// answers each.
type recorder struct {
	mu   sync.Mutex
	seen []string // head and body of each request; guarded by mu
	url  string
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	rec := &recorder{}
	rec.url = rawOrigin(t, func(c net.Conn) {
		var raw strings.Builder
		r := bufio.NewReader(io.TeeReader(c, &raw))
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			if _, err = io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			rec.mu.Lock()
			rec.seen = append(rec.seen, raw.String())
			rec.mu.Unlock()
			raw.Reset()
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return rec
}

func (r *recorder) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// attack is bytes on a connection, and what must come of them.
type attack struct {
	name, bytes string
	// status of the first answer; 0 takes a closed connection as well.
	status int
	// answers is how many answers may come at most on the connection.
	answers int
	// requests is how many requests may reach the origin, and lacks what none of
	// them may contain, in lower case.
	requests int
	lacks    []string
	// has is what the first must contain, in lower case.
	has []string
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

func attacks() []attack {
	chunked := "0\r\n\r\n"
	head := func(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }
	none := []string{"/smuggled"}
	return []attack{
		// Two lengths.
		{name: "length and chunks", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 6", "Transfer-Encoding: chunked") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: append(none, "content-length: 6")},
		{name: "chunks and length", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Content-Length: 50") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: append(none, "content-length: 50")},
		{name: "two lengths", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0", "Content-Length: 40") + smuggled, status: 400, answers: 1, lacks: none},
		{name: "a list of lengths", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0, 40") + smuggled, status: 400, answers: 1, lacks: none},
		{name: "a signed length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: +4") + "abcd", status: 400, answers: 1},
		{name: "a negative length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: -1"), status: 400, answers: 1},
		{name: "a length in hex", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0x4") + "abcd", status: 400, answers: 1},
		{name: "an empty length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: "), status: 400, answers: 1},
		// Transfer codings in disguise.
		{name: "another coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: gzip, chunked") + chunked + smuggled, status: 501, answers: 1, lacks: none},
		{name: "an unknown coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: xchunked", "Content-Length: 3") + "abc", status: 501, answers: 1},
		{name: "the coding twice", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked + smuggled, status: 501, answers: 1, lacks: none},
		{name: "coding after a tab", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding:\tchunked") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: none},
		{name: "coding after a vertical tab", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: \x0bchunked") + chunked + smuggled, answers: 1, lacks: none},
		{name: "space before the colon", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding : chunked") + chunked + smuggled, status: 400, answers: 1, lacks: none},
		{name: "chunks in HTTP/1.0", bytes: head("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked", "Connection: keep-alive") + chunked + smuggled, answers: 1, requests: 1, lacks: none},
		// Chunks.
		{name: "a chunk size that overflows", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "10000000000000000\r\n", status: 400, answers: 1},
		{name: "a chunk size with a sign", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "+3\r\nabc\r\n" + chunked, status: 400, answers: 1},
		{name: "a chunk ended by LF", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "3\nabc\n" + chunked + smuggled, status: 400, answers: 1, lacks: none},
		{name: "a chunk extension with LF", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "0;a\nb\r\n\r\n" + smuggled, answers: 1, lacks: none},
		{name: "a chunk longer than said", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "3\r\nabcdef\r\n" + chunked + smuggled, status: 400, answers: 1, lacks: none},
		{name: "very many chunk extensions", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\na\r\n", 100) + chunked + smuggled, status: 400, answers: 1, lacks: none},
		{name: "a trailer that frames", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Trailer: Content-Length") + "0\r\nContent-Length: 40\r\n\r\n" + smuggled, answers: 1, lacks: append(none, "content-length: 40")},
		// Lines and bytes.
		{name: "a folded line", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: 1", " X-Forwarded-For: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"\n x-forwarded", "\nx-forwarded-for: 6.6.6.6"}},
		{name: "a folded first line", bytes: "GET / HTTP/1.1\r\n Host: x\r\n\r\n", status: 400, answers: 1},
		{name: "lines ended by LF", bytes: "GET / HTTP/1.1\nHost: x\n\n", status: 200, answers: 1, requests: 1, has: []string{"\r\n"}},
		{name: "a bare CR in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\rX-Forwarded-For: 6.6.6.6"), status: 400, answers: 1},
		{name: "a NUL in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\x00b"), status: 400, answers: 1},
		{name: "a NUL in a name", bytes: head("GET / HTTP/1.1", "Host: x", "X-\x00A: a"), status: 400, answers: 1},
		{name: "a header without a name", bytes: head("GET / HTTP/1.1", "Host: x", ": a"), status: 400, answers: 1},
		{name: "a header without a colon", bytes: head("GET / HTTP/1.1", "Host: x", "Transfer-Encoding"), status: 400, answers: 1},
		{name: "a name with a space", bytes: head("GET / HTTP/1.1", "Host: x", "X A: a"), status: 400, answers: 1},
		// Targets.
		{name: "another version", bytes: head("GET / HTTP/1.9", "Host: x"), answers: 1, requests: 1},
		{name: "no version", bytes: "GET /\r\n\r\n", status: 400, answers: 1},
		{name: "spaces in the target", bytes: head("GET /a /b HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "control characters in the target", bytes: head("GET /a\x01 HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "an escaped line break", bytes: head("GET /a%0d%0aX-Evil:%201 HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "an escaped NUL", bytes: head("GET /a%00 HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a backslash", bytes: head(`GET /a\..\b HTTP/1.1`, "Host: x"), status: 400, answers: 1},
		{name: "an absolute target", bytes: head("GET http://evil.example/ HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, has: []string{"get / http/1.1", "x-forwarded-host: evil.example"}},
		{name: "a tunnel", bytes: head("CONNECT evil.example:443 HTTP/1.1", "Host: evil.example:443"), status: 405, answers: 1},
		{name: "an echo", bytes: head("TRACE / HTTP/1.1", "Host: x", "Cookie: secret"), status: 405, answers: 1, lacks: []string{"secret"}},
		// Hosts.
		{name: "no host", bytes: head("GET / HTTP/1.1"), status: 400, answers: 1},
		{name: "two hosts", bytes: head("GET / HTTP/1.1", "Host: x", "Host: y"), status: 400, answers: 1},
		{name: "a host with a path", bytes: head("GET / HTTP/1.1", "Host: x/y"), status: 400, answers: 1},
		{name: "a host with a user", bytes: head("GET / HTTP/1.1", "Host: user@x"), status: 400, answers: 1},
		{name: "a list of hosts", bytes: head("GET / HTTP/1.1", "Host: x, y"), status: 400, answers: 1},
		// Headers that a client takes away, or makes up.
		{name: "Connection takes the key", bytes: head("POST /v1/topics/t/messages HTTP/1.1", "Host: x", "Connection: Idempotency-Key", "Idempotency-Key: k", "Content-Length: 0"), status: 400, answers: 1},
		{name: "Connection takes the way", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: close, X-Forwarded-For"), status: 400, answers: 1},
		{name: "Connection takes the length", bytes: head("POST / HTTP/1.1", "Host: x", "Connection: Content-Length", "Content-Length: 3") + "abc", status: 400, answers: 1},
		{name: "Connection takes a header of its own", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: X-Mine", "X-Mine: 1", "X-Other: 2"), status: 200, answers: 1, requests: 1, lacks: []string{"x-mine"}, has: []string{"x-other: 2"}},
		{name: "the way, made up", bytes: head("GET / HTTP/1.1", "Host: x", "X-Forwarded-For: 6.6.6.6", "X_Forwarded_For: 6.6.6.6", "x-forwarded_proto: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "True-Client-IP: 6.6.6.6", "X-Azure-ClientIP: 6.6.6.6", "X_Azure_FDID: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"6.6.6.6", "azure"}, has: []string{"x-forwarded-for: 127.0.0.1"}},
		{name: "an attempt, made up", bytes: head("POST /v1/topics/t/messages HTTP/1.1", "Host: x", "Idempotency-Key: k", "Postroad-Attempt: 7", "Postroad_Attempt: 7", "Content-Length: 0"), status: 200, answers: 1, requests: 1, lacks: []string{"attempt: 7"}},
		{name: "a proxy's credentials", bytes: head("GET / HTTP/1.1", "Host: x", "Proxy-Authorization: Basic secret", "Keep-Alive: timeout=5"), status: 200, answers: 1, requests: 1, lacks: []string{"secret", "keep-alive"}},
		{name: "HTTP/2 behind an upgrade", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), status: 200, answers: 1, requests: 1, lacks: []string{"upgrade", "http2-settings"}},
		{name: "an upgrade with a body", bytes: head("POST / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Content-Length: 0"), status: 200, answers: 1, requests: 1, lacks: []string{"upgrade"}},
		{name: "two traces", bytes: head("GET / HTTP/1.1", "Host: x", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "traceparent: 00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate: a=b"), status: 200, answers: 1, requests: 1, lacks: []string{"traceparent", "tracestate"}},
		{name: "very many headers", bytes: "GET / HTTP/1.1\r\nHost: x\r\n" + manyHeaders(200) + "\r\n", status: 431, answers: 1},
	}
}

func manyHeaders(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-%d: 1\r\n", i)
	}
	return b.String()
}

// strike sends an attack and returns the statuses of all answers. Once there are
// as many as expected it says that it sends no more, so that the connection ends
// after what the door takes for the last request.
func strike(t *testing.T, url, bytes string, expected int) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, bytes); err != nil {
		return nil
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	for {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		statuses = append(statuses, res.StatusCode)
		if tcp, ok := c.(*net.TCPConn); ok && len(statuses) == expected {
			_ = tcp.CloseWrite()
		}
	}
}

// judge says what is wrong with the outcome of an attack.
func (a attack) judge(statuses []int, seen []string) (wrong []string) {
	switch {
	case len(statuses) > a.answers:
		wrong = append(wrong, fmt.Sprintf("%d answers, %v", len(statuses), statuses))
	case a.status != 0 && (len(statuses) == 0 || statuses[0] != a.status):
		wrong = append(wrong, fmt.Sprintf("answered %v, want %d", statuses, a.status))
	}
	if len(seen) > a.requests {
		wrong = append(wrong, fmt.Sprintf("%d requests reached the origin: %q", len(seen), seen))
	}
	for _, s := range seen {
		for _, l := range a.lacks {
			if strings.Contains(strings.ToLower(s), l) {
				wrong = append(wrong, fmt.Sprintf("%q reached the origin in %q", l, s))
			}
		}
	}
	for _, h := range a.has {
		if len(seen) == 0 || !strings.Contains(strings.ToLower(seen[0]), h) {
			wrong = append(wrong, fmt.Sprintf("%q is not in %q", h, seen))
		}
	}
	return wrong
}

// TestSmuggling: what can be read in two ways is refused, or reaches the origin
// only in one of them.
func TestSmuggling(t *testing.T) {
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			rec := newRecorder(t)
			f := open(t, testOptions(origins(rec.url)...), Deps{})
			statuses := strike(t, f.url, a.bytes, a.answers)
			for _, w := range a.judge(statuses, rec.taken()) {
				t.Error(w)
			}
		})
	}
}

// TestSmugglingSabotaged: through a proxy that does nothing of the kind, the
// table finds what is wrong.
func TestSmugglingSabotaged(t *testing.T) {
	rec := newRecorder(t)
	to, err := url.Parse(rec.url)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.RequestURI = "http", to.Host, ""
		res, err := tr.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
	defer plain.Close()
	caught := map[string]bool{}
	for _, a := range attacks() {
		before := len(rec.taken())
		statuses := strike(t, plain.URL, a.bytes, a.answers)
		caught[a.name] = len(a.judge(statuses, rec.taken()[before:])) > 0
	}
	for _, name := range []string{
		"length and chunks", "chunks in HTTP/1.0", "an escaped line break", "Connection takes the key",
		"the way, made up", "an attempt, made up", "a proxy's credentials", "HTTP/2 behind an upgrade", "two traces", "very many headers",
	} {
		if !caught[name] {
			t.Errorf("%s: not found through a proxy that lets it pass", name)
		}
	}
}

func TestLook(t *testing.T) {
	const fdid = "3a1b"
	tr, err := newTrust([]string{"10.0.0.0/8", "2001:db8::/32", "127.0.0.1"}, TrustedHeader{})
	if err != nil {
		t.Fatal(err)
	}
	marked, err := newTrust([]string{"10.0.0.0/8"}, TrustedHeader{Name: "x-azure-fdid", Values: []string{fdid}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from string
		headers    []string
		by         *trust
		client     string
		chain      string
		trusted    bool
		proto      string
		host       string
	}{
		{"nobody before us", "192.0.2.1:5", nil, &tr, "192.0.2.1", "192.0.2.1", false, "http", "own"},
		{"a stranger's word", "192.0.2.1:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https"}, &tr, "192.0.2.1", "192.0.2.1", false, "http", "own"},
		{"a proxy's word", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "HTTPS", "X-Forwarded-Host", "shop.example"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "https", "shop.example"},
		{"a chain, its client's word before it", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.9.9.9"}, &tr, "192.0.2.1", "192.0.2.1, 10.9.9.9, 10.1.2.3", true, "http", "own"},
		{"in several lines", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "192.0.2.1"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"all trusted", "10.1.2.3:5", []string{"X-Forwarded-For", "10.0.0.1"}, &tr, "10.0.0.1", "10.0.0.1, 10.1.2.3", true, "http", "own"},
		{"nonsense ends the chain", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1, unknown, 10.0.0.1"}, &tr, "10.0.0.1", "10.0.0.1, 10.1.2.3", true, "http", "own"},
		{"with ports", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1:99"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"six", "[2001:db8::1]:5", []string{"X-Forwarded-For", "[2001:db9::1]:7"}, &tr, "2001:db9::1", "2001:db9::1, 2001:db8::1", true, "http", "own"},
		{"a mapped peer", "[::ffff:10.1.2.3]:5", []string{"X-Forwarded-For", "192.0.2.1"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"Forwarded", "10.1.2.3:5", []string{"Forwarded", `for=6.6.6.6;host=a, for="[2001:db9::1]:47";proto=https;host="shop.example"`}, &tr, "2001:db9::1", "2001:db9::1, 10.1.2.3", true, "https", "shop.example"},
		{"Forwarded, malformed", "10.1.2.3:5", []string{"Forwarded", `for="6.6.6.6`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"Forwarded, hidden", "10.1.2.3:5", []string{"Forwarded", `for=_x`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"a protocol that is none", "10.1.2.3:5", []string{"X-Forwarded-Proto", "javascript", "X-Forwarded-Host", "a b"}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"two protocols", "10.1.2.3:5", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"the header is missing", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1"}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"the header of another", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", "other"}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"the header twice", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", fdid, "X-Azure-FDID", fdid}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"our header", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", fdid}, &marked, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"our header from elsewhere", "192.0.2.9:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Azure-FDID", fdid}, &marked, "192.0.2.9", "192.0.2.9", false, "http", "own"},
		{"no peer", "pipe", nil, &tr, "", "", false, "http", "own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Host = c.from, "own"
			for i := 0; i+1 < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			h := c.by.look(r)
			client := ""
			if h.client.IsValid() {
				client = h.client.String()
			}
			if client != c.client || h.chain != c.chain || h.trusted != c.trusted || h.proto != c.proto || h.host != c.host {
				t.Errorf("%s, chain %q, trusted %v, %s://%s", client, h.chain, h.trusted, h.proto, h.host)
			}
		})
	}
}

// FuzzForwarded: whatever a proxy writes, the client is an address or none, and
// what goes on to origins can be written as a header.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", `for=192.0.2.60;proto=http;by=203.0.113.43`, `for="[2001:db8:cafe::17]:4711"`, `For=a;;`, `for="\""`, "a, b,, ,c:1", "[::1", "",
	} {
		f.Add(s, s, s)
	}
	tr, err := newTrust([]string{"0.0.0.0/0", "::/0"}, TrustedHeader{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, xff, forwarded, host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Forwarded-For"], r.Header["Forwarded"], r.Header["X-Forwarded-Host"] = []string{xff}, []string{forwarded}, []string{host}
		h := tr.look(r)
		if !h.client.IsValid() || !validHost(h.host) {
			t.Fatalf("client %v, host %q", h.client, h.host)
		}
		for part := range strings.SplitSeq(h.chain, ", ") {
			if _, err := netip.ParseAddr(part); err != nil {
				t.Fatalf("chain %q: %v", h.chain, err)
			}
		}
	})
}

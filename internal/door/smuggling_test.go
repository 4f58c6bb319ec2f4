package door

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/door/doortest"
)

// recorder is an origin that keeps the bytes that it reads, whether or not they
// are a request, and answers each request: where early is set after an interim
// answer.
type recorder struct {
	mu    sync.Mutex
	seen  []arrived // guarded by mu
	conns int       // open connections; guarded by mu
	early bool
	url   string
}

// arrived are the bytes of one request, head and body.
type arrived struct {
	bytes string
	cut   bool // they ended before the request did
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	rec := &recorder{}
	rec.url = doortest.RawOrigin(t, func(c net.Conn) {
		rec.open(1)
		defer rec.open(-1)
		var raw strings.Builder
		r := bufio.NewReader(io.TeeReader(c, &raw))
		for {
			req, err := http.ReadRequest(r)
			if err == nil {
				_, err = io.Copy(io.Discard, req.Body)
			}
			rec.note(arrived{raw.String(), errors.Is(err, io.ErrUnexpectedEOF)})
			if err != nil {
				return
			}
			raw.Reset()
			answer := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
			if req.Method == http.MethodHead {
				answer = strings.TrimSuffix(answer, "ok")
			}
			if rec.early {
				answer = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + answer
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
	return rec
}

func (r *recorder) note(a arrived) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.bytes != "" {
		r.seen = append(r.seen, a)
	}
}

func (r *recorder) open(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns += n
}

func (r *recorder) taken() []arrived {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen)
}

// all is what was taken once every connection has ended: also what was cut off.
func (r *recorder) all(t *testing.T) []arrived {
	t.Helper()
	eventually(t, "the origin's connections to end", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.conns == 0
	})
	return r.taken()
}

// strike sends an attack and returns the statuses of all answers. Once there are
// as many as expected it says that it sends no more, so that the connection ends
// after what the door takes for the last request.
func strike(t *testing.T, url string, a attack) (statuses []int) {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, a.bytes); err != nil {
		return nil
	}
	if a.breaks {
		closeWrite(c)
	}
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	method, _, _ := strings.Cut(a.bytes, " ")
	for {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return statuses
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode < 200 {
			continue
		}
		statuses = append(statuses, res.StatusCode)
		if len(statuses) == a.answers {
			closeWrite(c)
		}
	}
}

// whole is how many requests are more than a part of one.
func whole(seen []arrived) (n int) {
	for _, s := range seen {
		if !s.cut {
			n++
		}
	}
	return n
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
}

// judge says what is wrong with the outcome of an attack.
func (a attack) judge(statuses []int, seen []arrived) (wrong []string) {
	switch {
	case len(statuses) > a.answers:
		wrong = append(wrong, fmt.Sprintf("%d answers, %v", len(statuses), statuses))
	case a.status != 0 && (len(statuses) == 0 || statuses[0] != a.status):
		wrong = append(wrong, fmt.Sprintf("answered %v, want %d", statuses, a.status))
	}
	if n := whole(seen); n > a.requests {
		wrong = append(wrong, fmt.Sprintf("%d requests reached the origin: %v", n, seen))
	}
	for _, s := range seen {
		for _, l := range a.lacks {
			if strings.Contains(strings.ToLower(s.bytes), l) {
				wrong = append(wrong, fmt.Sprintf("%q reached the origin in %q", l, s.bytes))
			}
		}
	}
	for _, h := range a.has {
		if len(seen) == 0 || !strings.Contains(strings.ToLower(seen[0].bytes), h) {
			wrong = append(wrong, fmt.Sprintf("%q is not in %v", h, seen))
		}
	}
	return wrong
}

// TestSmuggling: what can be read in two ways is refused, or reaches the origin
// only in one of them; whichever way it takes through the door, and although the
// origin sends an answer before its answer.
func TestSmuggling(t *testing.T) {
	for _, a := range attacks() {
		for name, early := range map[string]bool{"plain": false, "plain, early": true} {
			t.Run(a.name+"/"+name, func(t *testing.T) { a.try(t, early) })
		}
		if at, ok := a.toGateway(); ok {
			t.Run(a.name+"/gateway", func(t *testing.T) { at.try(t, true) })
		}
	}
}

func (a attack) try(t *testing.T, early bool) {
	rec := newRecorder(t)
	rec.early = early
	f := open(t, testOptions(origins(rec.url)...), Deps{})
	statuses := strike(t, f.url, a)
	f.shut()
	for _, w := range a.judge(statuses, rec.all(t)) {
		t.Error(w)
	}
}

// toGateway is the same attack on a path that gateways serve.
func (a attack) toGateway() (attack, bool) {
	for _, method := range []string{"GET", "HEAD", "POST"} {
		if rest, ok := strings.CutPrefix(a.bytes, method+" / "); ok {
			a.bytes = method + " /v1/x " + rest
			return a, true
		}
	}
	return a, false
}

// plainProxy takes every request to rec and looks at none of it.
func plainProxy(t *testing.T, rec *recorder) http.Handler {
	to, err := url.Parse(rec.url)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
	})
}

// TestSmugglingSabotaged: through a proxy that does nothing of the kind, the
// table finds what is wrong.
func TestSmugglingSabotaged(t *testing.T) {
	rec := newRecorder(t)
	plain := httptest.NewServer(plainProxy(t, rec))
	defer plain.Close()
	wanted := map[string]bool{}
	for _, name := range []string{
		"length and chunks", "a target in a target", "a scheme without a host", "chunks in HTTP/1.0", "an escaped line break",
		"Connection takes the key", "the way, made up", "an attempt, made up", "a proxy's credentials", "HTTP/2 behind an upgrade",
		"two traces", "very many headers", "a length in disguise", "coding in disguise", "a trailer about the way",
		"a WebSocket with chunks", "Connection takes the way, in disguise",
	} {
		wanted[name] = true
	}
	for _, a := range attacks() {
		if !wanted[a.name] {
			continue
		}
		delete(wanted, a.name)
		before := len(rec.taken())
		statuses := strike(t, plain.URL, a)
		if len(a.judge(statuses, rec.taken()[before:])) == 0 {
			t.Errorf("%s: not found through a proxy that lets it pass", a.name)
		}
	}
	for name := range wanted {
		t.Errorf("%s: no such attack", name)
	}
}

package door

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// attack2 is a request over HTTP/2, field by field, and what must come of it.
type attack2 struct {
	name string
	// fields are names and values, in this order; those of a good request stand
	// where they do not.
	fields []string
	// body follows where it is not empty, and trailers after it.
	body     string
	trailers []string
	// statuses are those of which the answer has one; 0 is none: the stream or the
	// connection is ended.
	statuses []int
	// requests, lacks and has are as of an attack.
	requests   int
	lacks, has []string
}

// get is a good request.
func get(more ...string) []string {
	return append([]string{":method", "GET", ":scheme", "http", ":authority", "x", ":path", "/"}, more...)
}

func post(more ...string) []string {
	return append([]string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}, more...)
}

// with is a good request but for one pseudo header.
func with(name, value string) []string {
	f := get()
	f[slices.Index(f, name)+1] = value
	return f
}

// refused is how a request is ended: by an answer, or without one.
func refused() []int { return []int{0, 400} }

// attacks2 are all of HTTP/2.
func attacks2() []attack2 {
	return []attack2{
		{name: "a good one", fields: get(), statuses: []int{200}, requests: 1, has: []string{"get / http/1.1\r\n", "x-forwarded-host: x\r\n"}},
		{name: "a good one with a body", fields: post(), body: "abc", statuses: []int{200}, requests: 1, has: []string{"post / http/1.1\r\n"}},
		// Pseudo headers.
		{name: "a target in a target", fields: with(":path", "x:http://other.example/secret"), statuses: refused()},
		{name: "a target that is no path", fields: with(":path", "secret"), statuses: refused()},
		{name: "an absolute target", fields: with(":path", "http://other.example/secret"), statuses: refused()},
		{name: "the target of OPTIONS elsewhere", fields: with(":path", "*"), statuses: refused()},
		{name: "an empty path", fields: with(":path", ""), statuses: refused()},
		{name: "a space in the query", fields: with(":path", "/a?b HTTP/1.1"), statuses: refused()},
		{name: "a space in the path", fields: with(":path", "/a b HTTP/1.1"), statuses: []int{200}, requests: 1, has: []string{"get /a%20b%20http/1.1 http/1.1\r\n"}},
		{name: "a line break in the path", fields: with(":path", "/a\r\nX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a line feed in the query", fields: with(":path", "/?a\nX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a NUL in the path", fields: with(":path", "/a\x00b"), statuses: refused()},
		{name: "an escaped line break in the path", fields: with(":path", "/a%0d%0aX-Evil:%201"), statuses: refused()},
		{name: "a backslash in the path", fields: with(":path", `/a\..\b`), statuses: refused()},
		{name: "a request line in the method", fields: with(":method", "GET /secret HTTP/1.1"), statuses: refused(), lacks: []string{"secret"}},
		{name: "a line break in the method", fields: with(":method", "GET / HTTP/1.1\r\nX-Evil: 1\r\n"), statuses: refused(), lacks: []string{"evil"}},
		{name: "an odd method", fields: with(":method", "GET|"), statuses: refused()},
		{name: "no method", fields: with(":method", ""), statuses: refused()},
		{name: "a line break in the authority", fields: with(":authority", "x\r\nX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a user in the authority", fields: with(":authority", "user@x"), statuses: refused()},
		{name: "a path in the authority", fields: with(":authority", "x/y"), statuses: refused()},
		{name: "two authorities in one", fields: with(":authority", "x, y"), statuses: refused()},
		{name: "a NUL in the authority", fields: with(":authority", "x\x00y"), statuses: refused()},
		{name: "an empty authority", fields: with(":authority", ""), statuses: refused()},
		{name: "another host beside the authority", fields: get("host", "evil.example"), statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"evil"}},
		{name: "a scheme with a target", fields: with(":scheme", "http://evil.example/?"), statuses: refused(), lacks: []string{"evil"}},
		{name: "another scheme", fields: with(":scheme", "file"), statuses: refused()},
		{name: "a scheme that is not ours", fields: with(":scheme", "https"), statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"x-forwarded-proto: https"}},
		{name: "a method twice", fields: append([]string{":method", "POST"}, get()...), statuses: refused()},
		{name: "a path twice", fields: append([]string{":path", "/secret"}, get()...), statuses: refused(), lacks: []string{"secret"}},
		{name: "an authority twice", fields: append([]string{":authority", "evil"}, get()...), statuses: refused(), lacks: []string{"evil"}},
		{name: "a pseudo header after another", fields: append([]string{"x-a", "1"}, get()...), statuses: refused()},
		{name: "a pseudo header of an answer", fields: append([]string{":status", "200"}, get()...), statuses: refused()},
		{name: "an unknown pseudo header", fields: append([]string{":evil", "1"}, get()...), statuses: refused()},
		{name: "a tunnel", fields: []string{":method", "CONNECT", ":authority", "evil.example:443"}, statuses: []int{0, 400, 405}},
		{name: "a WebSocket", fields: append(with(":method", "CONNECT"), ":protocol", "websocket"), statuses: []int{0, 400, 405}},
		{name: "an echo", fields: with(":method", "TRACE"), statuses: []int{405}},
		// Headers of one connection, which have no place here.
		{name: "a coding", fields: post("transfer-encoding", "chunked"), body: "0\r\n\r\n" + smuggled, statuses: refused(), lacks: noSecond()},
		{name: "a coding in disguise", fields: post("transfer_encoding", "chunked"), body: "0\r\n\r\n", statuses: []int{200}, requests: 1, lacks: []string{"transfer_encoding"}},
		{name: "Connection", fields: get("connection", "x-mine", "x-mine", "1"), statuses: refused()},
		{name: "Connection takes the key", fields: post("connection", "idempotency-key", "idempotency-key", "k"), statuses: refused()},
		{name: "Upgrade", fields: get("upgrade", "websocket"), statuses: refused()},
		{name: "Keep-Alive", fields: get("keep-alive", "timeout=5"), statuses: refused()},
		{name: "Proxy-Connection", fields: get("proxy-connection", "keep-alive"), statuses: refused()},
		{name: "TE", fields: get("te", "gzip"), statuses: refused()},
		{name: "settings of HTTP/2", fields: get("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"), statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"http2-settings"}},
		// Lengths.
		{name: "a length that is too short", fields: post("content-length", "3"), body: "abc" + smuggled, statuses: refused(), lacks: noSecond()},
		{name: "a length that is too long", fields: post("content-length", "400"), body: smuggled, statuses: refused()},
		{name: "a length of nothing", fields: post("content-length", "0"), body: smuggled, statuses: []int{0, 200, 400}, requests: 1, lacks: noSecond()},
		{name: "two lengths", fields: post("content-length", "3", "content-length", "43"), body: "abc", statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"length: 43"}},
		{name: "a length that is none", fields: post("content-length", "+3"), body: "abc", statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"+3"}},
		{name: "a length in disguise", fields: post("content_length", "43"), body: "abc", statuses: []int{200}, requests: 1, lacks: []string{"length: 43"}},
		{name: "a GET with a body", fields: get(), body: smuggled, statuses: []int{200}, requests: 1},
		// Bytes.
		{name: "a line break in a value", fields: get("x-a", "1\r\nX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a line feed in a value", fields: get("x-a", "1\nX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a CR in a value", fields: get("x-a", "1\rX-Evil: 1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a NUL in a value", fields: get("x-a", "1\x00"), statuses: refused()},
		{name: "a line break in a name", fields: get("x-a: 1\r\nx-evil", "1"), statuses: refused(), lacks: []string{"evil"}},
		{name: "a colon in a name", fields: get("x-a: 1", "1"), statuses: refused()},
		{name: "a space in a name", fields: get("x a", "1"), statuses: refused()},
		{name: "capitals in a name", fields: get("X-A", "1"), statuses: refused()},
		{name: "an empty name", fields: get("", "1"), statuses: refused()},
		// What a client makes up.
		{name: "the way, made up", fields: get("x-forwarded-for", "6.6.6.6", "x_forwarded_for", "6.6.6.6", "forwarded", "for=6.6.6.6", "x-real-ip", "6.6.6.6", "x-forwarded-proto", "6.6.6.6"), statuses: []int{200}, requests: 1, lacks: []string{"6.6.6.6"}, has: []string{"x-forwarded-for: 127.0.0.1"}},
		{name: "an attempt, made up", fields: post("postroad-attempt", "7"), body: "abc", statuses: []int{200}, requests: 1, lacks: []string{"attempt"}},
		{name: "trailers about the way", fields: post("trailer", "x-forwarded-for"), body: "abc", trailers: []string{"x-forwarded-for", "6.6.6.6", "postroad-attempt", "7"}, statuses: []int{0, 200, 400}, requests: 1, lacks: []string{"6.6.6.6", "attempt", "trailer"}},
		{name: "a pseudo header after the body", fields: post(), body: "abc", trailers: []string{":path", "/secret"}, statuses: refused(), lacks: []string{"secret"}},
	}
}

// TestSmugglingHTTP2: the same over HTTP/2, where no byte ends a line, and all do
// once the door has written the request anew.
func TestSmugglingHTTP2(t *testing.T) {
	for _, a := range attacks2() {
		for _, path := range []string{"/", "/v1/x"} {
			if path != "/" && slices.ContainsFunc(a.has, func(s string) bool { return strings.Contains(s, " / ") }) {
				continue
			}
			t.Run(a.name+path, func(t *testing.T) { a.at(path).try(t) })
		}
	}
}

// at is the attack on another path, where it is not the path that attacks.
func (a attack2) at(path string) attack2 {
	a.fields = slices.Clone(a.fields)
	for i := 0; i+1 < len(a.fields); i += 2 {
		if a.fields[i] == ":path" && a.fields[i+1] == "/" {
			a.fields[i+1] = path
		}
	}
	return a
}

func (a attack2) try(t *testing.T) {
	rec := newRecorder(t)
	d, err := New(testOptions(origins(rec.url)...), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	srv := serveHTTP2(d.Handler())
	status := a.strike(t, srv.Listener.Addr().String())
	srv.CloseClientConnections()
	srv.Close()
	d.Close()
	for _, w := range a.judge(status, rec.all(t)) {
		t.Error(w)
	}
}

// judge says what is wrong with the outcome of an attack.
func (a attack2) judge(status int, seen []arrived) (wrong []string) {
	if !slices.Contains(a.statuses, status) {
		wrong = append(wrong, fmt.Sprintf("answered %d, want one of %v", status, a.statuses))
	}
	as := attack{requests: a.requests, lacks: a.lacks}
	if status == 200 {
		as.has = a.has
	}
	return append(wrong, as.judge(nil, seen)...)
}

// serveHTTP2 serves HTTP/2 alone, without TLS.
func serveHTTP2(h http.Handler) *httptest.Server {
	srv := httptest.NewUnstartedServer(h)
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	return srv
}

// TestSmugglingHTTP2Sabotaged: through a proxy that does nothing of the kind, this
// table too finds what is wrong.
func TestSmugglingHTTP2Sabotaged(t *testing.T) {
	rec := newRecorder(t)
	srv := serveHTTP2(plainProxy(t, rec))
	defer srv.Close()
	wanted := map[string]bool{
		"a target in a target": true, "an absolute target": true, "a space in the query": true, "an echo": true,
		"a backslash in the path": true, "a coding in disguise": true, "a length in disguise": true, "the way, made up": true,
		"trailers about the way": true, "an attempt, made up": true,
	}
	for _, a := range attacks2() {
		if !wanted[a.name] {
			continue
		}
		delete(wanted, a.name)
		before := len(rec.taken())
		status := a.strike(t, srv.Listener.Addr().String())
		if len(a.judge(status, rec.taken()[before:])) == 0 {
			t.Errorf("%s: not found through a proxy that lets it pass", a.name)
		}
	}
	for name := range wanted {
		t.Errorf("%s: no such attack", name)
	}
}

// Frames of HTTP/2, RFC 9113 section 6, as far as they are needed.
const (
	frameData, frameHeaders, frameReset, frameSettings, frameGoAway = 0, 1, 3, 4, 7

	flagEndStream, flagAck, flagEndHeaders = 1, 1, 4
)

func frame(kind, flags byte, stream uint32, payload string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = append(b, flags)
	return string(binary.BigEndian.AppendUint32(b, stream)) + payload
}

// block writes fields as literals that are not indexed, RFC 7541 section 6.2.2.
func block(fields []string) string {
	var b strings.Builder
	for i, s := range fields {
		if i%2 == 0 {
			b.WriteByte(0)
		}
		if len(s) >= 127 {
			panic("a longer string than this writes")
		}
		b.WriteByte(byte(len(s)))
		b.WriteString(s)
	}
	return b.String()
}

// strike sends the attack and returns the status of its answer, 0 for none.
func (a attack2) strike(t *testing.T, address string) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	flags := byte(flagEndHeaders)
	if a.body == "" {
		flags |= flagEndStream
	}
	out := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(frameSettings, 0, 0, "") + frame(frameHeaders, flags, 1, block(a.fields))
	switch {
	case len(a.trailers) > 0:
		out += frame(frameData, 0, 1, a.body) + frame(frameHeaders, flagEndHeaders|flagEndStream, 1, block(a.trailers))
	case a.body != "":
		out += frame(frameData, flagEndStream, 1, a.body)
	}
	if _, err := io.WriteString(c, out); err != nil {
		t.Fatal(err)
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(c, head[:]); err != nil {
			return 0
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
		if _, err := io.ReadFull(c, payload); err != nil {
			return 0
		}
		switch head[3] {
		case frameHeaders:
			status, err := statusOf(payload)
			if err != nil {
				t.Fatal(err)
			}
			if status >= 200 {
				return status
			}
		case frameReset, frameGoAway:
			return 0
		case frameSettings:
			if head[4]&flagAck == 0 {
				_, _ = io.WriteString(c, frame(frameSettings, flagAck, 0, ""))
			}
		}
	}
}

// statusOf reads the first field of an answer, which is its status: one of the
// static table, or three digits with Huffman's coding or without.
func statusOf(block []byte) (int, error) {
	static := map[byte]int{0x88: 200, 0x89: 204, 0x8a: 206, 0x8b: 304, 0x8c: 400, 0x8d: 404, 0x8e: 500}
	if len(block) > 0 && static[block[0]] != 0 {
		return static[block[0]], nil
	}
	if len(block) < 2 || block[0]&^0x4f != 0 || block[0]&0x0f < 8 || block[0]&0x0f > 14 || len(block) < 2+int(block[1]&0x7f) {
		return 0, fmt.Errorf("an answer that begins with % x", block[:min(8, len(block))])
	}
	value := block[2 : 2+int(block[1]&0x7f)]
	status, bits, n := 0, uint32(0), 0
	for _, b := range value {
		if block[1]&0x80 == 0 {
			status = status*10 + int(b-'0')
			continue
		}
		bits, n = bits<<8|uint32(b), n+8
	}
	if block[1]&0x80 == 0 {
		return status, nil
	}
	for range 3 { // 0, 1 and 2 have five bits, the other digits six, from 0x19 on
		if d := bits >> (n - 5) & 0x1f; d < 3 {
			status, n = status*10+int(d), n-5
		} else {
			status, n = status*10+int(bits>>(n-6)&0x3f)-0x19+3, n-6
		}
	}
	return status, nil
}

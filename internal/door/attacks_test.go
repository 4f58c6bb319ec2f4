package door

import (
	"fmt"
	"strings"
)

// attack is bytes on a connection, and what must come of them.
type attack struct {
	name, bytes string
	// breaks says that nothing comes after the bytes.
	breaks bool
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
		{name: "an absolute target without a path", bytes: head("GET http://evil.example HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, has: []string{"get / http/1.1", "x-forwarded-host: evil.example"}},
		{name: "an absolute target with a query alone", bytes: head("GET http://evil.example?a=b HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, has: []string{"get /?a=b http/1.1"}},
		{name: "an absolute target beside another host", bytes: head("GET http://first.example/ HTTP/1.1", "Host: second.example"), status: 200, answers: 1, requests: 1, has: []string{"x-forwarded-host: first.example"}, lacks: []string{"second.example"}},
		{name: "an absolute target with a user", bytes: head("GET http://name:secret@evil.example/ HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, lacks: []string{"secret", "authorization"}},
		{name: "an absolute target of another scheme", bytes: head("GET file://evil.example/secret HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a target in a target", bytes: head("GET x:http://other.example/secret HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a target in a target, with a query", bytes: head("POST x:http://other.example/secret?key=a HTTP/1.1", "Host: x", "Content-Length: 0"), status: 400, answers: 1},
		{name: "a scheme without a host", bytes: head("GET http:other.example/secret HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a scheme and a path", bytes: head("GET http:/secret HTTP/1.1", "Host: x"), answers: 1, requests: 1, has: []string{"get /secret http/1.1"}},
		{name: "a target that is no path", bytes: head("GET secret HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a target that is a query", bytes: head("GET ?a=b HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "the target of OPTIONS elsewhere", bytes: head("GET * HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "the target of OPTIONS", bytes: head("OPTIONS * HTTP/1.1", "Host: x"), status: 200, answers: 1},
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

package door

import (
	"fmt"
	"slices"
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

// smuggled is what would be another request if a body ended before it.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"

const chunked = "0\r\n\r\n"

// noSecond is what must not arrive, the smuggled request among it.
func noSecond(more ...string) []string { return append([]string{"/smuggled"}, more...) }

func head(lines ...string) string { return strings.Join(lines, "\r\n") + "\r\n\r\n" }

// attacks are all of HTTP/1.
func attacks() []attack {
	return slices.Concat(lengthAttacks(), codingAttacks(), chunkAttacks(), lineAttacks(), targetAttacks(), nameAttacks())
}

// lengthAttacks are bodies that could end elsewhere.
func lengthAttacks() []attack {
	return []attack{
		{name: "length and chunks", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 6", "Transfer-Encoding: chunked") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("content-length: 6")},
		{name: "chunks and length", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Content-Length: 50") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("content-length: 50")},
		{name: "two lengths", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0", "Content-Length: 40") + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a list of lengths", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0, 40") + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a signed length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: +4") + "abcd", status: 400, answers: 1},
		{name: "a negative length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: -1"), status: 400, answers: 1},
		{name: "a length in hex", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0x4") + "abcd", status: 400, answers: 1},
		{name: "an empty length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: "), status: 400, answers: 1},
		{name: "a length twice", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 4", "Content-Length: 4") + "abcd", status: 200, answers: 1, requests: 1, has: []string{"content-length: 4\r\n"}, lacks: []string{"4, 4", "content-length: 4\r\ncontent-length"}},
		{name: "a list of one length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 4, 4") + "abcd", status: 400, answers: 1},
		{name: "a length with a space in it", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 4 0") + "abcd", status: 400, answers: 1},
		{name: "a length with a fraction", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 4.0") + "abcd", status: 400, answers: 1},
		{name: "a length with an underscore in it", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 1_0") + "abcdefghij", status: 400, answers: 1},
		{name: "a length with a NUL", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 4\x00") + "abcd", status: 400, answers: 1},
		{name: "a length that overflows", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 18446744073709551617") + "a" + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "the largest length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 9223372036854775807") + smuggled, status: 413, answers: 1, lacks: noSecond()},
		{name: "a length with zeros before it", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 0004") + "abcd", status: 200, answers: 1, requests: 1, has: []string{"content-length: 4\r\n"}},
		{name: "a length in disguise", bytes: head("POST / HTTP/1.1", "Host: x", "Content_Length: 40", "Content-Length: 4") + "abcd", status: 200, answers: 1, requests: 1, has: []string{"content-length: 4\r\n"}, lacks: []string{"content_length"}},
		{name: "a length after a space", bytes: head("POST / HTTP/1.1", "Host: x", " Content-Length: 40", "Content-Length: 0") + smuggled, answers: 2, requests: 2, lacks: []string{"content-length: 40"}},
		{name: "a folded length", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length:", " 4") + "abcd", answers: 1, requests: 1, lacks: []string{"content-length:\r\n"}},
		{name: "a GET with a body", bytes: head("GET / HTTP/1.1", "Host: x", fmt.Sprintf("Content-Length: %d", len(smuggled))) + smuggled, status: 200, answers: 1, requests: 1, has: []string{fmt.Sprintf("content-length: %d\r\n", len(smuggled))}},
		{name: "a GET with chunks", bytes: head("GET / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), status: 200, answers: 1, requests: 1, has: []string{"transfer-encoding: chunked\r\n"}},
		{name: "a HEAD with a body", bytes: head("HEAD / HTTP/1.1", "Host: x", fmt.Sprintf("Content-Length: %d", len(smuggled))) + smuggled, status: 200, answers: 1, requests: 1, has: []string{fmt.Sprintf("content-length: %d\r\n", len(smuggled))}},
		{name: "a WebSocket with a body", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", fmt.Sprintf("Content-Length: %d", len(smuggled))) + smuggled, status: 200, answers: 1, requests: 1, lacks: []string{"upgrade"}},
		{name: "a WebSocket with chunks", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Transfer-Encoding: chunked") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("upgrade")},
		{name: "a body that is cut off", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 400") + smuggled, breaks: true, answers: 1},
		{name: "a length and chunks, and a word first", bytes: head("POST / HTTP/1.1", "Host: x", "Content-Length: 6", "Transfer-Encoding: chunked", "Expect: 100-continue") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("content-length: 6")},
	}
}

// codingAttacks are transfer codings in disguise.
func codingAttacks() []attack {
	return []attack{
		{name: "another coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: gzip, chunked") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "an unknown coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: xchunked", "Content-Length: 3") + "abc", status: 501, answers: 1},
		{name: "the coding twice", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Transfer-Encoding: identity") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "coding after a tab", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding:\tchunked") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond()},
		{name: "coding after a vertical tab", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: \x0bchunked") + chunked + smuggled, answers: 1, lacks: noSecond()},
		{name: "space before the colon", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding : chunked") + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "chunks in HTTP/1.0", bytes: head("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked", "Connection: keep-alive") + chunked + smuggled, answers: 1, requests: 1, lacks: noSecond()},
		{name: "coding in capitals", bytes: head("POST / HTTP/1.1", "Host: x", "TRANSFER-ENCODING: CHUNKED") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond()},
		{name: "coding before a space", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked \t", "Content-Length: 6") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond()},
		{name: "a folded coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding:", " chunked", "Content-Length: 6") + chunked + smuggled, answers: 1, requests: 1, lacks: noSecond("content-length: 6")},
		{name: "a coding folded into another header", bytes: head("POST / HTTP/1.1", "Host: x", "X-A: 1", "\tTransfer-Encoding: chunked", "Content-Length: 5") + chunked, status: 200, answers: 1, requests: 1, has: []string{"content-length: 5\r\n"}, lacks: []string{"\ntransfer-encoding", "\n\ttransfer-encoding"}},
		{name: "coding in disguise", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer_Encoding: chunked", "Content-Length: 5") + chunked, status: 200, answers: 1, requests: 1, has: []string{"content-length: 5\r\n"}, lacks: []string{"transfer_encoding"}},
		{name: "coding in quotes", bytes: head("POST / HTTP/1.1", "Host: x", `Transfer-Encoding: "chunked"`, "Content-Length: 5") + chunked, status: 501, answers: 1},
		{name: "coding with a parameter", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked;q=0.5") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "coding with a comma", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: ,chunked") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "coding twice in a line", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked, chunked") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "coding, then none", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked, identity") + chunked + smuggled, status: 501, answers: 1, lacks: noSecond()},
		{name: "the coding of none", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: identity", "Content-Length: 3") + "abc", status: 501, answers: 1},
		{name: "no coding", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: ", "Content-Length: 3") + "abc", status: 501, answers: 1},
		{name: "coding with a NUL", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked\x00") + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "coding with a letter that folds", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chun\u212aed", "Content-Length: 5") + chunked, status: 501, answers: 1},
		{name: "coding by a name that folds", bytes: head("POST / HTTP/1.1", "Host: x", "Tran\u017ffer-Encoding: chunked", "Content-Length: 5") + chunked, status: 400, answers: 1},
		{name: "a tab before the colon", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding\t: chunked") + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "coding after a bare LF", bytes: head("POST / HTTP/1.1", "Host: x", "X-A: 1\nTransfer-Encoding: chunked", "Content-Length: 6") + chunked + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("content-length: 6")},
		{name: "coding after a bare CR", bytes: head("POST / HTTP/1.1", "Host: x", "X-A: 1\rTransfer-Encoding: chunked", "Content-Length: 5") + chunked, status: 400, answers: 1},
		{name: "length and chunks in HTTP/1.0", bytes: head("POST / HTTP/1.0", "Host: x", "Transfer-Encoding: chunked", "Content-Length: 5", "Connection: keep-alive") + chunked + smuggled, answers: 1, requests: 1, lacks: noSecond()},
	}
}

// chunkAttacks are bodies whose pieces could be read in two ways.
func chunkAttacks() []attack {
	post := head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked")
	return []attack{
		{name: "a chunk size that overflows", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "10000000000000000\r\n", status: 400, answers: 1},
		{name: "a chunk size with a sign", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "+3\r\nabc\r\n" + chunked, status: 400, answers: 1},
		{name: "a chunk ended by LF", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "3\nabc\n" + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a chunk extension with LF", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "0;a\nb\r\n\r\n" + smuggled, answers: 1, lacks: noSecond()},
		{name: "a chunk longer than said", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + "3\r\nabcdef\r\n" + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "very many chunk extensions", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked") + strings.Repeat("1;"+strings.Repeat("e", 1000)+"\r\na\r\n", 100) + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a trailer that frames", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Trailer: Content-Length") + "0\r\nContent-Length: 40\r\n\r\n" + smuggled, answers: 1, lacks: noSecond("content-length: 40")},
		{name: "the largest chunk size", bytes: post + "ffffffffffffffff\r\n" + smuggled, breaks: true, answers: 1},
		{name: "a chunk size with a prefix", bytes: post + "0x3\r\nabc\r\n" + chunked, status: 400, answers: 1},
		{name: "a chunk size with an underscore", bytes: post + "0_3\r\nabc\r\n" + chunked, status: 400, answers: 1},
		{name: "a chunk size below nothing", bytes: post + "-1\r\nabc\r\n" + chunked, status: 400, answers: 1},
		{name: "no chunk size", bytes: post + "\r\nabc\r\n" + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a chunk size after a space", bytes: post + " 3\r\nabc\r\n" + chunked + smuggled, answers: 1, requests: 1, lacks: noSecond()},
		{name: "a chunk size before a space", bytes: post + "3 \r\nabc\r\n" + chunked + smuggled, answers: 1, requests: 1, lacks: noSecond()},
		{name: "zeros before a chunk size", bytes: post + "0000000000000003\r\nabc\r\n000\r\n\r\n" + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond(), has: []string{"\r\n3\r\nabc\r\n0\r\n\r\n"}},
		{name: "too many zeros before a chunk size", bytes: post + strings.Repeat("0", 40) + "3\r\nabc\r\n" + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a chunk without its end", bytes: post + "3\r\nabc0\r\n\r\n" + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a chunk ended by CR", bytes: post + "3\r\nabc\r0\r\n\r\n" + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a size ended by CR", bytes: post + "3\rabc\r\n0\r\n\r\n" + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "chunk extensions", bytes: post + "3;a=b;c=\"d\"\r\nabc\r\n0;e=f\r\n\r\n" + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("a=b", "e=f")},
		{name: "a chunk extension with a line in quotes", bytes: post + "3;a=\"\r\nabc\r\n0\r\n\r\n" + smuggled, answers: 1, requests: 1, lacks: noSecond()},
		{name: "a chunk extension with a CR", bytes: post + "3;a\rb\r\nabc\r\n0\r\n\r\n" + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "a chunk extension that never ends", bytes: post + "3;" + strings.Repeat("a", 10<<10) + "\r\nabc\r\n" + chunked + smuggled, status: 400, answers: 1, lacks: noSecond()},
		{name: "chunks that are cut off", bytes: post + "5\r\nabc", breaks: true, answers: 1},
		{name: "a trailer about the way", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Trailer: X-Forwarded-For") + "0\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n" + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("6.6.6.6", "trailer")},
		{name: "a trailer that was not announced", bytes: head("POST / HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Trailer: X-Mine") + "0\r\nX-Mine: 1\r\nX-Forwarded-For: 6.6.6.6\r\nPostroad-Attempt: 7\r\n\r\n" + smuggled, status: 200, answers: 1, requests: 1, lacks: noSecond("6.6.6.6", "attempt", "x-mine")},
		{name: "a trailer with a NUL", bytes: post + "0\r\nX-Mine: a\x00b\r\n\r\n" + smuggled, answers: 1, requests: 1, lacks: noSecond("x-mine")},
		{name: "a trailer with a host", bytes: post + "0\r\nHost: y\r\n\r\n" + smuggled, answers: 1, requests: 1, lacks: noSecond("host: y")},
		{name: "a trailer with a coding", bytes: post + "0\r\nTransfer-Encoding: chunked\r\n\r\n" + smuggled, answers: 1, requests: 1, lacks: noSecond()},
		{name: "a trailer without a colon", bytes: post + "0\r\nabc\r\n\r\n" + smuggled, answers: 1, requests: 1, lacks: noSecond()},
	}
}

// lineAttacks are heads with bytes in them that end a line for some.
func lineAttacks() []attack {
	return []attack{
		{name: "a folded line", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: 1", " X-Forwarded-For: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"\n x-forwarded", "\nx-forwarded-for: 6.6.6.6"}},
		{name: "a folded first line", bytes: "GET / HTTP/1.1\r\n Host: x\r\n\r\n", status: 400, answers: 1},
		{name: "lines ended by LF", bytes: "GET / HTTP/1.1\nHost: x\n\n", status: 200, answers: 1, requests: 1, has: []string{"\r\n"}},
		{name: "a bare CR in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\rX-Forwarded-For: 6.6.6.6"), status: 400, answers: 1},
		{name: "a NUL in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\x00b"), status: 400, answers: 1},
		{name: "a NUL in a name", bytes: head("GET / HTTP/1.1", "Host: x", "X-\x00A: a"), status: 400, answers: 1},
		{name: "a header without a name", bytes: head("GET / HTTP/1.1", "Host: x", ": a"), status: 400, answers: 1},
		{name: "a header without a colon", bytes: head("GET / HTTP/1.1", "Host: x", "Transfer-Encoding"), status: 400, answers: 1},
		{name: "a name with a space", bytes: head("GET / HTTP/1.1", "Host: x", "X A: a"), status: 400, answers: 1},
		{name: "a folded line with a tab", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: 1", "\tX-Forwarded-For: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"\n\tx-forwarded", "\nx-forwarded-for: 6.6.6.6"}},
		{name: "a bare LF in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\nX-Forwarded-For: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"6.6.6.6"}},
		{name: "a bare CR at the end of a line", bytes: "GET / HTTP/1.1\rHost: x\r\r", breaks: true, status: 400, answers: 1},
		{name: "a vertical tab in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\x0bb"), status: 400, answers: 1},
		{name: "a DEL in a value", bytes: head("GET / HTTP/1.1", "Host: x", "X-A: a\x7fb"), status: 400, answers: 1},
		{name: "a CR in a name", bytes: head("GET / HTTP/1.1", "Host: x", "X-\rA: a"), status: 400, answers: 1},
		{name: "a name with a bracket", bytes: head("GET / HTTP/1.1", "Host: x", "X(A): a"), status: 400, answers: 1},
		{name: "a name that is no ASCII", bytes: head("GET / HTTP/1.1", "Host: x", "X-\u00c4: a"), status: 400, answers: 1},
		{name: "a space before the first header", bytes: "GET / HTTP/1.1\r\n X-A: 1\r\nHost: x\r\n\r\n", status: 400, answers: 1},
		{name: "a NUL in the method", bytes: head("G\x00ET / HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "an odd method", bytes: head("GET| / HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a space before the method", bytes: head(" GET / HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "two spaces before the target", bytes: head("GET  / HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a tab before the target", bytes: head("GET\t/ HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a space after the version", bytes: head("GET / HTTP/1.1 ", "Host: x"), status: 400, answers: 1},
		{name: "the version in small letters", bytes: head("GET / http/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a later version", bytes: head("GET / HTTP/2.0", "Host: x"), status: 505, answers: 1},
		{name: "the beginning of HTTP/2", bytes: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", answers: 1},
		{name: "an earlier version", bytes: head("GET / HTTP/0.9", "Host: x") + smuggled, status: 505, answers: 1, lacks: noSecond()},
		{name: "an empty line first", bytes: "\r\n" + head("GET / HTTP/1.1", "Host: x"), answers: 1, requests: 1},
		{name: "an expectation that is none", bytes: head("POST / HTTP/1.1", "Host: x", "Expect: x", "Content-Length: 3") + "abc", status: 417, answers: 1},
	}
}

// targetAttacks are those that could mean another path, or another host.
func targetAttacks() []attack {
	return []attack{
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
		{name: "a NUL in the target", bytes: head("GET /a\x00b HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a tab in the query", bytes: head("GET /?a\tb HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a DEL in the query", bytes: head("GET /?a\x7fb HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "bytes that are no ASCII in the path", bytes: head("GET /\xff HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, has: []string{"get /%ff http/1.1"}},
		{name: "a fragment", bytes: head("GET /a#/../b HTTP/1.1", "Host: x"), status: 200, answers: 1, requests: 1, has: []string{"get /a%23/"}},
		{name: "an escape that is none", bytes: head("GET /%zz HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "an escape that is cut off", bytes: head("GET /% HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a path like a host", bytes: head("GET //evil.example/secret HTTP/1.1", "Host: x"), answers: 1, requests: 1, lacks: []string{"get http", "host: evil"}},
		{name: "a host in the target with a path in it", bytes: head("GET http://x%2fy/ HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "a host in the target with a space", bytes: head("GET http://x%20y/ HTTP/1.1", "Host: x"), status: 400, answers: 1},
		{name: "an absolute target beside two hosts", bytes: head("GET http://x/ HTTP/1.1", "Host: x", "Host: y"), status: 400, answers: 1},
		{name: "two hosts that are the same", bytes: head("GET / HTTP/1.1", "Host: x", "host: x"), status: 400, answers: 1},
		{name: "an empty host", bytes: head("GET / HTTP/1.1", "Host: "), status: 400, answers: 1},
		{name: "a host with a NUL", bytes: head("GET / HTTP/1.1", "Host: x\x00y"), status: 400, answers: 1},
		{name: "a host with a CR", bytes: head("GET / HTTP/1.1", "Host: x\ry"), status: 400, answers: 1},
		{name: "a host with a query", bytes: head("GET / HTTP/1.1", "Host: x?y"), status: 400, answers: 1},
		{name: "a host with a fragment", bytes: head("GET / HTTP/1.1", "Host: x#y"), status: 400, answers: 1},
		{name: "a host in quotes", bytes: head("GET / HTTP/1.1", `Host: "x"`), status: 400, answers: 1},
		{name: "a folded host", bytes: head("GET / HTTP/1.1", "Host: x", " y"), status: 400, answers: 1},
		{name: "a space before the colon of the host", bytes: head("GET / HTTP/1.1", "Host : x"), status: 400, answers: 1},
		{name: "a host that never ends", bytes: head("GET / HTTP/1.1", "Host: "+strings.Repeat("x", 300)), status: 400, answers: 1},
		{name: "a host in HTTP/1.0 twice", bytes: head("GET / HTTP/1.0", "Host: x", "Host: y"), status: 400, answers: 1},
		{name: "no host", bytes: head("GET / HTTP/1.1"), status: 400, answers: 1},
		{name: "two hosts", bytes: head("GET / HTTP/1.1", "Host: x", "Host: y"), status: 400, answers: 1},
		{name: "a host with a path", bytes: head("GET / HTTP/1.1", "Host: x/y"), status: 400, answers: 1},
		{name: "a host with a user", bytes: head("GET / HTTP/1.1", "Host: user@x"), status: 400, answers: 1},
		{name: "a list of hosts", bytes: head("GET / HTTP/1.1", "Host: x, y"), status: 400, answers: 1},
	}
}

// nameAttacks are headers that a client takes away, or makes up.
func nameAttacks() []attack {
	return []attack{
		{name: "Connection takes the key", bytes: head("POST /v1/topics/t/messages HTTP/1.1", "Host: x", "Connection: Idempotency-Key", "Idempotency-Key: k", "Content-Length: 0"), status: 400, answers: 1},
		{name: "Connection takes the way", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: close, X-Forwarded-For"), status: 400, answers: 1},
		{name: "Connection takes the length", bytes: head("POST / HTTP/1.1", "Host: x", "Connection: Content-Length", "Content-Length: 3") + "abc", status: 400, answers: 1},
		{name: "Connection takes a header of its own", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: X-Mine", "X-Mine: 1", "X-Other: 2"), status: 200, answers: 1, requests: 1, lacks: []string{"x-mine"}, has: []string{"x-other: 2"}},
		{name: "Connection takes Via", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Via", "Via: 1.1 other"), answers: 1, requests: 1, has: []string{"via: 1.1 other", "via: 1.1 postroad-"}},
		{name: "Connection takes the host", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Host"), status: 400, answers: 1},
		{name: "Connection takes who asks", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: Authorization, Cookie", "Cookie: a=b", "Authorization: Bearer c"), status: 400, answers: 1},
		{name: "Connection takes the coding", bytes: head("POST / HTTP/1.1", "Host: x", "Connection: transfer-encoding", "Transfer-Encoding: chunked") + chunked, status: 400, answers: 1},
		{name: "Connection takes the way, in a second line", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: keep-alive", "connection: x-real-ip"), status: 400, answers: 1},
		{name: "Connection takes the way, in disguise", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: X_Forwarded_For"), status: 400, answers: 1},
		{name: "Connection takes the attempt", bytes: head("POST / HTTP/1.1", "Host: x", "Connection: Postroad-Attempt", "Content-Length: 0"), status: 400, answers: 1},
		{name: "the connection of a proxy", bytes: head("GET / HTTP/1.1", "Host: x", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5"), status: 200, answers: 1, requests: 1, lacks: []string{"proxy-connection", "keep-alive"}},
		{name: "other codings of the answer", bytes: head("GET / HTTP/1.1", "Host: x", "Connection: TE", "TE: gzip, trailers;q=1, x"), status: 200, answers: 1, requests: 1, lacks: []string{"gzip"}},
		{name: "the way, in two lines and odd letters", bytes: head("GET / HTTP/1.1", "Host: x", "x-FORWARDED-for: 6.6.6.6", "X-Forwarded_For: 6.6.6.6", "x_forwarded: 6.6.6.6", "X_Real_IP: 6.6.6.6", "CLIENT_IP: 6.6.6.6", "X-Cluster_Client-IP: 6.6.6.6"), status: 200, answers: 1, requests: 1, lacks: []string{"6.6.6.6"}, has: []string{"x-forwarded-for: 127.0.0.1"}},
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

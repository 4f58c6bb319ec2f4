package carry

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"postroad/internal/door/doortest"
)

// step is where a scripted origin stops, and how.
type step struct {
	name string
	// read is how many bytes of the request are taken: -1 is all of it, -2 none,
	// not even the connection.
	read int
	// say is written then.
	say string
	// then is what follows: "close", "reset", "hang" until the test ends, or
	// "keep" the connection.
	then string
}

const accepted = `{"accepted":1,"ids":["x"]}`

func answerOf(status int, contentType, body string) string {
	return fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", status, http.StatusText(status), contentType, len(body), body)
}

// steps are all ways in which an origin may fail that does not answer properly.
func steps() []step {
	list := []step{
		{"refuses", -2, "", "close"},
		{"closes at once", 0, "", "close"},
		{"resets at once", 0, "", "reset"},
		{"closes after 1 byte", 1, "", "close"},
		{"resets after 30 bytes", 30, "", "reset"},
		{"closes after 60 bytes", 60, "", "close"},
		{"resets after 2000 bytes", 2000, "", "reset"},
	}
	for _, then := range []string{"close", "reset"} {
		list = append(list,
			step{then + " after the request", -1, "", then},
			step{then + " in the body", -1, "HTTP/1.1 202 Accepted\r\nContent-Length: 26\r\n\r\n{\"acc", then},
		)
	}
	list = append(list,
		step{"closes in the status line", -1, "HTTP/1.1 20", "close"},
		step{"resets in the header", -1, "HTTP/1.1 202 Accepted\r\nContent-Le", "reset"},
		step{"closes in a chunk", -1, "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n1a\r\n{\"acc", "close"},
		step{"resets after 100", -1, "HTTP/1.1 100 Continue\r\n\r\n", "reset"},
		step{"closes after 103", -1, "HTTP/1.1 103 Early Hints\r\n\r\n", "close"},
	)
	return append(list,
		step{"answers nonsense", -1, "nonsense\r\n\r\n", "close"},
		step{"answers with two lengths", -1, "HTTP/1.1 202 Accepted\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "close"},
	)
}

// hangs are the ways to fall silent.
func hangs() []step {
	return []step{
		{"hangs at once", 0, "", "hang"},
		{"hangs after 60 bytes", 60, "", "hang"},
		{"hangs after the request", -1, "", "hang"},
		{"hangs in the header", -1, "HTTP/1.1 202 Accepted\r\nContent-Le", "hang"},
		{"hangs in the body", -1, "HTTP/1.1 202 Accepted\r\nContent-Length: 26\r\n\r\n{\"acc", "hang"},
	}
}

// ledger is what origins got, independent of what carriers say.
type ledger struct {
	mu       sync.Mutex
	touched  int      // requests of which a byte arrived; guarded by mu
	executed []string // key, mark and body of those that arrived whole; guarded by mu
	stored   int      // of those, the ones that an origin would have stored; guarded by mu
}

func (l *ledger) touch() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.touched++
}

func (l *ledger) execute(entry string, stored bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.executed = append(l.executed, entry)
	if stored {
		l.stored++
	}
}

func (l *ledger) read() (touched int, executed []string, stored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.touched, append([]string(nil), l.executed...), l.stored
}

func entryOf(req *http.Request, body []byte) string {
	return strings.Join(req.Header[KeyHeader], ",") + "|" + strings.Join(req.Header[AttemptHeader], ",") + "|" + string(body)
}

// scripted is an origin that does s with each connection and writes down what
// it got. Where it took the whole request, stored says whether it kept it.
func scripted(t testing.TB, s step, l *ledger, stored bool) string {
	t.Helper()
	if s.read == -2 {
		return doortest.DeadURL(t)
	}
	return doortest.RawOrigin(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		for s.read == 0 || warm(c, br) {
			if !s.play(t, c, br, l, stored) {
				return
			}
		}
	})
}

// warmPath is answered by every scripted origin that takes requests, so that a
// connection is kept on which the fault comes with the next request.
const warmPath = "/warm"

// warm answers requests for warmPath and reports whether another one came.
func warm(c net.Conn, br *bufio.Reader) bool {
	for {
		if b, err := br.Peek(len("GET " + warmPath)); err != nil || string(b) != "GET "+warmPath {
			return err == nil || len(b) > 0
		}
		if _, err := http.ReadRequest(br); err != nil {
			return false
		}
		_, _ = io.WriteString(c, answerOf(200, "text/plain", "warm"))
	}
}

// play serves one request and reports whether the connection goes on.
func (s step) play(t testing.TB, c net.Conn, br *bufio.Reader, l *ledger, stored bool) bool {
	say := s.say
	if s.read >= 0 {
		if n, _ := io.ReadFull(br, make([]byte, s.read)); n > 0 {
			l.touch()
		}
	} else {
		var seen bytes.Buffer
		req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(br, &seen)))
		if err != nil {
			if seen.Len() > 0 {
				l.touch()
			}
			return false
		}
		l.touch()
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return false
		}
		l.execute(entryOf(req, body), stored)
		if end := strings.LastIndex(say, "\r\n\r\n"); req.Method == http.MethodHead && end >= 0 {
			say = say[:end+4]
		}
	}
	_, _ = io.WriteString(c, say)
	switch s.then {
	case "reset":
		doortest.Reset(c)
	case "hang":
		<-t.Context().Done()
	case "keep":
		return true
	}
	return false
}

// good is an origin that stores everything.
func good(t testing.TB, l *ledger) string {
	return scripted(t, step{"accepts", -1, answerOf(202, "application/json", accepted), "keep"}, l, true)
}

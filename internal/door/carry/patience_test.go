package carry

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/door/doortest"
)

// TestAnswerStopsInTheMiddle: an answer of which nothing more comes ends after
// response_timeout, whatever carries it, and counts against its origin.
func TestAnswerStopsInTheMiddle(t *testing.T) {
	t.Parallel() // it waits
	const length, chunks = "Content-Length: 4000000", "Transfer-Encoding: chunked"
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range []struct {
		name         string
		kind         Kind
		method, path string
		size         int
		field, begun string
		noLines      bool
		status       int // 200 where it is 0
	}{
		{"a get over a line", Plain, "GET", "/x", 0, length, "part", false, 0},
		{"a get over the transport", Plain, "GET", "/x", 0, length, "part", true, 0},
		{"a get in chunks", Gateway, "GET", "/default", 0, chunks, "4\r\npart\r\n", false, 0},
		{"a put", Plain, "PUT", "/x", 10, length, "part", false, 0},
		{"a stream node's answer with a length", Stream, "GET", "/x", 0, length, "part", false, 0},
		{"a message with a large answer", Gateway, "POST", topic, 10, length, strings.Repeat("x", 3<<20), false, 0},
		{"a get that nobody could serve", Plain, "GET", "/x", 0, length, "part", false, 503},
	} {
		wg.Go(func() {
			url := doortest.RawOrigin(t, func(conn net.Conn) {
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err == nil {
					_, _ = io.Copy(io.Discard, req.Body)
					_, _ = io.WriteString(conn, fmt.Sprintf("HTTP/1.1 %d X\r\n", cmp.Or(c.status, 200))+c.field+"\r\n\r\n"+c.begun)
					<-t.Context().Done()
				}
			})
			o := testOptions()
			o.ResponseTimeout = 4 * time.Second
			r := newRig(t, rigging{carry: o}, url)
			if c.noLines {
				r.noLines()
			}
			got := r.do(t, request(t.Context(), c.kind, c.method, c.path, strings.NewReader(strings.Repeat("b", c.size))))
			if got.status != cmp.Or(c.status, 200) || !errors.Is(got.err, errSlow) || !strings.HasSuffix(got.body, "part") && len(got.body) < 1<<20 {
				t.Errorf("%s: answer %d with %d bytes, %v", c.name, got.status, len(got.body), got.err)
			}
			if s := r.group.Status().Origins[0]; s.Failed != 1 || s.InFlight != 0 {
				t.Errorf("%s: %d failed, %d in flight", c.name, s.Failed, s.InFlight)
			}
		})
	}
}

// pausing is a body that pauses in the middle.
type pausing struct {
	ended <-chan struct{} // of the request
	pause time.Duration
	parts []string
}

// Read implements io.Reader.
func (p *pausing) Read(b []byte) (int, error) {
	if len(p.parts) == 0 {
		return 0, io.EOF
	}
	if len(p.parts) == 1 {
		select {
		case <-time.After(p.pause):
		case <-p.ended:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, p.parts[0])
	p.parts = p.parts[1:]
	return n, nil
}

// TestPauses: what lasts is not ended for a pause; nor is what pauses for less than
// response_timeout, again and again.
func TestPauses(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   Kind
		typ    string
		length int64
		pause  time.Duration
		ends   bool
	}{
		{"an event stream of a gateway", Gateway, "text/event-stream", -1, time.Hour, false},
		{"any event stream", Plain, "text/event-stream; charset=utf-8", -1, time.Hour, false},
		{"a long answer of a stream node", Stream, "application/x-ndjson", -1, time.Hour, false},
		{"an answer of a stream node with a length", Stream, "application/json", 9, time.Hour, true},
		{"chunks", Plain, "application/json", -1, time.Hour, true},
		{"slow chunks", Plain, "application/json", -1, 30 * time.Second, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := scriptedRig(t, map[string]script{"a": func(req *http.Request) (*http.Response, error) {
					res := answering(200)
					res.Header.Set("Content-Type", c.typ)
					res.ContentLength = c.length
					res.Body = io.NopCloser(&pausing{req.Context().Done(), c.pause, []string{"part", ", all"}})
					return res, nil
				}}, time.Now)
				r.opts.ResponseTimeout = 40 * time.Second
				got := r.do(t, request(t.Context(), c.kind, "GET", "/x", nil))
				if want := map[bool]string{true: "part", false: "part, all"}[c.ends]; got.body != want || errors.Is(got.err, errSlow) != c.ends {
					t.Errorf("answer %v", got)
				}
				r.Close()
			})
		})
	}
}

package drill

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// answering returns a Conn whose server has already said all it will.
func answering(text string) *Conn {
	return &Conn{conn: discard{}, r: bufio.NewReaderSize(strings.NewReader(text), 16<<10)}
}

// discard takes what is sent.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }

func TestAnswers(t *testing.T) {
	const long = 300_000
	for _, tc := range []struct {
		name, text string
		status     int
		body       string
		closes     bool
		bad        bool
	}{
		{name: "length", text: "HTTP/1.1 202 Accepted\r\ncontent-LENGTH:  2 \r\nX: y\r\n\r\nhi", status: 202, body: "hi"},
		{name: "no reason", text: "HTTP/1.1 202\r\nContent-Length: 0\r\n\r\n", status: 202},
		{name: "bare line feeds", text: "HTTP/1.1 200 OK\nContent-Length: 1\n\nx", status: 200, body: "x"},
		{name: "chunks", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\nT: u\r\n\r\n", status: 200, body: "abcd"},
		{name: "interim", text: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 no\r\nContent-Length: 1\r\nConnection: close\r\n\r\n!", status: 503, body: "!", closes: true},
		{name: "no content", text: "HTTP/1.1 204 No Content\r\n\r\n", status: 204},
		{name: "long", text: "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + strings.Repeat("z", long), status: 200, body: strings.Repeat("z", long)},

		{name: "nothing", bad: true},
		{name: "cut off in the header", text: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", bad: true},
		{name: "cut off in the body", text: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nx", status: 200, bad: true},
		{name: "cut off in a chunk", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab", status: 200, bad: true},
		{name: "cut off in the trailer", text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", status: 200, bad: true},
		{name: "no length", text: "HTTP/1.1 200 OK\r\n\r\nabc", status: 200, bad: true},
		{name: "two lengths", text: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", bad: true},
		{name: "length and chunks", text: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", bad: true},
		{name: "a signed length", text: "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na", bad: true},
		{name: "a vast length", text: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\na", bad: true},
		{name: "another protocol", text: "SSH-2.0\r\n\r\n", bad: true},
		{name: "another version", text: "HTTP/1.0 200 OK\r\n\r\n", bad: true},
		{name: "a status of four digits", text: "HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", bad: true},
		{name: "a line without a colon", text: "HTTP/1.1 200 OK\r\nfoo\r\n\r\n", bad: true},
		{name: "an endless line", text: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1<<20), bad: true},
		{name: "endless lines", text: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1000), bad: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, err := answering(tc.text).Do([]byte("POST"))
			if (err != nil) != tc.bad || a.Status != tc.status || a.Close != tc.closes || !tc.bad && string(a.Body) != tc.body {
				t.Errorf("status %d, %d bytes, close %v, err %v", a.Status, len(a.Body), a.Close, err)
			}
		})
	}
}

// A Conn serves many requests, and allocates for none of them.
func TestConn(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Got", r.Header.Get("Postroad-Key"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write(append([]byte(r.URL.RequestURI()+" "+r.Header.Get("Content-Type")+" "), body...))
	}))
	defer s.Close()
	c, err := Dial(t.Context(), s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	req := AppendPost(nil, c.host, "/x?key=1", "text/plain", []string{"Postroad-Key: k"}, []byte("hello"))
	for range 3 {
		a, err := c.Do(req)
		if err != nil || a.Status != 202 || string(a.Body) != "/x?key=1 text/plain hello" {
			t.Fatalf("%+v, %v: %s", a, err, a.Body)
		}
	}
}

func TestDialNeedsHostAndPort(t *testing.T) {
	for _, base := range []string{"", "127.0.0.1:80", "https://h:1", "http://h", "http://h:x", "://"} {
		if c, err := Dial(t.Context(), base); err == nil {
			c.Close()
			t.Errorf("%q was taken", base)
		}
	}
}

// FuzzAnswer holds the reading of answers against that of net/http: what both
// take they read alike.
func FuzzAnswer(f *testing.F) {
	for _, text := range []string{
		"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := answering(string(text)).Do(nil)
		if err != nil {
			if errors.Is(err, ErrAnswer) && len(a.Body) > 0 {
				t.Errorf("a body of %d bytes beside %v", len(a.Body), err)
			}
			return
		}
		r := bufio.NewReader(bytes.NewReader(text))
		for {
			resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodPost})
			if err != nil {
				return // net/http is stricter here and there
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode < 200 {
				continue
			}
			if err == nil && (resp.StatusCode != a.Status || !bytes.Equal(body, a.Body)) {
				t.Errorf("read %d %q, net/http %d %q", a.Status, a.Body, resp.StatusCode, body)
			}
			return
		}
	})
}

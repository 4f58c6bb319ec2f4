package drill

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"net/url"
	"strconv"
	"time"
)

// Conn is one HTTP/1.1 connection that sends each request once and never
// again. The client of net/http does not serve here: its transport repeats
// requests by itself when a kept-alive connection turns out to be closed, and
// a ledger that does not know of an attempt judges wrongly.
//
// A Conn belongs to one goroutine. It allocates nothing per request once its
// buffer has grown, so that a load generator on the same machine as the server
// takes little from it.
type Conn struct {
	conn net.Conn
	host string
	r    *bufio.Reader
	body []byte
}

// Answer is a response. Body is valid until the next Do.
type Answer struct {
	Status int
	Body   []byte
	// Close says that the server ends the connection.
	Close bool
}

// Bounds of what is taken from a server.
const (
	maxHeaderLines = 200
	maxAnswerBytes = 64 << 20
)

// ErrAnswer is an answer that is not HTTP/1.1 as it is understood here.
var ErrAnswer = errors.New("bad answer")

// Dial connects to the host of a base URL such as http://127.0.0.1:8081.
func Dial(ctx context.Context, base string) (*Conn, error) {
	host, err := HostOf(base)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", base, err)
	}
	return newConn(c, host), nil
}

func newConn(c net.Conn, host string) *Conn {
	return &Conn{conn: c, host: host, r: bufio.NewReaderSize(c, 16<<10)}
}

// HostOf returns host:port of an http URL.
func HostOf(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", base, err)
	}
	if u.Scheme != "http" || u.Port() == "" {
		return "", fmt.Errorf("address %q: want http://host:port", base)
	}
	return u.Host, nil
}

// Close closes the connection. Nothing is lost by it: every answer was read,
// or is of no interest.
func (c *Conn) Close() { c.conn.Close() }

// SetDeadline bounds Do; zero lifts the bound.
func (c *Conn) SetDeadline(t time.Time) error { return c.conn.SetDeadline(t) }

// AppendPost writes a POST request at the end of b. headers are complete lines
// without their line ends.
func AppendPost(b []byte, host, path, contentType string, headers []string, body []byte) []byte {
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Type: "...)
	b = append(b, contentType...)
	for _, h := range headers {
		b = append(b, "\r\n"...)
		b = append(b, h...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

// Do sends one complete request and reads its answer. With an error the
// connection is of no more use, and the request may have been executed; the
// answer's Status is then not zero if the header had arrived whole.
func (c *Conn) Do(request []byte) (Answer, error) {
	if _, err := c.conn.Write(request); err != nil {
		return Answer{}, fmt.Errorf("send request: %w", err)
	}
	return c.read()
}

// framing is how the end of a body is known.
type framing struct {
	length  int64 // -1 where there is none
	chunked bool
}

func (c *Conn) read() (Answer, error) {
	for {
		a, f, err := c.readHead()
		if err != nil {
			return Answer{}, fmt.Errorf("read answer: %w", err)
		}
		if a.Status < 200 {
			continue // interim answers have no body
		}
		if a.Status == 204 || a.Status == 304 {
			return a, nil
		}
		if err := c.readBody(f); err != nil {
			return a, fmt.Errorf("read body of answer %d: %w", a.Status, err)
		}
		a.Body = c.body
		return a, nil
	}
}

func (c *Conn) readHead() (Answer, framing, error) {
	f := framing{length: -1}
	line, err := c.readLine()
	if err != nil {
		return Answer{}, f, err
	}
	status, ok := parseStatus(line)
	if !ok {
		return Answer{}, f, fmt.Errorf("%w: status line %.40q", ErrAnswer, line)
	}
	a := Answer{Status: status}
	for range maxHeaderLines {
		line, err := c.readLine()
		if err != nil {
			return Answer{}, f, err
		}
		if len(line) == 0 {
			return a, f, nil
		}
		if err := f.header(&a, line); err != nil {
			return Answer{}, f, err
		}
	}
	return Answer{}, f, fmt.Errorf("%w: more than %d header lines", ErrAnswer, maxHeaderLines)
}

// parseStatus reads "HTTP/1.1 202 Accepted".
func parseStatus(line []byte) (int, bool) {
	const version = "HTTP/1.1 "
	if len(line) < len(version)+3 || string(line[:len(version)]) != version {
		return 0, false
	}
	if len(line) > len(version)+3 && line[len(version)+3] != ' ' {
		return 0, false
	}
	n, ok := parseDigits(line[len(version) : len(version)+3])
	return int(n), ok && n >= 100
}

func parseDigits(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	n := int64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}

// header takes what concerns the framing from one header line.
func (f *framing) header(a *Answer, line []byte) error {
	name, value, ok := bytes.Cut(line, []byte{':'})
	if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
		return fmt.Errorf("%w: header line %.60q", ErrAnswer, line)
	}
	value = bytes.Trim(value, " \t")
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, ok := parseDigits(value)
		if !ok || n > maxAnswerBytes || f.length >= 0 || f.chunked {
			return fmt.Errorf("%w: content-length %.40q", ErrAnswer, value)
		}
		f.length = n
	case bytes.EqualFold(name, []byte("Transfer-Encoding")):
		if !bytes.EqualFold(value, []byte("chunked")) || f.length >= 0 || f.chunked {
			return fmt.Errorf("%w: transfer-encoding %.40q", ErrAnswer, value)
		}
		f.chunked = true
	case bytes.EqualFold(name, []byte("Connection")):
		a.Close = bytes.EqualFold(value, []byte("close"))
	}
	return nil
}

// readLine returns a line without its end, valid until the next read.
func (c *Conn) readLine() ([]byte, error) {
	line, err := c.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a header line of more than %d bytes", ErrAnswer, len(line))
	}
	if err != nil {
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

func (c *Conn) readBody(f framing) error {
	if f.chunked {
		return c.readChunks()
	}
	if f.length < 0 {
		return fmt.Errorf("%w: a body without a length", ErrAnswer)
	}
	// Grown as bytes arrive, so that a length alone takes no memory.
	c.body = c.body[:0]
	for left := int(f.length); left > 0; {
		n := len(c.body)
		c.body = append(c.body, make([]byte, min(left, 64<<10))...)
		got, err := io.ReadFull(c.r, c.body[n:])
		if err != nil {
			return err
		}
		left -= got
	}
	return nil
}

func (c *Conn) readChunks() error {
	buf := bytes.NewBuffer(c.body[:0])
	n, err := buf.ReadFrom(io.LimitReader(httputil.NewChunkedReader(c.r), maxAnswerBytes+1))
	c.body = buf.Bytes()
	if err != nil {
		return err
	}
	if n > maxAnswerBytes {
		return fmt.Errorf("%w: a body of more than %d bytes", ErrAnswer, maxAnswerBytes)
	}
	for range maxHeaderLines { // trailers, to the empty line
		line, err := c.readLine()
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: more than %d trailer lines", ErrAnswer, maxHeaderLines)
}

package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/drill"
)

// doorClients are connections that send one request after the other, each only
// once.
type doorClients struct {
	url     string
	request []byte
	conns   []*drill.Conn
}

func (l *doorClients) connect(ctx context.Context, n int) error {
	for range n {
		c, err := drill.Dial(ctx, l.url)
		if err != nil {
			l.close()
			return err
		}
		l.conns = append(l.conns, c)
	}
	return nil
}

func (l *doorClients) close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// run sends for d, at least once on each connection, and returns how many requests
// were answered. Any answer but a 2xx is an error.
func (l *doorClients) run(ctx context.Context, d time.Duration) (int64, error) {
	var n atomic.Int64
	errs := make([]error, len(l.conns))
	end := time.Now().Add(d)
	var all sync.WaitGroup
	for i := range l.conns {
		all.Go(func() {
			errs[i] = l.conns[i].SetDeadline(end.Add(patience))
			for errs[i] == nil {
				errs[i] = l.once(ctx, &l.conns[i], end.Add(patience))
				n.Add(1)
				if !time.Now().Before(end) {
					return
				}
			}
		})
	}
	all.Wait()
	return n.Load(), errors.Join(errs...)
}

// once sends the request by a connection, which is another one afterwards where the
// answer says that it ends: some proxies give a connection so many requests.
func (l *doorClients) once(ctx context.Context, c **drill.Conn, deadline time.Time) error {
	a, err := (*c).Do(l.request)
	if err != nil {
		return err
	}
	if drill.Judged(a.Status) != drill.Acknowledged {
		return fmt.Errorf("answer %d: %.300s", a.Status, a.Body)
	}
	if !a.Close {
		return nil
	}
	(*c).Close()
	next, err := drill.Dial(ctx, l.url)
	if err != nil {
		return err
	}
	*c = next
	return next.SetDeadline(deadline)
}

// doorOrigin answers every request with the same few bytes, at so little cost that
// the proxies before it are what is measured. It takes bodies with a length only.
type doorOrigin struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once it is closed; guarded by mu
}

func newDoorOrigin(ctx context.Context) (*doorOrigin, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("origin: %w", err)
	}
	o := &doorOrigin{listener: l, conns: make(map[net.Conn]struct{})}
	o.serving.Go(o.accept)
	return o, nil
}

func (o *doorOrigin) addr() string { return o.listener.Addr().String() }

func (o *doorOrigin) close() error {
	err := o.listener.Close()
	o.mu.Lock()
	for c := range o.conns {
		c.Close()
	}
	o.conns = nil
	o.mu.Unlock()
	o.serving.Wait()
	return err
}

func (o *doorOrigin) accept() {
	for {
		c, err := o.listener.Accept()
		if err != nil {
			return
		}
		o.mu.Lock()
		open := o.conns != nil
		if open {
			o.conns[c] = struct{}{}
		}
		o.mu.Unlock()
		if !open {
			c.Close()
			return
		}
		o.serving.Go(func() {
			defer func() {
				c.Close()
				o.mu.Lock()
				defer o.mu.Unlock()
				delete(o.conns, c)
			}()
			serveOrigin(c)
		})
	}
}

const originAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"accepted\":1}\n"

// serveOrigin answers until the other side ends it or sends something else.
func serveOrigin(c net.Conn) {
	r := bufio.NewReaderSize(c, 16<<10)
	answer := []byte(originAnswer)
	for {
		length, last, err := readRequestHead(r)
		if err != nil {
			return
		}
		if _, err := r.Discard(length); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil || last {
			return
		}
	}
}

// errOrigin is a request that a doorOrigin does not take.
var errOrigin = errors.New("a request of another kind")

// readRequestHead reads the head of a request, and returns how long its body is
// and whether it is the last on its connection.
func readRequestHead(r *bufio.Reader) (length int, last bool, err error) {
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, false, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if first {
			last = bytes.HasSuffix(line, []byte("HTTP/1.0"))
			continue
		}
		if len(line) == 0 {
			return length, last, nil
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 {
				return 0, false, errors.Join(errOrigin, err)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			return 0, false, errOrigin
		case bytes.EqualFold(name, []byte("Connection")):
			last = last || bytes.EqualFold(bytes.TrimSpace(value), []byte("close"))
		}
	}
}

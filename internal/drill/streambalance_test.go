package drill

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// echo answers each connection with its name and then with what it is sent.
func echo(t *testing.T, name string) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = io.WriteString(c, name+"\n") // the reader notices
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l
}

// A balancer sends clients to every backend that listens, and to none that does
// not; what it cuts is cut.
func TestBalancer(t *testing.T) {
	b, err := NewBalancer(t.Context(), seed(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	first, second, gone := echo(t, "first"), echo(t, "second"), echo(t, "gone")
	gone.Close()
	b.Set(first.Addr().String(), second.Addr().String(), gone.Addr().String())
	names := make(map[string]int)
	var conns []net.Conn
	for range 40 {
		c, name := greeted(t, b)
		names[name]++
		conns = append(conns, c)
	}
	if names["first\n"] == 0 || names["second\n"] == 0 || len(names) != 2 {
		t.Errorf("connections went to %v", names)
	}
	if n := b.Open(first.Addr().String()) + b.Open(second.Addr().String()); n != 40 {
		t.Errorf("%d are open", n)
	}
	b.Cut(40)
	for _, c := range conns {
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, net.ErrClosed) {
			var op *net.OpError
			if !errors.As(err, &op) {
				t.Error(err)
			}
		}
		c.Close()
	}
	b.Set()
	c, name := greeted(t, b)
	c.Close()
	if name != "" {
		t.Errorf("connected to %q, and there is no backend", name)
	}
}

func greeted(t *testing.T, b *Balancer) (net.Conn, string) {
	t.Helper()
	d := net.Dialer{}
	ctx, cancel := context.WithTimeout(t.Context(), testLimit)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	name, err := bufio.NewReader(c).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		var op *net.OpError
		if !errors.As(err, &op) {
			t.Fatal(err)
		}
	}
	return c, name
}

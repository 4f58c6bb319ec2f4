package kafka

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// tunnels is an HTTP proxy that does nothing but CONNECT, and counts.
type tunnels struct {
	t      testing.TB
	listen net.Listener
	wg     sync.WaitGroup

	status  atomic.Int32 // in place of a tunnel
	written atomic.Int64 // bytes that clients sent through tunnels, and to the proxy itself
	opened  atomic.Int32 // tunnels

	mu    sync.Mutex
	names map[string]string // guarded by mu: where a name leads; others lead to themselves
	want  string            // guarded by mu: user:password, or ""
	asked []string          // guarded by mu: of CONNECT
	conns map[net.Conn]bool // guarded by mu: to clients
}

func startTunnels(t testing.TB) *tunnels {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveTunnels(t, l)
}

func serveTunnels(t testing.TB, l net.Listener) *tunnels {
	t.Helper()
	p := &tunnels{t: t, listen: l, names: map[string]string{}, conns: map[net.Conn]bool{}}
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			p.mu.Lock()
			p.conns[conn] = true
			p.mu.Unlock()
			p.wg.Add(1)
			go func() {
				defer p.wg.Done()
				p.serve(conn)
			}()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		p.drop()
		p.wg.Wait()
	})
	return p
}

func (p *tunnels) url() string { return "http://" + p.listen.Addr().String() }

// drop ends all tunnels.
func (p *tunnels) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// lead makes a name lead to an address.
func (p *tunnels) lead(name, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.names[name] = addr
}

func (p *tunnels) asks(credentials string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.want = credentials
}

func (p *tunnels) askedFor() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

type counted struct {
	net.Conn
	n *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (p *tunnels) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(counted{conn, &p.written})
	req, err := http.ReadRequest(in)
	if err != nil || req.Method != http.MethodConnect {
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, req.Host)
	to, known := p.names[req.Host]
	if !known {
		to = req.Host
	}
	denied := p.want != "" && req.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(p.want))
	p.mu.Unlock()
	status := int(p.status.Load())
	if denied {
		status = http.StatusProxyAuthRequired
	}
	if status != 0 {
		io.WriteString(conn, fmt.Sprintf("HTTP/1.1 %d %s\r\n\r\n", status, http.StatusText(status)))
		return
	}
	dialer := net.Dialer{Timeout: time.Second}
	out, err := dialer.DialContext(p.t.Context(), "tcp", to)
	if err != nil {
		io.WriteString(conn, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	defer out.Close()
	p.opened.Add(1)
	io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		io.Copy(conn, out)
		conn.Close()
	}()
	io.Copy(out, in)
}

// Everything goes through the proxy, names and TLS too: the broker's name means
// nothing here, and the certificate that is checked is the broker's.
func TestProxy(t *testing.T) {
	authority := newAuthority(t)
	_, addr := startCluster(t, authority.tls(t, "hub.example"))
	p := startTunnels(t)
	p.lead("hub.example:9093", addr)
	p.asks("ada:over:the wall")
	o := options("hub.example:9093")
	o.TLS.CAFile, o.TLS.ServerName = authority.file, "hub.example"
	o.Proxy, o.ProxyCredentialsFile = p.url(), writeFile(t, "proxy", "ada:over:the wall\n")
	s := startSink(t, o)
	for i, a := range produce(t, s, 0, stored(1), stored(2)) {
		if a.err != nil {
			t.Fatalf("message %d: %v", i, a.err)
		}
	}
	for _, name := range p.askedFor() {
		if name != "hub.example:9093" && name != addr {
			t.Errorf("the proxy was asked for %q", name)
		}
	}
	if int(p.opened.Load()) < 2 {
		t.Errorf("%d tunnels, want one to the seed and one to the broker", p.opened.Load())
	}
	r, err := NewReader(o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	if err := r.Follow(t.Context(), FollowOptions{Topic: "messages", UntilEnd: true}, func(Record) error { n++; return nil }); err != nil || n != 2 {
		t.Errorf("read %d messages, %v", n, err)
	}
	o.TLS.ServerName = "other.example"
	if err := startSink(t, o).Probe(t.Context()); !held(err) || !strings.Contains(err.Error(), "not other.example") {
		t.Errorf("a broker with another name: %v", err)
	}
}

// held reports whether an error is of class hold and hub-wide.
func held(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Class() == "hold" && e.HubWide()
}

// What a proxy answers says whether waiting helps.
func TestProxyRefuses(t *testing.T) {
	_, addr := startCluster(t)
	for name, tc := range map[string]struct {
		status            int
		want, credentials string
		hold              bool
		text              string
	}{
		"no credentials":    {0, "ada:x", "", true, "it wants credentials, see hub.proxy_credentials_file"},
		"wrong credentials": {0, "ada:x", "ada:wrong", true, "it does not take the credentials of hub.proxy_credentials_file"},
		"forbidden":         {http.StatusForbidden, "", "", true, "CONNECT " + addr + ": status 403 Forbidden"},
		"bad gateway":       {http.StatusBadGateway, "", "", false, "CONNECT " + addr + ": status 502 Bad Gateway"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startTunnels(t)
			p.asks(tc.want)
			p.status.Store(int32(tc.status))
			o := options(addr)
			o.Proxy = p.url()
			if tc.credentials != "" {
				o.ProxyCredentialsFile = writeFile(t, "proxy", tc.credentials)
			}
			err := startSink(t, o).Probe(t.Context())
			if err == nil || held(err) != tc.hold || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("hold %v, %v; want hold %v and %q", held(err), err, tc.hold, tc.text)
			}
			if strings.Contains(errText(err), "wrong") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
	o := options(addr)
	o.Proxy = "http://127.0.0.1:1"
	if err := startSink(t, o).Probe(t.Context()); err == nil || held(err) {
		t.Errorf("no proxy there: %v, want retry", err)
	}
}

// A proxy that speaks TLS, and TLS to the hub in its tunnel.
func TestProxyOverTLS(t *testing.T) {
	authority := newAuthority(t)
	_, addr := startCluster(t, authority.tls(t, "hub.example"))
	l, err := tls.Listen("tcp", "127.0.0.1:0", authority.config(t, "proxy.example"))
	if err != nil {
		t.Fatal(err)
	}
	p := serveTunnels(t, l)
	o := options(addr)
	o.TLS.CAFile, o.Proxy = authority.file, "https://"+l.Addr().String()
	if a := produce(t, startSink(t, o), 0, stored(1))[0]; a.err != nil || p.opened.Load() == 0 {
		t.Errorf("%v, %d tunnels", a.err, p.opened.Load())
	}
}

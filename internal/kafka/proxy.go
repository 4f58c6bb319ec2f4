package kafka

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// proxyAccess is an HTTP proxy and what it is told.
type proxyAccess struct {
	addr           string // host:port
	tls            bool
	user, password string // "" where it asks for none
}

const proxyForm = "user:password for the proxy"

func (o Options) fromProxy(d *draft, r *reading) error {
	if o.Proxy == "" {
		return nil
	}
	u, err := url.Parse(o.Proxy)
	if err != nil {
		return errors.New("proxy: must be a URL")
	}
	p := &proxyAccess{addr: u.Host, tls: u.Scheme == "https"}
	if u.Port() == "" {
		port := "80"
		if p.tls {
			port = "443"
		}
		p.addr = net.JoinHostPort(u.Hostname(), port)
	}
	if o.ProxyCredentialsFile != "" {
		text, err := r.secret(o.ProxyCredentialsFile, proxyForm)
		if err != nil {
			return fmt.Errorf("proxy_credentials_file: %w", err)
		}
		var ok bool
		if p.user, p.password, ok = strings.Cut(text, ":"); !ok || p.user == "" {
			return fmt.Errorf("proxy_credentials_file: %s:1: expected %s", o.ProxyCredentialsFile, proxyForm)
		}
	}
	d.proxy = p
	return nil
}

// authorization is the header by which the proxy knows us, or "".
func (p *proxyAccess) authorization() string {
	if p.user == "" {
		return ""
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
}

// forHTTP makes requests for tokens go through the proxy too.
func (p *proxyAccess) forHTTP(r *http.Request) (*url.URL, error) {
	if thisMachine(r.URL.Hostname()) {
		return nil, nil //nolint:nilnil // no proxy on the way to this machine
	}
	u := &url.URL{Scheme: "http", Host: p.addr}
	if p.tls {
		u.Scheme = "https"
	}
	if p.user != "" {
		u.User = url.UserPassword(p.user, p.password)
	}
	return u, nil
}

// maxProxyAnswer bounds the header of an answer to CONNECT, in bytes.
const maxProxyAnswer = 64 << 10

// tunnel asks the proxy at the other end of conn for a tunnel to addr, whose
// name the proxy resolves. The deadline is conn's. The returned connection
// stands for conn.
func (a *access) tunnel(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	p := a.proxy
	if p.tls {
		host, _, err := net.SplitHostPort(p.addr)
		if err != nil {
			return conn, err
		}
		secured := tls.Client(conn, a.besides(host))
		if err := secured.HandshakeContext(ctx); err != nil {
			return conn, err
		}
		conn = secured
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	req.Header.Set("User-Agent", "postroad")
	if auth := p.authorization(); auth != "" {
		req.Header.Set("Proxy-Authorization", auth)
	}
	if err := req.Write(conn); err != nil {
		return conn, err
	}
	in := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	resp, err := http.ReadResponse(in, req)
	if err != nil {
		return conn, fmt.Errorf("answer to CONNECT: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return conn, p.refusal(resp.StatusCode, addr)
	}
	// A broker does not speak first, so nothing of the tunnel can be here yet.
	if in.Buffered() > 0 {
		return conn, errors.New("sent something before the hub could")
	}
	return conn, nil
}

// refusal is why there is no tunnel, with its class: that the broker cannot be
// reached from there passes, that the proxy will not lasts.
func (p *proxyAccess) refusal(status int, addr string) error {
	err := fmt.Errorf("CONNECT %s: status %d %s", addr, status, http.StatusText(status))
	switch {
	case status == http.StatusProxyAuthRequired && p.user == "":
		return refusedAccess(fmt.Errorf("%w: it wants credentials, see hub.proxy_credentials_file", err))
	case status == http.StatusProxyAuthRequired:
		return refusedAccess(fmt.Errorf("%w: it does not take the credentials of hub.proxy_credentials_file", err))
	case status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout:
		return err
	}
	return refusedAccess(err)
}

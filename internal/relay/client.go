package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"

	"postroad/internal/auth"
)

// gatedConn refuses to write while may errs: a process that was paused past the
// time its claims are good for, and wakes, has requests ready; a successor may
// have asked meanwhile what is stored, and what is written now would be stored
// twice.
type gatedConn struct {
	net.Conn
	may func() error
}

// Write implements net.Conn.
func (c gatedConn) Write(p []byte) (int, error) {
	if err := c.may(); err != nil {
		return 0, fmt.Errorf("not written to the other stamp: %w", err)
	}
	return c.Conn.Write(p)
}

// fileState is what changes when a file is replaced.
type fileState struct {
	size int64
	mod  time.Time
}

// files is the state of the files that a client was made from.
func (d *Deps) files() (all [4]fileState) {
	for i, name := range []string{d.TLS.CAFile, d.TLS.CertFile, d.TLS.KeyFile, d.ProxyCredentialsFile} {
		if name == "" {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			all[i] = fileState{info.Size(), info.ModTime()}
		}
	}
	return all
}

// newClient makes an HTTP client from the settings and the files as they are now.
func (d *Deps) newClient() (*http.Client, error) {
	dialer := &net.Dialer{Timeout: d.DialTimeout, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		ForceAttemptHTTP2:   true,
		TLSHandshakeTimeout: d.DialTimeout,
		IdleConnTimeout:     90 * time.Second,
		MaxIdleConnsPerHost: 64,
		// A connection over which nothing comes back is found out by a ping, and
		// not by each request for itself.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 5 * time.Second, PingTimeout: 5 * time.Second},
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil || d.MayWrite == nil {
				return conn, err
			}
			return gatedConn{conn, d.MayWrite}, nil
		},
	}
	var err error
	if t.TLSClientConfig, err = d.TLS.config(); err != nil {
		return nil, err
	}
	if err := d.setProxy(t); err != nil {
		return nil, err
	}
	// A balancer that keeps a client at one gateway by a cookie is welcome.
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	var transport http.RoundTripper = t
	if d.transport != nil {
		transport = d.transport
	}
	return &http.Client{Transport: transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a token goes to one address only
	}}, nil
}

func (d *Deps) setProxy(t *http.Transport) error {
	if d.Proxy == "" {
		return nil
	}
	u, err := url.Parse(d.Proxy)
	if err != nil || u.Host == "" {
		return errors.New("hub.proxy is no URL")
	}
	if d.ProxyCredentialsFile != "" {
		b, err := os.ReadFile(d.ProxyCredentialsFile)
		if err != nil {
			return fmt.Errorf("credentials of the proxy: %w", err)
		}
		basic := "Basic " + base64.StdEncoding.EncodeToString([]byte(strings.TrimRight(string(b), "\r\n")))
		t.ProxyConnectHeader = http.Header{"Proxy-Authorization": {basic}}
	}
	t.Proxy = http.ProxyURL(u)
	return nil
}

func (o TLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: o.ServerName}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificates of issuers: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", o.CAFile)
		}
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("own certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

// authorize sets the stamp's token.
func authorize(r *http.Request, token *auth.Secret) error {
	value, err := token.Value()
	if err != nil {
		return &Error{class: classHold, wide: true, own: true, err: err}
	}
	r.Header.Set("Authorization", "Bearer "+value)
	return nil
}

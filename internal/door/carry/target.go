package carry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// badFor is how long an address that took no connection is tried last.
const badFor = 10 * time.Second

// target is an origin's addresses and the connections to them.
//
// All addresses of a target are one origin, so a connection to any of them is
// as good as another; the transport knows them by one name.
type target struct {
	spec    Target
	url     *url.URL // scheme and host of requests
	opts    Options
	sources []net.Addr
	now     func() time.Time

	next   atomic.Uint32 // turns of addresses
	source atomic.Uint32 // turns of sources
	tls    tlsFiles      // of https

	mu        sync.Mutex
	addresses []string             // to dial; guarded by mu
	bad       map[string]time.Time // when an address last took no connection; guarded by mu

	lines     *lines   // of what is small and most; nil: of nothing
	writers   *writers // of lines
	transport *http.Transport
	carries   http.RoundTripper // transport, or what stands for it in a test
	probe     *http.Transport   // opens a connection for each request
}

func newTarget(spec Target, opts Options, now func() time.Time) (*target, error) {
	t := &target{spec: spec, opts: opts, now: now, bad: make(map[string]time.Time), writers: newWriters()}
	urls := spec.URLs
	if spec.DNS != "" {
		urls = []string{spec.DNS}
	}
	for i, s := range urls {
		u, err := parseURL(s)
		if err != nil {
			return nil, fmt.Errorf("origin %s: %w", spec.Name, err)
		}
		if i == 0 {
			t.url = u
		}
		t.addresses = append(t.addresses, addressOf(u))
	}
	for _, s := range spec.SourceAddresses {
		t.sources = append(t.sources, &net.TCPAddr{IP: net.ParseIP(s)})
	}
	if t.url.Scheme == "https" {
		t.tls = tlsFiles{spec: spec.TLS}
		if err := t.tls.load(); err != nil {
			return nil, fmt.Errorf("origin %s: %w", spec.Name, err)
		}
	}
	t.transport = t.newTransport(opts.MaxIdle)
	t.transport.ResponseHeaderTimeout = opts.ResponseTimeout
	t.carries = t.transport
	t.lines = &lines{open: t.open, most: opts.MaxIdle}
	t.probe = t.newTransport(1)
	t.probe.DisableKeepAlives = true
	return t, nil
}

func (t *target) newTransport(idle int) *http.Transport {
	one := new(http.Protocols) // a connection carries one request at a time, so its bytes are that request's
	one.SetHTTP1(true)
	return &http.Transport{
		Protocols:             one,
		DialContext:           t.dial,
		DialTLSContext:        t.dialTLS,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       30 * time.Second, // before the gateway's own, which would race with a request
		ExpectContinueTimeout: time.Second,
	}
}

// close lets requests in flight end, and every unused connection at once.
func (t *target) close() {
	if t.lines != nil {
		t.lines.close()
	}
	t.transport.CloseIdleConnections()
	t.probe.CloseIdleConnections()
}

// turn lists the addresses in the order in which to try them: each time it
// begins with the next, and those that took no connection lately come last.
func (t *target) turn() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.addresses) == 1 {
		return t.addresses
	}
	first := int(t.next.Add(1)-1) % len(t.addresses)
	var good, bad []string
	for _, a := range slices.Concat(t.addresses[first:], t.addresses[:first]) {
		if since, ok := t.bad[a]; ok && t.now().Sub(since) < badFor {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return append(good, bad...)
}

func (t *target) judge(address string, good bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if good {
		delete(t.bad, address)
	} else {
		t.bad[address] = t.now()
	}
}

func (t *target) open(ctx context.Context) (net.Conn, error) {
	if t.url.Scheme == "https" {
		return t.dialTLS(ctx, "tcp", "")
	}
	return t.dial(ctx, "tcp", "")
}

// dial opens a connection to one of the addresses, whichever the transport
// names. Each address gets an equal part of the time that is left.
func (t *target) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	conn, _, err := t.dialAny(ctx, network)
	return conn, err
}

func (t *target) dialAny(ctx context.Context, network string) (net.Conn, string, error) {
	end := time.Now().Add(t.opts.DialTimeout)
	addresses := t.turn()
	var errs []error
	for i, a := range addresses {
		part := time.Until(end) / time.Duration(len(addresses)-i)
		conn, err := t.dialOne(ctx, network, a, part)
		if err == nil {
			t.judge(a, true)
			return &wire{Conn: conn, stall: t.opts.ResponseTimeout, writers: t.writers}, a, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
		t.judge(a, false)
	}
	return nil, "", &dialError{errors.Join(errs...)}
}

// dialOne tries one address, from one source after another where a source has
// no port left.
func (t *target) dialOne(ctx context.Context, network, address string, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	d := net.Dialer{}
	if len(t.sources) == 0 {
		return d.DialContext(ctx, network, address)
	}
	d.Control = latePort
	first := int(t.source.Add(1) - 1)
	var errs []error
	for i := range t.sources {
		d.LocalAddr = t.sources[(first+i)%len(t.sources)]
		conn, err := d.DialContext(ctx, network, address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
		if !noPortLeft(err) {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func (t *target) dialTLS(ctx context.Context, network, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.opts.DialTimeout)
	defer cancel()
	conn, address, err := t.dialAny(ctx, network)
	if err != nil {
		return nil, err
	}
	config := t.tls.config()
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = t.serverName(address)
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, &dialError{fmt.Errorf("tls with %s: %w", address, err)}
	}
	return c, nil
}

// serverName is the name in the certificate of an address: with DNS that of the
// origin, and else the host of the address that is dialed.
func (t *target) serverName(address string) string {
	if t.spec.DNS != "" {
		return t.url.Hostname()
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return t.url.Hostname()
	}
	return host
}

// resolve looks the name of a DNS target up again and reports whether its
// addresses changed. Where the lookup fails or finds nothing the old ones stay.
func (t *target) resolve(ctx context.Context, lookup func(context.Context, string) ([]string, error)) (changed bool, err error) {
	if t.spec.DNS == "" {
		return false, nil
	}
	hosts, err := lookup(ctx, t.url.Hostname())
	if err != nil {
		return false, fmt.Errorf("look up %s: %w", t.url.Hostname(), err)
	}
	if len(hosts) == 0 {
		return false, fmt.Errorf("look up %s: no address", t.url.Hostname())
	}
	_, port, err := net.SplitHostPort(addressOf(t.url))
	if err != nil {
		return false, err
	}
	found := make([]string, len(hosts))
	for i, h := range hosts {
		found[i] = net.JoinHostPort(h, port)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	t.mu.Lock()
	changed = !slices.Equal(found, t.addresses)
	t.addresses = found
	t.mu.Unlock()
	if changed {
		// Without this kept connections would go to addresses that are gone.
		t.close()
	}
	return changed, nil
}

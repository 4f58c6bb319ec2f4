package carry

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
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
	lacks   func(error) // is told what this machine had none left of

	next   atomic.Uint32 // turns of addresses
	source atomic.Uint32 // turns of sources
	tls    tlsFiles      // of https

	mu        sync.Mutex
	addresses []string           // to dial; guarded by mu
	bad       map[string]badness // those that are tried last; guarded by mu

	lines     *lines   // of what is small and most; nil: of nothing
	writers   *writers // of lines
	transport *renewed
	carries   http.RoundTripper // transport, or what stands for it in a test
	probe     *http.Transport   // opens a connection for each request
}

// badness is why an address is tried last.
type badness struct {
	since  time.Time // it took no connection
	probes bool      // probes say so, for as long as they do
}

func newTarget(spec Target, opts Options, now func() time.Time, lacks func(error)) (*target, error) {
	t := &target{spec: spec, opts: opts, now: now, lacks: lacks, bad: make(map[string]badness), writers: newWriters()}
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
	t.transport = &renewed{make: func() *http.Transport {
		tr := t.newTransport(opts.MaxIdle)
		tr.ResponseHeaderTimeout = opts.ResponseTimeout
		return tr
	}}
	t.transport.renew()
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
		DialTLSContext:        t.dial,
		DisableCompression:    true,
		MaxIdleConnsPerHost:   idle,
		IdleConnTimeout:       30 * time.Second, // before the gateway's own, which would race with a request
		ExpectContinueTimeout: time.Second,
	}
}

// renewed is a transport that can be replaced by a new one. Connections of the
// old one end when they are not in use: it takes no more requests. To close those
// that are idle would not be enough, for the next request has the transport keep
// connections again, and what is busy now would stay for as long as it is needed.
type renewed struct {
	make    func() *http.Transport
	current atomic.Pointer[http.Transport]
}

func (r *renewed) renew() {
	if old := r.current.Swap(r.make()); old != nil {
		old.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (r *renewed) RoundTrip(req *http.Request) (*http.Response, error) {
	return r.current.Load().RoundTrip(req)
}

// close lets requests in flight end, and every unused connection at once. What is
// in use ends with its request; further requests open new connections.
func (t *target) close() {
	if t.lines != nil {
		t.lines.close()
	}
	t.transport.renew()
	t.probe.CloseIdleConnections()
}

// turn lists the addresses in the order in which to try them: each time it
// begins with the next, and those that took no connection lately, or that probes
// speak against, come last.
func (t *target) turn() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.addresses) == 1 {
		return t.addresses
	}
	first := int(t.next.Add(1)-1) % len(t.addresses)
	var good, bad []string
	for _, a := range slices.Concat(t.addresses[first:], t.addresses[:first]) {
		if why, ok := t.bad[a]; ok && (why.probes || t.now().Sub(why.since) < badFor) {
			bad = append(bad, a)
		} else {
			good = append(good, a)
		}
	}
	return append(good, bad...)
}

// judge notes whether an address took a connection. That says nothing against a
// probe: the kernel takes connections for a process that is stopped.
func (t *target) judge(address string, good bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	probes := t.bad[address].probes
	switch {
	case !good:
		t.bad[address] = badness{since: t.now(), probes: probes}
	case !probes:
		delete(t.bad, address)
	}
}

// probed notes what a probe said of an address. Of one that is to be left alone
// unused connections are closed.
func (t *target) probed(address string, good bool) {
	t.mu.Lock()
	was := t.bad[address]
	turned := was.probes == good
	switch {
	case !slices.Contains(t.addresses, address):
		turned = false
	case good && was.probes:
		delete(t.bad, address)
	case !good:
		t.bad[address] = badness{since: was.since, probes: true}
	}
	t.mu.Unlock()
	if turned && !good {
		if t.lines != nil {
			t.lines.drop(address)
		}
		t.transport.renew()
	}
}

// onlyAddress is the key of the address that a request must go to.
type onlyAddress struct{}

// open opens a connection for a line.
func (t *target) open(ctx context.Context) (net.Conn, error) { return t.dial(ctx, "tcp", "") }

// dial opens a connection to one of the addresses, whichever the transport
// names. Each address gets an equal part of the time that is left, and with https
// one whose handshake fails is as bad as one that takes no connection.
func (t *target) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	end := time.Now().Add(t.opts.DialTimeout)
	addresses := t.turn()
	if only, ok := ctx.Value(onlyAddress{}).(string); ok {
		addresses = []string{only}
	}
	var errs []error
	fault := denied
	for i, a := range addresses {
		part := time.Until(end) / time.Duration(len(addresses)-i)
		conn, err := t.dialOne(ctx, network, a, part)
		if err == nil {
			t.judge(a, true)
			return conn, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
		this := faultOf(err)
		fault = max(fault, this)
		if this != lacking {
			t.judge(a, false)
		}
	}
	err := &dialError{errors.Join(errs...), fault}
	if fault == lacking {
		t.lacks(err)
	}
	return nil, err
}

// dialOne tries one address, TLS included.
func (t *target) dialOne(ctx context.Context, network, address string, within time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	raw, err := t.dialFrom(ctx, network, address)
	if err != nil {
		return nil, err
	}
	conn := &wire{Conn: raw, stall: t.opts.ResponseTimeout, writers: t.writers, address: address}
	if t.url.Scheme != "https" {
		return conn, nil
	}
	config := t.tls.config()
	if config.ServerName == "" {
		config = config.Clone()
		config.ServerName = t.serverName(address)
	}
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("tls with %s: %w", address, err)
	}
	return c, nil
}

// dialFrom tries one address from one source after another, where a source has
// no port left.
func (t *target) dialFrom(ctx context.Context, network, address string) (net.Conn, error) {
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
		if err == nil || !noPortLeft(err) {
			return conn, err
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
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
	maps.DeleteFunc(t.bad, func(a string, _ badness) bool { return !slices.Contains(found, a) })
	t.mu.Unlock()
	if changed {
		// Without this kept connections would go to addresses that are gone.
		t.close()
	}
	return changed, nil
}

package carry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Options are the settings of a carrier.
type Options struct {
	// MaxRepeatBody is up to how many bytes the body of a POST of messages is
	// kept, so that it can be repeated at another origin. A larger one is passed
	// on as it comes, to one origin.
	MaxRepeatBody int64 `yaml:"max_repeat_body"`
	// MaxBuffered is how many bytes all bodies and answers that are kept may
	// take together. Beyond, bodies are passed on as they come. Once half of it is
	// used, so are bodies that take longer than 10s to come, and those of a client
	// that is sending a sixteenth of it.
	MaxBuffered int64 `yaml:"max_buffered"`
	// DialTimeout is how long a connection to an origin may take to open, TLS
	// included, before the next origin is tried.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// ResponseTimeout is how long an origin may take to begin its answer once
	// it has the request, to take each part of the request, and to bring each
	// part of its answer; streams may pause. A wait that clients ask for by
	// Prefer counts up to half of it, so that gateway.wait_max should be no longer
	// than that.
	ResponseTimeout time.Duration `yaml:"response_timeout"`
	// LookupTimeout is how long a stamp may take to say what it knows of a
	// message before it counts as silent.
	LookupTimeout time.Duration `yaml:"lookup_timeout"`
	// ResolveInterval is the time between two lookups of the names by which
	// origins are found.
	ResolveInterval time.Duration `yaml:"resolve_interval"`
	// ReloadInterval is the time between two looks at the files of origins' TLS
	// settings.
	ReloadInterval time.Duration `yaml:"reload_interval"`
	// MaxIdle is how many unused connections to one origin are kept.
	MaxIdle int `yaml:"max_idle"`
}

// DefaultOptions suit gateways on the same continent.
func DefaultOptions() Options {
	return Options{
		MaxRepeatBody: 1 << 20, MaxBuffered: 64 << 20,
		DialTimeout: 500 * time.Millisecond, ResponseTimeout: time.Minute, LookupTimeout: 2 * time.Second,
		ResolveInterval: 10 * time.Second, ReloadInterval: 10 * time.Second, MaxIdle: 256,
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	return errors.Join(
		within("max_repeat_body", o.MaxRepeatBody, 0, 64<<20),
		within("max_buffered", o.MaxBuffered, 0, 1<<40),
		within("dial_timeout", o.DialTimeout, time.Millisecond, time.Minute),
		within("response_timeout", o.ResponseTimeout, time.Millisecond, time.Hour),
		within("lookup_timeout", o.LookupTimeout, time.Millisecond, time.Minute),
		within("resolve_interval", o.ResolveInterval, 10*time.Millisecond, time.Hour),
		within("reload_interval", o.ReloadInterval, 10*time.Millisecond, time.Hour),
		within("max_idle", o.MaxIdle, 1, 1<<16),
	)
}

// Warnings name settings that are allowed and can have no effect, or hardly the one
// that was meant, a line each. Options and targets must be valid.
func Warnings(o Options, targets []Target) (w []string) {
	switch {
	case o.MaxBuffered == 0 || o.MaxRepeatBody == 0:
		w = append(w, "max_repeat_body, max_buffered: one is 0: no body is kept, so that no POST with a body is ever repeated or hedged, and silence of an origin is noticed by probes alone")
	case o.MaxBuffered < o.MaxRepeatBody:
		w = append(w, fmt.Sprintf("max_repeat_body: %d: bodies above max_buffered (%d) are never kept, nor repeated", o.MaxRepeatBody, o.MaxBuffered))
	}
	for _, t := range targets {
		addresses := t.URLs
		if t.DNS != "" {
			addresses = []string{t.DNS}
		}
		if t.TLS != (TLS{}) && len(addresses) > 0 && strings.HasPrefix(addresses[0], "http:") {
			w = append(w, fmt.Sprintf("origin %s: tls: has no effect: %s is no https address, nothing is encrypted", t.Name, addresses[0]))
		}
	}
	return w
}

// Target is where an origin is found. Exactly one of URLs and DNS is set.
type Target struct {
	// Name is that of the origin in the policy.
	Name string
	// URLs are the addresses of the origin, as http://host:port or
	// https://host:port, all of one scheme. Connections are spread over them.
	URLs []string
	// DNS is an address whose host stands for several: each of its addresses
	// takes connections, and the name is looked up again while the door runs.
	DNS string
	// TLS are the settings of https.
	TLS TLS
	// SourceAddresses are local addresses from which connections are opened, in
	// turn. One source and one address of an origin allow for some 28,000
	// connections.
	SourceAddresses []string
}

// TLS are the settings of connections to an origin over https. Files are read
// again when they change.
type TLS struct {
	// CAFile has the certificate authorities that may have signed the origin's
	// certificate, in PEM; empty takes those of the system.
	CAFile string `yaml:"ca_file"`
	// CertFile and KeyFile are the certificate that is shown to the origin and
	// its key, in PEM; empty shows none.
	CertFile string `yaml:"cert_file"`
	// KeyFile is the key of CertFile, in PEM.
	KeyFile string `yaml:"key_file"`
	// ServerName is the name in the origin's certificate; empty takes the host
	// of its address.
	ServerName string `yaml:"server_name"`
}

// Validate returns every problem of the target, joined; path stands before
// them.
func (t Target) Validate(path string) error {
	var errs []error
	switch {
	case t.DNS != "" && len(t.URLs) > 0:
		errs = append(errs, fmt.Errorf("%s.dns: %q: must be empty where url or urls is set", path, t.DNS))
	case t.DNS == "" && len(t.URLs) == 0:
		errs = append(errs, fmt.Errorf("%s.url: none: must name an address, or dns a name", path))
	}
	schemes := make(map[string]bool)
	check := func(path, s string) {
		u, err := parseURL(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %q: must be http://host:port or https://host:port, without a path", path, s))
			return
		}
		schemes[u.Scheme] = true
	}
	for i, s := range t.URLs {
		check(fmt.Sprintf("%s.urls[%d]", path, i), s)
	}
	if t.DNS != "" {
		check(path+".dns", t.DNS)
	}
	if len(schemes) > 1 {
		errs = append(errs, fmt.Errorf("%s.urls: http and https: must all be of one scheme", path))
	}
	if (t.TLS.CertFile == "") != (t.TLS.KeyFile == "") {
		errs = append(errs, fmt.Errorf("%s.tls: cert_file and key_file: must be given together", path))
	}
	for i, s := range t.SourceAddresses {
		if _, err := netip.ParseAddr(s); err != nil {
			errs = append(errs, fmt.Errorf("%s.source_addresses[%d]: %q: must be an IP address", path, i, s))
		}
	}
	return errors.Join(errs...)
}

func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	bare := url.URL{Scheme: u.Scheme, Host: u.Host}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.Path != "" && u.Path != "/" || bare.String() != trimSlash(s) {
		return nil, errors.New("not a bare address")
	}
	return &bare, nil
}

func trimSlash(s string) string {
	if n := len(s); n > 0 && s[n-1] == '/' {
		return s[:n-1]
	}
	return s
}

// addressOf is what to dial for a URL.
func addressOf(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func within[T int | int64 | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

package door

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// TrustedHeader is a header by which a proxy in trusted_proxies proves that it is
// ours: the addresses of Azure Front Door, for one, carry the requests of all its
// customers, and X-Azure-FDID says whose.
type TrustedHeader struct {
	// Name is the header; empty asks for none. Default "".
	Name string `yaml:"name"`
	// Values are those that are taken.
	Values []string `yaml:"values" secret:"true"`
	// Require refuses, with 403, every request that does not come from a trusted
	// proxy that shows the header. Default false.
	Require bool `yaml:"require"`
}

// AccessLog says which requests are logged, each as a line of JSON. Neither
// queries nor other headers than the user agent are in it.
type AccessLog struct {
	// Enabled writes the log to standard output. Default false.
	Enabled bool `yaml:"enabled"`
	// Sample is the share of requests that are logged, from 0 to 1, chosen at
	// random. Those that the door itself answers with an error, that origins answer
	// with 5xx, that were repeated or took longer than slow are logged always.
	// Default 1.
	Sample float64 `yaml:"sample"`
	// Slow is the time above which a request is always logged. Default 1s.
	Slow time.Duration `yaml:"slow"`
}

// Limits are what one client may take, beside what the listener limits: sizes of
// headers, numbers of connections.
type Limits struct {
	// BodyBytes is the size of a request body above which it is answered with 413,
	// in bytes. Gateways have limits of their own, below it. Default 33554432
	// (32 MiB).
	BodyBytes int64 `yaml:"body_bytes"`
	// HeaderFields is how many different header fields a request may have.
	// Default 100.
	HeaderFields int `yaml:"header_fields"`
	// Streams is how many WebSocket connections, event streams and the like the
	// door carries at once; above it they are answered with 503. Default 100000.
	Streams int `yaml:"streams"`
	// Rate limits the requests of each client.
	Rate RateLimit `yaml:"rate"`
}

// RateLimit is what one client may ask for, by its address: one of IPv4, a /64 of
// IPv6. Above it requests are answered with 429 and Retry-After.
type RateLimit struct {
	// PerSecond is how many requests a second a client may send for long; 0 sets
	// no limit. Default 0.
	PerSecond float64 `yaml:"per_second"`
	// Burst is how many it may send at once. Default 100.
	Burst int `yaml:"burst"`
	// Clients is how many clients are remembered; where there are more, those that
	// asked longest ago are forgotten. Default 65536.
	Clients int `yaml:"clients"`
}

// Drain is how the door lets go of streams when it stops.
type Drain struct {
	// Rate is how many streams a second are ended. Default 200.
	Rate float64 `yaml:"rate"`
	// Timeout is how long that may take in all: where the rate would take longer,
	// streams are ended faster. The listener's shutdown_timeout should be longer.
	// Default 10s.
	Timeout time.Duration `yaml:"timeout"`
}

func defaultLimits() Limits {
	return Limits{
		BodyBytes: 32 << 20, HeaderFields: 100, Streams: 100_000,
		Rate: RateLimit{Burst: 100, Clients: 65_536},
	}
}

func (a AccessLog) validate() error {
	return errors.Join(
		between("access_log.sample", a.Sample, 0, 1),
		within("access_log.slow", a.Slow, 0, time.Hour),
	)
}

func (l Limits) validate() error {
	return errors.Join(
		between("limits.body_bytes", float64(l.BodyBytes), 1<<10, 1<<40),
		within("limits.header_fields", l.HeaderFields, 10, 10_000),
		within("limits.streams", l.Streams, 0, 10_000_000),
		between("limits.rate.per_second", l.Rate.PerSecond, 0, 1e6),
		within("limits.rate.burst", l.Rate.Burst, 1, 1_000_000),
		within("limits.rate.clients", l.Rate.Clients, 1, 10_000_000),
	)
}

func (d Drain) validate() error {
	return errors.Join(
		between("drain.rate", d.Rate, 0.1, 1e6),
		within("drain.timeout", d.Timeout, 0, time.Hour),
	)
}

func between(path string, v, least, most float64) error {
	if !(v >= least && v <= most) { // not a number is neither
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

// parsePrefix reads 10.0.0.0/8, or one address.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96) // as addresses are when they are compared
	}
	if err != nil || p.Masked() != p {
		return netip.Prefix{}, errors.New("must be a network such as 10.0.0.0/8, without bits beyond it, or an address")
	}
	return p, nil
}

// newTrust checks who is trusted. The values of the header are not in errors.
func newTrust(proxies []string, h TrustedHeader) (trust, error) {
	t := trust{header: http.CanonicalHeaderKey(h.Name), values: h.Values, require: h.Require}
	var errs []error
	for i, s := range proxies {
		p, err := parsePrefix(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("trusted_proxies[%d]: %q: %w", i, s, err))
			continue
		}
		t.proxies = append(t.proxies, p)
	}
	switch {
	case h.Name != "" && !validToken(h.Name):
		errs = append(errs, fmt.Errorf("trusted_header.name: %q: must be the name of a header", h.Name))
	case h.Name != "" && len(h.Values) == 0:
		errs = append(errs, errors.New("trusted_header.values: none: must have at least one where trusted_header.name is set"))
	case h.Name == "" && len(h.Values) > 0:
		errs = append(errs, errors.New("trusted_header.name: empty: must be set where there are trusted_header.values"))
	case h.Name != "" && len(proxies) == 0:
		errs = append(errs, errors.New("trusted_header.name: set: must come with trusted_proxies, since anyone can send a header"))
	}
	if h.Require && len(proxies) == 0 {
		errs = append(errs, errors.New("trusted_header.require: true: must come with trusted_proxies"))
	}
	for _, v := range h.Values {
		if v == "" {
			errs = append(errs, errors.New("trusted_header.values: must not have an empty one"))
		}
	}
	return t, errors.Join(errs...)
}

func validToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return s != ""
}

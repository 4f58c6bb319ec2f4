package door

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Options are the settings of a front door.
type Options struct {
	// Origins are the stamps behind the door, at least one.
	Origins []Origin `yaml:"origins"`
	// Probe says how the door finds out whether an origin is healthy.
	Probe Probe `yaml:"probe"`
	// DialTimeout is how long a connection to an origin may take to open, TLS
	// included, before the next origin is tried.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// ResponseTimeout is how long an origin may take to begin its answer once
	// it has the request, and to take each part of the request. It must be
	// longer than any wait that clients ask for by Prefer.
	ResponseTimeout time.Duration `yaml:"response_timeout"`
}

// Origin is a stamp as the door sees it.
type Origin struct {
	// Name stands for the origin in logs, metrics and the Postroad-Origin
	// header of answers: 1 to 64 letters, digits, '.', '_' or '-'.
	Name string `yaml:"name"`
	// URL is where the origin's gateway listens, as http://host:port or
	// https://host:port, without a path.
	URL string `yaml:"url"`
	// Stream is where the stamp's stream node listens, written like url; empty
	// where it has none. What stream nodes serve is sent there: WebSocket, event
	// streams, last values, history and the demonstration.
	Stream string `yaml:"stream"`
	// Priority orders the origins: of those that are healthy, one with the
	// lowest number is chosen. 1 to 5; left out it is 1.
	Priority int `yaml:"priority"`
}

// Probe is the health check of origins. Only status 200 counts as healthy, and
// each probe opens a connection of its own.
type Probe struct {
	// Path is what is asked for with GET, beginning with a slash.
	Path string `yaml:"path"`
	// Interval is the time between two probes of an origin.
	Interval time.Duration `yaml:"interval"`
	// Timeout is how long an origin may take to answer a probe.
	Timeout time.Duration `yaml:"timeout"`
	// Healthy is how many probes in a row must pass before an unhealthy origin
	// gets traffic again.
	Healthy int `yaml:"healthy"`
	// Unhealthy is how many probes in a row must fail before a healthy origin
	// gets no more traffic. A connection that cannot be opened for a request
	// has that effect at once.
	Unhealthy int `yaml:"unhealthy"`
}

// DefaultOptions name no origins, which have no sensible default.
func DefaultOptions() Options {
	return Options{
		Probe:           Probe{Path: "/healthz", Interval: time.Second, Timeout: 500 * time.Millisecond, Healthy: 1, Unhealthy: 2},
		DialTimeout:     500 * time.Millisecond,
		ResponseTimeout: time.Minute,
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	errs := []error{
		within("dial_timeout", o.DialTimeout, time.Millisecond, time.Minute),
		within("response_timeout", o.ResponseTimeout, time.Millisecond, time.Hour),
		within("probe.interval", o.Probe.Interval, time.Millisecond, time.Hour),
		within("probe.timeout", o.Probe.Timeout, time.Millisecond, time.Minute),
		within("probe.healthy", o.Probe.Healthy, 1, 100),
		within("probe.unhealthy", o.Probe.Unhealthy, 1, 100),
	}
	if u, err := url.Parse(o.Probe.Path); err != nil || len(o.Probe.Path) == 0 || o.Probe.Path[0] != '/' || u.Host != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("probe.path: %q: must be a path that begins with one slash", o.Probe.Path))
	}
	if len(o.Origins) == 0 {
		errs = append(errs, errors.New("origins: none: must name at least one"))
	}
	named := make(map[string]bool, len(o.Origins))
	for i, or := range o.Origins {
		path := fmt.Sprintf("origins[%d]", i)
		errs = append(errs, or.validate(path))
		if named[or.Name] {
			errs = append(errs, fmt.Errorf("%s.name: %q: must differ from the other origins' names", path, or.Name))
		}
		named[or.Name] = true
	}
	return errors.Join(errs...)
}

func (o Origin) validate(path string) error {
	var errs []error
	if !validName(o.Name) {
		errs = append(errs, fmt.Errorf("%s.name: %q: must be 1 to 64 of letters, digits, '.', '_' and '-'", path, o.Name))
	}
	if _, err := parseURL(o.URL); err != nil {
		errs = append(errs, fmt.Errorf("%s.url: %q: must be http://host:port or https://host:port, without a path", path, o.URL))
	}
	if _, err := parseURL(o.Stream); o.Stream != "" && err != nil {
		errs = append(errs, fmt.Errorf("%s.stream: %q: must be http://host:port or https://host:port, without a path", path, o.Stream))
	}
	if o.Priority < 0 || o.Priority > 5 {
		errs = append(errs, fmt.Errorf("%s.priority: %d: must be between 1 and 5", path, o.Priority))
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

func validName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 64
}

func within[T int | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

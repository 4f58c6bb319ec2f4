package publish

import (
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Options are how clients' messages get to a gateway.
type Options struct {
	// Gateways are the addresses of gateways or front doors, such as
	// https://gateway.site:8081, the one to use first: a further one is used
	// while those before it do not answer. Default []: clients cannot publish.
	Gateways []string `yaml:"gateways"`
	// TokenFile holds the bearer token by which gateways know this node, 16
	// characters or more, the same as in their gateway.auth.nodes; it is read
	// again when it changes. With it messages are stored under the name of the
	// client that published them, without it under that of a gateway's callers
	// without a token. Default "".
	TokenFile string `yaml:"token_file"`
	// CAFile holds certificates in PEM that those of gateways are checked
	// against. Empty takes the system's. Default "".
	CAFile string `yaml:"ca_file"`
	// AttemptTimeout is how long one gateway may take to answer, 100ms to 1m.
	// Default 5s.
	AttemptTimeout time.Duration `yaml:"attempt_timeout"`
	// GiveUp is how long a message is tried, all attempts together; at least
	// attempt_timeout, at most 5m. Default 15s.
	GiveUp time.Duration `yaml:"give_up"`
	// Attempts is how often a message is tried at most, 1 to 100. Default 6.
	Attempts int `yaml:"attempts"`
	// Concurrent is how many messages are under way at once, each with the memory
	// of its value; further ones are refused. 1 to 100000. Default 1024.
	Concurrent int `yaml:"concurrent"`
}

// DefaultOptions publish nowhere.
func DefaultOptions() Options {
	return Options{AttemptTimeout: 5 * time.Second, GiveUp: 15 * time.Second, Attempts: 6, Concurrent: 1024}
}

// Validate returns every setting that breaks a rule, each as
// "path: value: rule".
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, path string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v: %s", path, value, rule))
		}
	}
	for i, g := range o.Gateways {
		u, err := url.Parse(g)
		good := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
		shown := g
		if err == nil {
			shown = u.Redacted()
		}
		check(good, fmt.Sprintf("gateways[%d]", i), shown, "must be an address such as https://gateway.site:8081")
	}
	check(o.AttemptTimeout >= 100*time.Millisecond && o.AttemptTimeout <= time.Minute, "attempt_timeout", o.AttemptTimeout, "must be between 100ms and 1m")
	check(o.GiveUp >= o.AttemptTimeout && o.GiveUp <= 5*time.Minute, "give_up", o.GiveUp, "must be at least attempt_timeout and at most 5m")
	check(o.Attempts >= 1 && o.Attempts <= 100, "attempts", o.Attempts, "must be between 1 and 100")
	check(o.Concurrent >= 1 && o.Concurrent <= 100_000, "concurrent", o.Concurrent, "must be between 1 and 100000")
	return errors.Join(errs...)
}

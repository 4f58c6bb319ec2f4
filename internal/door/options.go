package door

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"postroad/internal/door/carry"
	"postroad/internal/door/policy"
)

// Options are the settings of a front door: what stands behind it, in a simple or
// a full form, and what holds of all clients.
//
// The simple form names origins, each a stamp with its gateway and its stream
// node. They become the groups gateways and streams, under the settings that stand
// beside them. The full form names groups, each with settings of its own, and
// routes that lead to them.
type Options struct {
	// Origins are the stamps behind the door, in the simple form.
	Origins []Origin `yaml:"origins"`
	// Settings are those of both groups of the simple form.
	Settings `yaml:",inline"`
	// Groups are sets of origins that serve the same, by name. With groups there
	// are no origins beside them.
	Groups map[string]Group `yaml:"groups"`
	// Routes say which requests go to which group. The most exact host counts
	// first, then the longest path. Without routes what stream nodes serve goes to
	// the group streams, where there is one, and all else to the group gateways or
	// the only other one.
	Routes []Route `yaml:"routes"`
	// TrustedProxies are networks of proxies before the door, such as 10.0.0.0/8:
	// what they say of a client's address, host and protocol, by X-Forwarded-* or
	// Forwarded, is believed, and so is their Postroad-Attempt. Of all others such
	// headers are dropped. Default none.
	TrustedProxies []string `yaml:"trusted_proxies"`
	// TrustedHeader is what a trusted proxy has to show in addition.
	TrustedHeader TrustedHeader `yaml:"trusted_header"`
	// AccessLog says which requests are logged.
	AccessLog AccessLog `yaml:"access_log"`
	// Limits are what clients may take.
	Limits Limits `yaml:"limits"`
	// Drain says how the door lets go of streams when it stops.
	Drain Drain `yaml:"drain"`
}

// Group is a set of origins that serve the same.
type Group struct {
	// Settings are the rules of this group.
	Settings `yaml:",inline"`
	// Origins are the members, at least one.
	Origins []Origin `yaml:"origins"`
}

// SetDefaults gives a group the settings that it has where nothing is said.
func (g *Group) SetDefaults() { g.Settings = DefaultSettings() }

// Settings are the rules of one group of origins.
type Settings struct {
	// Policy says which origin takes a request, which is left out, and what may be
	// sent twice.
	Policy policy.Options `yaml:",inline"`
	// Carry says how requests get to an origin.
	Carry carry.Options `yaml:",inline"`
	// Probe is the health check of the origins.
	Probe Probe `yaml:"probe"`
	// Affinity keeps requests that belong together at one origin while it is
	// healthy: by key (Postroad-Key, ?key=, senderId of a classic call), cookie
	// (the door sets one), header:NAME, or none. Without the key, cookie or header
	// a request goes to any. Default key.
	Affinity string `yaml:"affinity"`
	// Streams are connections that last.
	Streams Streams `yaml:"streams"`
}

// Streams says what becomes of connections that last: WebSocket, event streams,
// long answers.
type Streams struct {
	// Idle is how long one may pass no byte in either direction before it is ended;
	// 0 never ends it. A stream node lets each connection speak at least every 25s.
	// Default 10m.
	Idle time.Duration `yaml:"idle"`
	// MoveRate is how many streams a second leave an origin that drains, that fails,
	// or that stood in for one of a lower priority number which is back: they are
	// ended, and their clients connect again. 0 leaves them where they are.
	// Default 50.
	MoveRate float64 `yaml:"move_rate"`
}

// Origin is a stamp as the door sees it, or a part of one.
type Origin struct {
	// Name stands for the origin in logs, metrics and the Postroad-Origin
	// header of answers: 1 to 64 letters, digits, '.', '_' or '-'.
	Name string `yaml:"name"`
	// URL is where the origin listens, as http://host:port or https://host:port,
	// without a path. In the simple form it is the stamp's gateway.
	URL string `yaml:"url"`
	// URLs are several addresses of one origin, all of one scheme, instead of url;
	// connections are spread over them.
	URLs []string `yaml:"urls"`
	// DNS is an address whose host stands for several, instead of url; it is looked
	// up again and again.
	DNS string `yaml:"dns"`
	// Stream is where the stamp's stream node listens, written like url; empty
	// where it has none. What stream nodes serve is sent there: WebSocket, event
	// streams, last values, history and the demonstration. It belongs to the simple
	// form alone.
	Stream string `yaml:"stream"`
	// Priority orders the origins: of those that are healthy, one with the
	// lowest number is chosen. 1 to 5; left out it is 1.
	Priority int `yaml:"priority"`
	// Weight is the origin's share among those of its priority, 1 to 1000; left out
	// it is 50.
	Weight int `yaml:"weight"`
	// Disabled keeps the origin in the configuration without a request or a probe.
	// Default false.
	Disabled bool `yaml:"disabled"`
	// TLS are the settings of https.
	TLS carry.TLS `yaml:"tls"`
	// SourceAddresses are local addresses from which connections to this origin are
	// opened, in turn. One source and one address of an origin allow for some 28,000
	// connections. Default none: the system chooses.
	SourceAddresses []string `yaml:"source_addresses"`
}

// Probe is the health check of origins. Only status 200 counts as healthy, and
// each probe opens a connection of its own. What an origin says of itself in the
// body counts, too: {"weight":50}, {"drain":true}, {"maintenance":true},
// {"fill":0.9}, {"throttled":true}.
type Probe struct {
	// Path is what is asked for, beginning with a slash. Default /healthz.
	Path string `yaml:"path"`
	// Method is GET or HEAD; with HEAD an origin can say nothing of itself.
	// Default GET.
	Method string `yaml:"method"`
	// Interval is the time between two probes of an origin. Default 1s.
	Interval time.Duration `yaml:"interval"`
	// Timeout is how long an origin may take to answer a probe. Default 500ms.
	Timeout time.Duration `yaml:"timeout"`
}

// Names of the groups that the simple form makes.
const (
	gatewaysGroup = "gateways"
	streamsGroup  = "streams"
)

// DefaultOptions name no origins, which have no sensible default.
func DefaultOptions() Options {
	return Options{
		Settings:  DefaultSettings(),
		AccessLog: AccessLog{Sample: 1, Slow: time.Second},
		Limits:    defaultLimits(),
		Drain:     Drain{Rate: 200, Timeout: 10 * time.Second},
	}
}

// DefaultSettings are those of a group where nothing is said.
func DefaultSettings() Settings {
	return Settings{
		Policy:   policy.DefaultOptions(),
		Carry:    carry.DefaultOptions(),
		Probe:    Probe{Path: "/healthz", Method: "GET", Interval: time.Second, Timeout: 500 * time.Millisecond},
		Affinity: affinityKey,
		Streams:  Streams{Idle: 10 * time.Minute, MoveRate: 50},
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	errs := []error{o.AccessLog.validate(), o.Limits.validate(), o.Drain.validate()}
	if _, err := newTrust(o.TrustedProxies, o.TrustedHeader); err != nil {
		errs = append(errs, err)
	}
	switch {
	case len(o.Groups) == 0 && len(o.Origins) == 0:
		errs = append(errs, errors.New("origins: none: must name at least one, or groups must"))
	case len(o.Groups) > 0 && len(o.Origins) > 0:
		errs = append(errs, errors.New("origins: set: must be empty where there are groups"))
	case len(o.Origins) > 0:
		errs = append(errs, o.Settings.validate(""), validateOrigins("", o.Origins, true))
	}
	for _, name := range slices.Sorted(maps.Keys(o.Groups)) {
		path, g := "groups."+name+".", o.Groups[name]
		if !validName(name) {
			errs = append(errs, fmt.Errorf("groups.%s: %q: must be 1 to 64 of letters, digits, '.', '_' and '-'", name, name))
		}
		errs = append(errs, g.Settings.validate(path), validateOrigins(path, g.Origins, false))
	}
	return errors.Join(append(errs, o.validateRoutes())...)
}

// validate checks the settings; prefix stands before each path.
func (s Settings) validate(prefix string) error {
	errs := []error{
		s.Policy.Validate(),
		s.Carry.Validate(),
		within("probe.interval", s.Probe.Interval, time.Millisecond, time.Hour),
		within("probe.timeout", s.Probe.Timeout, time.Millisecond, time.Minute),
		within("streams.idle", s.Streams.Idle, 0, 24*time.Hour),
		between("streams.move_rate", s.Streams.MoveRate, 0, 1e6),
	}
	if u, err := url.Parse(s.Probe.Path); err != nil || len(s.Probe.Path) == 0 || s.Probe.Path[0] != '/' || u.Host != "" || u.Fragment != "" {
		errs = append(errs, fmt.Errorf("probe.path: %q: must be a path that begins with one slash", s.Probe.Path))
	}
	if s.Probe.Method != "GET" && s.Probe.Method != "HEAD" {
		errs = append(errs, fmt.Errorf("probe.method: %q: must be GET or HEAD", s.Probe.Method))
	}
	if _, err := parseAffinity(s.Affinity); err != nil {
		errs = append(errs, fmt.Errorf("affinity: %q: %w", s.Affinity, err))
	}
	return prefixed(prefix, errors.Join(errs...))
}

// prefixed puts prefix before every problem of err.
func prefixed(prefix string, err error) error {
	if err == nil || prefix == "" {
		return err
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, prefixed(prefix, e))
		}
		return errors.Join(errs...)
	}
	return fmt.Errorf("%s%w", prefix, err)
}

func validateOrigins(prefix string, origins []Origin, simple bool) error {
	members := make([]policy.OriginOptions, len(origins))
	for i, o := range origins {
		members[i] = o.member()
	}
	errs := []error{policy.ValidateOrigins(members)}
	for i, o := range origins {
		path := fmt.Sprintf("origins[%d]", i)
		t := o.target()
		if o.URL != "" && !bareURL(o.URL) {
			errs = append(errs, fmt.Errorf("%s.url: %q: must be http://host:port or https://host:port, without a path", path, o.URL))
			t.URLs = []string{"http://unknown"}
		}
		errs = append(errs, t.Validate(path))
		if o.URL != "" && len(o.URLs) > 0 {
			errs = append(errs, fmt.Errorf("%s.urls: set: must be empty where there is a url", path))
		}
		switch {
		case o.Stream != "" && !simple:
			errs = append(errs, fmt.Errorf("%s.stream: %q: must be empty in a group; make a group of the stream nodes", path, o.Stream))
		case o.Stream != "" && !bareURL(o.Stream):
			errs = append(errs, fmt.Errorf("%s.stream: %q: must be http://host:port or https://host:port, without a path", path, o.Stream))
		}
	}
	return prefixed(prefix, errors.Join(errs...))
}

func bareURL(s string) bool {
	return carry.Target{Name: "x", URLs: []string{s}}.Validate("") == nil
}

// member is the origin as the policy sees it.
func (o Origin) member() policy.OriginOptions {
	return policy.OriginOptions{Name: o.Name, Priority: o.Priority, Weight: o.Weight, Enabled: !o.Disabled}
}

// target is the origin as the carrier sees it.
func (o Origin) target() carry.Target {
	urls := o.URLs
	if o.URL != "" {
		urls = []string{o.URL}
	}
	return carry.Target{Name: o.Name, URLs: urls, DNS: o.DNS, TLS: o.TLS, SourceAddresses: o.SourceAddresses}
}

// groups are those of the full form, or what the simple form stands for.
func (o Options) groups() map[string]Group {
	if len(o.Groups) > 0 {
		return o.Groups
	}
	groups := map[string]Group{gatewaysGroup: {Settings: o.Settings, Origins: o.Origins}}
	var nodes []Origin
	for _, or := range o.Origins {
		if or.Stream != "" {
			or.URL, or.URLs, or.DNS, or.Stream = or.Stream, nil, "", ""
			nodes = append(nodes, or)
		}
	}
	if len(nodes) > 0 {
		s := o.Settings
		if s.Affinity == affinityKey {
			// A key ties a publisher to a gateway; a stream's subject is no reason to
			// have all who watch it at one node.
			s.Affinity = affinityNone
		}
		groups[streamsGroup] = Group{Settings: s, Origins: nodes}
	}
	return groups
}

// Warnings are what is allowed and has no effect, or hardly the one that was
// meant, a line each.
func (o Options) Warnings() []string {
	var all []string
	if len(o.Groups) > 0 && o.Settings != DefaultSettings() {
		all = append(all, "settings of the simple form stand beside groups: they have no effect, each group has its own")
	}
	groups := o.groups()
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		members := make([]policy.OriginOptions, len(g.Origins))
		for i, or := range g.Origins {
			members[i] = or.member()
		}
		for _, w := range policy.Warnings(g.Policy, members) {
			all = append(all, "group "+name+": "+w)
		}
		for _, w := range carry.Warnings(g.Carry, targets(g.Origins)) {
			all = append(all, "group "+name+": "+w)
		}
		if g.Probe.Timeout >= g.Probe.Interval*10 {
			all = append(all, fmt.Sprintf("group %s: probe.timeout: %s: far above probe.interval, an origin that is silent is found late", name, g.Probe.Timeout))
		}
	}
	if o.Limits.Rate.PerSecond > 0 && float64(o.Limits.Rate.Burst) < o.Limits.Rate.PerSecond {
		all = append(all, "limits.rate.burst: below limits.rate.per_second: clients that send at intervals are refused within their rate")
	}
	if def := DefaultOptions().AccessLog; !o.AccessLog.Enabled && o.AccessLog != def {
		all = append(all, "access_log: sample and slow have no effect without access_log.enabled")
	}
	return append(all, o.unreached()...)
}

func validName(s string) bool {
	return len(s) <= 64 && validToken(s) && strings.Trim(s, ".") != ""
}

func within[T int | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

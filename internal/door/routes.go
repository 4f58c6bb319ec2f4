package door

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"postroad/internal/door/carry"
)

// Route leads requests to a group.
type Route struct {
	// Hosts are those that are asked for, without port; *.example.org takes every
	// host below. Empty takes all hosts.
	Hosts []string `yaml:"hosts"`
	// Paths are prefixes: /app takes /app and all below it, /app/ only what is
	// below. Empty takes all paths.
	Paths []string `yaml:"paths"`
	// Group is where such requests go.
	Group string `yaml:"group"`
	// Kind says what stands there: gateway, whose POSTs of messages are repeated
	// with their key; stream; plain, where nothing but GET and HEAD is repeated.
	// Empty tells by the path: what gateways serve is theirs, all else plain.
	Kind string `yaml:"kind"`
	// Affinity is as in the group, for this route alone; empty takes the group's.
	Affinity string `yaml:"affinity"`
}

// How requests are kept together.
const (
	affinityKey    = "key"
	affinityCookie = "cookie"
	affinityNone   = "none"
	affinityHeader = "header:"
)

// affinity is a parsed Affinity.
type affinity struct {
	by     string // one of the constants above
	header string // canonical, with affinityHeader
}

func parseAffinity(s string) (affinity, error) {
	switch s {
	case affinityKey, affinityCookie, affinityNone:
		return affinity{by: s}, nil
	}
	name, ok := strings.CutPrefix(s, affinityHeader)
	if !ok || !validToken(name) {
		return affinity{}, errors.New("must be key, cookie, header:NAME or none")
	}
	return affinity{by: affinityHeader, header: http.CanonicalHeaderKey(name)}, nil
}

// validateRoutes checks the routes, and that requests have somewhere to go without
// them.
func (o Options) validateRoutes() error {
	var errs []error
	for i, r := range o.Routes {
		path := fmt.Sprintf("routes[%d]", i)
		if _, ok := o.groups()[r.Group]; !ok {
			errs = append(errs, fmt.Errorf("%s.group: %q: must be the name of a group", path, r.Group))
		}
		if _, _, err := parseKind(r.Kind); err != nil {
			errs = append(errs, fmt.Errorf("%s.kind: %q: %w", path, r.Kind, err))
		}
		if _, err := parseAffinity(r.Affinity); r.Affinity != "" && err != nil {
			errs = append(errs, fmt.Errorf("%s.affinity: %q: %w", path, r.Affinity, err))
		}
		for j, h := range r.Hosts {
			bare := strings.TrimPrefix(h, "*.")
			if bare == "" || !validHost(bare) || strings.ContainsAny(bare, "*/") || strings.Contains(bare, ":") && !strings.HasPrefix(bare, "[") {
				errs = append(errs, fmt.Errorf("%s.hosts[%d]: %q: must be a host without port, or *. and one", path, j, h))
			}
		}
		for j, p := range r.Paths {
			if !strings.HasPrefix(p, "/") || cleanPath(p) != p || strings.ContainsAny(p, "?#%") {
				errs = append(errs, fmt.Errorf("%s.paths[%d]: %q: must be a path that begins with a slash, without dot segments, escapes and query", path, j, p))
			}
		}
	}
	if len(o.Routes) == 0 && len(o.Groups) > 0 && o.mainGroup() == "" {
		errs = append(errs, errors.New("routes: none: must say what goes to which group, or one group must be named gateways"))
	}
	return errors.Join(errs...)
}

// mainGroup is where everything goes that no route leads elsewhere.
func (o Options) mainGroup() string {
	groups := o.groups()
	if _, ok := groups[gatewaysGroup]; ok {
		return gatewaysGroup
	}
	var found string
	for name := range groups {
		if name == streamsGroup {
			continue
		}
		if found != "" {
			return ""
		}
		found = name
	}
	return found
}

// unreached warns of groups and routes that get no request.
func (o Options) unreached() []string {
	var all []string
	if len(o.Routes) == 0 {
		for name := range o.Groups {
			if name != o.mainGroup() && name != streamsGroup {
				all = append(all, "group "+name+": no route leads to it")
			}
		}
		slices.Sort(all)
		return all
	}
	led := map[string]bool{}
	seen := map[string]int{}
	for i, r := range o.Routes {
		led[r.Group] = true
		shadowed := true
		for _, p := range r.patterns() {
			if _, ok := seen[p.String()]; ok {
				continue
			}
			seen[p.String()] = i
			shadowed = false
		}
		if shadowed {
			all = append(all, fmt.Sprintf("routes[%d]: gets no request, earlier routes take all that it names", i))
		}
	}
	for name := range o.groups() {
		if !led[name] {
			all = append(all, "group "+name+": no route leads to it")
		}
	}
	slices.Sort(all)
	return all
}

// pattern is one host and one path of a route.
type pattern struct {
	host string // lower case; *.x for all below x; empty for all
	path string // empty for all
}

func (p pattern) String() string { return p.host + " " + p.path }

func (r Route) patterns() []pattern {
	hosts, paths := r.Hosts, r.Paths
	if len(hosts) == 0 {
		hosts = []string{""}
	}
	if len(paths) == 0 {
		paths = []string{""}
	}
	var all []pattern
	for _, h := range hosts {
		for _, p := range paths {
			all = append(all, pattern{hostOnly(h), p})
		}
	}
	return all
}

// parseKind reads a kind; byPath says that the path decides.
func parseKind(s string) (kind carry.Kind, byPath bool, err error) {
	switch s {
	case "":
		return carry.Plain, true, nil
	case "gateway":
		return carry.Gateway, false, nil
	case "stream":
		return carry.Stream, false, nil
	case "plain":
		return carry.Plain, false, nil
	}
	return carry.Plain, false, errors.New("must be gateway, stream, plain or empty")
}

// route is where a pattern leads.
type route struct {
	pattern
	group  *group
	kind   carry.Kind
	byPath bool // kind is that of the path
	keep   affinity
}

// kindOf is what stands behind a path of this route.
func (r *route) kindOf(path string) carry.Kind {
	if r.byPath && isGateway(path) {
		return carry.Gateway
	}
	return r.kind
}

// isGateway tells the paths that gateways serve.
func isGateway(path string) bool {
	const classic = "/ServiceAPI/"
	return strings.HasPrefix(path, "/v1/") && !isStream(path) ||
		len(path) >= len(classic) && strings.EqualFold(path[:len(classic)], classic)
}

// isStream tells the paths that stream nodes serve.
func isStream(path string) bool {
	if rest, ok := strings.CutPrefix(path, "/v1/topics/"); ok {
		_, what, _ := strings.Cut(rest, "/")
		return what == "stream" || what == "last" || what == "history"
	}
	return strings.HasPrefix(path, "/connection/") || strings.HasPrefix(path, "/demo/") || path == "/demo"
}

// matches reports whether a request for host, in lower case without port, and path
// is meant.
func (p pattern) matches(host, path string) bool {
	if below, ok := strings.CutPrefix(p.host, "*"); ok {
		if len(host) <= len(below) || !strings.HasSuffix(host, below) {
			return false
		}
	} else if p.host != "" && p.host != host {
		return false
	}
	if !strings.HasPrefix(path, p.path) {
		return false
	}
	return p.path == "" || strings.HasSuffix(p.path, "/") || len(path) == len(p.path) || path[len(p.path)] == '/'
}

// exactness orders patterns: an exact host before those below one, that before
// all hosts, then the longer host, then the longer path.
func exactness(a, b route) int {
	rank := func(p pattern) int {
		switch {
		case p.host == "":
			return 0
		case strings.HasPrefix(p.host, "*"):
			return 1
		}
		return 2
	}
	if d := rank(b.pattern) - rank(a.pattern); d != 0 {
		return d
	}
	if d := len(b.host) - len(a.host); d != 0 && rank(a.pattern) == 1 {
		return d
	}
	return len(b.path) - len(a.path)
}

// routesOf makes the routes of the options over groups; the options are valid.
func routesOf(o Options, groups map[string]*group) ([]route, *route, error) {
	if len(o.Routes) == 0 {
		all := route{group: groups[o.mainGroup()], byPath: true}
		keep, err := parseAffinity(all.group.settings.Affinity)
		all.keep = keep
		nodes, ok := groups[streamsGroup]
		if err != nil || !ok {
			return []route{all}, nil, err
		}
		toNodes := route{group: nodes, kind: carry.Stream}
		toNodes.keep, err = parseAffinity(nodes.settings.Affinity)
		return []route{all}, &toNodes, err
	}
	var all []route
	for _, r := range o.Routes {
		to := route{group: groups[r.Group]}
		said := r.Affinity
		if said == "" {
			said = to.group.settings.Affinity
		}
		var kindErr, keepErr error
		to.kind, to.byPath, kindErr = parseKind(r.Kind)
		to.keep, keepErr = parseAffinity(said)
		if err := errors.Join(kindErr, keepErr); err != nil {
			return nil, nil, err
		}
		for _, p := range r.patterns() {
			to.pattern = p
			all = append(all, to)
		}
	}
	slices.SortStableFunc(all, exactness)
	return all, nil, nil
}

// find returns where a request goes; ambiguous says that an origin which resolves
// dot segments would read a path of another route, which is no way around a route.
func (l *layout) find(host, path string) (to *route, ambiguous bool) {
	host = hostOnly(host)
	to = l.match(host, path)
	if clean := cleanPath(path); clean != path && l.match(host, clean) != to {
		return nil, true
	}
	return to, false
}

func (l *layout) match(host, path string) *route {
	if l.toStreams != nil && isStream(path) {
		return l.toStreams
	}
	for i := range l.routes {
		if l.routes[i].matches(host, path) {
			return &l.routes[i]
		}
	}
	return nil
}

// hostOnly is a host in lower case without its port.
func hostOnly(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

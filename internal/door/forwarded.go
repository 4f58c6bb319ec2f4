package door

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// trust says whose word about a request's way counts.
type trust struct {
	proxies []netip.Prefix
	header  string // canonical; empty where no header is asked for
	values  []string
	require bool
}

// hop is what the door takes for true of the way a request came.
type hop struct {
	// client is who asked: the nearest address that is no trusted proxy's.
	client netip.Addr
	// trusted says that the request came by a trusted proxy.
	trusted bool
	// chain is the way from client to the door's peer, as X-Forwarded-For has it.
	chain string
	// proto and host are what the client asked for.
	proto, host string
}

// look finds out how a request came. Of what headers say only the part counts
// that trusted proxies added: without this a client could choose its own address,
// and with it whose rate it uses up.
func (t *trust) look(r *http.Request) hop {
	h := hop{proto: "http", host: r.Host}
	if r.TLS != nil {
		h.proto = "https"
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	h.client = peer.Addr().Unmap()
	if err == nil {
		h.chain = h.client.WithZone("").String()
	}
	if err != nil || !t.trusts(h.client) || !t.shows(r.Header) {
		return h
	}
	h.trusted = true
	said := forwardedFor(r.Header)
	for _, s := range slices.Backward(said.addresses) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			break // what a trusted proxy could not name, nobody before it can
		}
		h.client = a.Unmap()
		h.chain = h.client.String() + ", " + h.chain
		if !t.trusts(h.client) {
			break
		}
	}
	if said.proto == "http" || said.proto == "https" {
		h.proto = said.proto
	}
	if said.host != "" && validHost(said.host) {
		h.host = said.host
	}
	return h
}

func (t *trust) trusts(a netip.Addr) bool {
	a = a.WithZone("")
	return slices.ContainsFunc(t.proxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

// shows reports whether the header is there by which a trusted proxy proves who
// it is, exactly once.
func (t *trust) shows(h http.Header) bool {
	if t.header == "" {
		return true
	}
	v := h[t.header]
	return len(v) == 1 && slices.Contains(t.values, v[0])
}

// way is what headers say of a request's way.
type way struct {
	addresses   []string // as written, the client first, without ports
	proto, host string
}

// forwardedFor reads X-Forwarded-For, -Proto and -Host, and Forwarded. Which of the
// two the proxy writes is not known, and the other it may pass on as a client made
// it up: where both are there, only that counts in which they agree.
func forwardedFor(h http.Header) way {
	var w way
	for _, line := range h["X-Forwarded-For"] {
		for part := range strings.SplitSeq(line, ",") {
			w.addresses = append(w.addresses, bareAddress(strings.TrimSpace(part)))
		}
	}
	w.proto = strings.ToLower(only(h["X-Forwarded-Proto"]))
	w.host = only(h["X-Forwarded-Host"])
	lines := h["Forwarded"]
	if len(lines) == 0 {
		return w
	}
	other := parseForwarded(lines)
	if len(w.addresses) == 0 {
		w.addresses = other.addresses
	} else {
		w.addresses = commonEnd(w.addresses, other.addresses)
	}
	w.proto, w.host = agreed(w.proto, other.proto), agreed(w.host, other.host)
	return w
}

// commonEnd is what two lists of addresses end with, both.
func commonEnd(a, b []string) []string {
	n := 0
	for n < len(a) && n < len(b) && sameAddress(a[len(a)-1-n], b[len(b)-1-n]) {
		n++
	}
	return a[len(a)-n:]
}

func sameAddress(a, b string) bool {
	x, errX := netip.ParseAddr(a)
	y, errY := netip.ParseAddr(b)
	return errX == nil && errY == nil && x.Unmap() == y.Unmap()
}

// agreed is what one says and the other does not deny.
func agreed(a, b string) string {
	switch {
	case a == "":
		return b
	case b == "" || a == b:
		return a
	}
	return ""
}

// only is the value of a header that must stand there once.
func only(values []string) string {
	if len(values) == 1 {
		return values[0]
	}
	return ""
}

// parseForwarded reads the elements of RFC 7239; of proto and host the last
// element's count, which the nearest proxy wrote. What is malformed ends the
// reading with nothing: half of it could mislead.
func parseForwarded(lines []string) way {
	var w way
	for _, line := range lines {
		for element := range splitQuoted(line, ',') {
			var e way
			for pair := range splitQuoted(element, ';') {
				name, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
				if !ok {
					if strings.TrimSpace(pair) == "" {
						continue
					}
					return way{}
				}
				value, ok = unquote(value)
				if !ok {
					return way{}
				}
				switch strings.ToLower(name) {
				case "for":
					e.addresses = append(e.addresses, bareAddress(value))
				case "proto":
					e.proto = strings.ToLower(value)
				case "host":
					e.host = value
				}
			}
			if len(e.addresses) != 1 {
				return way{} // an element without an address breaks the chain
			}
			w.addresses = append(w.addresses, e.addresses[0])
			w.proto, w.host = e.proto, e.host
		}
	}
	return w
}

// splitQuoted splits at sep outside of quoted strings.
func splitQuoted(s string, sep byte) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(s); i++ {
			switch {
			case quoted && s[i] == '\\':
				i++
			case s[i] == '"':
				quoted = !quoted
			case s[i] == sep && !quoted:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

// unquote takes the quotes of a quoted string away.
func unquote(s string) (string, bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, !strings.Contains(s, `"`)
	}
	if len(s) < 2 || s[len(s)-1] != '"' || strings.ContainsAny(s[1:len(s)-1], `"\`) {
		return "", false
	}
	return s[1 : len(s)-1], true
}

// bareAddress takes the port and the brackets from an address.
func bareAddress(s string) string {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().WithZone("").String()
	}
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			return inner
		}
	}
	return s
}

// validHost reports whether s may stand in a Host header: a name or address and
// perhaps a port, nothing that a reader could take for more.
func validHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9',
			c == '.', c == '-', c == '_', c == ':', c == '[', c == ']', c == '~', c == '%':
		default:
			return false
		}
	}
	return len(s) <= 255
}

// aboutTheWay reports whether a header speaks of how a request came here; from a
// hop that is not trusted such headers are dropped. Names with underscores are
// taken for those with hyphens, as some origins do.
func aboutTheWay(name string) bool {
	if len(name) > 2 && name[0] == 'X' && fold(name[1]) == '-' {
		if foldPrefix(name, "X-Forwarded-") || foldPrefix(name, "X-Azure-") {
			return true
		}
		for _, n := range [...]string{"X-Forwarded", "X-Real-Ip", "X-Client-Ip", "X-Cluster-Client-Ip"} {
			if foldEqual(name, n) {
				return true
			}
		}
		return false
	}
	for _, n := range [...]string{"Forwarded", "True-Client-Ip", "Client-Ip", "Postroad-Attempt"} {
		if foldEqual(name, n) {
			return true
		}
	}
	return false
}

func foldPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && foldEqual(name[:len(prefix)], prefix)
}

// foldEqual compares names of headers without regard to letter case and to
// whether hyphens or underscores stand in them.
func foldEqual(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := fold(a[i]), fold(b[i])
		if x != y {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

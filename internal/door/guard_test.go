package door

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestLook(t *testing.T) {
	const fdid = "3a1b"
	tr, err := newTrust([]string{"10.0.0.0/8", "2001:db8::/32", "127.0.0.1"}, TrustedHeader{})
	if err != nil {
		t.Fatal(err)
	}
	marked, err := newTrust([]string{"10.0.0.0/8"}, TrustedHeader{Name: "x-azure-fdid", Values: []string{fdid}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, from string
		headers    []string
		by         *trust
		client     string
		chain      string
		trusted    bool
		proto      string
		host       string
	}{
		{"nobody before us", "192.0.2.1:5", nil, &tr, "192.0.2.1", "192.0.2.1", false, "http", "own"},
		{"a stranger's word", "192.0.2.1:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-Proto", "https"}, &tr, "192.0.2.1", "192.0.2.1", false, "http", "own"},
		{"a proxy's word", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Forwarded-Proto", "HTTPS", "X-Forwarded-Host", "shop.example"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "https", "shop.example"},
		{"a chain, its client's word before it", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6, 192.0.2.1, 10.9.9.9"}, &tr, "192.0.2.1", "192.0.2.1, 10.9.9.9, 10.1.2.3", true, "http", "own"},
		{"in several lines", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Forwarded-For", "192.0.2.1"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"all trusted", "10.1.2.3:5", []string{"X-Forwarded-For", "10.0.0.1"}, &tr, "10.0.0.1", "10.0.0.1, 10.1.2.3", true, "http", "own"},
		{"nonsense ends the chain", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1, unknown, 10.0.0.1"}, &tr, "10.0.0.1", "10.0.0.1, 10.1.2.3", true, "http", "own"},
		{"with ports", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1:99"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"six", "[2001:db8::1]:5", []string{"X-Forwarded-For", "[2001:db9::1]:7"}, &tr, "2001:db9::1", "2001:db9::1, 2001:db8::1", true, "http", "own"},
		{"a mapped peer", "[::ffff:10.1.2.3]:5", []string{"X-Forwarded-For", "192.0.2.1"}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"Forwarded", "10.1.2.3:5", []string{"Forwarded", `for=6.6.6.6;host=a, for="[2001:db9::1]:47";proto=https;host="shop.example"`}, &tr, "2001:db9::1", "2001:db9::1, 10.1.2.3", true, "https", "shop.example"},
		{"Forwarded, and another's X-Forwarded-For", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6", "Forwarded", `for=192.0.2.1`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"X-Forwarded-For, and another's Forwarded", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "Forwarded", `for=6.6.6.6`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"both", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1:8", "Forwarded", `for=192.0.2.1;proto=https`}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "https", "own"},
		{"both, as far as they agree", "10.1.2.3:5", []string{"X-Forwarded-For", "6.6.6.6, 10.9.9.9", "Forwarded", `for=192.0.2.1, for="[::ffff:10.9.9.9]"`}, &tr, "10.9.9.9", "10.9.9.9, 10.1.2.3", true, "http", "own"},
		{"both, one hidden", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "Forwarded", `for=unknown`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"X-Forwarded-For, and half of Forwarded", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "Forwarded", `for="`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"two hosts and protocols", "10.1.2.3:5", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example", "Forwarded", `for=192.0.2.1;proto=http;host=shop.example`}, &tr, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"Forwarded, malformed", "10.1.2.3:5", []string{"Forwarded", `for="6.6.6.6`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"Forwarded, hidden", "10.1.2.3:5", []string{"Forwarded", `for=_x`}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"a protocol that is none", "10.1.2.3:5", []string{"X-Forwarded-Proto", "javascript", "X-Forwarded-Host", "a b"}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"two protocols", "10.1.2.3:5", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Proto", "http"}, &tr, "10.1.2.3", "10.1.2.3", true, "http", "own"},
		{"the header is missing", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1"}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"the header of another", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", "other"}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"the header twice", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", fdid, "X-Azure-FDID", fdid}, &marked, "10.1.2.3", "10.1.2.3", false, "http", "own"},
		{"our header", "10.1.2.3:5", []string{"X-Forwarded-For", "192.0.2.1", "X-Azure-FDID", fdid}, &marked, "192.0.2.1", "192.0.2.1, 10.1.2.3", true, "http", "own"},
		{"our header from elsewhere", "192.0.2.9:5", []string{"X-Forwarded-For", "6.6.6.6", "X-Azure-FDID", fdid}, &marked, "192.0.2.9", "192.0.2.9", false, "http", "own"},
		{"no peer", "pipe", nil, &tr, "", "", false, "http", "own"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr, r.Host = c.from, "own"
			for i := 0; i+1 < len(c.headers); i += 2 {
				r.Header.Add(c.headers[i], c.headers[i+1])
			}
			h := c.by.look(r)
			client := ""
			if h.client.IsValid() {
				client = h.client.String()
			}
			if client != c.client || h.chain != c.chain || h.trusted != c.trusted || h.proto != c.proto || h.host != c.host {
				t.Errorf("%s, chain %q, trusted %v, %s://%s", client, h.chain, h.trusted, h.proto, h.host)
			}
		})
	}
}

// TestTrustedNetworks: a network is trusted however it is written.
func TestTrustedNetworks(t *testing.T) {
	for _, c := range []struct {
		proxy, from string
		want        bool
	}{
		{"10.0.0.0/8", "10.1.2.3", true},
		{"10.0.0.0/8", "11.1.2.3", false},
		{"10.1.2.3", "10.1.2.3", true},
		{"::ffff:10.1.2.3", "10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"::ffff:10.0.0.0/104", "11.1.2.3", false},
		{"::ffff:0.0.0.0/96", "11.1.2.3", true},
		{"::ffff:0.0.0.0/96", "2001:db8::1", false},
		{"2001:db8::/32", "2001:db8::1", true},
		{"::/0", "2001:db8::1", true},
	} {
		tr, err := newTrust([]string{c.proxy}, TrustedHeader{})
		if err != nil {
			t.Errorf("%s: %v", c.proxy, err)
			continue
		}
		if got := tr.trusts(netip.MustParseAddr(c.from)); got != c.want {
			t.Errorf("%s trusts %s: %v", c.proxy, c.from, got)
		}
	}
	for _, bad := range []string{"::ffff:10.1.0.0/104", "10.0.0.1/8", "10.0.0.0/33", "fe80::1%eth0", "x"} {
		if _, err := newTrust([]string{bad}, TrustedHeader{}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// FuzzForwarded: whatever a proxy writes, the client is an address or none, and
// what goes on to origins can be written as a header.
func FuzzForwarded(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1", `for=192.0.2.60;proto=http;by=203.0.113.43`, `for="[2001:db8:cafe::17]:4711"`, `For=a;;`, `for="\""`, "a, b,, ,c:1", "[::1", "",
	} {
		f.Add(s, s, s)
	}
	tr, err := newTrust([]string{"0.0.0.0/0", "::/0"}, TrustedHeader{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, xff, forwarded, host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Forwarded-For"], r.Header["Forwarded"], r.Header["X-Forwarded-Host"] = []string{xff}, []string{forwarded}, []string{host}
		h := tr.look(r)
		if !h.client.IsValid() || !validHost(h.host) {
			t.Fatalf("client %v, host %q", h.client, h.host)
		}
		for part := range strings.SplitSeq(h.chain, ", ") {
			if _, err := netip.ParseAddr(part); err != nil {
				t.Fatalf("chain %q: %v", h.chain, err)
			}
		}
	})
}

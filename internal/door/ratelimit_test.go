package door

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestClientRates(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newClientRates(RateLimit{PerSecond: 2, Burst: 3, Clients: 4}, func() time.Time { return now })
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	burst := func(of netip.Addr, want int) {
		t.Helper()
		for i := range want {
			if _, ok := c.admit(of); !ok {
				t.Fatalf("request %d of %s was refused, want %d", i+1, of, want)
			}
		}
		if wait, ok := c.admit(of); ok || wait <= 0 || wait > time.Second {
			t.Fatalf("request %d of %s: passed %v, wait %s", want+1, of, ok, wait)
		}
	}
	burst(a, 3)
	burst(b, 3) // each has its own
	now = now.Add(time.Second)
	burst(a, 2)

	// The same client in other words: mapped, and within a /64.
	burst(netip.MustParseAddr("::ffff:192.0.2.2"), 2)
	burst(netip.MustParseAddr("2001:db8::1"), 3)
	if _, ok := c.admit(netip.MustParseAddr("2001:db8::2")); ok {
		t.Error("another address of the same /64 passed")
	}
	if _, ok := c.admit(netip.MustParseAddr("2001:db8:0:1::1")); !ok {
		t.Error("another /64 was refused")
	}
	if n := c.known(); n != 4 {
		t.Errorf("%d clients are known, want 4", n)
	}

	// A changed limit keeps what is left; none forgets everybody.
	c.set(RateLimit{PerSecond: 1, Burst: 1, Clients: 4})
	if _, ok := c.admit(a); ok {
		t.Error("a new limit filled an empty bucket")
	}
	c.set(RateLimit{Clients: 4})
	if _, ok := c.admit(a); !ok || c.known() != 0 {
		t.Errorf("without a limit: passed %v, %d clients known", ok, c.known())
	}
}

// The table never grows above its bound, and forgets who asked longest ago.
func TestClientRatesAreBounded(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newClientRates(RateLimit{PerSecond: 1, Burst: 1, Clients: 100}, func() time.Time { return now })
	busy := netip.MustParseAddr("198.51.100.1")
	c.admit(busy)
	for i := range 10_000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(10<<24+i))
		if _, ok := c.admit(netip.AddrFrom4(b)); !ok {
			t.Fatalf("client %d was refused its first request", i)
		}
		if i%50 == 0 {
			if _, ok := c.admit(busy); ok {
				t.Fatal("who asks again and again was forgotten")
			}
		}
	}
	if n := c.known(); n != 100 {
		t.Errorf("%d clients are known, want 100", n)
	}
	if _, ok := c.admit(netip.Addr{}); !ok {
		t.Error("an address that is none was refused its first request")
	}
}

package loopback

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
)

// Each is another one, and none that the system gives away.
func TestPorts(t *testing.T) {
	found, err := Ports(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(found); len(slices.Compact(found)) != 20 || found[0] < 1024 || found[19] >= 32768 {
		t.Errorf("found %v", found)
	}
}

func TestAddress(t *testing.T) {
	address, err := Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	to, err := net.ResolveTCPAddr("tcp", address)
	if err != nil || !to.IP.IsLoopback() {
		t.Errorf("%s: %v", address, err)
	}
}

func TestPortsThatCannotBeHad(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	if found, err := Address(ctx); !errors.Is(err, gone) {
		t.Errorf("found %q: %v", found, err)
	}
}

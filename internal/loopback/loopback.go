package loopback

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
)

// Ports are taken from below those that systems give away by themselves (from
// 32768 on where Linux is left as it comes, from 49152 on by RFC 6335). Two
// processes that look at the same time may still find the same.
const (
	firstPort = 20000
	lastPort  = 32000
)

// Ports are n ports of loopback that nobody listens at.
func Ports(ctx context.Context, n int) ([]int, error) {
	var config net.ListenConfig
	var found []int
	var last error
	for tries := 0; tries < 100*n && ctx.Err() == nil; tries++ {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if slices.Contains(found, port) {
			continue
		}
		l, err := config.Listen(ctx, "tcp", address(port))
		if err != nil {
			last = err
			continue
		}
		if err := l.Close(); err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		if found = append(found, port); len(found) == n {
			return found, nil
		}
	}
	return nil, fmt.Errorf("free port: too few between %d and %d: %w", firstPort, lastPort, cmp.Or(context.Cause(ctx), last))
}

// Address is an address that nobody listens at.
func Address(ctx context.Context) (string, error) {
	ports, err := Ports(ctx, 1)
	if err != nil {
		return "", err
	}
	return address(ports[0]), nil
}

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

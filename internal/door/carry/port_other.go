//go:build !linux

package carry

import (
	"errors"
	"syscall"
)

func latePort(string, string, syscall.RawConn) error { return nil }

func noPortLeft(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE)
}

package carry

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// latePort has the kernel choose the port of a connection when it knows the
// other end. Without it a source address has one range of ports for all origins
// together instead of one for each.
func latePort(_, _ string, c syscall.RawConn) error {
	var err error
	if ctl := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	}); ctl != nil {
		return ctl
	}
	return err
}

func noPortLeft(err error) bool {
	return errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EADDRINUSE)
}

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

// quiet reports whether a connection that should be silent is: it was not closed
// by the other end, and nothing has come on it.
func (w *wire) quiet() bool {
	if w.raw == nil {
		c, ok := w.Conn.(syscall.Conn)
		if !ok {
			return true
		}
		var err error
		if w.raw, err = c.SyscallConn(); err != nil {
			return false
		}
	}
	silent := false
	err := w.raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, got := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		silent = errors.Is(got, unix.EAGAIN)
	})
	return err == nil && silent
}

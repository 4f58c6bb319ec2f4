package kafka

import (
	"fmt"
	"net"
)

// gatedConn refuses to write while may errs. A process that was paused past the
// time its claims are good for, and wakes, has requests ready in the client's
// memory; a successor may have read the hub back meanwhile, and what is written
// now would be there twice. Asked right before each write this leaves the time
// between the question and the kernel's taking the bytes, and what the kernel has
// already: readers drop those copies.
//
// It is the TCP connection itself, beneath the tunnel of a proxy and TLS: what
// these write by themselves is refused too.
//
// Everything is refused, not produce requests alone: the hub then looks away, as
// it should, since its answers decide nothing any more.
type gatedConn struct {
	net.Conn
	may func() error
}

// Write implements net.Conn.
func (c gatedConn) Write(p []byte) (int, error) {
	if err := c.may(); err != nil {
		return 0, fmt.Errorf("not written to the hub: %w", err)
	}
	return c.Conn.Write(p)
}

package httpserve

import (
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ListenError says why an address could not be listened on, in words for the
// person who chose it.
type ListenError struct {
	// Address is what was asked for.
	Address string
	// Err is the error of the system.
	Err error
}

// Error names the address and what is wrong with it.
func (e *ListenError) Error() string {
	switch {
	case errors.Is(e.Err, syscall.EADDRINUSE):
		return fmt.Sprintf("listen on %s: the address is taken, another process listens there already", e.Address)
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("listen on %s: this machine does not have that address", e.Address)
	case errors.Is(e.Err, syscall.EACCES):
		return fmt.Sprintf("listen on %s: not permitted (ports below 1024 usually need a privilege)", e.Address)
	}
	return fmt.Sprintf("listen on %s: %v", e.Address, e.Err)
}

// Unwrap returns the error of the system.
func (e *ListenError) Unwrap() error { return e.Err }

// Taken reports whether another process has the address.
func (e *ListenError) Taken() bool { return errors.Is(e.Err, syscall.EADDRINUSE) }

// listen binds addr; the error is a *ListenError.
func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &ListenError{Address: addr, Err: err}
	}
	return l, nil
}

// url is the base address at which a client on this machine reaches a
// listener: one that listens on every interface is reached by loopback.
func url(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "http://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

package doortest

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"
)

// DeadURL is an address that refuses connections. Its port stays taken until
// the test ends, or another listener might get it.
func DeadURL(t testing.TB) string {
	t.Helper()
	_, addr := boundSocket(t)
	return "http://" + addr
}

// FullBacklog is an address that neither accepts nor refuses: its queue of
// connections is full, so that the kernel drops what comes.
func FullBacklog(t testing.TB) string {
	t.Helper()
	fd, addr := boundSocket(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 16 {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the backlog does not fill")
	return ""
}

// boundSocket is a socket with an address on which it does not listen.
func boundSocket(t testing.TB) (fd int, addr string) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	v4, ok := name.(*syscall.SockaddrInet4)
	if !ok {
		t.Fatalf("socket name %T", name)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", v4.Port)
}

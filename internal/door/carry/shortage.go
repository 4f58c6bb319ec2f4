package carry

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"time"
)

// dialFault is why no connection could be opened. Of several addresses the one that
// says least about the origin counts.
type dialFault int

const (
	// denied: the origin said so, or the network on the way to it.
	denied dialFault = iota
	// late: nobody said anything in time, or the name of the origin is not known.
	// One lost packet is enough for that.
	late
	// lacking: this machine has no port, file descriptor or memory left, which is
	// not the origin's doing.
	lacking
)

// faultOf says why a connection to one address could not be opened.
func faultOf(err error) dialFault {
	var timeout net.Error
	name, unnamed := errors.AsType[*net.DNSError](err)
	for _, s := range shortages() {
		// The resolver keeps nothing but the text of what it met.
		if errors.Is(err, s) || unnamed && strings.HasSuffix(name.Err, s.Error()) {
			return lacking
		}
	}
	if unnamed || errors.As(err, &timeout) && timeout.Timeout() {
		return late
	}
	return denied
}

// shortages are what system calls say for want of something on this machine.
func shortages() [6]syscall.Errno {
	return [...]syscall.Errno{
		syscall.EADDRNOTAVAIL, syscall.EADDRINUSE, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	}
}

func noPortLeft(err error) bool {
	return errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EADDRINUSE)
}

// Lacking reports whether a request failed because this machine had no port, file
// descriptor or memory left for a connection. That says nothing about the origin.
func Lacking(err error) bool {
	e, ok := errors.AsType[*dialError](err)
	return ok && e.fault == lacking
}

// tellLack is how often the log is told of it.
const tellLack = 10 * time.Second

// lacked counts a connection to an origin that this machine could not open, and
// has the log say so now and then: there may be thousands a second.
func (c *Carrier) lacked(origin string, err error) {
	c.counts.lacking.Add(1)
	now := c.deps.Now()
	last := c.toldLack.Load()
	if last != nil && now.Sub(*last) < tellLack || !c.toldLack.CompareAndSwap(last, &now) {
		return
	}
	c.deps.Log.Error("this machine has nothing left to open connections with", "origin", origin, "err", err)
}

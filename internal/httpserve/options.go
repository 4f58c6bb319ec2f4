package httpserve

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"
)

// Options are the settings of one HTTP listener.
type Options struct {
	// Listen is the address to listen on, as host:port. An empty host means
	// every interface of the machine, port 0 any free port.
	Listen string `yaml:"listen"`
	// ReadHeaderTimeout is how long a client may take to send the headers of a
	// request before its connection is closed.
	ReadHeaderTimeout time.Duration `yaml:"read_header_timeout"`
	// IdleTimeout is how long a connection without a request is kept open for
	// the next one.
	IdleTimeout time.Duration `yaml:"idle_timeout"`
	// MaxHeaderBytes limits the headers of a request, in bytes; a request over
	// it is answered 431.
	MaxHeaderBytes int `yaml:"max_header_bytes"`
	// DrainDelay is how long the listener still accepts connections after it
	// was told to stop, so that balancers notice first; each answer asks its
	// client meanwhile to come by another connection. 0 stops accepting at once.
	DrainDelay time.Duration `yaml:"drain_delay"`
	// ShutdownTimeout is how long requests in flight may take to finish after
	// the listener stopped accepting; what is left then is cut off.
	ShutdownTimeout time.Duration `yaml:"shutdown_timeout"`
}

// DefaultOptions listen on a free port of the loopback interface; whoever
// composes them says which port is meant.
func DefaultOptions() Options {
	return Options{
		Listen:            "127.0.0.1:0",
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		DrainDelay:        0,
		ShutdownTimeout:   15 * time.Second,
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	return errors.Join(
		validListen("listen", o.Listen),
		durationWithin("read_header_timeout", o.ReadHeaderTimeout, 100*time.Millisecond, time.Hour),
		durationWithin("idle_timeout", o.IdleTimeout, time.Second, 24*time.Hour),
		intWithin("max_header_bytes", o.MaxHeaderBytes, 4<<10, 1<<20),
		durationWithin("drain_delay", o.DrainDelay, 0, time.Hour),
		durationWithin("shutdown_timeout", o.ShutdownTimeout, 0, time.Hour),
	)
}

// AdminOptions are the settings of the admin listener.
type AdminOptions struct {
	// Listen is the address of the admin listener (probes, metrics, admin API,
	// console), as host:port. It asks for no credentials: keep it on an
	// address that only operators reach.
	Listen string `yaml:"listen"`
	// Pprof serves Go's profiles under /debug/pprof/ of the admin listener.
	Pprof bool `yaml:"pprof"`
}

// DefaultAdminOptions listen on 127.0.0.1:9600 without profiles.
func DefaultAdminOptions() AdminOptions {
	return AdminOptions{Listen: "127.0.0.1:9600"}
}

// Validate returns every problem of the options, joined.
func (o AdminOptions) Validate() error {
	return validListen("listen", o.Listen)
}

func validListen(path, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s: %q: must be host:port", path, addr)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s: %q: port must be a number from 0 to 65535", path, addr)
	}
	for _, c := range host {
		if c <= ' ' || c == '/' || c == 0x7f {
			return fmt.Errorf("%s: %q: host must be a name or an IP address", path, addr)
		}
	}
	return nil
}

func durationWithin(path string, d, least, most time.Duration) error {
	if d < least || d > most {
		return fmt.Errorf("%s: %s: must be between %s and %s", path, d, least, most)
	}
	return nil
}

func intWithin(path string, n, least, most int) error {
	if n < least || n > most {
		return fmt.Errorf("%s: %d: must be between %d and %d", path, n, least, most)
	}
	return nil
}

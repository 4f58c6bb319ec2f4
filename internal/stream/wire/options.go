package wire

import (
	"errors"
	"fmt"
	"time"
)

// Options are the settings of connections.
type Options struct {
	// WriteDelay is how long a message waits at most for others that go to the
	// same connection, so that they share one write. After a pause as long as this
	// messages go out at once. Longer costs latency and saves processor time. 0
	// never waits. Default 2ms.
	WriteDelay time.Duration `yaml:"write_delay"`
	// Writers is how many goroutines write; each has its share of the
	// connections. 0 is one a core. Default 0.
	Writers int `yaml:"writers"`
	// MaxQueuedBytes is how much may wait for one connection before its client
	// counts as slow. What waits is shared with other connections where they are
	// sent the same. Default 1048576 (1 MiB).
	MaxQueuedBytes int `yaml:"max_queued_bytes"`
	// MaxBurstBytes is how much may wait for one connection at any time: beyond
	// it the connection is closed at once, with 3008. Default 8388608 (8 MiB).
	MaxBurstBytes int `yaml:"max_burst_bytes"`
	// SlowFor is how long a client may be slow before its connection is closed
	// with 3008. One that takes nothing of what waits for it, however little that
	// is, is closed likewise: after slow_for, or after ping_interval and
	// pong_timeout together where that is longer, since a client whose network is
	// away for a moment is given as long before its silence ends it. Default 5s.
	SlowFor time.Duration `yaml:"slow_for"`
	// PingInterval is how often a connection is pinged. Default 25s.
	PingInterval time.Duration `yaml:"ping_interval"`
	// PongTimeout is how long a client may take to answer a ping before its
	// connection is closed with 3012. It must be shorter than ping_interval.
	// Default 10s.
	PongTimeout time.Duration `yaml:"pong_timeout"`
	// MaxMessageBytes is the largest message that a client may send; one that
	// sends more is closed with 1009. Default 65536 (64 KiB).
	MaxMessageBytes int `yaml:"max_message_bytes"`
	// CloseTimeout bounds the end of a connection: what is queued, the close
	// frame, the client's answer to it. Default 5s.
	CloseTimeout time.Duration `yaml:"close_timeout"`
}

// patience is how long a client may take nothing of what waits for it.
func (o Options) patience() time.Duration { return max(o.SlowFor, o.PingInterval+o.PongTimeout) }

// DefaultOptions are those of the field comments.
func DefaultOptions() Options {
	return Options{
		WriteDelay:      2 * time.Millisecond,
		MaxQueuedBytes:  1 << 20,
		MaxBurstBytes:   8 << 20,
		SlowFor:         5 * time.Second,
		PingInterval:    25 * time.Second,
		PongTimeout:     10 * time.Second,
		MaxMessageBytes: 64 << 10,
		CloseTimeout:    5 * time.Second,
	}
}

// Validate returns every setting that breaks a rule, each as
// "path: value: rule".
func (o Options) Validate() error {
	var errs []error
	for _, d := range []struct {
		path               string
		value, least, most time.Duration
	}{
		{"write_delay", o.WriteDelay, 0, 100 * time.Millisecond},
		{"slow_for", o.SlowFor, step, 10 * time.Minute},
		{"ping_interval", o.PingInterval, time.Second, time.Hour},
		{"pong_timeout", o.PongTimeout, step, o.PingInterval - step},
		{"close_timeout", o.CloseTimeout, step, 5 * time.Minute},
	} {
		if d.value < d.least || d.value > d.most {
			errs = append(errs, fmt.Errorf("%s: %v: must be between %v and %v", d.path, d.value, d.least, d.most))
		}
	}
	for _, n := range []struct {
		path               string
		value, least, most int
	}{
		{"writers", o.Writers, 0, 1024},
		{"max_queued_bytes", o.MaxQueuedBytes, 4 << 10, 1 << 30},
		{"max_burst_bytes", o.MaxBurstBytes, o.MaxQueuedBytes, 1 << 30},
		{"max_message_bytes", o.MaxMessageBytes, 1 << 10, 16 << 20},
	} {
		if n.value < n.least || n.value > n.most {
			errs = append(errs, fmt.Errorf("%s: %d: must be between %d and %d", n.path, n.value, n.least, n.most))
		}
	}
	return errors.Join(errs...)
}

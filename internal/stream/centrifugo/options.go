package centrifugo

import (
	"errors"
	"fmt"
	"time"
)

// Options are the limits of the client protocol, each for one connection.
type Options struct {
	// MaxSubscriptions is how many subscriptions a connection may have; one more
	// is answered 106. 1 to 10000. Default 128.
	MaxSubscriptions int `yaml:"max_subscriptions"`
	// MaxNameBytes is how long the name of a channel may be, in bytes; a longer
	// one is answered 107. 1 to 4096. Default 255.
	MaxNameBytes int `yaml:"max_name_bytes"`
	// MaxCommands is how many commands may wait for their answer; one more is
	// answered 111. 1 to 10000. Default 256.
	MaxCommands int `yaml:"max_commands"`
	// Concurrent is how many of them are worked on at once, those on one channel
	// one after the other. 1 to 256. Default 4.
	Concurrent int `yaml:"concurrent"`
	// MaxReplyBytes is how many bytes of messages stand in one answer; recovered
	// ones beyond it follow behind the answer, a page of history ends there. It
	// must be below what SDKs take as one message, 1 MiB in some of them. 4096 to
	// 524288. Default 262144 (256 KiB).
	MaxReplyBytes int `yaml:"max_reply_bytes"`
	// MaxHistory is how many messages a page of history holds at most. 1 to
	// 10000. Default 1000.
	MaxHistory int `yaml:"max_history"`
	// ConnectTimeout is how long a client may take to send connect, or to go once
	// its connect was refused, before its connection is closed with 3502. It counts
	// from when the connection was accepted. 1s to 5m. Default 15s.
	ConnectTimeout time.Duration `yaml:"connect_timeout"`
	// ExpiryGrace is how long a client has, once its token is no longer good, to
	// send another before its connection is closed with 3005. 0s to 10m.
	// Default 25s.
	ExpiryGrace time.Duration `yaml:"expiry_grace"`
}

// DefaultOptions are those of the field comments.
func DefaultOptions() Options {
	return Options{
		MaxSubscriptions: 128, MaxNameBytes: 255, MaxCommands: 256, Concurrent: 4,
		MaxReplyBytes: 256 << 10, MaxHistory: 1000,
		ConnectTimeout: 15 * time.Second, ExpiryGrace: 25 * time.Second,
	}
}

// Validate returns every setting that breaks a rule, each as
// "path: value: rule".
func (o Options) Validate() error {
	return errors.Join(
		bounded("max_subscriptions", o.MaxSubscriptions, 1, 10_000),
		bounded("max_name_bytes", o.MaxNameBytes, 1, 4096),
		bounded("max_commands", o.MaxCommands, 1, 10_000),
		bounded("concurrent", o.Concurrent, 1, 256),
		bounded("max_reply_bytes", o.MaxReplyBytes, 4<<10, 512<<10),
		bounded("max_history", o.MaxHistory, 1, 10_000),
		bounded("connect_timeout", o.ConnectTimeout, time.Second, 5*time.Minute),
		bounded("expiry_grace", o.ExpiryGrace, 0, 10*time.Minute),
	)
}

func bounded[T int | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

package gateway

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"postroad/internal/message"
	"postroad/internal/relay/wire"
)

// RelayOptions let other stamps hand their messages on to this one, with their
// identities.
type RelayOptions struct {
	// Stamps are those that may, each as NAME=FILE: the stamp's own name
	// (stamp.name there) and the file that holds its bearer token, 16 characters
	// or more, the same as in its hub.relay.token_file. The files are read again
	// when they change. Default []: none may.
	Stamps []RelayStamp `yaml:"stamps"`
	// Topics lists names and patterns of the topics that may be relayed here, in
	// which * stands for any number of characters and ? for one. Messages of
	// another topic wait at the stamp that sends them. An empty list allows
	// every topic. Default [].
	Topics []string `yaml:"topics"`
	// Retention is how long it is remembered which relayed messages are stored,
	// so that one that comes again is not stored twice; at least 1m, and not
	// more than idempotency.retention. Default 24h.
	Retention time.Duration `yaml:"retention"`
	// MaxEntries bounds that memory, at about 100 bytes an entry; an entry stands
	// for up to 64 messages of one topic that followed each other in their lane.
	// When it is reached the oldest is forgotten early. 1024 to 100000000.
	// Default 1000000.
	MaxEntries int `yaml:"max_entries"`
}

// RelayStamp is a stamp that may relay to this one.
type RelayStamp struct {
	// Name is its own name, File holds its token.
	Name, File string
}

// UnmarshalText reads NAME=FILE.
func (s *RelayStamp) UnmarshalText(text []byte) error {
	name, file, ok := strings.Cut(string(text), "=")
	if !ok || !wire.ValidStamp(name) || file == "" {
		return errors.New("must be NAME=FILE, the name 1 to 63 of a-z, 0-9 and -")
	}
	s.Name, s.File = name, file
	return nil
}

// MarshalText writes NAME=FILE.
func (s RelayStamp) MarshalText() ([]byte, error) { return []byte(s.Name + "=" + s.File), nil }

func defaultRelayOptions() RelayOptions {
	return RelayOptions{Retention: 24 * time.Hour, MaxEntries: 1_000_000}
}

func (c *checker) relay(o RelayOptions, idempotency time.Duration) {
	names := map[string]bool{}
	for i, s := range o.Stamps {
		at := fmt.Sprintf("relay.stamps[%d]", i)
		c.check(wire.ValidStamp(s.Name) && s.File != "", at, s.Name, "must be NAME=FILE, the name 1 to 63 of a-z, 0-9 and -")
		c.check(!names[s.Name], at, s.Name, "is there twice")
		names[s.Name] = true
	}
	for i, p := range o.Topics {
		_, err := path.Match(p, "")
		c.check(err == nil && p != "" && len(p) <= message.MaxTopicLen, fmt.Sprintf("relay.topics[%d]", i), p, "must be a topic's name or a pattern")
	}
	c.check(o.Retention >= time.Minute, "relay.retention", o.Retention, "must be at least 1m")
	c.check(len(o.Stamps) == 0 || o.Retention <= idempotency, "relay.retention", o.Retention, fmt.Sprintf("must not be more than idempotency.retention, %v", idempotency))
	between(c, "relay.max_entries", o.MaxEntries, 1024, 100_000_000)
}

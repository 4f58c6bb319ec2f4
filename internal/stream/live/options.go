package live

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postroad/internal/message"
)

// Options are the settings of the engine of a stream node.
type Options struct {
	// Topics are those that are served: each a name, after which
	// "window=N" gives the topic a look-back of its own and "conflate" lets slow
	// clients be given only the newest message of a key, as in
	// "vehicles window=65536 conflate". At least one. Default [].
	Topics []TopicOptions `yaml:"topics"`
	// Window is the look-back in offsets, by partition, within which a message is
	// shown once: 0 to 4194304. It must be the same wherever a topic is read.
	// Default 32768.
	Window int `yaml:"window"`
	// DedupeHorizon is how far apart two copies of one message may be accepted,
	// at most: what was accepted that much later than the oldest record which the
	// hub still holds cannot repeat one that is gone. It is also for how long a
	// topic is not recovered after a key's message was found in another partition
	// than the key's. 1m to 720h. Default 1h.
	DedupeHorizon time.Duration `yaml:"dedupe_horizon"`
	// MaxLag is how long a partition may stay behind an end that the hub told of,
	// or not be heard of, before the node is not ready: 1s to 1h. Default 10s.
	MaxLag time.Duration `yaml:"max_lag"`
	// LastValues bounds what is kept so that a new subscriber gets the last
	// message of its key at once.
	LastValues LastValuesOptions `yaml:"last_values"`
	// Ring bounds the newest records of each partition, from which clients that
	// were away for a moment are given what they missed.
	Ring RingOptions `yaml:"ring"`
	// Recovery bounds what is read from the hub for clients that were away longer.
	Recovery RecoveryOptions `yaml:"recovery"`
}

// TopicOptions are the settings of one topic.
type TopicOptions struct {
	// Name of the topic in the hub.
	Name string
	// Window is the look-back of this topic; 0 takes that of all topics.
	Window int
	// Conflate lets messages of a key be left out under back-pressure where a
	// newer one of that key follows.
	Conflate bool
}

// UnmarshalText reads a topic as it is written in a list: a name, then
// "window=N" and "conflate" in any order, each at most once.
func (t *TopicOptions) UnmarshalText(text []byte) error {
	fields := strings.Fields(string(text))
	if len(fields) == 0 {
		return errors.New("must begin with the name of a topic")
	}
	*t = TopicOptions{Name: fields[0]}
	for _, f := range fields[1:] {
		name, value, _ := strings.Cut(f, "=")
		switch {
		case f == "conflate" && !t.Conflate:
			t.Conflate = true
		case name == "window" && t.Window == 0:
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return errors.New("window= must be followed by a whole number above 0")
			}
			t.Window = n
		default:
			return fmt.Errorf("%q: after the name only window=N and conflate may follow, each once", f)
		}
	}
	return nil
}

// MarshalText writes the topic as UnmarshalText reads it.
func (t TopicOptions) MarshalText() ([]byte, error) {
	s := t.Name
	if t.Window != 0 {
		s += " window=" + strconv.Itoa(t.Window)
	}
	if t.Conflate {
		s += " conflate"
	}
	return []byte(s), nil
}

// LastValuesOptions bound the last values of a topic. They are shared evenly by
// its partitions; the one that was not updated for longest goes first.
type LastValuesOptions struct {
	// MaxKeys is of how many keys the last message is kept, by topic: 0 to
	// 100000000. Default 100000.
	MaxKeys int `yaml:"max_keys"`
	// MaxBytes is how many bytes of keys and values are kept as last messages, by
	// topic: 0 to 1099511627776. Default 67108864.
	MaxBytes int64 `yaml:"max_bytes"`
	// Age is how far back the hub is read for them when a node starts: 0 to 8760h.
	// Where it is less than recovery.max_age, clients of one key of a topic with
	// several partitions cannot be recovered from before that: a node does not know
	// then whether the key's messages stood in one partition. Default 24h.
	Age time.Duration `yaml:"age"`
}

// RingOptions bound the newest records of each partition.
type RingOptions struct {
	// MaxRecords is how many records are kept, by partition: 0 to 10000000.
	// Default 8192.
	MaxRecords int `yaml:"max_records"`
	// MaxBytes is how many bytes of them are kept, by partition, keys and values:
	// 0 to 1099511627776. Default 2097152.
	MaxBytes int64 `yaml:"max_bytes"`
}

// RecoveryOptions bound reading the hub again for clients that come back and for
// history. Who asks for more than they allow is told that it is incomplete.
type RecoveryOptions struct {
	// MaxBytes is how many bytes of keys and values one client is given of what
	// it missed: 1024 to 1073741824. Default 4194304.
	MaxBytes int64 `yaml:"max_bytes"`
	// MaxHeldBytes is how many bytes one reading of the hub may gather for all
	// the clients that wait for it: 1024 to 1099511627776. Default 33554432.
	MaxHeldBytes int64 `yaml:"max_held_bytes"`
	// MaxRecords is how many offsets are read again, look-back aside: 0 to
	// 1000000000. Default 1000000.
	MaxRecords int64 `yaml:"max_records"`
	// MaxAge is how old the oldest record may be that is read again, look-back
	// aside: 1m to 8760h. Default 24h.
	MaxAge time.Duration `yaml:"max_age"`
	// Concurrent is how many readings may run at once: 1 to 1000. Default 4.
	Concurrent int `yaml:"concurrent"`
	// Waiting is how many clients may wait for them: 1 to 10000000. Further ones
	// are told to come back. Default 20000.
	Waiting int `yaml:"waiting"`
	// Timeout is how long one reading may take: 1s to 10m. Default 30s.
	Timeout time.Duration `yaml:"timeout"`
}

// DefaultOptions name no topics, which have no sensible default.
func DefaultOptions() Options {
	return Options{
		Window: message.DefaultWindow, DedupeHorizon: time.Hour, MaxLag: 10 * time.Second,
		LastValues: LastValuesOptions{MaxKeys: 100_000, MaxBytes: 64 << 20, Age: 24 * time.Hour},
		Ring:       RingOptions{MaxRecords: 8192, MaxBytes: 2 << 20},
		Recovery: RecoveryOptions{
			MaxBytes: 4 << 20, MaxHeldBytes: 32 << 20, MaxRecords: 1_000_000, MaxAge: 24 * time.Hour,
			Concurrent: 4, Waiting: 20_000, Timeout: 30 * time.Second,
		},
	}
}

const maxWindow = 1 << 22

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	year := 365 * 24 * time.Hour
	errs := []error{
		within("window", o.Window, 0, maxWindow),
		within("dedupe_horizon", o.DedupeHorizon, time.Minute, 30*24*time.Hour),
		within("max_lag", o.MaxLag, time.Second, time.Hour),
		within("last_values.max_keys", o.LastValues.MaxKeys, 0, 100_000_000),
		within("last_values.max_bytes", o.LastValues.MaxBytes, 0, 1<<40),
		within("last_values.age", o.LastValues.Age, 0, year),
		within("ring.max_records", o.Ring.MaxRecords, 0, 10_000_000),
		within("ring.max_bytes", o.Ring.MaxBytes, 0, 1<<40),
		within("recovery.max_bytes", o.Recovery.MaxBytes, 1024, 1<<30),
		within("recovery.max_held_bytes", o.Recovery.MaxHeldBytes, 1024, 1<<40),
		within("recovery.max_records", o.Recovery.MaxRecords, 0, 1_000_000_000),
		within("recovery.max_age", o.Recovery.MaxAge, time.Minute, year),
		within("recovery.concurrent", o.Recovery.Concurrent, 1, 1000),
		within("recovery.waiting", o.Recovery.Waiting, 1, 10_000_000),
		within("recovery.timeout", o.Recovery.Timeout, time.Second, 10*time.Minute),
	}
	if len(o.Topics) == 0 {
		errs = append(errs, errors.New("topics: none: must name at least one"))
	}
	seen := map[string]bool{}
	for i, t := range o.Topics {
		path := fmt.Sprintf("topics[%d]", i)
		switch {
		case !message.ValidTopic(t.Name):
			errs = append(errs, fmt.Errorf("%s: %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", path, t.Name, message.MaxTopicLen))
		case seen[t.Name]:
			errs = append(errs, fmt.Errorf("%s: %q: must be named once", path, t.Name))
		}
		seen[t.Name] = true
		errs = append(errs, within(path+" window", t.Window, 0, maxWindow))
	}
	return errors.Join(errs...)
}

func within[T int | int64 | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

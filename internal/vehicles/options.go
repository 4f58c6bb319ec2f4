package vehicles

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"postroad/internal/message"
)

// Options are the settings of a simulator.
type Options struct {
	// Count is how many vehicles drive, 1 to 10000. Default 300.
	Count int `yaml:"count"`
	// Topic gets the positions, with the vehicle's id as the key. Default
	// vehicles.
	Topic string `yaml:"topic"`
	// Seed decides how they drive; the same seed drives the same way. Default 1.
	Seed uint64 `yaml:"seed"`
	// Interval is how often a vehicle that moves tells where it is, 100ms to 1m.
	// Together with count it is the rate: 300 vehicles every second are at most
	// 300 messages a second. Default 1s.
	Interval time.Duration `yaml:"interval"`
	// StandingInterval is the same for one that stands, interval to 10m. Default
	// 5s.
	StandingInterval time.Duration `yaml:"standing_interval"`
	// Streams is how many requests may be under way at the same time, 1 to 64.
	// Each has vehicles of its own. Default 4.
	Streams int `yaml:"streams"`
	// Timeout is how long one attempt of a request may take, 100ms to 10m.
	// Default 20s, longer than a gateway waits for its disk.
	Timeout time.Duration `yaml:"timeout"`
	// MaxBackoff is the longest pause between attempts while the door is away,
	// before jitter, 100ms to 10m. Default 5s.
	MaxBackoff time.Duration `yaml:"max_backoff"`
}

// DefaultOptions returns the settings that apply where none are given.
func DefaultOptions() Options {
	return Options{
		Count: 300, Topic: "vehicles", Seed: 1, Interval: time.Second, StandingInterval: 5 * time.Second,
		Streams: 4, Timeout: 20 * time.Second, MaxBackoff: 5 * time.Second,
	}
}

// MaxCount is how many vehicles the town holds.
const MaxCount = 10_000

const maxStreams = 64

// Validate returns every problem of the settings, joined.
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, field string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v: must be %s", field, value, rule))
		}
	}
	span := func(field string, d, least, most time.Duration) {
		check(d >= least && d <= most, field, d, fmt.Sprintf("between %v and %v", least, most))
	}
	check(o.Count >= 1 && o.Count <= MaxCount, "count", o.Count, fmt.Sprintf("between 1 and %d", MaxCount))
	check(message.ValidTopic(o.Topic), "topic", strconv.Quote(o.Topic), "1 to 249 of A-Z a-z 0-9 . _ -")
	span("interval", o.Interval, 100*time.Millisecond, time.Minute)
	span("standing_interval", o.StandingInterval, max(o.Interval, 100*time.Millisecond), 10*time.Minute)
	check(o.Streams >= 1 && o.Streams <= maxStreams, "streams", o.Streams, fmt.Sprintf("between 1 and %d", maxStreams))
	span("timeout", o.Timeout, 100*time.Millisecond, 10*time.Minute)
	span("max_backoff", o.MaxBackoff, 100*time.Millisecond, 10*time.Minute)
	return errors.Join(errs...)
}

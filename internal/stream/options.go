package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"time"

	"postroad/internal/stream/centrifugo"
	"postroad/internal/stream/live"
	"postroad/internal/stream/publish"
	"postroad/internal/stream/wire"
)

// Options are the settings of a stream node.
type Options struct {
	// Live are the topics, and what is known of them.
	Live live.Options `yaml:",inline"`
	// Origins lists the web pages that may use the node, beside those that it or
	// its front door serves: as scheme://host or scheme://host:port, or * for any.
	// Default [].
	Origins []string `yaml:"origins"`
	// Limits bound who may connect, and what may wait for all of them.
	Limits LimitOptions `yaml:"limits"`
	// Age ends connections that are old.
	Age AgeOptions `yaml:"age"`
	// Drain says how clients leave when the node stops.
	Drain DrainOptions `yaml:"drain"`
	// WebSocket are the settings of WebSocket connections.
	WebSocket wire.Options `yaml:"websocket"`
	// Protocol are the limits of what one WebSocket client may ask for.
	Protocol centrifugo.Options `yaml:"protocol"`
	// SSE are the settings of event streams.
	SSE SSEOptions `yaml:"sse"`
	// Publish is how what clients publish gets to a gateway.
	Publish publish.Options `yaml:"publish"`
	// History bounds answers about the past.
	History HistoryOptions `yaml:"history"`
}

// DefaultOptions name no topics, which have no sensible default.
func DefaultOptions() Options {
	return Options{
		Live: live.DefaultOptions(), WebSocket: wire.DefaultOptions(), Protocol: centrifugo.DefaultOptions(),
		Publish: publish.DefaultOptions(),
		Limits:  LimitOptions{Connections: 20_000, PendingBytes: 256 << 20},
		Age:     AgeOptions{Max: 2 * time.Hour, Jitter: 0.5},
		Drain:   DrainOptions{Rate: 500, Timeout: 40 * time.Second},
		SSE:     SSEOptions{QueueBytes: 1 << 20, KeepAlive: 15 * time.Second, Retry: time.Second, WriteTimeout: 20 * time.Second},
		History: HistoryOptions{MaxMessages: 1000, Concurrent: 16},
	}
}

// Validate returns every problem of the options, joined.
func (o Options) Validate() error {
	return errors.Join(
		o.Live.Validate(), o.problems(),
		section("websocket", o.WebSocket.Validate()), section("protocol", o.Protocol.Validate()),
		section("publish", o.Publish.Validate()),
	)
}

// section puts a name before the paths of problems.
func section(name string, err error) error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, section(name, e))
		}
		return errors.Join(all...)
	}
	return fmt.Errorf("%s.%w", name, err)
}

// LimitOptions bound who may connect.
type LimitOptions struct {
	// Connections is how many may be open on this node at once, WebSocket and
	// SSE together; one more is answered 503. 1 to 1000000. Default 20000.
	Connections int `yaml:"connections"`
	// ConnectionsPerUser is how many may be open on this node at once with
	// tokens of one user (the claim sub); 0 is no limit. Default 0.
	ConnectionsPerUser int `yaml:"connections_per_user"`
	// ConnectionsPerAddress is how many may be open on this node at once from
	// one IP address; 0 is no limit. Behind a door or a balancer all clients
	// have its address: leave it 0 there. Default 0.
	ConnectionsPerAddress int `yaml:"connections_per_address"`
	// PendingBytes is how much may wait to be sent on all connections together,
	// in bytes; what several are sent is one piece of memory and counts for each.
	// Above it the node reads from the hub slowly, until clients have caught up
	// or were let go: it waits for them up to 250 ms of each second. 1048576 to 1099511627776. Default 268435456 (256 MiB).
	PendingBytes int64 `yaml:"pending_bytes"`
}

// AgeOptions end connections that are old, so that clients spread over nodes that
// were added.
type AgeOptions struct {
	// Max is the longest that a connection is kept, at least 1m; 0 keeps it for
	// ever. Its client connects again at once and misses nothing. Default 2h.
	Max time.Duration `yaml:"max"`
	// Jitter is how much sooner than max a connection may be ended, as a share
	// of it, at random: connections that began together do not end together. 0
	// to 1. Default 0.5.
	Jitter float64 `yaml:"jitter"`
}

// random is how long one connection is kept.
func (o AgeOptions) random() time.Duration {
	if o.Max == 0 {
		return 100 * 365 * 24 * time.Hour
	}
	return o.Max - time.Duration(rand.Float64()*o.Jitter*float64(o.Max))
}

// DrainOptions say how clients leave a node that stops.
type DrainOptions struct {
	// Rate is how many connections are ended a second, each at a random moment
	// of its share of the second. 1 to 100000. Default 500.
	Rate float64 `yaml:"rate"`
	// Timeout is the longest that this may take. Where rate is too low for the
	// connections that are open, they are ended faster, evenly over this time.
	// Give the process 10 seconds more than this and http.drain_delay to stop.
	// 0s to 1h. Default 40s.
	Timeout time.Duration `yaml:"timeout"`
}

// step is the time between two connections when n are drained.
func (o DrainOptions) step(n int) time.Duration {
	return min(time.Duration(float64(time.Second)/o.Rate), o.Timeout/time.Duration(max(n, 1)))
}

// SSEOptions are of event streams.
type SSEOptions struct {
	// QueueBytes is how much may wait to be sent to one viewer, in bytes. Where
	// the topic conflates, older values of a key give way to newer ones; where
	// it does not, or that is not enough, the stream ends and the browser comes
	// back with the id of the last event it got. Default 1048576 (1 MiB).
	QueueBytes int `yaml:"queue_bytes"`
	// KeepAlive is how long a stream may be silent before it gets a comment, so
	// that nothing in between takes it for dead. 1s to 5m. Default 15s.
	KeepAlive time.Duration `yaml:"keep_alive"`
	// Retry is what browsers are told to wait before they connect again; each is
	// told up to twice as much, at random. 100ms to 1m. Default 1s.
	Retry time.Duration `yaml:"retry"`
	// WriteTimeout is how long a viewer may take to take what it is sent before
	// the stream is given up. 1s to 5m. Default 20s.
	WriteTimeout time.Duration `yaml:"write_timeout"`
}

// HistoryOptions bound one answer of the history.
type HistoryOptions struct {
	// MaxMessages is the most messages in one answer, and what limit may be at
	// most; 1 to 10000. Default 1000.
	MaxMessages int `yaml:"max_messages"`
	// Concurrent is how many answers of history and last values are made at
	// once; further ones wait, a while at most. 1 to 1000. Default 16.
	Concurrent int `yaml:"concurrent"`
}

// problems are those of the settings that are this package's own.
func (o Options) problems() error {
	errs := []error{
		within("limits.connections", o.Limits.Connections, 1, 1_000_000),
		within("limits.connections_per_user", o.Limits.ConnectionsPerUser, 0, 1_000_000),
		within("limits.connections_per_address", o.Limits.ConnectionsPerAddress, 0, 1_000_000),
		within("limits.pending_bytes", o.Limits.PendingBytes, 1<<20, 1<<40),
		within("age.jitter", o.Age.Jitter, 0, 1),
		within("drain.rate", o.Drain.Rate, 1, 100_000),
		within("drain.timeout", o.Drain.Timeout, 0, time.Hour),
		within("sse.queue_bytes", o.SSE.QueueBytes, 16<<10, 1<<30),
		within("sse.keep_alive", o.SSE.KeepAlive, time.Second, 5*time.Minute),
		within("sse.retry", o.SSE.Retry, 100*time.Millisecond, time.Minute),
		within("sse.write_timeout", o.SSE.WriteTimeout, time.Second, 5*time.Minute),
		within("history.max_messages", o.History.MaxMessages, 1, 10_000),
		within("history.concurrent", o.History.Concurrent, 1, 1000),
	}
	if o.Age.Max != 0 {
		errs = append(errs, within("age.max", o.Age.Max, time.Minute, 365*24*time.Hour))
	}
	for i, origin := range o.Origins {
		if !validOrigin(origin) {
			errs = append(errs, fmt.Errorf("origins[%d]: %q: must be scheme://host or scheme://host:port, or *", i, origin))
		}
	}
	return errors.Join(errs...)
}

// validOrigin tells what a browser may send in Origin, or "*".
func validOrigin(s string) bool {
	if s == "*" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && u.Scheme != "" && u.Host != "" && (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() == s
}

func within[T int | int64 | float64 | time.Duration](path string, v, least, most T) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %v: must be between %v and %v", path, v, least, most)
	}
	return nil
}

package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postroad/internal/message"
)

// Options are the settings of a gateway.
type Options struct {
	// Message limits a single message.
	Message MessageOptions `yaml:"message"`
	// Batch limits a request that carries several messages.
	Batch BatchOptions `yaml:"batch"`
	// Classic shapes what the classic call stores.
	Classic ClassicOptions `yaml:"classic"`
	// Idempotency limits the memory for clients' idempotency keys.
	Idempotency IdempotencyOptions `yaml:"idempotency"`
	// CORS lets pages that other servers host call the gateway.
	CORS CORSOptions `yaml:"cors"`
	// Overload says how much may be in progress before requests are refused.
	Overload OverloadOptions `yaml:"overload"`
	// Relay lets other stamps hand their messages on to this one.
	Relay RelayOptions `yaml:"relay"`
	// Announce is what /healthz tells front doors.
	Announce AnnounceOptions `yaml:"announce"`
	// Auth says who may send, and what.
	Auth AuthOptions `yaml:"auth"`
	// BodyTimeout is how long a client may take to send a request body. A
	// slower body is answered with 408 and nothing of it is stored. Default
	// 30s.
	BodyTimeout time.Duration `yaml:"body_timeout"`
	// AppendTimeout is how long the gateway waits for the disk before it
	// answers outcome-unknown (504). Default 15s.
	AppendTimeout time.Duration `yaml:"append_timeout"`
	// WaitMax caps the seconds that a client may ask for with "Prefer: wait".
	// Default 30s.
	WaitMax time.Duration `yaml:"wait_max"`
	// Principal is the name under which requests without credentials are
	// stored. It is part of every dedupe id, so it must be the same on all
	// stamps. Default "anonymous".
	Principal string `yaml:"principal"`
}

// MessageOptions limit a single message.
type MessageOptions struct {
	// MaxBytes is the largest message, counted as key + headers + value as
	// they are stored. It must stay below what the hub takes: Event Hubs
	// closes the connection above 1046528 bytes. Default 900000.
	MaxBytes int `yaml:"max_bytes"`
}

// BatchOptions limit a request that carries several messages.
type BatchOptions struct {
	// MaxBytes is the largest body of a batch, of a structured CloudEvent and
	// of the classic call, in bytes. Default 8388608 (8 MiB).
	MaxBytes int `yaml:"max_bytes"`
	// MaxMessages is the largest number of messages in one request. Default
	// 10000.
	MaxMessages int `yaml:"max_messages"`
}

// ClassicOptions shape what POST /ServiceAPI/message stores.
type ClassicOptions struct {
	// Topic takes the messages of the classic call. Default "messages".
	Topic string `yaml:"topic"`
	// Value is the form of the stored value: "json" for {"senderId",
	// "correlationId", "value", "serverTimestamp"}, or "lines" for the sender
	// id, a line feed and the value. Default "json".
	Value string `yaml:"value"`
}

// The forms of the classic call's stored value.
const (
	ClassicJSON  = "json"
	ClassicLines = "lines"
)

// IdempotencyOptions limit the memory for clients' idempotency keys.
type IdempotencyOptions struct {
	// Retention is how long a client's key is remembered, in memory and in the
	// queue's key files, which take 36 to 88 bytes a key. Default 24h.
	Retention time.Duration `yaml:"retention"`
	// MaxKeys bounds the keys in memory, at about 110 bytes each, those of
	// earlier processes included. When it is reached the oldest key is forgotten
	// early, those of earlier processes first: a repeat under it is stored
	// again, and readers still show the message once. Default 1000000.
	MaxKeys int `yaml:"max_keys"`
}

// CORSOptions let pages that other servers host call the gateway.
type CORSOptions struct {
	// Origins are the web origins whose pages may call the gateway, each as
	// "https://host[:port]"; "*" alone allows every page. Requests that a
	// browser marks as coming from any other origin are refused with 403.
	// Default empty: only pages that the gateway or its front door serves.
	Origins []string `yaml:"origins"`
}

// OverloadOptions bound what is in progress. Requests beyond are answered with
// 503 and Retry-After, before their body is read or kept.
type OverloadOptions struct {
	// MaxRequests is the number of POSTs of messages in progress. Default
	// 8192.
	MaxRequests int `yaml:"max_requests"`
	// MaxBytes is the memory for request bodies in progress, in bytes. Default
	// 268435456 (256 MiB).
	MaxBytes int64 `yaml:"max_bytes"`
}

// AnnounceOptions are what /healthz tells front doors beside how the stamp is.
type AnnounceOptions struct {
	// Weight is how much of the share of requests that a door is set to give this
	// stamp it asks for, in percent, 0 to 100. Default 100.
	Weight int `yaml:"weight"`
	// Maintenance asks doors for no requests. What comes all the same is taken.
	// Default false.
	Maintenance bool `yaml:"maintenance"`
}

// fullWeight is a weight that need not be told.
const fullWeight = 100

// DefaultOptions returns the settings of a gateway that is told nothing.
func DefaultOptions() Options {
	return Options{
		Message:       MessageOptions{MaxBytes: 900_000},
		Batch:         BatchOptions{MaxBytes: 8 << 20, MaxMessages: 10_000},
		Classic:       ClassicOptions{Topic: "messages", Value: ClassicJSON},
		Idempotency:   IdempotencyOptions{Retention: 24 * time.Hour, MaxKeys: 1_000_000},
		Overload:      OverloadOptions{MaxRequests: 8192, MaxBytes: 256 << 20},
		Relay:         defaultRelayOptions(),
		Announce:      AnnounceOptions{Weight: fullWeight},
		Auth:          defaultAuthOptions(),
		BodyTimeout:   30 * time.Second,
		AppendTimeout: 15 * time.Second,
		WaitMax:       30 * time.Second,
		Principal:     "anonymous",
	}
}

// Validate returns every setting that breaks a rule, each as
// "path: value: rule".
func (o Options) Validate() error {
	var c checker
	between(&c, "message.max_bytes", o.Message.MaxBytes, 1024, 64<<20)
	between(&c, "batch.max_bytes", o.Batch.MaxBytes, 1024, 64<<20)
	between(&c, "batch.max_messages", o.Batch.MaxMessages, 1, 100_000)
	c.check(message.ValidTopic(o.Classic.Topic), "classic.topic", o.Classic.Topic, "must be 1 to 249 of A-Z, a-z, 0-9, '.', '_' and '-'")
	c.check(o.Classic.Value == ClassicJSON || o.Classic.Value == ClassicLines, "classic.value", o.Classic.Value, `must be "json" or "lines"`)
	between(&c, "idempotency.retention", o.Idempotency.Retention, time.Minute, 30*24*time.Hour)
	between(&c, "idempotency.max_keys", o.Idempotency.MaxKeys, 1024, 1<<30)
	c.origins(o.CORS.Origins)
	c.relay(o.Relay, o.Idempotency.Retention)
	between(&c, "announce.weight", o.Announce.Weight, 0, fullWeight)
	c.auth(o.Auth)
	between(&c, "overload.max_requests", o.Overload.MaxRequests, 1, 1_000_000)
	between(&c, "overload.max_bytes", o.Overload.MaxBytes, 2*int64(max(o.Message.MaxBytes, o.Batch.MaxBytes)), 1<<40)
	between(&c, "body_timeout", o.BodyTimeout, 100*time.Millisecond, time.Hour)
	between(&c, "append_timeout", o.AppendTimeout, 100*time.Millisecond, time.Hour)
	between(&c, "wait_max", o.WaitMax, 0, 10*time.Minute)
	c.check(plainText(o.Principal), "principal", o.Principal, "must be text without control characters")
	return errors.Join(c.errs...)
}

// checker collects the settings that break a rule.
type checker struct{ errs []error }

func (c *checker) check(ok bool, path string, value any, rule string) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf("%s: %v: %s", path, value, rule))
	}
}

func between[T int | int64 | time.Duration](c *checker, path string, value, low, high T) {
	if value < low || value > high {
		c.errs = append(c.errs, fmt.Errorf("%s: %v: must be between %v and %v", path, value, low, high))
	}
}

func (c *checker) origins(origins []string) {
	if slices.Equal(origins, []string{"*"}) {
		return
	}
	probe := http.NewCrossOriginProtection()
	for i, origin := range origins {
		c.check(probe.AddTrustedOrigin(origin) == nil, fmt.Sprintf("cors.origins[%d]", i), origin,
			`must be "https://host[:port]" without a path, or "*" alone`)
	}
}

// plainText reports whether s is not empty, valid UTF-8 and free of control
// characters: what a header of a record and a part of a dedupe id may be.
func plainText(s string) bool {
	return s != "" && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

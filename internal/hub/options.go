package hub

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"postroad/internal/message"
)

// Options are the settings of the embedded hub.
type Options struct {
	// Listen is the address the hub listens on, host:port. Port 0 takes a
	// free one. Default 127.0.0.1:9092.
	Listen string `yaml:"listen"`
	// Advertise is the address, host:port, that clients are told to connect
	// to. Empty means the address listened on; needed where that is a
	// wildcard such as 0.0.0.0. Port 0 stands for the port listened on.
	// Default empty.
	Advertise string `yaml:"advertise"`
	// Dir is the directory the hub keeps its records in; it is created where
	// missing and used by one process at a time. Empty keeps everything in
	// memory and loses it at the end. Default empty; `postroad dev` sets it.
	Dir string `yaml:"dir"`
	// Topics are created at the start where they are missing. Default
	// [messages].
	Topics []string `yaml:"topics"`
	// Partitions is the partition count of topics the hub creates, 1 to 1000.
	// Topics that exist keep theirs. Default 8.
	Partitions int `yaml:"partitions"`
	// AutoCreateTopics lets clients that ask for it create a topic by naming
	// it. Default true.
	AutoCreateTopics bool `yaml:"auto_create_topics"`
	// Retention is how long a record is kept, counted from its timestamp;
	// at least one minute. Default 24h.
	Retention time.Duration `yaml:"retention"`
	// RetentionBytes is how many bytes a partition keeps before its oldest
	// records go; at least 1048576. Default 268435456 (256 MiB).
	RetentionBytes int64 `yaml:"retention_bytes"`
	// SyncWrites makes the hub sync its files before it acknowledges, which
	// survives a power cut and costs two syncs a batch. Without it an
	// acknowledged record survives the death of the process, as with Apache
	// Kafka's defaults. Default false.
	SyncWrites bool `yaml:"sync_writes"`
}

// DefaultOptions returns the settings that apply where none are given.
func DefaultOptions() Options {
	return Options{
		Listen:           "127.0.0.1:9092",
		Topics:           []string{"messages"},
		Partitions:       8,
		AutoCreateTopics: true,
		Retention:        24 * time.Hour,
		RetentionBytes:   256 << 20,
	}
}

const (
	maxPartitions     = 1000
	minRetention      = time.Minute
	minRetentionBytes = 1 << 20
)

// Validate returns every problem of the settings, joined.
func (o Options) Validate() error {
	var errs []error
	bad := func(field string, value any, rule string) {
		errs = append(errs, fmt.Errorf("%s: %v: %s", field, value, rule))
	}
	host, _, err := splitAddr(o.Listen)
	if err != nil {
		bad("listen", o.Listen, "must be host:port")
	} else if ip := net.ParseIP(host); o.Advertise == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		bad("advertise", `""`, "must be set where listen is a wildcard address")
	}
	if o.Advertise != "" {
		if host, _, err := splitAddr(o.Advertise); err != nil || host == "" {
			bad("advertise", o.Advertise, "must be host:port with a host")
		}
	}
	for i, t := range o.Topics {
		if !message.ValidTopic(t) {
			bad(fmt.Sprintf("topics[%d]", i), strconv.Quote(t), "must be 1 to 249 of A-Z a-z 0-9 . _ -")
		}
	}
	if o.Partitions < 1 || o.Partitions > maxPartitions {
		bad("partitions", o.Partitions, fmt.Sprintf("must be between 1 and %d", maxPartitions))
	}
	if o.Retention < minRetention {
		bad("retention", o.Retention, fmt.Sprintf("must be at least %v", minRetention))
	}
	if o.RetentionBytes < minRetentionBytes {
		bad("retention_bytes", o.RetentionBytes, fmt.Sprintf("must be at least %d", minRetentionBytes))
	}
	return errors.Join(errs...)
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("port %q: %w", p, err)
	}
	return host, int(n), nil
}

package kafka

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postroad/internal/message"
	"postroad/internal/relay"
)

// Options are the settings by which the hub is reached.
type Options struct {
	// Brokers are the addresses of some brokers of the hub, host:port; the
	// others are learnt from them. In dialect eventhubs the port may be left
	// out. The default gives way to what connection_string_file or
	// client_properties_file says. Default [127.0.0.1:9092].
	Brokers []string `yaml:"brokers"`
	// Dialect is the kind of hub: kafka; eventhubs for the Kafka endpoint of
	// Azure Event Hubs, which changes other defaults, see hub.md; or postroad
	// for the gateway of another stamp. Default kafka.
	Dialect string `yaml:"dialect"`
	// ConnectionStringFile names a file that holds a connection string of Azure
	// Event Hubs. It gives the brokers, user and password, and TLS.
	ConnectionStringFile string `yaml:"connection_string_file"`
	// JAASFile names a JAAS file, as Java clients take it: user and password
	// are in its section KafkaClient.
	JAASFile string `yaml:"jaas_file"`
	// ClientPropertiesFile names a client.properties as Kafka's own clients and
	// tools take it. What is set in this section wins over it; hub.md lists the
	// properties that are understood.
	ClientPropertiesFile string `yaml:"client_properties_file"`
	// SASL says how this process proves to the hub who it is.
	SASL SASLOptions `yaml:"sasl"`
	// TLS encrypts the connections to the hub.
	TLS TLSOptions `yaml:"tls"`
	// Proxy is the URL of an HTTP proxy, http://host:port or https://host:port,
	// through which the hub is reached by CONNECT. The proxy resolves the
	// brokers' names. TLS to the hub passes through it end to end.
	Proxy string `yaml:"proxy"`
	// ProxyCredentialsFile names a file that holds user:password for the proxy.
	ProxyCredentialsFile string `yaml:"proxy_credentials_file"`
	// Name tells this hub from others in the progress that is kept: letters,
	// digits, ".", "_" and "-", at most 64 of them. With another name it is
	// another hub, nothing of which is known yet. See operating-the-hub.md
	// before changing it. Default "".
	Name string `yaml:"name"`
	// Generation is to be raised by one when the hub has lost its data, or was
	// made anew under the same name: it is another hub then. 0 to 2147483647.
	// Default 0.
	Generation int `yaml:"generation"`
	// Topics says to which topics messages may go.
	Topics TopicsOptions `yaml:"topics"`
	// Relay says how another stamp is reached, in dialect postroad. tls, proxy,
	// topics, name, generation and the timeouts of this section count there too.
	Relay relay.Options `yaml:"relay"`
	// ClientID is the name by which the hub's logs and quotas know this
	// process. Default postroad.
	ClientID string `yaml:"client_id"`
	// CreateTopics lets the forwarder create a topic that is missing. Where
	// it is false, and in dialect eventhubs, messages of a missing topic wait.
	// Default true.
	CreateTopics bool `yaml:"create_topics"`
	// Partitions is the partition count of topics that are created; -1 takes
	// the hub's own default. Default -1.
	Partitions int `yaml:"partitions"`
	// Replication is the replication factor of topics that are created; -1
	// takes the hub's own default. Default -1.
	Replication int `yaml:"replication"`
	// CloudEvents are the attributes given to messages that came without.
	CloudEvents CloudEventsOptions `yaml:"cloudevents"`
	// Compression of record batches: none, gzip, snappy, lz4 or zstd. Default
	// none.
	Compression string `yaml:"compression"`
	// Linger is how long a batch waits for company before it is sent, 0 to 1s.
	// More than 0 makes fewer, larger batches at the price of that delay; under
	// load batches fill by themselves. Default 0s.
	Linger time.Duration `yaml:"linger"`
	// BatchMaxBytes is the largest record batch sent, 16384 to 104857600. It
	// must not be above what the hub takes (message.max.bytes), and be above
	// the largest message by some hundred bytes. A topic that takes less
	// (max.message.bytes) gets smaller batches by itself. Default 1000012.
	BatchMaxBytes int `yaml:"batch_max_bytes"`
	// DialTimeout is how long opening a connection may take, 100ms to 1m.
	// Default 5s.
	DialTimeout time.Duration `yaml:"dial_timeout"`
	// RequestTimeout is how long the hub may take to answer before the
	// connection is given up and the request repeated, 1s to 10m. It drops
	// nothing. Default 10s.
	RequestTimeout time.Duration `yaml:"request_timeout"`
	// Window is the look-back of the Reader in offsets, 0 to 4194304; it is to
	// be the same wherever a topic is read. Default 32768.
	Window int `yaml:"window"`
}

// TopicsOptions say to which topics messages may go.
type TopicsOptions struct {
	// Allow lists names of topics and patterns of them, in which * stands for
	// any number of characters, ? for one, and [a-z] for one of a range. A
	// message of another topic is held, with the reason. An empty list allows
	// every topic. Default [].
	Allow []string `yaml:"allow"`
}

// CloudEventsOptions are the attributes that make every record a CloudEvent,
// for messages that came without them.
type CloudEventsOptions struct {
	// Source is the ce_source; "{topic}" in it stands for the topic. It must
	// be the same on all stamps, because consumers may tell events apart by
	// source and id. At most 512 bytes. Default "urn:postroad:topic:{topic}".
	Source string `yaml:"source"`
	// Type is the ce_type. At most 512 bytes. Default "postroad.message".
	Type string `yaml:"type"`
}

// DefaultOptions returns the settings that apply where none are given.
func DefaultOptions() Options {
	return Options{
		Brokers:        []string{"127.0.0.1:9092"},
		Dialect:        "kafka",
		TLS:            TLSOptions{Enabled: tlsAuto},
		Relay:          relay.DefaultOptions(),
		ClientID:       "postroad",
		CreateTopics:   true,
		Partitions:     -1,
		Replication:    -1,
		CloudEvents:    CloudEventsOptions{Source: "urn:postroad:topic:{topic}", Type: "postroad.message"},
		Compression:    "none",
		BatchMaxBytes:  1000012,
		DialTimeout:    5 * time.Second,
		RequestTimeout: 10 * time.Second,
		Window:         message.DefaultWindow,
	}
}

// Validate returns every problem of the settings, joined.
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, field string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v: %s", field, value, rule))
		}
	}
	check(len(o.Brokers) > 0, "brokers", "[]", "must name at least one broker")
	for i, b := range o.Brokers {
		check(validBroker(b) || o.Dialect == dialectEventHubs && validBroker(withPort(b)), fmt.Sprintf("brokers[%d]", i), strconv.Quote(b), "must be host:port")
	}
	errs = append(errs, o.accessProblems()...)
	errs = append(errs, o.Topics.problems()...)
	errs = append(errs, o.Relay.ProblemsIn("relay", o.Dialect == dialectPostroad)...)
	check(validName(o.Name), "name", strconv.Quote(o.Name), "must be at most 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
	check(o.Generation >= 0 && o.Generation <= math.MaxInt32, "generation", o.Generation, "must be between 0 and 2147483647")
	check(o.ClientID != "", "client_id", `""`, "must not be empty")
	check(o.Partitions == -1 || o.Partitions >= 1 && o.Partitions <= 100000, "partitions", o.Partitions, "must be -1 or between 1 and 100000")
	check(o.Replication == -1 || o.Replication >= 1 && o.Replication <= 100, "replication", o.Replication, "must be -1 or between 1 and 100")
	_, err := url.Parse(o.CloudEvents.Source)
	check(err == nil && plainText(o.CloudEvents.Source), "cloudevents.source", strconv.Quote(o.CloudEvents.Source), "must be a URI reference of at most 512 bytes")
	check(plainText(o.CloudEvents.Type), "cloudevents.type", strconv.Quote(o.CloudEvents.Type), "must be text of at most 512 bytes without control characters")
	_, known := codecs()[o.Compression]
	check(known, "compression", strconv.Quote(o.Compression), "must be none, gzip, snappy, lz4 or zstd")
	check(o.Linger >= 0 && o.Linger <= time.Second, "linger", o.Linger, "must be between 0s and 1s")
	check(o.BatchMaxBytes >= 16<<10 && o.BatchMaxBytes <= 100<<20, "batch_max_bytes", o.BatchMaxBytes, "must be between 16384 and 104857600")
	check(o.DialTimeout >= 100*time.Millisecond && o.DialTimeout <= time.Minute, "dial_timeout", o.DialTimeout, "must be between 100ms and 1m")
	check(o.RequestTimeout >= time.Second && o.RequestTimeout <= 10*time.Minute, "request_timeout", o.RequestTimeout, "must be between 1s and 10m")
	check(o.Window >= 0 && o.Window <= 1<<22, "window", o.Window, "must be between 0 and 4194304")
	return errors.Join(errs...)
}

// validBroker reports whether addr is host:port.
func validBroker(addr string) bool {
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.ParseUint(port, 10, 16)
	return err == nil && perr == nil && host != "" && n > 0
}

// maxAttribute is the longest attribute that is given, in bytes.
const maxAttribute = 512

func plainText(s string) bool {
	return s != "" && len(s) <= maxAttribute && utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

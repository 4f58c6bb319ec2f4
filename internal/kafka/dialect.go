package kafka

import (
	"net"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// The dialects.
const (
	dialectKafka     = "kafka"
	dialectEventHubs = "eventhubs"
	dialectPostroad  = "postroad" // not reached by this package
)

// What Event Hubs wants of Kafka clients. docs/hub.md says each with its source.
const (
	// eventHubsMaxRequest: a connection that brings a larger request is closed
	// (Azure, "Recommended configurations for Apache Kafka clients",
	// max.request.size).
	eventHubsMaxRequest = 1046528
	// eventHubsMaxBatch leaves room for the request around one batch: its
	// header, the client's id and the topic's name.
	eventHubsMaxBatch = eventHubsMaxRequest - 1024
	// eventHubsIdle: Azure closes TCP connections that were idle for 240 s, and
	// a client does not notice before it sends (the same page,
	// connections.max.idle.ms, 180000 advised). franz-go may leave a connection
	// idle for twice the time that it is given.
	eventHubsIdle = 110 * time.Second
	// eventHubsMetadataAge is below the same 240 s (metadata.max.age.ms).
	eventHubsMetadataAge = 180 * time.Second
	// eventHubsPort is that of the Kafka endpoint, TLS only.
	eventHubsPort = "9093"
)

// withPort adds the port of the Kafka endpoint of Event Hubs where there is none.
func withPort(host string) string {
	if strings.Contains(host, ":") {
		return host
	}
	return net.JoinHostPort(host, eventHubsPort)
}

// forDialect returns the settings with what the dialect demands.
func (o Options) forDialect() Options {
	if o.Dialect != dialectEventHubs {
		return o
	}
	brokers := make([]string, len(o.Brokers))
	for i, b := range o.Brokers {
		brokers[i] = withPort(b)
	}
	o.Brokers = brokers
	// Event hubs are made in the portal or by ARM, with partitions and
	// retention that cost money; CreateTopics is not ours to send.
	o.CreateTopics = false
	return o
}

// dialectOpts are the client settings that differ between dialects.
func (o Options) dialectOpts() []kgo.Opt {
	if o.Dialect != dialectEventHubs {
		// Seen within this time: a new partition, a leader that moved, a topic
		// that was created.
		return []kgo.Opt{kgo.MetadataMaxAge(time.Minute)}
	}
	return []kgo.Opt{
		kgo.MetadataMaxAge(eventHubsMetadataAge),
		kgo.ConnIdleTimeout(eventHubsIdle),
		kgo.BrokerMaxWriteBytes(eventHubsMaxRequest),
		kgo.MaxVersions(eventHubsVersions()),
	}
}

// eventHubsVersions are the newest versions of requests that are sent to Event
// Hubs.
//
//   - Metadata 6, where the service does 9. From 10 on requests are by topic id,
//     which it does not have (franz-go#1312). From 7 on an answer tells leader
//     epochs, and franz-go sends them back in fetches and asks
//     OffsetForLeaderEpoch about them where the service claims to know that
//     request, as the Premium tier does; its answers made a consumer skip
//     records (opentelemetry-collector-contrib#42226). A client that never
//     learns an epoch never sends one.
//   - ApiVersions 3: over a newer one the service closes the connection instead
//     of answering with what it knows (kafka-python#2602), and each connection
//     begins with that request.
//   - Produce 12 and Fetch 12 are the last that name topics by name.
func eventHubsVersions() *kversion.Versions {
	v := kversion.Stable()
	v.SetMaxKeyVersion(int16(kmsg.ApiVersions), 3)
	v.SetMaxKeyVersion(int16(kmsg.Metadata), 6)
	v.SetMaxKeyVersion(int16(kmsg.Produce), 12)
	v.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	v.SetMaxKeyVersion(int16(kmsg.CreateTopics), -1)
	return v
}

package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// classified is classified of an error of this hub, in its dialect.
func (l *link) classified(act string, err error) error { return classified(act, l.meant(err)) }

// meant says what an error means in dialect eventhubs, where that is not what it
// means in Kafka:
//
//   - POLICY_VIOLATION for a message is throttling beyond the timeout of the request
//     (Microsoft, "Apache Kafka troubleshooting guide"). It passes.
//   - UNSUPPORTED_FOR_MESSAGE_FORMAT is compression that the tier does not take (the
//     same guide). That lies in the settings, and not in a message: as Kafka's it
//     would make a dead letter of each.
//   - TOPIC_AUTHORIZATION_FAILED where a connection is made is a wrong connection
//     string, an address that a firewall rule keeps out, or the tier Basic
//     (azure-event-hubs-for-kafka#253, the same guide). It concerns all topics.
func (l *link) meant(err error) error {
	if err == nil || l.opts.Dialect != dialectEventHubs {
		return err
	}
	switch {
	case errors.Is(err, kerr.PolicyViolation):
		return &Error{class: ClassRetry, err: fmt.Errorf("the namespace would have to hold this back for longer than hub.request_timeout, "+
			"as its throughput is used up: %w", err)}
	case errors.Is(err, kerr.UnsupportedForMessageFormat) && l.opts.Compression != "none":
		return &Error{class: ClassHold, wide: true, err: fmt.Errorf("the namespace does not take hub.compression %s, "+
			"for which its tier must be Premium or Dedicated: %w", l.opts.Compression, err)}
	case errors.Is(err, kerr.TopicAuthorizationFailed) && errors.Is(l.refused(), kerr.TopicAuthorizationFailed):
		return &Error{class: ClassHold, wide: true, err: fmt.Errorf("the namespace takes no connection: the connection string is wrong, "+
			"a firewall rule keeps this address out, or the tier is Basic: %w", err)}
	}
	return err
}

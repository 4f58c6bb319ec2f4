package kafka

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// What some errors of Event Hubs mean is not what they mean in Kafka.
func TestEventHubsErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		dialect, compression string
		refusal, err         error
		class                Class
		wide                 bool
	}{
		"throttled":              {dialectEventHubs, "none", nil, kerr.PolicyViolation, ClassRetry, false},
		"a policy of Kafka":      {dialectKafka, "none", nil, kerr.PolicyViolation, ClassHold, false},
		"compressed":             {dialectEventHubs, "gzip", nil, kerr.UnsupportedForMessageFormat, ClassHold, true},
		"a format":               {dialectEventHubs, "none", nil, kerr.UnsupportedForMessageFormat, ClassDead, false},
		"a format of Kafka":      {dialectKafka, "gzip", nil, kerr.UnsupportedForMessageFormat, ClassDead, false},
		"a connection":           {dialectEventHubs, "none", kerr.TopicAuthorizationFailed, kerr.TopicAuthorizationFailed, ClassHold, true},
		"one event hub":          {dialectEventHubs, "none", nil, kerr.TopicAuthorizationFailed, ClassHold, false},
		"a topic of Kafka":       {dialectKafka, "none", kerr.TopicAuthorizationFailed, kerr.TopicAuthorizationFailed, ClassHold, false},
		"something else":         {dialectEventHubs, "gzip", kerr.TopicAuthorizationFailed, kerr.NotLeaderForPartition, ClassRetry, false},
		"too large, as anywhere": {dialectEventHubs, "gzip", nil, kerr.MessageTooLarge, ClassDead, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := DefaultOptions()
			o.Dialect, o.Compression = tt.dialect, tt.compression
			l := &link{opts: o, refusal: tt.refusal}
			err := l.classified("produce", fmt.Errorf("asked: %w", tt.err))
			var e *Error
			if !errors.As(err, &e) || e.Class() != string(tt.class) || e.HubWide() != tt.wide || !errors.Is(err, tt.err) {
				t.Errorf("%v: class %s, hub-wide %v; want %s, %v", err, e.Class(), e.HubWide(), tt.class, tt.wide)
			}
			if l.classified("produce", nil) != nil {
				t.Error("nil is an error")
			}
		})
	}
}

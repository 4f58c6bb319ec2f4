package kafka

import (
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// The headers of the CloudEvents Kafka binding that every record has.
const (
	headerEventID      = "ce_id"
	headerEventSource  = "ce_source"
	headerEventVersion = "ce_specversion"
	headerEventType    = "ce_type"
)

// attributes make every record a CloudEvent: they are given, on the way to the
// hub, to messages that came without them. They are not stored: a message takes
// in the queue what its client sent.
type attributes struct {
	// before and after stand around the topic in the source; where the source
	// does not name the topic it is all in before.
	before, after string
	topic         bool
	version, kind []byte
}

func newAttributes(o CloudEventsOptions) attributes {
	a := attributes{version: []byte(event.CloudEventsVersionV1), kind: []byte(o.Type)}
	a.before, a.after, a.topic = strings.Cut(o.Source, "{topic}")
	return a
}

// append adds those of the attributes that m lacks. The id is the dedupe id; a
// client's own is left as it is.
func (a *attributes) append(hs []kgo.RecordHeader, buf []byte, m *message.Message) ([]kgo.RecordHeader, []byte) {
	var id, source, version, kind bool
	for _, h := range m.Headers {
		id = id || h.Name == headerEventID
		source = source || h.Name == headerEventSource
		version = version || h.Name == headerEventVersion
		kind = kind || h.Name == headerEventType
	}
	if !id {
		at := len(buf)
		buf = appendID(buf, m.ID)
		hs = append(hs, kgo.RecordHeader{Key: headerEventID, Value: buf[at:len(buf):len(buf)]})
	}
	if !source {
		at := len(buf)
		buf = append(buf, a.before...)
		if a.topic {
			buf = append(buf, m.Topic...)
			buf = append(buf, a.after...)
		}
		hs = append(hs, kgo.RecordHeader{Key: headerEventSource, Value: buf[at:len(buf):len(buf)]})
	}
	if !version {
		hs = append(hs, kgo.RecordHeader{Key: headerEventVersion, Value: a.version})
	}
	if !kind {
		hs = append(hs, kgo.RecordHeader{Key: headerEventType, Value: a.kind})
	}
	return hs, buf
}

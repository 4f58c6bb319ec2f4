package kafka

import (
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/message"
)

// The headers that the forwarder adds to every record. A client's own headers
// of names that begin with HeaderPrefix are not carried: they would speak for
// us.
const (
	HeaderPrefix      = "postroad-"
	HeaderID          = "postroad-id"     // the dedupe id as a UUID
	HeaderLane        = "postroad-lane"   // where it was first accepted:
	HeaderSeq         = "postroad-seq"    // a decimal number
	HeaderStamp       = "postroad-stamp"  // the name of the stamp
	HeaderTime        = "postroad-time"   // when, RFC 3339 in UTC
	HeaderRepeat      = "postroad-repeat" // "1": an attempt after the first, another copy may exist
	HeaderLate        = "postroad-late"   // "1": sent so late that the hub may have dropped another copy that was shown
	HeaderVia         = "postroad-via"    // on relayed messages "<lane>.<seq>" at the stamp that sent this record
	HeaderReplay      = "postroad-replay" // sent again from a queue to a hub that lost data
	HeaderReason      = "postroad-reason" // on copies of dead letters: why the hub refused it
	HeaderTraceParent = "traceparent"     // W3C trace context of the accepting request
)

// appendHeaders adds the record headers of m to hs: the message's own in their
// order, then ours. What they need in bytes is appended to buf.
func appendHeaders(hs []kgo.RecordHeader, buf []byte, m *message.Stored, a *attributes, stamp string) ([]kgo.RecordHeader, []byte) {
	for _, h := range m.Headers {
		if strings.HasPrefix(h.Name, HeaderPrefix) || h.Name == HeaderTraceParent && m.TraceParent != "" {
			continue
		}
		hs = append(hs, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	hs, buf = a.append(hs, buf, &m.Message)
	place, accepted := m.Place, m.Time
	if o := m.Origin; o != nil {
		place, stamp, accepted = o.Place, o.Stamp, o.Time
	}
	add := func(name string, from int) {
		hs = append(hs, kgo.RecordHeader{Key: name, Value: buf[from:len(buf):len(buf)]})
	}
	at := len(buf)
	buf = appendID(buf, m.ID)
	add(HeaderID, at)
	at = len(buf)
	buf = append(buf, place.Lane...)
	add(HeaderLane, at)
	at = len(buf)
	buf = strconv.AppendUint(buf, place.Seq, 10)
	add(HeaderSeq, at)
	at = len(buf)
	buf = append(buf, stamp...)
	add(HeaderStamp, at)
	at = len(buf)
	buf = accepted.UTC().AppendFormat(buf, time.RFC3339Nano)
	add(HeaderTime, at)
	if m.TraceParent != "" {
		at = len(buf)
		buf = append(buf, m.TraceParent...)
		add(HeaderTraceParent, at)
	}
	if m.Origin != nil {
		at = len(buf)
		buf = append(buf, m.Lane...)
		buf = append(buf, '.')
		buf = strconv.AppendUint(buf, m.Seq, 10)
		add(HeaderVia, at)
	}
	if m.Repeat {
		at = len(buf)
		buf = append(buf, '1')
		add(HeaderRepeat, at)
	}
	if m.Late {
		at = len(buf)
		buf = append(buf, '1')
		add(HeaderLate, at)
	}
	if m.Reason != "" {
		at = len(buf)
		buf = append(buf, m.Reason...)
		add(HeaderReason, at)
	}
	if m.Replay {
		at = len(buf)
		buf = append(buf, '1')
		add(HeaderReplay, at)
	}
	return hs, buf
}

// marks are what our headers of a record say. Where a name occurs more than
// once the last one counts, as ours stand last.
type marks struct {
	id       message.ID
	hasID    bool
	place    message.Place
	via      message.Place // where the sender kept it, if not at place
	stamp    string
	accepted time.Time
	replay   bool
	repeat   bool
}

// parseMarks reads our headers of a record that anyone may have written: what
// does not parse counts as absent.
func parseMarks(hs []kgo.RecordHeader) marks {
	var m marks
	for _, h := range hs {
		if !strings.HasPrefix(h.Key, HeaderPrefix) {
			continue
		}
		switch h.Key {
		case HeaderID:
			id, err := message.ParseID(string(h.Value))
			m.id, m.hasID = id, err == nil && !id.IsZero()
		case HeaderLane:
			m.place.Lane = ""
			if lane := string(h.Value); message.ValidLane(lane) {
				m.place.Lane = lane
			}
		case HeaderSeq:
			seq, err := strconv.ParseUint(string(h.Value), 10, 64)
			if err != nil {
				seq = 0
			}
			m.place.Seq = seq
		case HeaderVia:
			m.via = parseVia(string(h.Value))
		case HeaderStamp:
			m.stamp = string(h.Value)
		case HeaderTime:
			m.accepted, _ = time.Parse(time.RFC3339Nano, string(h.Value)) // zero where it does not parse
		case HeaderReplay:
			m.replay = true
		case HeaderRepeat:
			m.repeat = true
		}
	}
	return m
}

// parseVia reads "<lane>.<seq>"; the zero Place where it is not that.
func parseVia(s string) message.Place {
	lane, digits, _ := strings.Cut(s, ".")
	seq, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !message.ValidLane(lane) {
		return message.Place{}
	}
	return message.Place{Lane: lane, Seq: seq}
}

// sender is where the stamp that sent the record kept the message, the zero
// Place where the record is not one of ours or was replayed.
func (m *marks) sender() message.Place {
	switch {
	case m.replay || m.place.Lane == "" || m.place.Seq == 0:
		return message.Place{}
	case m.via.Seq > 0:
		return m.via
	}
	return m.place
}

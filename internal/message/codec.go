package message

import (
	"encoding/binary"
	"fmt"
	"time"
)

// A stored message is a list of fields: a tag byte, the length of the value as
// an unsigned varint, the value. Fields stand in ascending order of their tags;
// only headers repeat. A reader passes over tags it does not know, so that
// fields can be added; a field whose meaning a reader must not miss gets a new
// format version of the segment instead. docs/design/queue-format.md has the
// table.
const (
	tagID          = 1
	tagTopic       = 2
	tagKey         = 3
	tagValue       = 4
	tagHeader      = 5 // uvarint length of the name, name, value
	tagTime        = 6 // int64 microseconds since 1970, little-endian
	tagPrincipal   = 7
	tagKeyHash     = 8
	tagDigest      = 9
	tagRepeat      = 10 // empty
	tagOrigin      = 11 // uvarint length of stamp, stamp, 26 bytes lane, uvarint seq, int64 time
	tagTraceParent = 12
	tagMoved       = 13 // uvarint length of lane, lane, uvarint seq
	tagReplay      = 14 // empty
	tagReason      = 15
)

// Append encodes m at the end of b.
func Append(b []byte, m *Message) []byte {
	b = appendField(b, tagID, m.ID[:])
	b = appendField(b, tagTopic, m.Topic)
	if m.Key != nil {
		b = appendField(b, tagKey, m.Key)
	}
	b = appendField(b, tagValue, m.Value)
	for _, h := range m.Headers {
		b = append(b, tagHeader)
		b = binary.AppendUvarint(b, uint64(uvarintLen(len(h.Name))+len(h.Name)+len(h.Value)))
		b = binary.AppendUvarint(b, uint64(len(h.Name)))
		b = append(b, h.Name...)
		b = append(b, h.Value...)
	}
	b = append(b, tagTime, 8)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Time.UnixMicro()))
	if m.Principal != "" {
		b = appendField(b, tagPrincipal, m.Principal)
	}
	if !m.KeyHash.IsZero() {
		b = appendField(b, tagKeyHash, m.KeyHash[:])
	}
	if !m.Digest.IsZero() {
		b = appendField(b, tagDigest, m.Digest[:])
	}
	if m.Repeat {
		b = append(b, tagRepeat, 0)
	}
	if m.Origin != nil {
		b = appendField(b, tagOrigin, appendOrigin(nil, m.Origin))
	}
	if m.TraceParent != "" {
		b = appendField(b, tagTraceParent, m.TraceParent)
	}
	if m.Moved != nil {
		b = appendField(b, tagMoved, appendPlace(nil, *m.Moved))
	}
	if m.Replay {
		b = append(b, tagReplay, 0)
	}
	if m.Reason != "" {
		b = appendField(b, tagReason, m.Reason)
	}
	return b
}

func appendField[T string | []byte](b []byte, tag byte, v T) []byte {
	b = append(b, tag)
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func appendOrigin(b []byte, o *Origin) []byte {
	b = binary.AppendUvarint(b, uint64(len(o.Stamp)))
	b = append(b, o.Stamp...)
	b = appendPlace(b, o.Place)
	return binary.LittleEndian.AppendUint64(b, uint64(o.Time.UnixMicro()))
}

func appendPlace(b []byte, p Place) []byte {
	b = binary.AppendUvarint(b, uint64(len(p.Lane)))
	b = append(b, p.Lane...)
	return binary.AppendUvarint(b, p.Seq)
}

func uvarintLen(n int) int {
	var b [binary.MaxVarintLen64]byte
	return binary.PutUvarint(b[:], uint64(n))
}

// Decode reads what Append wrote. The message's byte slices share b's memory.
// Errors match ErrDamaged and name the field and where it begins.
func Decode(b []byte) (Message, error) {
	var m Message
	var last byte
	d := decoder{b: b}
	for len(d.b) > 0 {
		at := len(b) - len(d.b)
		tag := d.byte()
		v := d.sized()
		if d.bad || tag == 0 || tag < last || tag == last && tag != tagHeader {
			return Message{}, fmt.Errorf("message field %d at byte %d: %w", tag, at, ErrDamaged)
		}
		last = tag
		if err := m.setField(tag, v); err != nil {
			return Message{}, fmt.Errorf("message field %d at byte %d: %w", tag, at, err)
		}
	}
	if m.ID.IsZero() || !ValidTopic(m.Topic) || m.Value == nil || m.Time.IsZero() {
		return Message{}, fmt.Errorf("message of %d bytes lacks its id, topic, value or time: %w", len(b), ErrDamaged)
	}
	return m, nil
}

func (m *Message) setField(tag byte, v []byte) error {
	switch tag {
	case tagID:
		return fill(m.ID[:], v)
	case tagTopic:
		m.Topic = string(v)
	case tagKey:
		m.Key = v
	case tagValue:
		m.Value = v
	case tagHeader:
		d := decoder{b: v}
		name := d.sized()
		if d.bad {
			return ErrDamaged
		}
		m.Headers = append(m.Headers, Header{Name: string(name), Value: d.b})
	case tagTime:
		d := decoder{b: v}
		m.Time = d.time()
		return d.done()
	case tagPrincipal:
		m.Principal = string(v)
	case tagKeyHash:
		return fill(m.KeyHash[:], v)
	case tagDigest:
		return fill(m.Digest[:], v)
	case tagRepeat:
		m.Repeat = true
	case tagOrigin:
		d := decoder{b: v}
		m.Origin = &Origin{Stamp: string(d.sized())}
		m.Origin.Place = d.place()
		m.Origin.Time = d.time()
		return d.done()
	case tagTraceParent:
		m.TraceParent = string(v)
	case tagMoved:
		d := decoder{b: v}
		moved := d.place()
		m.Moved = &moved
		return d.done()
	case tagReplay:
		m.Replay = true
	case tagReason:
		m.Reason = string(v)
	}
	return nil
}

func fill(dst, v []byte) error {
	if len(v) != len(dst) {
		return ErrDamaged
	}
	copy(dst, v)
	return nil
}

// decoder takes values from the front of b; bad is set once b was too short.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	n, w := binary.Uvarint(d.b)
	if w <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[w:]
	return n
}

func (d *decoder) sized() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() time.Time {
	if len(d.b) < 8 {
		d.bad, d.b = true, nil
		return time.Time{}
	}
	t := time.UnixMicro(int64(binary.LittleEndian.Uint64(d.b))).UTC()
	d.b = d.b[8:]
	return t
}

func (d *decoder) place() Place {
	lane := string(d.sized())
	return Place{Lane: lane, Seq: d.uvarint()}
}

func (d *decoder) done() error {
	if d.bad || len(d.b) > 0 {
		return ErrDamaged
	}
	return nil
}

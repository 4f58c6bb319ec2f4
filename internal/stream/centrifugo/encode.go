package centrifugo

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"sync"

	"postroad/internal/stream/live"
	"postroad/internal/stream/wire"
)

// Encoding is what a connection's messages are written in.
type Encoding uint8

// The encodings: JSON messages are lines of a text frame, Protobuf messages stand
// in a binary frame, each behind its length as a varint.
const (
	JSON Encoding = iota
	Protobuf
)

// String is the encoding's name in metrics and logs.
func (e Encoding) String() string {
	if e == Protobuf {
		return "protobuf"
	}
	return "json"
}

// maxFrame is how much of messages is joined into one frame. A single message that
// is larger has a frame of its own.
const maxFrame = 64 << 10

// encoder is the live.Encoder of an encoding: what it makes are whole frames. Two
// of one Protocol are equal where their encodings are, so that all connections of
// an encoding share what is made.
type encoder struct {
	encoding Encoding
	// scratch holds *[]byte, in which payloads are built.
	scratch *sync.Pool
}

func newScratch() *sync.Pool {
	return &sync.Pool{New: func() any { return new([]byte) }}
}

// Encode implements live.Encoder: a push for each record, as many in a frame as
// maxFrame allows. Offsets stand in them only where the subscriber may take them
// for its position.
func (e encoder) Encode(name string, positioned, keyed bool, records []*live.Record) []byte {
	return e.frames(name, publication{positioned: positioned, keyed: keyed}, records)
}

// publication says what stands in a publication beside the value.
type publication struct {
	// positioned: the record's offset.
	positioned bool
	// at is the offset of the record final instead.
	at    uint64
	final *live.Record
	// keyed: the record's key.
	keyed bool
	// last: that it is a last value.
	last bool
}

func (p publication) offset(r *live.Record) uint64 {
	switch {
	case r == p.final:
		return p.at
	case p.positioned:
		return offsetOf(r)
	}
	return 0
}

func (e encoder) frames(name string, p publication, records []*live.Record) []byte {
	buf := e.scratch.Get().(*[]byte)
	payload := (*buf)[:0]
	var out []byte
	head := 0 // in JSON, how much of payload is what all messages begin with
	for _, r := range records {
		before := len(payload)
		if e.encoding == JSON {
			if before > 0 {
				payload = append(payload, '\n')
			}
			if head == 0 {
				payload = appendJSONString(append(payload, `{"push":{"channel":`...), name)
				payload = append(payload, `,"pub":`...)
				head = len(payload)
			} else {
				payload = append(payload, payload[:head]...)
			}
			payload = append(appendJSONPublication(payload, p, r), '}', '}')
		} else {
			payload = appendProtobufPush(payload, name, p, r)
		}
		if len(payload) > maxFrame && before > 0 {
			out = e.appendFrame(out, payload[:before])
			if e.encoding == JSON {
				before++ // the line end belongs to neither frame
			}
			payload = payload[:copy(payload, payload[before:])]
		}
	}
	out = e.appendFrame(out, payload)
	if cap(payload) <= 4*maxFrame {
		*buf = payload
		e.scratch.Put(buf)
	}
	return out
}

func (e encoder) appendFrame(dst, payload []byte) []byte {
	if dst == nil {
		dst = make([]byte, 0, len(payload)+10)
	}
	return wire.AppendFrame(dst, e.encoding == Protobuf, payload)
}

// appendJSONPublication appends a Publication of the protocol as JSON.
func appendJSONPublication(dst []byte, p publication, r *live.Record) []byte {
	dst, tag := appendJSONData(append(dst, `{"data":`...), r.Value)
	if offset := p.offset(r); offset != 0 {
		dst = strconv.AppendUint(append(dst, `,"offset":`...), offset, 10)
	}
	if tag == "" && !p.keyed && !p.last {
		return append(dst, '}')
	}
	dst = append(dst, `,"tags":`...)
	next := byte('{')
	if p.keyed {
		dst = append(append(dst, next), `"`+tagKey+`":`...)
		dst = appendJSONString(dst, live.EscapeKey(string(r.Key)))
		next = ','
	}
	if p.last {
		dst = append(append(dst, next), `"`+tagLast+`":"`+lastTrue+`"`...)
		next = ','
	}
	if tag != "" {
		dst = append(append(append(append(dst, next), `"`+tagData+`":"`...), tag...), '"')
	}
	return append(dst, '}', '}')
}

// Field tags of the protocol's messages: the number, shifted by 3, and the wire
// type (0 varint, 2 bytes).
const (
	fieldReplyPush         = 4<<3 | 2
	fieldPushChannel       = 2<<3 | 2
	fieldPushPub           = 4<<3 | 2
	fieldPublicationData   = 4<<3 | 2
	fieldPublicationOffset = 6 << 3 // a varint
	fieldPublicationTags   = 7<<3 | 2
	fieldEntryKey          = 1<<3 | 2
	fieldEntryValue        = 2<<3 | 2
)

// appendProtobufPush appends a Reply with one push behind its length.
func appendProtobufPush(dst []byte, name string, p publication, r *live.Record) []byte {
	var key string
	if p.keyed {
		key = live.EscapeKey(string(r.Key))
	}
	pub := sizePublication(p, r, key)
	push := sizeBytes(len(name)) + sizeBytes(pub)
	dst = binary.AppendUvarint(dst, uint64(sizeBytes(push)))
	dst = binary.AppendUvarint(append(dst, fieldReplyPush), uint64(push))
	dst = appendBytes(append(dst, fieldPushChannel), name)
	dst = binary.AppendUvarint(append(dst, fieldPushPub), uint64(pub))
	return appendPublication(dst, p, r, key)
}

// sizePublication is the size of what appendPublication appends.
func sizePublication(p publication, r *live.Record, key string) int {
	n := 0
	if len(r.Value) > 0 {
		n += sizeBytes(len(r.Value))
	}
	if offset := p.offset(r); offset != 0 {
		n += 1 + sizeVarint(offset)
	}
	if p.keyed {
		n += sizeBytes(sizeBytes(len(tagKey)) + sizeBytes(len(key)))
	}
	if p.last {
		n += sizeBytes(sizeBytes(len(tagLast)) + sizeBytes(len(lastTrue)))
	}
	return n
}

// appendPublication appends a Publication of the protocol as Protobuf.
func appendPublication(dst []byte, p publication, r *live.Record, key string) []byte {
	if len(r.Value) > 0 {
		dst = appendBytes(append(dst, fieldPublicationData), r.Value)
	}
	if offset := p.offset(r); offset != 0 {
		dst = binary.AppendUvarint(append(dst, fieldPublicationOffset), offset)
	}
	if p.keyed {
		dst = appendTag(dst, tagKey, key)
	}
	if p.last {
		dst = appendTag(dst, tagLast, lastTrue)
	}
	return dst
}

// appendTag appends an entry of a publication's tags.
func appendTag(dst []byte, name, value string) []byte {
	dst = binary.AppendUvarint(append(dst, fieldPublicationTags), uint64(sizeBytes(len(name))+sizeBytes(len(value))))
	dst = appendBytes(append(dst, fieldEntryKey), name)
	return appendBytes(append(dst, fieldEntryValue), value)
}

// appendBytes appends a field's bytes behind their length.
func appendBytes[T string | []byte](dst []byte, b T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}

// sizeBytes is the size of a field of n bytes whose tag takes one.
func sizeBytes(n int) int { return 1 + sizeVarint(uint64(n)) + n }

func sizeVarint(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

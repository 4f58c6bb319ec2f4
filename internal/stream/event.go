package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"postroad/internal/stream/live"
)

// messageJSON is a message in SSE events and in the answers of last and history.
type messageJSON struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	// Key is null where the record has none, or where it is in KeyBase64, because
	// it is not UTF-8 and JSON could not hold it.
	Key       *string `json:"key"`
	KeyBase64 string  `json:"key_base64,omitempty"`
	// Value or, where it is not UTF-8, Base64.
	Value  *string `json:"value,omitempty"`
	Base64 *string `json:"base64,omitempty"`
	// ID is the dedupe id.
	ID    string `json:"id,omitempty"`
	Time  string `json:"time"`
	Stamp string `json:"stamp,omitempty"`
}

func jsonOf(topic string, r *live.Record) messageJSON {
	m := messageJSON{
		Topic: topic, Partition: r.Partition, Offset: r.Offset, Stamp: r.Stamp,
		Time: r.Accepted.UTC().Format(time.RFC3339Nano),
	}
	if r.HasID {
		m.ID = r.ID.String()
	}
	switch {
	case r.Key == nil:
	case utf8.Valid(r.Key):
		key := string(r.Key)
		m.Key = &key
	default:
		m.KeyBase64 = base64.StdEncoding.EncodeToString(r.Key)
	}
	if utf8.Valid(r.Value) {
		value := string(r.Value)
		m.Value = &value
	} else {
		coded := base64.StdEncoding.EncodeToString(r.Value)
		m.Base64 = &coded
	}
	return m
}

// eventEncoder encodes records for SSE, a line of data each. The id, which is the
// viewer's own, is written before it. All viewers of a subject share the lines.
type eventEncoder struct{}

// Encode implements live.Encoder.
func (eventEncoder) Encode(name string, _, _ bool, records []*live.Record) []byte {
	topic, _, _ := strings.Cut(name, "/")
	var b bytes.Buffer
	enc := json.NewEncoder(&b) // ends each value with a line break, and has none inside
	enc.SetEscapeHTML(false)
	for _, r := range records {
		b.WriteString("data: ")
		_ = enc.Encode(jsonOf(topic, r)) // texts and numbers: cannot fail
	}
	return b.Bytes()
}

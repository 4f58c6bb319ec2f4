package main

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"

	"postroad/internal/kafka"
	"postroad/internal/message"
)

// The columns of stamp and key grow with what they hold, up to these widths.
const (
	stampColumn = 16
	keyColumn   = 24
	// valueLeast is the width a value gets however narrow the terminal is.
	valueLeast = 16
)

// recordView writes messages as lines for a person: time, stamp, key, value.
type recordView struct {
	terminal   terminal
	stamp, key int // widths so far
}

// line is one message. The time is when it was accepted, or for messages that
// did not come through a stamp when it was produced. On a terminal the value
// is cut to its width.
func (v *recordView) line(r *kafka.Record, now time.Time) string {
	at := r.Accepted
	if at.IsZero() {
		at = r.Timestamp
	}
	at = at.In(now.Location())
	layout := "15:04:05.000"
	if at.Format(time.DateOnly) != now.Format(time.DateOnly) {
		layout = "2006-01-02 15:04:05.000"
	}
	when := at.Format(layout)
	stamp := v.column(&v.stamp, cmp.Or(printable([]byte(r.Stamp)), "-"), stampColumn)
	key := "-"
	if r.Key != nil {
		key = printable(r.Key)
	}
	key = v.column(&v.key, key, keyColumn)
	value := v.value(r)
	if v.terminal.is {
		used := len(when) + runewidth.StringWidth(stamp) + runewidth.StringWidth(key) + 6
		value = shorten(value, max(valueLeast, v.terminal.width-used))
	}
	return v.terminal.paint(dim, when) + "  " + v.terminal.paint(dim, stamp) + "  " + v.terminal.paint(bold, key) + "  " + value
}

func (v *recordView) column(width *int, text string, most int) string {
	text = shorten(text, most)
	*width = max(*width, runewidth.StringWidth(text))
	return pad(text, *width)
}

func (v *recordView) value(r *kafka.Record) string {
	switch {
	case r.Value == nil:
		return "(no value: a deletion)"
	case !utf8.Valid(r.Value):
		return fmt.Sprintf("(%s, not text) %s", size(int64(len(r.Value))), printable(r.Value[:min(len(r.Value), 64)]))
	case v.terminal.is: // no more than can be shown: values may be large
		return printable(r.Value[:cutUTF8(r.Value, 4*v.terminal.width)])
	}
	return printable(r.Value)
}

// cutUTF8 is the largest length up to most that does not cut a character.
func cutUTF8(b []byte, most int) int {
	if len(b) <= most {
		return len(b)
	}
	for most > 0 && !utf8.RuneStart(b[most]) {
		most--
	}
	return most
}

// shownRecord is a message as tail --json prints it. Bytes that are no UTF-8
// stand under the name with _base64 instead.
type shownRecord struct {
	Topic       string        `json:"topic"`
	Partition   int32         `json:"partition"`
	Offset      int64         `json:"offset"`
	Timestamp   time.Time     `json:"timestamp"`
	Accepted    *time.Time    `json:"accepted,omitempty"`
	ID          string        `json:"id,omitempty"`
	Stamp       string        `json:"stamp,omitempty"`
	Lane        string        `json:"lane,omitempty"`
	Seq         uint64        `json:"seq,omitempty"`
	Receipt     string        `json:"receipt,omitempty"`
	Key         *string       `json:"key"`
	KeyBase64   *string       `json:"key_base64,omitempty"`
	Value       *string       `json:"value"`
	ValueBase64 *string       `json:"value_base64,omitempty"`
	Headers     []shownHeader `json:"headers"`
}

type shownHeader struct {
	Name        string  `json:"name"`
	Value       *string `json:"value"`
	ValueBase64 *string `json:"value_base64,omitempty"`
}

// recordJSON writes a message as one line of JSON with everything.
func recordJSON(r *kafka.Record) ([]byte, error) {
	s := shownRecord{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC(),
		Stamp: r.Stamp, Lane: r.Lane, Seq: r.Seq, Headers: make([]shownHeader, 0, len(r.Headers)),
	}
	if !r.Accepted.IsZero() {
		at := r.Accepted.UTC()
		s.Accepted = &at
	}
	if r.HasID {
		s.ID = r.ID.String()
		if r.Lane != "" && r.Seq > 0 {
			s.Receipt = message.Receipt{ID: r.ID, Place: message.Place{Lane: r.Lane, Seq: r.Seq}}.String()
		}
	}
	s.Key, s.KeyBase64 = textOrBase64(r.Key)
	s.Value, s.ValueBase64 = textOrBase64(r.Value)
	for _, h := range r.Headers {
		var header shownHeader
		header.Name = h.Name
		header.Value, header.ValueBase64 = textOrBase64(h.Value)
		s.Headers = append(s.Headers, header)
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("show a message: %w", err)
	}
	return b, nil
}

func textOrBase64(b []byte) (text, coded *string) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	}
	s := base64.StdEncoding.EncodeToString(b)
	return nil, &s
}

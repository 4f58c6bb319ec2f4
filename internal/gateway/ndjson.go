package gateway

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"postroad/internal/message"
)

// readLines reads a body of NDJSON into the batch: a JSON object on each line,
// white space and empty lines apart. Lines count from 1. The first bad line
// ends it, and its number and what is wrong with it are in the error. key is
// that of lines that have none.
func (b *batch) readLines(r *jsonReader, text, key []byte, most int) error {
	b.unit = "line"
	b.grow(min(bytes.Count(text, []byte{'\n'})+1, most, len(text)/shortestLine+1))
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{'\n'})
		if len(bytes.TrimLeft(line, " \t\r")) == 0 {
			continue
		}
		if len(b.msgs) == most {
			return refuse(message.ErrTooLarge, "more than %d messages (batch.max_messages)", most).with("line", number)
		}
		b.lines = append(b.lines, number)
		if err := b.readLine(r, line, key); err != nil {
			return within(err, "line", number)
		}
	}
	if len(b.msgs) == 0 {
		return refuse(message.ErrInvalid, "the body holds no line with a message")
	}
	return nil
}

// shortestLine is the length of the shortest line that holds a message,
// {"value":1}, in bytes.
const shortestLine = 11

// The content types of values without one, by their kind.
const (
	typeText = "text/plain; charset=utf-8"
	typeJSON = "application/json"
)

// line is what one line may hold.
type line struct {
	key, id []byte
	value   jsontext.Value
	headers jsontext.Value
}

// readLine adds the message of one line. A value that is a JSON string is
// carried as its text, any other as its bytes; null is refused, because the
// hub's null value would mean a deletion. The content type is that of the
// headers, or else follows from the kind of value.
func (b *batch) readLine(r *jsonReader, src, key []byte) error {
	l, ok := plainLine(src)
	if !ok {
		var err error
		if l, err = r.line(src); err != nil {
			return err
		}
	}
	if l.key == nil {
		l.key = key
	}
	value, contentType := []byte(l.value), typeJSON
	switch l.value.Kind() {
	case '"':
		var err error
		if value, err = text("value", l.value); err != nil {
			return err
		}
		contentType = typeText
	case 'n':
		return refuse(message.ErrInvalid, "value is null")
	case 0:
		return refuse(message.ErrInvalid, "value is missing")
	}
	mark := len(b.headers)
	if err := b.readHeaders(r, l.headers, contentType); err != nil {
		return err
	}
	own := ""
	if l.id != nil {
		own = lineKey(string(l.id))
	}
	b.add(message.Message{Key: l.key, Value: value}, mark, own)
	return nil
}

// line reads any line.
func (r *jsonReader) line(src []byte) (line, error) {
	var l line
	r.reset(src)
	if err := r.object(l.member); err != nil {
		return line{}, err
	}
	return l, r.end()
}

// member takes one member of a line. A null is as good as not there.
func (l *line) member(name []byte, v jsontext.Value) error {
	var err error
	switch string(name) {
	case "value":
		l.value = v
		return nil
	case "headers":
		if v.Kind() != 'n' {
			l.headers = v
		}
		return nil
	case "key":
		if v.Kind() == 'n' {
			return nil
		}
		if l.key, err = text("key", v); err != nil {
			return err
		}
		return checkMessageKey("key", l.key)
	case "id":
		if v.Kind() == 'n' {
			return nil
		}
		if l.id, err = text("id", v); err != nil {
			return err
		}
		if len(l.id) == 0 || len(l.id) > maxOwnIDLen {
			return refuse(message.ErrInvalid, "id of %d bytes; must be 1 to %d", len(l.id), maxOwnIDLen)
		}
		return checkText("id", l.id)
	}
	return refuse(message.ErrInvalid, "unknown member %q; a line may have key, value, id and headers", clip(string(name)))
}

// readHeaders adds a line's headers to the batch's, and the content type where
// they hold none.
func (b *batch) readHeaders(r *jsonReader, headers jsontext.Value, contentType string) error {
	mark := len(b.headers)
	typed := false
	if headers != nil {
		r.reset(headers)
		err := r.object(func(name []byte, v jsontext.Value) error {
			h, err := header(name, v)
			if err != nil {
				return err
			}
			if h.Name == "content-type" {
				if typed {
					return refuse(message.ErrInvalid, "headers: content-type is there twice")
				}
				typed = true
			}
			if len(b.headers)-mark == maxHeaders {
				return refuse(message.ErrInvalid, "headers: more than %d", maxHeaders)
			}
			b.headers = append(b.headers, h)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !typed {
		b.headers = append(b.headers, message.Header{Name: "content-type", Value: b.keepType(contentType)})
	}
	return nil
}

// keepType keeps a content type, once for all lines in a row that have it.
func (b *batch) keepType(contentType string) []byte {
	if string(b.lastType) != contentType {
		b.lastType = b.keepText(contentType)
	}
	return b.lastType
}

// header reads one header. Names keep their letter case but for content-type,
// which readers look for; those of Postroad's own are refused.
func header(name []byte, v jsontext.Value) (message.Header, error) {
	n := string(name)
	if n == "" || len(n) > maxHeaderName {
		return message.Header{}, refuse(message.ErrInvalid, "headers: name of %d bytes; must be 1 to %d", len(n), maxHeaderName)
	}
	if err := checkText("headers: name", name); err != nil {
		return message.Header{}, err
	}
	lower := strings.ToLower(n)
	switch {
	case strings.HasPrefix(lower, "postroad-"), lower == "traceparent":
		return message.Header{}, refuse(message.ErrInvalid, "headers: %q is Postroad's own", clip(n))
	case lower == "content-type", strings.HasPrefix(lower, "ce_"):
		n = lower
	}
	value, err := text(fmt.Sprintf("header %q", clip(n)), v)
	if err == nil && n == lower {
		err = checkText("header "+clip(n), value)
	}
	return message.Header{Name: n, Value: value}, err
}

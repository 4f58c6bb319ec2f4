package gateway

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
	"github.com/go-json-experiment/json/jsontext"

	"postroad/internal/message"
)

// specVersion is the version of CloudEvents that is taken.
const specVersion = event.CloudEventsVersionV1

// attribute is one attribute of a CloudEvent, its value as text.
type attribute struct{ name, value string }

// addEvent adds a CloudEvent to the batch, as the Kafka binding lays it out in
// binary mode: data is the value, datacontenttype the header content-type, any
// other attribute a header ce_<name>, partitionkey (or else key) the key.
//
// Attributes are carried as the client wrote them. The CloudEvents SDK judges
// them but does not rewrite them: it would give times and URIs a form of its
// own, and a dedupe id stands on what was sent. An event is the same message
// in binary and in structured mode if its attributes have the same text and
// its data the same bytes.
func (b *batch) addEvent(attributes []attribute, data, key []byte) error {
	mark := len(b.headers)
	id, source, err := checkEvent(attributes)
	if err != nil {
		return err
	}
	for _, a := range attributes {
		name := "ce_" + a.name
		switch a.name {
		case "datacontenttype":
			name = "content-type"
		case "partitionkey":
			key = []byte(a.value)
			if err := checkMessageKey("partitionkey", key); err != nil {
				return err
			}
		}
		b.headers = append(b.headers, message.Header{Name: name, Value: []byte(a.value)})
	}
	b.add(message.Message{Key: key, Value: data}, mark, eventKey(source, id))
	return nil
}

// checkEvent refuses an event that breaks a rule of CloudEvents 1.0, and
// returns its id and source.
func checkEvent(attributes []attribute) (id, source string, err error) {
	if len(attributes) > maxHeaders {
		return "", "", refuse(message.ErrInvalid, "%d attributes; at most %d", len(attributes), maxHeaders)
	}
	var judged event.EventContextV1
	version := ""
	for i, a := range attributes {
		if slices.ContainsFunc(attributes[:i], func(x attribute) bool { return x.name == a.name }) {
			return "", "", refuse(message.ErrInvalid, "attribute %q is there twice", clip(a.name))
		}
		if err := checkAttribute(a); err != nil {
			return "", "", err
		}
		if a.name == "specversion" {
			version = a.value
			continue
		}
		if err := judge(&judged, a); err != nil {
			return "", "", err
		}
	}
	if version != specVersion {
		return "", "", refuse(message.ErrInvalid, "specversion is %q; must be %q", clip(version), specVersion)
	}
	if broken := judged.Validate(); len(broken) > 0 {
		name := slices.Min(slices.Collect(maps.Keys(broken)))
		return "", "", refuse(message.ErrInvalid, "attribute %s: %v", name, broken[name])
	}
	if len(judged.ID)+len(judged.Source.String()) > maxOwnIDLen {
		return "", "", refuse(message.ErrInvalid, "id and source of together more than %d bytes", maxOwnIDLen)
	}
	for _, a := range attributes {
		if a.name == "source" {
			source = a.value
		}
	}
	return judged.ID, source, nil
}

// checkAttribute holds for every attribute: a name of lower-case letters and
// digits, a value of text.
func checkAttribute(a attribute) error {
	if a.name == "" || len(a.name) > maxHeaderName {
		return refuse(message.ErrInvalid, "attribute name of %d bytes; must be 1 to %d", len(a.name), maxHeaderName)
	}
	for i := range len(a.name) {
		if c := a.name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return refuse(message.ErrInvalid, "attribute %q: names are of lower-case letters and digits", clip(a.name))
		}
	}
	return checkText("attribute "+a.name, []byte(a.value))
}

// judge enters an attribute into the SDK's context, which has the types of the
// specification; extensions may hold any text.
func judge(c *event.EventContextV1, a attribute) error {
	var err error
	switch a.name {
	case "id":
		c.ID = a.value
	case "source":
		if u := types.ParseURIRef(a.value); u != nil {
			c.Source = *u
		} else {
			err = errors.New("must be a URI reference")
		}
	case "type":
		c.Type = a.value
	case "subject":
		c.Subject = &a.value
	case "datacontenttype":
		c.DataContentType = &a.value
	case "dataschema":
		if c.DataSchema = types.ParseURI(a.value); c.DataSchema == nil {
			err = errors.New("must be an absolute URI")
		}
	case "time":
		if c.Time, err = types.ParseTimestamp(a.value); err != nil || c.Time == nil {
			err = errors.New("must be a time as in RFC 3339")
		}
	case "data", "database64":
		err = errors.New("is no attribute")
	}
	if err != nil {
		return refuse(message.ErrInvalid, "attribute %s: %q %v", a.name, clip(a.value), err)
	}
	return nil
}

// eventAttributes takes the attributes of an event in binary mode from the
// fields ce-*; there are none where the request is no event.
func eventAttributes(h http.Header) ([]attribute, error) {
	var attributes []attribute
	for field, values := range h {
		name, ok := strings.CutPrefix(field, "Ce-")
		if !ok {
			continue
		}
		if len(values) > 1 {
			return nil, refuse(message.ErrInvalid, "%s is there %d times", field, len(values))
		}
		attributes = append(attributes, attribute{strings.ToLower(name), fieldText(values[0])})
	}
	if len(attributes) == 0 {
		return nil, nil
	}
	if contentType := h.Get("Content-Type"); contentType != "" {
		attributes = append(attributes, attribute{"datacontenttype", contentType})
	}
	return attributes, nil
}

// fieldText decodes an attribute from a header field by the HTTP binding:
// first a quoted string, then percent-encoding. A percent sign that begins no
// encoding stands for itself.
func fieldText(field string) string {
	if len(field) >= 2 && field[0] == '"' && field[len(field)-1] == '"' {
		field = unescape(field[1 : len(field)-1])
	}
	if !strings.Contains(field, "%") {
		return field
	}
	text := make([]byte, 0, len(field))
	for i := 0; i < len(field); i++ {
		if field[i] == '%' && i+2 < len(field) {
			if c, err := strconv.ParseUint(field[i+1:i+3], 16, 8); err == nil {
				text = append(text, byte(c))
				i += 2
				continue
			}
		}
		text = append(text, field[i])
	}
	return string(text)
}

func unescape(s string) string {
	text := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		text = append(text, s[i])
	}
	return string(text)
}

// readEvent reads an event in the JSON format and adds it to the batch.
func (b *batch) readEvent(r *jsonReader, key []byte) error {
	var attributes []attribute
	var data, encoded jsontext.Value
	err := r.object(func(name []byte, v jsontext.Value) error {
		switch string(name) {
		case "data":
			data = v
			return nil
		case "data_base64":
			encoded = v
			return nil
		}
		value, err := attributeText(string(name), v)
		if err == nil && v.Kind() != 'n' { // null is as good as not there
			attributes = append(attributes, attribute{string(name), value})
		}
		return err
	})
	if err != nil {
		return err
	}
	contentType := ""
	for _, a := range attributes {
		if a.name == "datacontenttype" {
			contentType = a.value
		}
	}
	if data != nil && contentType == "" {
		// By the JSON format an event without datacontenttype has JSON data.
		contentType = "application/json"
		attributes = append(attributes, attribute{"datacontenttype", contentType})
	}
	value, err := eventData(data, encoded, contentType)
	if err != nil {
		return err
	}
	return b.addEvent(attributes, value, key)
}

// attributeText returns an attribute of the JSON format in the canonical text
// of its type: a string as it is, booleans and integers.
func attributeText(name string, v jsontext.Value) (string, error) {
	switch v.Kind() {
	case 'n':
		return "", nil
	case 't', 'f':
		return string(v), nil
	case '0':
		n, err := strconv.ParseInt(string(v), 10, 32)
		if err != nil {
			return "", refuse(message.ErrInvalid, "attribute %q: %s is not an integer of 32 bits", clip(name), clip(string(v)))
		}
		return strconv.FormatInt(n, 10), nil
	case '"':
		s, err := text("attribute "+clip(name), v)
		return string(s), err
	}
	return "", refuse(message.ErrInvalid, "attribute %q is %s; must be a string, a boolean or an integer", clip(name), kindName(v.Kind()))
}

// eventData returns the bytes of an event's data: of JSON the text as it
// stands, of any other type the text of a string, or what Base64 holds.
func eventData(data, encoded jsontext.Value, contentType string) ([]byte, error) {
	switch {
	case data != nil && encoded != nil:
		return nil, refuse(message.ErrInvalid, "both data and data_base64 are there")
	case encoded != nil:
		s, err := text("data_base64", encoded)
		if err != nil {
			return nil, err
		}
		value := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
		n, err := base64.StdEncoding.Strict().Decode(value, s)
		if err != nil {
			return nil, refuse(message.ErrInvalid, "data_base64: %v", err)
		}
		return value[:n], nil
	case data == nil:
		return []byte{}, nil
	case isJSON(contentType):
		return data, nil
	case data.Kind() == '"':
		return text("data", data)
	}
	return nil, refuse(message.ErrInvalid, "data is %s, where datacontenttype %q wants a string or data_base64", kindName(data.Kind()), clip(contentType))
}

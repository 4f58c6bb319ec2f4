package centrifugo

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"

	"postroad/internal/stream/live"
)

// The tags of publications. A tag is left out where it says nothing.
const (
	// tagKey is the key of the message, escaped as in a subject, on subjects that
	// hold several keys.
	tagKey = "key"
	// tagData says how a value that is not JSON stands in a JSON string.
	tagData = "postroad-data"

	dataText   = "text"
	dataBase64 = "base64"
)

// maxDepth is how deep JSON may be nested to be handed to JSON clients as JSON:
// one message of more would end a client whose parser recurses to a limit, and
// anyone who may publish could do that to all who read.
const maxDepth = 256

// appendJSONData appends a message's value as JSON: itself where it is JSON (less
// its line ends, which separate messages), else a JSON string, with the tag that
// says what of: text, or base64. A tombstone is null.
func appendJSONData(dst, value []byte) (out []byte, tag string) {
	switch {
	case value == nil:
		return append(dst, "null"...), ""
	case !utf8.Valid(value): // also within JSON strings: a text frame must be UTF-8
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, value)
		return append(dst, '"'), dataBase64
	case isJSON(value):
		for {
			at := bytes.IndexByte(value, '\n')
			if at < 0 {
				return append(dst, value...), ""
			}
			dst, value = append(dst, value[:at]...), value[at+1:]
		}
	}
	return appendJSONString(dst, value), dataText
}

func isJSON(value []byte) bool { return json.Valid(value) && shallow(value) }

// shallow says whether JSON is nested no deeper than maxDepth.
func shallow(value []byte) bool {
	if len(value) <= maxDepth {
		return true
	}
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return false
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return true
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends UTF-8 text as a JSON string.
func appendJSONString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// offsetOf is a record's offset as clients know it.
func offsetOf(r *live.Record) uint64 { return uint64(r.Offset) + 1 }

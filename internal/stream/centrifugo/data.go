package centrifugo

import (
	"bytes"
	"encoding/base64"
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
	// tagLast marks last values: what is true now, not what just happens.
	tagLast  = "postroad-last"
	lastTrue = "true"

	dataText   = "text"
	dataBase64 = "base64"
)

// appendJSONData appends a message's value as JSON: itself where it is JSON (less
// its line ends, which separate messages), else a JSON string, with the tag that
// says what of: text, or base64. A tombstone is null.
func appendJSONData(dst, value []byte) (out []byte, tag string) {
	if value == nil {
		return append(dst, "null"...), ""
	}
	switch ok, lines := isJSON(value); {
	case ok && !lines:
		return append(dst, value...), ""
	case ok:
		for line := range bytes.SplitSeq(value, []byte{'\n'}) {
			dst = append(dst, line...)
		}
		return dst, ""
	case utf8.Valid(value):
		return appendJSONString(dst, value), dataText
	}
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, value)
	return append(dst, '"'), dataBase64
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

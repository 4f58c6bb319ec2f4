package gateway

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"postroad/internal/message"
)

// requestKey is the idempotency key of one request.
type requestKey struct {
	// text is the key itself.
	text string
	// field is how it stands in the header field Idempotency-Key: as the
	// client wrote it, or as a quoted string where it was minted here.
	field string
	// minted says that text has the form of message.MintKey, whoever made it.
	minted bool
	// repeat says that another copy of the request may exist.
	repeat bool
}

// readKey takes the key of a request, or mints one. On error the key is a
// minted one all the same, so that every answer can carry a key.
func readKey(h http.Header) (requestKey, error) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return mintedKey(), nil
	}
	if len(values) > 1 {
		return mintedKey(), refuse(message.ErrInvalid, "Idempotency-Key is there %d times", len(values))
	}
	text, err := parseKey(values[0])
	if err != nil {
		return mintedKey(), err
	}
	k := requestKey{text: text, field: strings.Trim(values[0], " \t"), minted: message.IsMinted(text)}
	// A client can know a minted key only from an answer or a front door, so
	// whoever presents one may be repeating. Which attempt it is says
	// Postroad-Attempt.
	k.repeat = k.minted
	if attempt := h.Get("Postroad-Attempt"); attempt != "" {
		n, err := strconv.ParseUint(attempt, 10, 16)
		if err != nil || n == 0 {
			return k, refuse(message.ErrInvalid, "Postroad-Attempt: %q is not a number from 1 to 65535", attempt)
		}
		k.repeat = n > 1
	}
	return k, nil
}

func mintedKey() requestKey {
	text := message.MintKey()
	return requestKey{text: text, field: `"` + text + `"`, minted: true}
}

// parseKey reads the field value of Idempotency-Key: a string of structured
// fields (RFC 9651) such as "8e03978e", as the IETF draft has it, or the same
// text without quotes, as most clients send it. Both name the same key. The
// error is a refusal.
func parseKey(field string) (string, error) {
	field = strings.Trim(field, " \t")
	text := field
	if strings.HasPrefix(field, `"`) {
		var err error
		if text, err = unquoteKey(field); err != nil {
			return "", err
		}
	} else if i := strings.IndexFunc(field, func(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune(`",;\`, c) }); i >= 0 {
		return "", refuse(message.ErrInvalid, "Idempotency-Key: character %q at byte %d: write the key in double quotes", field[i], i)
	}
	if text == "" || len(text) > maxKeyLen {
		return "", refuse(message.ErrInvalid, "Idempotency-Key: %d bytes; must be 1 to %d", len(text), maxKeyLen)
	}
	return text, nil
}

// unquoteKey reads a quoted string: printable ASCII, in which a backslash
// stands before a double quote or a backslash.
func unquoteKey(field string) (string, error) {
	if end := len(field) - 1; end > 0 && field[end] == '"' && strings.IndexByte(field, '\\') < 0 && printable(field[1:end]) {
		return field[1:end], nil
	}
	var text strings.Builder
	for i := 1; i < len(field); i++ {
		c := field[i]
		switch {
		case c == '"' && i == len(field)-1:
			return text.String(), nil
		case c == '"':
			return "", refuse(message.ErrInvalid, "Idempotency-Key: text after the closing quote at byte %d", i)
		case c == '\\' && i+1 < len(field) && (field[i+1] == '"' || field[i+1] == '\\'):
			i++
			text.WriteByte(field[i])
		case c == '\\' || c < ' ' || c > '~':
			return "", refuse(message.ErrInvalid, "Idempotency-Key: character %q at byte %d", c, i)
		default:
			text.WriteByte(c)
		}
	}
	return "", refuse(message.ErrInvalid, "Idempotency-Key: the closing quote is missing")
}

// printable reports whether s is printable ASCII without a double quote.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' {
			return false
		}
	}
	return true
}

// readMessageKey takes the key that ?key= or Postroad-Key gives to every
// message of the request that brings none of its own; nil is none.
func readMessageKey(r *http.Request) ([]byte, error) {
	fields := r.Header["Postroad-Key"]
	if r.URL.RawQuery == "" && len(fields) == 0 {
		return nil, nil
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(message.ErrInvalid, "query: %v", err)
	}
	values := slices.Concat(query["key"], fields)
	if len(values) == 0 {
		return nil, nil
	}
	for _, v := range values[1:] {
		if v != values[0] {
			return nil, refuse(message.ErrInvalid, "?key= and Postroad-Key give different keys, %q and %q", values[0], v)
		}
	}
	key := []byte(values[0])
	return key, checkMessageKey("key", key)
}

// checkMessageKey refuses keys that are empty, too long, no UTF-8, or hold
// control characters: live subscribers name messages by their key, and an
// empty key could not be told from none there.
func checkMessageKey(what string, key []byte) error {
	switch {
	case len(key) == 0:
		return refuse(message.ErrInvalid, "%s is empty: leave it out for a message without a key", what)
	case len(key) > maxMessageKeyLen:
		return refuse(message.ErrInvalid, "%s of %d bytes; at most %d", what, len(key), maxMessageKeyLen)
	}
	return checkText(what, key)
}

// checkText refuses text that is no UTF-8 or holds control characters, and
// says where.
func checkText(what string, text []byte) error {
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRune(text[i:])
		if c == utf8.RuneError && n == 1 {
			return refuse(message.ErrInvalid, "%s: byte %d is not UTF-8", what, i)
		}
		if unicode.IsControl(c) {
			return refuse(message.ErrInvalid, "%s: control character %U at byte %d", what, c, i)
		}
		i += n
	}
	return nil
}

package carry

import (
	"bytes"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// messageKey is what a gateway will take for the key of the request's messages,
// as far as the door sees it: the field Postroad-Key, ?key=, or the senderId of
// a classic body that was kept. nil is none. It is a hint: a wrong one costs
// order per key across a change of health, and nothing else.
func messageKey(req *http.Request, body []byte) []byte {
	if key := req.Header["Postroad-Key"]; len(key) > 0 {
		return []byte(key[0])
	}
	if raw := req.URL.RawQuery; raw != "" {
		if key := queryKey(raw); key != "" {
			return []byte(key)
		}
	}
	if len(body) > 0 && strings.EqualFold(req.URL.Path, classicPath) {
		return senderID(body)
	}
	return nil
}

// queryKey finds the first member "key" of a query.
func queryKey(raw string) string {
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		if name != "key" {
			continue
		}
		if key, err := url.QueryUnescape(value); err == nil {
			return key
		}
	}
	return ""
}

// senderID finds the member senderId, in any letter case, of a JSON object.
func senderID(body []byte) []byte {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return nil
		}
		if !strings.EqualFold(name.String(), "senderId") {
			if d.SkipValue() != nil {
				return nil
			}
			continue
		}
		value, err := d.ReadToken()
		if err != nil || value.Kind() != '"' {
			return nil
		}
		return []byte(value.String())
	}
	return nil
}

// maxWait bounds what is read of Prefer: wait.
const maxWait = time.Hour

// preferWait is how long a client lets the gateway wait for the hub. Such a
// request is not late before that time, as far as response_timeout leaves it, or
// each would be sent twice.
func preferWait(fields []string) time.Duration {
	for _, field := range fields {
		for preference := range strings.SplitSeq(field, ",") {
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value, _, _ = strings.Cut(value, ";")
			seconds, err := strconv.ParseUint(strings.Trim(strings.TrimSpace(value), `"`), 10, 31)
			if err != nil {
				return 0
			}
			return min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	return 0
}

package live

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroad/internal/message"
)

// Subject is what can be subscribed to: the messages of one key of a topic
// ("topic/key"), those without a key or with an empty one ("topic/"), all of a
// topic ("topic/*"), or all of one partition ("topic/*@N").
type Subject struct {
	Topic string
	// Key is of the messages wanted; empty for those without one.
	Key string
	// All wants messages of every key, of Partition only where that is not -1.
	All       bool
	Partition int32
}

// byKey reports whether the subject's records stand in one partition because of
// their key.
func (s Subject) byKey() bool { return !s.All && s.Key != "" }

// ErrSubject: a name is no subject.
var ErrSubject = errors.New("no subject")

// ParseSubject reads a subject's name; a leading slash is accepted. In a key "%"
// and two hexadecimal digits stand for a byte, which "/", "%" and whatever is not
// UTF-8 must be written as; a key that is one "*", or begins with "*@", is written
// with %2A. The error matches ErrSubject and says what is wrong.
func ParseSubject(name string) (Subject, error) {
	topic, key, found := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	switch {
	case !found:
		return Subject{}, fmt.Errorf("%w: %q has no slash between topic and key", ErrSubject, name)
	case !message.ValidTopic(topic):
		return Subject{}, fmt.Errorf("%w: topic %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_' and '-'", ErrSubject, topic, message.MaxTopicLen)
	case key == "*":
		return Subject{Topic: topic, All: true, Partition: -1}, nil
	}
	if n, ok := strings.CutPrefix(key, "*@"); ok {
		p, err := strconv.ParseUint(n, 10, 31)
		if err != nil || strconv.FormatUint(p, 10) != n {
			return Subject{}, fmt.Errorf("%w: %q: what follows *@ must be the number of a partition", ErrSubject, name)
		}
		return Subject{Topic: topic, All: true, Partition: int32(p)}, nil
	}
	k, err := unescape(key)
	if err != nil {
		return Subject{}, fmt.Errorf("%w: %q: %w", ErrSubject, name, err)
	}
	return Subject{Topic: topic, Key: k, Partition: -1}, nil
}

func unescape(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("bytes that are not UTF-8 must be written as %XX")
	}
	if strings.Contains(s, "/") {
		return "", errors.New("a slash in a key must be written as %2F")
	}
	var b strings.Builder
	for {
		at := strings.IndexByte(s, '%')
		if at < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:at])
		if len(s) < at+3 {
			return "", errors.New("two hexadecimal digits must follow %")
		}
		n, err := strconv.ParseUint(s[at+1:at+3], 16, 8)
		if err != nil {
			return "", errors.New("two hexadecimal digits must follow %")
		}
		b.WriteByte(byte(n))
		s = s[at+3:]
	}
}

// String is the subject's name in its one canonical form.
func (s Subject) String() string {
	switch {
	case s.All && s.Partition >= 0:
		return s.Topic + "/*@" + strconv.Itoa(int(s.Partition))
	case s.All:
		return s.Topic + "/*"
	}
	return s.Topic + "/" + EscapeKey(s.Key)
}

// EscapeKey is a key as it stands in the name of a subject.
func EscapeKey(key string) string {
	var b strings.Builder
	for i := 0; i < len(key); {
		r, n := utf8.DecodeRuneInString(key[i:])
		switch {
		case r == utf8.RuneError && n == 1, r == '/', r == '%', i == 0 && (key == "*" || strings.HasPrefix(key, "*@")):
			fmt.Fprintf(&b, "%%%02X", key[i])
			n = 1
		default:
			b.WriteString(key[i : i+n])
		}
		i += n
	}
	return b.String()
}

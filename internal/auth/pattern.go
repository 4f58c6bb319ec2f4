package auth

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"postroad/internal/message"
)

// Pattern says which subjects are meant: "topic/key", in which "*" stands for
// any run of characters within the topic or within the key, none included.
//
// Keys are compared by their bytes, not by how they are written: "%" and two
// hexadecimal digits stand for a byte, in a pattern as in the name of a subject,
// and a "*" that is meant as such is written %2A.
type Pattern struct {
	text       string
	topic, key glob
}

const (
	// maxPattern is the longest pattern, in bytes.
	maxPattern = 4096
	// maxStars is how often "*" may stand in each part of a pattern: matching
	// takes a search of the subject for each.
	maxStars = 8
)

// ErrPattern: a text is no pattern.
var ErrPattern = errors.New("no pattern")

// ParsePattern reads a pattern. The error matches ErrPattern and says what is
// wrong.
func ParsePattern(text string) (Pattern, error) {
	if len(text) > maxPattern {
		return Pattern{}, fmt.Errorf("%w: %d bytes; at most %d", ErrPattern, len(text), maxPattern)
	}
	topic, key, found := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	switch {
	case !found:
		return Pattern{}, fmt.Errorf("%w: %q has no slash between topic and key; all keys of a topic are topic/*", ErrPattern, text)
	case topic == "" || len(topic) > message.MaxTopicLen || !message.ValidTopic(strings.ReplaceAll(topic, "*", "x")):
		return Pattern{}, fmt.Errorf("%w: topic %q: must be 1 to %d of A-Z, a-z, 0-9, '.', '_', '-' and '*'", ErrPattern, topic, message.MaxTopicLen)
	case strings.Contains(key, "/"):
		return Pattern{}, fmt.Errorf("%w: %q: a slash in a key must be written as %%2F", ErrPattern, text)
	case !utf8.ValidString(key):
		return Pattern{}, fmt.Errorf("%w: %q: bytes that are not UTF-8 must be written as %%XX", ErrPattern, text)
	case strings.HasPrefix(key, "*@"):
		// Whoever writes topic/*@3 means a partition, and a pattern of keys that
		// end in "@3" would be no protection of it.
		return Pattern{}, fmt.Errorf("%w: %q: partitions have no permissions of their own; keys that end so are *%%40…", ErrPattern, text)
	case strings.Count(topic, "*") > maxStars || strings.Count(key, "*") > maxStars:
		return Pattern{}, fmt.Errorf("%w: %q has more than %d stars in a part", ErrPattern, text, maxStars)
	}
	p := Pattern{text: text, topic: strings.Split(topic, "*")}
	for piece := range strings.SplitSeq(key, "*") {
		plain, ok := unescape(piece)
		if !ok {
			return Pattern{}, fmt.Errorf("%w: %q: two hexadecimal digits must follow %%", ErrPattern, text)
		}
		p.key = append(p.key, plain)
	}
	return p, nil
}

// String is the pattern as it was written.
func (p Pattern) String() string { return p.text }

// MatchKey reports whether the messages of a key are meant; those without a key
// have the empty one.
func (p Pattern) MatchKey(topic, key string) bool { return p.topic.match(topic) && p.key.match(key) }

// target is what a permission is asked for: a key of a topic, or all of them.
type target struct {
	topic, key string
	all        bool
}

// match reports whether all that is asked for is meant. A subscription to all
// keys of a topic, or to those of one partition, which are any, needs a pattern
// whose key is "*": the pattern topic/a* must not open it although "*" begins
// the way many keys do.
func (p Pattern) match(t target) bool {
	if t.all {
		return p.topic.match(t.topic) && p.key.any()
	}
	return p.MatchKey(t.topic, t.key)
}

// parseTarget reads the canonical name of a subject.
func parseTarget(subject string) (target, bool) {
	topic, key, found := strings.Cut(subject, "/")
	if !found || !message.ValidTopic(topic) || strings.Contains(key, "/") {
		return target{}, false
	}
	if key == "*" || strings.HasPrefix(key, "*@") {
		return target{topic: topic, all: true}, true
	}
	key, ok := unescape(key)
	return target{topic: topic, key: key}, ok
}

// unescape gives %XX the byte it stands for.
func unescape(s string) (string, bool) {
	if !strings.Contains(s, "%") {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if len(s) < i+3 {
			return "", false
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		b = append(b, byte(n))
		i += 2
	}
	return string(b), true
}

// glob is a text with stars: the pieces between them, so that one piece is a
// text without any.
type glob []string

// parseGlob reads a text in which every "*" is a star.
func parseGlob(text string) glob { return strings.Split(text, "*") }

// any reports whether every text matches.
func (g glob) any() bool {
	for _, piece := range g {
		if piece != "" {
			return false
		}
	}
	return len(g) > 1
}

// match finds the pieces one after the other, each as early as it can stand:
// what is left for those behind it is then the most there can be.
func (g glob) match(s string) bool {
	if len(g) == 0 {
		return false
	}
	if len(g) == 1 {
		return s == g[0]
	}
	first, last := g[0], g[len(g)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range g[1 : len(g)-1] {
		at := strings.Index(s, piece)
		if at < 0 {
			return false
		}
		s = s[at+len(piece):]
	}
	return true
}

package auth

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Principal is who a caller is and what it may do. It is not changed once made,
// and may be shared.
type Principal struct {
	// Name is that of the caller: the same on all stamps and nodes, since it is
	// part of every dedupe id.
	Name string
	// Expires is when what the caller was let in by is good no longer, with the
	// leeway for clocks that differ; zero is never.
	Expires time.Time
	// Read and Publish are what it may do: what the policies grant, and of that
	// only what its token does not take away.
	Read, Publish Patterns
	// Channels are subjects that the token asks to be subscribed to at once. Those
	// that may not be read were left out.
	Channels []string
	// Anonymous callers have brought no token.
	Anonymous bool
}

// MayRead reports whether p may subscribe to a subject, given by its canonical
// name.
func (p *Principal) MayRead(subject string) bool { return p.Read.Match(subject) }

// MayPublish reports whether p may publish to a subject, given by its canonical
// name.
func (p *Principal) MayPublish(subject string) bool { return p.Publish.Match(subject) }

// Patterns are what may be done: subjects that every one of several lists holds
// a pattern of. The zero value holds nothing.
type Patterns struct {
	// granted are lists of which one must match, narrowed one that must match,
	// too, where it is not nil. Both are shared and not changed.
	granted  []*list
	narrowed *list
}

// list is patterns that come from one place.
type list struct {
	// from says where they were written, for people.
	from     string
	patterns []Pattern
}

func (l *list) find(t target) (Pattern, bool) {
	for _, p := range l.patterns {
		if p.match(t) {
			return p, true
		}
	}
	return Pattern{}, false
}

// Match reports whether a subject, given by its canonical name, is among them:
// all of it where it is one of several keys. What is no canonical name is not.
func (p Patterns) Match(subject string) bool {
	t, ok := parseTarget(subject)
	return ok && p.match(t)
}

// MatchKey reports whether the messages of a key are among them, the key as the
// message has it; empty for none.
func (p Patterns) MatchKey(topic, key string) bool { return p.match(target{topic: topic, key: key}) }

func (p Patterns) match(t target) bool {
	if p.narrowed != nil {
		if _, ok := p.narrowed.find(t); !ok {
			return false
		}
	}
	for _, l := range p.granted {
		if _, ok := l.find(t); ok {
			return true
		}
	}
	return false
}

// Explain says why a subject is or is not among them, in one line for people.
func (p Patterns) Explain(subject string) string {
	t, ok := parseTarget(subject)
	if !ok {
		return fmt.Sprintf("%q is not the name of a subject", subject)
	}
	why := ""
	for _, l := range p.granted {
		if pattern, ok := l.find(t); ok {
			why = fmt.Sprintf("%s grants %s", l.from, pattern)
			break
		}
	}
	switch {
	case why == "" && len(p.granted) == 0:
		return "nothing is granted"
	case why == "" && t.all:
		return fmt.Sprintf("%s no pattern of all keys, such as %s/*", p.sources(), t.topic)
	case why == "":
		return p.sources() + " no pattern of it"
	case p.narrowed == nil:
		return why
	}
	pattern, ok := p.narrowed.find(t)
	if !ok {
		return fmt.Sprintf("%s, but %s has no pattern of it", why, p.narrowed.from)
	}
	return fmt.Sprintf("%s, and %s has %s", why, p.narrowed.from, pattern)
}

func (p Patterns) sources() string {
	names := make([]string, len(p.granted))
	for i, l := range p.granted {
		names[i] = l.from
	}
	if len(names) == 1 {
		return names[0] + " grants"
	}
	return strings.Join(names, " and ") + " grant"
}

// Policy is what callers of a name may do.
type Policy struct {
	// Principal is a name, in which * stands for any run of characters.
	Principal string
	// Read and Publish are patterns of subjects.
	Read, Publish []Pattern
}

// policyForm is how a policy is written.
const policyForm = `must be "PRINCIPAL read TOPIC/KEY … publish TOPIC/KEY …" with at least one pattern`

// UnmarshalText reads "PRINCIPAL read PATTERN … publish PATTERN …". White space
// in any of them is written %20.
func (p *Policy) UnmarshalText(text []byte) error {
	words := strings.Fields(string(text))
	if len(words) < 3 || strings.Contains(words[0], "/") {
		return errors.New(policyForm)
	}
	name, err := url.PathUnescape(words[0])
	if err != nil {
		return errors.New("principal: two hexadecimal digits must follow %")
	}
	read := Policy{Principal: name}
	var to *[]Pattern
	for _, word := range words[1:] {
		switch {
		case word == "read":
			to = &read.Read
		case word == "publish":
			to = &read.Publish
		case to == nil:
			return errors.New(policyForm)
		default:
			pattern, err := ParsePattern(word)
			if err != nil {
				return err
			}
			*to = append(*to, pattern)
		}
	}
	if len(read.Read)+len(read.Publish) == 0 {
		return errors.New(policyForm)
	}
	*p = read
	return nil
}

// MarshalText writes a policy as UnmarshalText reads it.
func (p Policy) MarshalText() ([]byte, error) {
	var b strings.Builder
	b.WriteString(strings.NewReplacer("%", "%25", " ", "%20", "\t", "%09", "\n", "%0A", "\r", "%0D").Replace(p.Principal))
	for _, part := range []struct {
		name     string
		patterns []Pattern
	}{{" read", p.Read}, {" publish", p.Publish}} {
		if len(part.patterns) > 0 {
			b.WriteString(part.name)
		}
		for _, pattern := range part.patterns {
			b.WriteString(" " + pattern.text)
		}
	}
	return []byte(b.String()), nil
}

// UnmarshalText and MarshalText make a pattern a setting.
func (p *Pattern) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePattern(string(text))
	return err
}

// MarshalText writes a pattern as it was read.
func (p Pattern) MarshalText() ([]byte, error) { return []byte(p.text), nil }

package kafka

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"postroad/internal/message"
)

// hubsOwn begins the names of topics that a hub keeps for itself. No gateway
// takes messages for them, so a list cannot allow them.
const hubsOwn = "__"

// maxName is the longest hub.name, in bytes.
const maxName = 64

// validName reports whether s may be a hub's name: empty, or as a topic's.
func validName(s string) bool { return s == "" || len(s) <= maxName && message.ValidTopic(s) }

// Identity names the hub in saved progress: what is known of one hub says
// nothing about another. It is empty for a hub that was given no name.
func (o Options) Identity() string {
	if o.Name == "" && o.Generation == 0 {
		return ""
	}
	return o.Name + "#" + strconv.Itoa(o.Generation)
}

// Identity is that of the settings.
func (s *Sink) Identity() string { return s.opts.Identity() }

// problems returns what is wrong with the list, each with its path below hub.
func (o TopicsOptions) problems() (errs []error) {
	for i, p := range o.Allow {
		if rule := patternRule(p); rule != "" {
			errs = append(errs, fmt.Errorf("topics.allow[%d]: %q: %s", i, p, rule))
		}
	}
	return errs
}

// patternRule returns the rule that an entry breaks, or "".
func patternRule(p string) string {
	const signs = `*?[]^\`
	// What is left without the signs of patterns must be able to stand in a
	// topic's name, or the entry matches nothing and was meant otherwise.
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune(signs, r) {
			return -1
		}
		return r
	}, p)
	_, err := path.Match(p, "")
	switch {
	case p == "":
		return "must not be empty"
	case err != nil || plain != "" && !message.ValidTopic(plain) && plain != "." && plain != "..":
		return "must be a topic's name or a pattern of one, of A-Z, a-z, 0-9, '.', '_', '-', and * ? [a-z]"
	case strings.HasPrefix(p, hubsOwn):
		return "names that begin with __ are the hub's own, no gateway takes messages for them"
	}
	return ""
}

// Allows reports whether messages of a topic may go to the hub.
func (o TopicsOptions) Allows(topic string) bool {
	if len(o.Allow) == 0 {
		return true
	}
	if strings.HasPrefix(topic, hubsOwn) {
		return false
	}
	for _, p := range o.Allow {
		if ok, err := path.Match(p, topic); ok && err == nil {
			return true
		}
	}
	return false
}

var errNotAllowed = errors.New("hub.topics.allow does not list the topic; whoever runs this stamp may add it there")

package config

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// minimal is the least that a stamp must be told.
const minimal = "stamp: {name: onprem}\nqueue: {dir: /var/lib/postroad}\n"

// load reads settings from a file and what is set beside it, and returns the
// problems, one a line.
func load(t *testing.T, into any, text string, set []string) (*Loaded, []string) {
	t.Helper()
	l, err := Load(into, LoadOptions{File: writeConfig(t, text), Set: set})
	var lines []string
	var ce *Error
	if errors.As(err, &ce) {
		for _, p := range ce.Problems {
			lines = append(lines, p.String())
		}
	} else if err != nil {
		t.Fatal(err)
	}
	return l, lines
}

func loadStamp(t *testing.T, text string, set ...string) (Stamp, *Loaded, []string) {
	t.Helper()
	s := DefaultStamp()
	l, problems := load(t, &s, text, set)
	return s, l, problems
}

func TestStampNeedsNameAndDirectory(t *testing.T) {
	s, l, problems := loadStamp(t, minimal)
	if problems != nil {
		t.Fatal(problems)
	}
	if s.Stamp.Name != "onprem" || s.HTTP.Listen != ":8081" || s.Admin.Listen != "127.0.0.1:9600" {
		t.Errorf("loaded %+v", s)
	}
	_, _, problems = loadStamp(t, "")
	if len(problems) != 2 || !strings.HasPrefix(problems[0], `stamp.name: "": must`) || !strings.HasPrefix(problems[1], `queue.dir: "": must`) {
		t.Errorf("of an empty file: %q", problems)
	}
	var first, second bytes.Buffer
	if err := l.Print(&first); err != nil {
		t.Fatal(err)
	}
	again, l, problems := loadStamp(t, first.String())
	if problems != nil {
		t.Fatalf("what was printed has problems: %q", problems)
	}
	if again.Hub.Window != s.Hub.Window || !slices.Equal(again.Hub.Brokers, s.Hub.Brokers) || again.Gateway.Classic != s.Gateway.Classic {
		t.Errorf("read back %+v, want %+v", again, s)
	}
	if err := l.Print(&second); err != nil {
		t.Fatal(err)
	}
	if values(first.String()) != values(second.String()) {
		t.Errorf("printed again\n%s\nfirst\n%s", second.String(), first.String())
	}
}

// values is a printed configuration without its comments.
func values(printed string) string {
	var b strings.Builder
	for line := range strings.Lines(printed) {
		value, _, _ := strings.Cut(line, "  # ")
		b.WriteString(strings.TrimRight(value, " \n") + "\n")
	}
	return b.String()
}

// What the settings themselves send to is allowed, or said.
func TestStampTopicsAreAllowed(t *testing.T) {
	_, _, problems := loadStamp(t, minimal+"hub: {topics: {allow: [\"cars.*\"]}}\n", "forward.dead_letter_topic=dead")
	want := []string{
		`gateway.classic.topic: messages: must be allowed by hub.topics.allow (default)`,
		`forward.dead_letter_topic: dead: must be allowed by hub.topics.allow (--set)`,
	}
	slices.Sort(problems)
	slices.Sort(want)
	if !slices.Equal(problems, want) {
		t.Errorf("got %q, want %q", problems, want)
	}
	if _, _, problems := loadStamp(t, minimal+"hub: {topics: {allow: [\"cars.*\", messages]}}\n", "forward.dead_letter_topic=cars.dead"); problems != nil {
		t.Errorf("allowed: %q", problems)
	}
}

// An accepted message always fits in what the hub is sent.
func TestStampMessageFitsInBatch(t *testing.T) {
	_, _, problems := loadStamp(t, minimal, "hub.batch_max_bytes=900000")
	want := "gateway.message.max_bytes: 900000: must be at most 895904, which is hub.batch_max_bytes less 4096 for what is added to a message (default)"
	if len(problems) != 1 || problems[0] != want {
		t.Errorf("got %q, want %q", problems, want)
	}
	if _, _, problems := loadStamp(t, minimal, "hub.batch_max_bytes=904096"); problems != nil {
		t.Errorf("at the limit: %q", problems)
	}
}

func TestStampNames(t *testing.T) {
	for name, good := range map[string]bool{
		"onprem": true, "cloud-green": true, "a": true, "7": true,
		"": false, "-a": false, "a-": false, "Upper": false, "a b": false, strings.Repeat("a", 64): false,
	} {
		if err := (Identity{Name: name}).Validate(); (err == nil) != good {
			t.Errorf("name %q: %v", name, err)
		}
	}
	err := Identity{Name: "a", Region: strings.Repeat("r", 200), Zone: strings.Repeat("z", 200)}.Validate()
	if err == nil || len(strings.Split(err.Error(), "\n")) != 2 {
		t.Errorf("long region and zone: %v", err)
	}
}

func TestNoSettingIsNamedLikeAServiceLink(t *testing.T) {
	for _, r := range Roots() {
		tr, err := newTree(r.Settings)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range tr.leaves {
			if serviceLink.MatchString(f.env) {
				t.Errorf("%s: a cluster may set %s for a Service", f.path, f.env)
			}
		}
	}
}

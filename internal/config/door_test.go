package config

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// minimalDoor is the least that a front door must be told.
const minimalDoor = "door: {origins: [{name: onprem, url: http://127.0.0.1:8081}, {name: cloud, url: https://cloud.example, priority: 2}]}\n"

func loadDoor(t *testing.T, text string, set ...string) (Door, *Loaded, []string) {
	t.Helper()
	d := DefaultDoor()
	l, problems := load(t, &d, text, set)
	return d, l, problems
}

func TestDoorNeedsOrigins(t *testing.T) {
	d, l, problems := loadDoor(t, minimalDoor)
	if problems != nil {
		t.Fatal(problems)
	}
	if d.HTTP.Listen != ":8080" || len(d.Door.Origins) != 2 || d.Door.Origins[1].Priority != 2 {
		t.Errorf("loaded %+v", d)
	}
	var first, second bytes.Buffer
	if err := l.Print(&first); err != nil {
		t.Fatal(err)
	}
	_, l, problems = loadDoor(t, first.String())
	if problems != nil {
		t.Fatalf("what was printed has problems: %q\n%s", problems, first.String())
	}
	if err := l.Print(&second); err != nil {
		t.Fatal(err)
	}
	if values(first.String()) != values(second.String()) {
		t.Errorf("printed again\n%s\nfirst\n%s", second.String(), first.String())
	}
	if _, _, problems := loadDoor(t, ""); len(problems) != 1 {
		t.Errorf("of an empty file: %q", problems)
	}
}

// Every section's problems are reported with its path.
func TestDoorProblems(t *testing.T) {
	_, _, problems := loadDoor(t, "door: {origins: [{name: a b, url: 'ftp://x'}]}\nhttp: {tls: {client_auth: maybe, certificates: [{cert_file: c}]}}\n",
		"http.listen=8080", "http.clients.body_timeout=1ms", "admin.listen=x")
	for _, want := range []string{
		`door.origins[0].name: `, `door.origins[0].url: `, `http.listen: "8080": `, `http.clients.body_timeout: 1ms: `,
		`http.tls.client_auth: "maybe": `, `http.tls.certificates[0]: `, `admin.listen: "x": `,
	} {
		if !slices.ContainsFunc(problems, func(p string) bool { return strings.HasPrefix(p, want) }) {
			t.Errorf("no problem %q in %q", want, problems)
		}
	}
}

// Every example of settings in the documentation is good.
func TestDocumentedSettingsOfTheDoor(t *testing.T) {
	b, err := os.ReadFile("../../docs/door.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for _, part := range strings.Split(string(b), "```yaml\n")[1:] {
		text, _, closed := strings.Cut(part, "\n```")
		if !closed {
			t.Fatal("an example has no end")
		}
		if !strings.Contains(text, "door:") {
			continue
		}
		examples++
		// An excerpt names no origins, which a whole file must.
		whole := strings.Contains(text, "origins:")
		if _, _, problems := loadDoor(t, text); whole && problems != nil || !whole && len(problems) != 1 {
			t.Errorf("%q in\n%s", problems, text)
		}
	}
	if examples < 4 {
		t.Errorf("%d examples were found", examples)
	}
}

// More WebSockets than connections are warned about where somebody asked for them.
func TestDoorWarnsOfStreams(t *testing.T) {
	for set, want := range map[string]bool{"door.limits.streams=60000": true, "door.limits.streams=50000": false, "http.clients.connections=1000": false} {
		d, _, problems := loadDoor(t, minimalDoor, set)
		if problems != nil {
			t.Fatal(problems)
		}
		if got := strings.Contains(strings.Join(d.Warnings(), "\n"), "door.limits.streams: "); got != want {
			t.Errorf("%s: warned %v: %q", set, got, d.Warnings())
		}
	}
}

package sdk

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"postroad/test/tree"
)

var update = flag.Bool("update", false, "cut the page's code from the clients anew")

const page = "docs/stream-clients.md"

// piece is a piece of code in the page, after a comment that names its file and
// which part of it this is.
var piece = regexp.MustCompile("(?m)^<!-- (\\S+): (\\S+) -->\n```(\\w+)\n((?s:.*?))^```$")

// TestPageIsCutFromTheClients: each piece of code of the page is in a client
// that the tests run. Commands for a shell are no such code.
func TestPageIsCutFromTheClients(t *testing.T) {
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, filepath.FromSlash(page))
	text := string(read(t, file))
	cut, problems := recut(text, func(name string) (string, error) {
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return string(source), err
	})
	for _, problem := range problems {
		t.Error(problem)
	}
	switch {
	case cut == text:
	case *update && !t.Failed():
		if err := os.WriteFile(file, []byte(cut), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the clients say now: go test ./test/sdk -run Page -update", page)
	}
	if n, all := len(piece.FindAllString(cut, -1)), strings.Count(cut, "\n```\n"); n < 12 || all != n+1 {
		t.Errorf("%d pieces of code, %d of them from clients", all, n)
	}
}

// recut returns the page with each piece of code as its file has it.
func recut(text string, source func(name string) (string, error)) (_ string, problems []string) {
	cut := piece.ReplaceAllStringFunc(text, func(whole string) string {
		m := piece.FindStringSubmatch(whole)
		code, err := source(m[1])
		if err == nil {
			code, err = part(code, m[2])
		}
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", m[1], err))
			return whole
		}
		return fmt.Sprintf("<!-- %s: %s -->\n```%s\n%s```", m[1], m[2], m[3], code)
	})
	return cut, problems
}

var marker = regexp.MustCompile(`^[ \t]*(?://|#|<!--) (?:begin: (\S+)|end)(?: -->)?$`)

// part returns the lines between "begin: name" and the next "end", moved to the
// left as far as all of them can be.
func part(source, name string) (string, error) {
	var lines []string
	inside := false
	for _, line := range strings.Split(source, "\n") {
		m := marker.FindStringSubmatch(line)
		switch {
		case m != nil && inside:
			return strings.Join(toTheLeft(lines), "\n") + "\n", nil
		case m != nil:
			inside = m[1] == name
		case inside:
			lines = append(lines, line)
		}
	}
	return "", fmt.Errorf("nothing between begin: %s and end", name)
}

func toTheLeft(lines []string) []string {
	least := -1
	for _, l := range lines {
		if trimmed := strings.TrimLeft(l, " \t"); trimmed != "" && (least < 0 || len(l)-len(trimmed) < least) {
			least = len(l) - len(trimmed)
		}
	}
	moved := make([]string, len(lines))
	for i, l := range lines {
		moved[i] = l[min(max(0, least), len(l)):]
	}
	return moved
}

// A page that drifts, and one whose code is from nowhere, are noticed.
func TestRecut(t *testing.T) {
	source := func(name string) (string, error) {
		if name != "a.py" {
			return "", os.ErrNotExist
		}
		return "x = 0\n    # begin: one\n    y = 1\n\n        z = 2\n    # end\n", nil
	}
	good := "text\n<!-- a.py: one -->\n```python\ny = 1\n\n    z = 2\n```\nmore\n"
	for _, text := range []string{good, strings.Replace(good, "y = 1", "y = 7", 1), strings.Replace(good, "y = 1\n\n    z = 2\n", "", 1)} {
		if cut, problems := recut(text, source); cut != good || len(problems) > 0 {
			t.Errorf("%q: %q, %q", text, cut, problems)
		}
	}
	for _, bad := range []string{strings.Replace(good, "a.py", "b.py", 1), strings.Replace(good, "one", "two", 1)} {
		if _, problems := recut(bad, source); len(problems) != 1 {
			t.Errorf("%q: %q", bad, problems)
		}
	}
}

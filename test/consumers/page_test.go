package consumers

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

var update = flag.Bool("update", false, "cut the page's code from the recipes anew")

const page = "docs/consumers.md"

// block is a piece of code in the page, with the comment before it that says
// where it is from.
var block = regexp.MustCompile("(?m)^(<!-- (\\S+)(?:: (\\S+))? -->\n)?```(\\w*)\n((?s:.*?))^```$")

// TestPageIsCutFromTheRecipes: each piece of code of the page is in a file that
// the tests run.
func TestPageIsCutFromTheRecipes(t *testing.T) {
	root, err := tree.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, filepath.FromSlash(page))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) (string, error) {
		source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		return string(source), err
	}
	cut, problems := recut(string(text), read)
	for _, problem := range problems {
		t.Error(problem)
	}
	switch {
	case cut == string(text):
	case *update && !t.Failed():
		if err := os.WriteFile(file, []byte(cut), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the recipes say now: go test ./test/consumers -run Page -update", page)
	}
	if n := len(block.FindAllString(cut, -1)); n < 10 {
		t.Errorf("only %d pieces of code: the test would prove nothing", n)
	}
}

// recut returns the page with each piece of code as its file has it.
func recut(text string, read func(name string) (string, error)) (_ string, problems []string) {
	cut := block.ReplaceAllStringFunc(text, func(whole string) string {
		m := block.FindStringSubmatch(whole)
		name, part, language := m[2], m[3], m[4]
		if name == "" {
			problems = append(problems, "code that is from no file: "+strings.SplitN(m[5], "\n", 2)[0])
			return whole
		}
		source, err := read(name)
		if err != nil {
			problems = append(problems, err.Error())
			return whole
		}
		piece, err := pieceOf(source, part)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
			return whole
		}
		return m[1] + "```" + language + "\n" + piece + "```"
	})
	return cut, problems
}

var marker = regexp.MustCompile(`^\s*(?://|#|<!--) (?:begin: (\S+)|end)(?: -->)?$`)

// pieceOf returns what stands between "begin: name" and the next "end",
// without the indentation that all of it has; all of the source for no name.
func pieceOf(source, name string) (string, error) {
	if name == "" {
		return source, nil
	}
	var piece []string
	inside, indent := false, -1
	for line := range strings.Lines(source) {
		m := marker.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		switch {
		case m != nil && inside:
			for i, l := range piece {
				piece[i] = l[min(indent, len(l)-1):]
			}
			return strings.Join(piece, ""), nil
		case m != nil:
			inside = m[1] == name
		case inside:
			if content := strings.TrimLeft(line, " \t"); content != "\n" && (indent < 0 || len(line)-len(content) < indent) {
				indent = len(line) - len(content)
			}
			piece = append(piece, line)
		}
	}
	return "", fmt.Errorf("nothing between begin: %s and end", name)
}

// A page that drifts is noticed.
func TestRecutFindsDrift(t *testing.T) {
	read := func(name string) (string, error) {
		if name != "a.py" {
			return "", os.ErrNotExist
		}
		return "x = 0\n    # begin: one\n    y = 1\n\n        z = 2\n    # end\n", nil
	}
	good := "text\n<!-- a.py: one -->\n```python\ny = 1\n\n    z = 2\n```\nmore\n"
	if cut, problems := recut(good, read); cut != good || len(problems) > 0 {
		t.Errorf("%q, %q", cut, problems)
	}
	drifted := strings.Replace(good, "y = 1", "y = 7", 1)
	if cut, problems := recut(drifted, read); cut != good || len(problems) > 0 {
		t.Errorf("%q, %q", cut, problems)
	}
	for _, bad := range []string{
		"```python\ny = 1\n```\n",
		"<!-- b.py: one -->\n```python\ny = 1\n```\n",
		"<!-- a.py: two -->\n```python\ny = 1\n```\n",
	} {
		if _, problems := recut(bad, read); len(problems) != 1 {
			t.Errorf("%q: %q", bad, problems)
		}
	}
}

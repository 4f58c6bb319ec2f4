package config

import (
	"fmt"
	"strings"
)

// Origin says where the value of a setting came from: a line of a file, a
// variable, a flag. The zero value is the default.
type Origin struct {
	// Name is the file, the variable or the flag.
	Name string
	// Line is the line of the file, from 1; 0 elsewhere.
	Line int
}

// String is "postroad.yaml:12", "POSTROAD_LOG_LEVEL", "--set" or "default".
func (o Origin) String() string {
	switch {
	case o.Name == "":
		return "default"
	case o.Line > 0:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	}
	return o.Name
}

// Problem is one thing that is wrong with the settings.
type Problem struct {
	// Path is the setting's, or empty where the input names none.
	Path string
	// Value is what was given, as it was written; secrets never stand here.
	Value string
	// Rule says what the value breaks.
	Rule string
	// Origin is where the value came from.
	Origin Origin
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	for _, part := range []string{p.Path, p.Value} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	return b.String() + p.Rule + " (" + p.Origin.String() + ")"
}

// Error is every problem that the settings have.
type Error struct {
	Problems []Problem
}

// Error lists the problems, one a line.
func (e *Error) Error() string {
	if len(e.Problems) == 1 {
		return "configuration: " + e.Problems[0].String()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "configuration has %d problems:", len(e.Problems))
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// quote writes a value for a person: numbers and durations bare, what may hold
// spaces or nothing in quotes, what is long cut short.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	for _, c := range s {
		if c <= ' ' || c == ':' || c == '"' || c >= 0x7f && c < 0xa0 {
			return fmt.Sprintf("%q", s)
		}
	}
	if s == "" {
		return `""`
	}
	return s
}

// nearest returns the name that a mistyped one most likely means, or "".
func nearest(name string, names []string) string {
	best, bestDistance := "", max(1, len(name)/4)
	for _, n := range names {
		if d := distance(name, n); d <= bestDistance && (best == "" || d < bestDistance) {
			best, bestDistance = n, d
		}
	}
	return best
}

// distance is Levenshtein's: the fewest insertions, deletions and
// replacements of bytes that turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

package drill

import (
	"fmt"
	"strings"
)

// Verdict is what a comparison found. Counts are of messages.
type Verdict struct {
	// Sent is how many were sent, each counted once however often it was
	// repeated; Acknowledged, Refused and Unknown say how they were answered.
	Sent, Acknowledged, Refused, Unknown int
	// Seen is how many records the reader saw, UnknownSeen how many of them
	// are messages whose outcome was unknown: seen or not, both are right.
	Seen, UnknownSeen int
	// Hidden is how many records below the last one seen the reader was not
	// shown: in a topic that nothing was removed from, its duplicates. Where
	// there are none, nothing has tried whether the reader drops them.
	Hidden int

	// Lost were acknowledged and not seen.
	Lost Findings
	// Twice were seen more often than they were sent.
	Twice Findings
	// Invented were seen and never sent.
	Invented Findings
	// Refuted were refused as surely not stored, and seen.
	Refuted Findings
	// Disordered were seen behind one that was sent later.
	Disordered Findings
	// Torn are requests of several messages of which only some were seen.
	Torn Findings
}

// Findings are violations of one kind.
type Findings struct {
	Count int
	// Examples describe the first of them.
	Examples []string
}

// maxExamples is how many violations of a kind are described.
const maxExamples = 5

func (f *Findings) add(format string, args ...any) {
	f.Count++
	if len(f.Examples) < maxExamples {
		f.Examples = append(f.Examples, fmt.Sprintf(format, args...))
	}
}

// kinds lists the violations with their names.
func (v *Verdict) kinds() []struct {
	name  string
	found *Findings
} {
	return []struct {
		name  string
		found *Findings
	}{
		{"acknowledged and lost", &v.Lost},
		{"seen twice", &v.Twice},
		{"seen, never sent", &v.Invented},
		{"seen, though refused", &v.Refuted},
		{"out of order", &v.Disordered},
		{"requests seen in part", &v.Torn},
	}
}

// OK reports whether all is well, which needs at least one acknowledged
// message: a drill in which nothing was accepted proves nothing.
func (v Verdict) OK() bool {
	for _, k := range v.kinds() {
		if k.found.Count > 0 {
			return false
		}
	}
	return v.Acknowledged > 0
}

// String is the verdict for a person, some lines of text.
func (v Verdict) String() string {
	var b strings.Builder
	headline := "nothing lost, nothing doubled"
	switch {
	case v.OK():
	case v.Acknowledged == 0:
		headline = "PROVES NOTHING: no message was acknowledged"
	default:
		headline = "BROKEN"
	}
	fmt.Fprintln(&b, headline)
	row := func(n int, what string) { fmt.Fprintf(&b, "  %9d  %s\n", n, what) }
	row(v.Sent, "messages sent")
	row(v.Acknowledged, "acknowledged")
	row(v.Refused, "refused, surely not stored")
	row(v.Unknown, fmt.Sprintf("of unknown outcome, %d of them seen", v.UnknownSeen))
	row(v.Seen, "seen by the reader")
	row(v.Hidden, "more in the topic, which it did not show: duplicates")
	for _, k := range v.kinds() {
		row(k.found.Count, k.name)
		for _, example := range k.found.Examples {
			fmt.Fprintf(&b, "             %s\n", example)
		}
		if more := k.found.Count - len(k.found.Examples); more > 0 {
			fmt.Fprintf(&b, "             and %d more\n", more)
		}
	}
	return b.String()
}

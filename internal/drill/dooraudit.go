package drill

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// DoorAudit is what came of the requests that went through a proxy, by the
// ledger of what was sent and the records of those who executed it. Counts are of
// POSTs. What a client was told is held against what was done; nothing is taken
// from what it thought.
type DoorAudit struct {
	// Posts is how many were sent; Acknowledged, Refused and Unknown say what
	// their clients were told.
	Posts, Acknowledged, Refused, Unknown int
	// Executions is how many an origin executed, copies included.
	Executions int
	// Lost were acknowledged, and nobody has executed them.
	Lost Findings
	// FailedExecuted were executed, and the client was told something else than
	// that, or nothing.
	FailedExecuted Findings
	// Refuted are those of them whose client was told that they surely are not.
	Refuted Findings
	// ExecutedTwice are executions beyond the first of a request.
	ExecutedTwice Findings
	// SeenTwice are executions beyond the first that a reader is shown: it takes
	// two for one only where both came with the same idempotency key.
	SeenTwice Findings
	// Foreign are executions of what nobody sent.
	Foreign Findings
}

// audit weighs the records of all backends against the ledger. Nothing may be
// entered in the ledger meanwhile.
func audit(l *Ledger, executed []execution) DoorAudit {
	var a DoorAudit
	byPrint := make(map[Print][]execution, len(executed))
	executed = slices.SortedFunc(slices.Values(executed), func(a, b execution) int { return cmp.Compare(a.at.UnixNano(), b.at.UnixNano()) })
	for _, e := range executed {
		byPrint[e.print] = append(byPrint[e.print], e)
		if len(l.byPrint[e.print]) == 0 {
			a.Foreign.add("nobody sent %s", e.print)
		}
	}
	a.Executions = len(executed)
	for i := range l.sends {
		s := &l.sends[i]
		for _, p := range s.prints {
			a.weigh(s, byPrint[p])
		}
	}
	return a
}

// weigh looks at the executions of one request.
func (a *DoorAudit) weigh(s *sent, done []execution) {
	a.Posts++
	told := "unknown"
	switch {
	case s.acknowledged:
		told = "acknowledged"
		a.Acknowledged++
	case s.open == 0:
		told = "refused"
		a.Refused++
	default:
		a.Unknown++
	}
	if len(done) == 0 {
		if s.acknowledged {
			a.Lost.add("%s: acknowledged, and executed nowhere", s)
		}
		return
	}
	if !s.acknowledged {
		a.FailedExecuted.add("%s: executed, its client told %s", s, told)
		if s.open == 0 {
			a.Refuted.add("%s: executed, and its client told that it surely is not", s)
		}
	}
	shown := map[string]bool{}
	for i, e := range done {
		if i > 0 {
			a.ExecutedTwice.add("%s: again after %v, attempt %q, keys %q and %q", s, e.at.Sub(done[0].at).Round(time.Millisecond), e.attempt, done[0].key, e.key)
		}
		// Without a key every copy is a message of its own to a reader.
		if i > 0 && (e.key == "" || !shown[e.key]) {
			a.SeenTwice.add("%s: again after %v under another key", s, e.at.Sub(done[0].at).Round(time.Millisecond))
		}
		shown[e.key] = true
	}
}

// fromHub is the audit of requests that went to gateways, by what a reader of the
// hub saw: copies in the topic that it was not shown were executed, too.
func fromHub(v Verdict) DoorAudit {
	return DoorAudit{
		Posts: v.Sent, Acknowledged: v.Acknowledged, Refused: v.Refused, Unknown: v.Unknown,
		Executions:     v.Seen + v.Hidden,
		Lost:           v.Lost,
		FailedExecuted: Findings{Count: v.UnknownSeen + v.Refuted.Count},
		Refuted:        v.Refuted,
		ExecutedTwice:  Findings{Count: v.Hidden + v.Twice.Count},
		SeenTwice:      v.Twice,
		Foreign:        v.Invented,
	}
}

// sound reports whether the audit is one: it is done again with one execution
// taken away, one doubled under its own key and one under another, and must find
// just these.
func sound(l *Ledger, executed []execution, fair DoorAudit) error {
	var whole []execution // of requests that were executed once, and acknowledged
	count := make(map[Print]int)
	for _, e := range executed {
		count[e.print]++
	}
	for _, e := range executed {
		if count[e.print] == 1 && l.certain(e.print) {
			whole = append(whole, e)
		}
	}
	if len(whole) < 3 {
		return fmt.Errorf("too little to deceive an audit with: %d executions", len(whole))
	}
	lost, same, other := whole[0], whole[1], whole[2]
	same.key, other.key = cmp.Or(same.key, "one"), other.key+" or another"
	deceived := slices.DeleteFunc(slices.Clone(executed), func(e execution) bool { return e.print == lost.print || e.print == same.print })
	d := audit(l, append(deceived, same, same, other))
	if d.Lost.Count != fair.Lost.Count+1 || d.ExecutedTwice.Count != fair.ExecutedTwice.Count+2 || d.SeenTwice.Count != fair.SeenTwice.Count+1 {
		return fmt.Errorf("the audit is blind: one execution kept from it and two doubled, it found\n%s", d)
	}
	return nil
}

// OK reports whether the promises hold that no fault excuses: nothing that was
// acknowledged is lost, nothing is shown twice, and nobody is told that what was
// executed was not.
func (a DoorAudit) OK() bool {
	return a.Acknowledged > 0 && a.Lost.Count == 0 && a.SeenTwice.Count == 0 && a.Refuted.Count == 0 && a.Foreign.Count == 0
}

// String is the audit for a person, some lines of text.
func (a DoorAudit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "  %d POSTs: %d acknowledged, %d refused, %d of unknown outcome; %d executions\n", a.Posts, a.Acknowledged, a.Refused, a.Unknown, a.Executions)
	for _, k := range []struct {
		name  string
		found Findings
	}{
		{"acknowledged and lost", a.Lost},
		{"failed but executed", a.FailedExecuted},
		{"refused but executed", a.Refuted},
		{"executed twice", a.ExecutedTwice},
		{"seen twice", a.SeenTwice},
		{"executed, never sent", a.Foreign},
	} {
		fmt.Fprintf(&b, "  %9d  %s\n", k.found.Count, k.name)
		for _, example := range k.found.Examples {
			fmt.Fprintf(&b, "             %s\n", example)
		}
	}
	return b.String()
}

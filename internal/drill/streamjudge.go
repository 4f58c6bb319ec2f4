package drill

import (
	"fmt"
	"strings"
)

// StreamVerdict is what a comparison of many clients with the ledger found.
// Counts are of deliveries: one message at one client.
type StreamVerdict struct {
	// Clients is how many subscriptions there were, Due how many deliveries had
	// to come, Seen how many came.
	Clients, Due, Seen int
	// Acknowledged is how many messages were, each counted once.
	Acknowledged int

	// Missed were acknowledged, are of the client's subject, and did not come.
	Missed Findings
	// Twice came more often than they were sent.
	Twice Findings
	// Strange were never sent, were refused, or are not of the client's subject.
	Strange Findings
	// Disordered came behind one of their key that was sent later.
	Disordered Findings
	// Unrecovered are the times that a client was told that it has missed
	// something.
	Unrecovered Findings
	// Faults are what clients found wrong in how they were answered.
	Faults Findings
}

func (v *StreamVerdict) kinds() []struct {
	name  string
	found *Findings
} {
	return []struct {
		name  string
		found *Findings
	}{
		{"acknowledged and missed", &v.Missed},
		{"seen twice", &v.Twice},
		{"seen, and not of the subject or never sent", &v.Strange},
		{"out of order", &v.Disordered},
		{"told that something is missing", &v.Unrecovered},
		{"faults of the protocol", &v.Faults},
	}
}

// OK reports whether all is well, which needs deliveries that were due.
func (v StreamVerdict) OK() bool {
	for _, k := range v.kinds() {
		if k.found.Count > 0 {
			return false
		}
	}
	return v.Due > 0
}

// String is the verdict for a person, some lines of text.
func (v StreamVerdict) String() string {
	var b strings.Builder
	headline := "nothing missed, nothing doubled"
	switch {
	case v.OK():
	case v.Due == 0:
		headline = "PROVES NOTHING: no delivery was due"
	default:
		headline = "BROKEN"
	}
	fmt.Fprintln(&b, headline)
	row := func(n int, what string) { fmt.Fprintf(&b, "  %9d  %s\n", n, what) }
	row(v.Clients, "subscriptions")
	row(v.Acknowledged, "messages acknowledged")
	row(v.Due, "deliveries of them due")
	row(v.Seen, "deliveries seen")
	for _, k := range v.kinds() {
		row(k.found.Count, k.name)
		for _, example := range k.found.Examples {
			fmt.Fprintf(&b, "             %s\n", example)
		}
	}
	return b.String()
}

// origin is where a message belongs.
type origin struct {
	key       string
	hasKey    bool
	partition int32
}

// takes reports whether a message of that origin is of the subject.
func (s subject) takes(o origin) bool {
	switch {
	case !s.all && s.key == nil:
		return !o.hasKey
	case !s.all:
		return o.hasKey && o.key == string(s.key)
	}
	return s.partition < 0 || s.partition == o.partition
}

// wanted is what the ledger says of a message: how often at least and at most
// it has to be seen.
type wanted struct {
	least, most int32
	// at is the request, where it alone sent this message.
	at     Send
	single bool
}

// crowd judges many clients against one ledger. Nothing may be entered in the
// ledger while it is at work.
type crowd struct {
	ledger  *Ledger
	prints  *prints
	origins map[Print]origin
	// byID are the messages of the ledger by their numbers; others are nil.
	byID []*wanted
	// bySubject are the numbers of the messages of each subject.
	bySubject map[string][]int32
	// counts is room for one client at a time, by number.
	counts []int32
}

// newCrowd judges by where each message of the ledger belongs.
func newCrowd(l *Ledger, n *prints, origins map[Print]origin) *crowd {
	c := &crowd{ledger: l, prints: n, origins: origins, bySubject: make(map[string][]int32)}
	for p := range l.byPrint {
		n.id(p) // so that it has a number
	}
	c.byID, c.counts = make([]*wanted, n.count()), make([]int32, n.count())
	for p, places := range l.byPrint {
		w := &wanted{at: places[0].send, single: len(places) == 1}
		for _, at := range places {
			s := &l.sends[at.send]
			if s.acknowledged {
				w.least++
			}
			if s.acknowledged || s.open > 0 {
				w.most++
			}
		}
		c.byID[n.id(p)] = w
	}
	return c
}

// of are the numbers of the messages of a subject.
func (c *crowd) of(s subject) []int32 {
	name := s.name()
	if ids, ok := c.bySubject[name]; ok {
		return ids
	}
	ids := []int32{}
	for p := range c.ledger.byPrint {
		if o, ok := c.origins[p]; ok && s.takes(o) {
			ids = append(ids, c.prints.id(p))
		}
	}
	c.bySubject[name] = ids
	return ids
}

// missing is how many deliveries a client still has to be given.
func (c *crowd) missing(v *view) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	c.count(v.seen)
	defer c.forget(v.seen)
	n := 0
	for _, id := range c.of(v.subject) {
		n += int(max(0, c.byID[id].least-c.counts[id]))
	}
	return n
}

// count grows the room for messages that came since.
func (c *crowd) count(seen []int32) {
	for _, id := range seen {
		for int(id) >= len(c.counts) {
			c.counts, c.byID = append(c.counts, 0), append(c.byID, nil)
		}
		c.counts[id]++
	}
}

func (c *crowd) forget(seen []int32) {
	for _, id := range seen {
		c.counts[id] = 0
	}
}

// judge enters what one client saw into a verdict.
func (c *crowd) judge(v *view, to *StreamVerdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c.judgeSeen(v, v.seen, to)
	for _, f := range v.faults {
		to.Faults.add("%s: %s", v, f)
	}
	for _, g := range v.gaps {
		to.Unrecovered.add("%s: %s", v, g)
	}
}

// judgeSeen judges what was seen by a client, or is given out as that.
func (c *crowd) judgeSeen(v *view, seen []int32, to *StreamVerdict) {
	to.Clients++
	to.Seen += len(seen)
	c.count(seen)
	defer c.forget(seen)
	mine := c.of(v.subject)
	for _, id := range mine {
		w, n := c.byID[id], c.counts[id]
		to.Due += int(w.least)
		switch {
		case n < w.least:
			to.Missed.add("%s: %s", v, &c.ledger.sends[w.at])
		case n > w.most && w.most > 0:
			to.Twice.add("%s: %s, %d times", v, &c.ledger.sends[w.at], n)
		case n > w.most:
			to.Strange.add("%s: refused as surely not stored, and seen: %s", v, &c.ledger.sends[w.at])
		}
		c.counts[id] = 0
	}
	for _, id := range seen {
		if c.counts[id] == 0 {
			continue
		}
		c.counts[id] = 0
		what := "nobody sent it"
		if w := c.byID[id]; w != nil {
			what = c.ledger.sends[w.at].String()
		}
		to.Strange.add("%s: %s", v, what)
	}
	c.order(v, seen, to)
}

// order finds messages out of order: acknowledged before another of their
// stream was sent, and seen behind it.
func (c *crowd) order(v *view, seen []int32, to *StreamVerdict) {
	foremost, known := make(map[Stream]int32), make(map[int32]bool)
	for _, id := range seen {
		w := c.byID[id]
		if w == nil || !w.single || known[id] {
			continue
		}
		known[id] = true
		s := &c.ledger.sends[w.at]
		if s.stream == NoStream || s.again {
			continue
		}
		first, any := foremost[s.stream]
		if any && s.at < first && s.acknowledged {
			to.Disordered.add("%s: %s, seen after request %d", v, s, first)
		}
		foremost[s.stream] = max(first, s.at)
	}
}

// verdict judges all clients, and then once more with one message kept from one
// of them and another shown to it twice. Where just that is not found, the
// verdict is worth nothing.
func (c *crowd) verdict(views []*view) (StreamVerdict, error) {
	var fair StreamVerdict
	for _, v := range views {
		c.judge(v, &fair)
	}
	fair.Acknowledged = c.acknowledged()
	for _, v := range views {
		dropped, doubled, ok := c.certain(v)
		if !ok {
			continue
		}
		var before, after StreamVerdict
		c.judgeSeen(v, v.seen, &before)
		c.judgeSeen(v, deceive(v.seen, dropped, doubled), &after)
		if after.Missed.Count != before.Missed.Count+1 || after.Twice.Count != before.Twice.Count+1 {
			return fair, fmt.Errorf("the judge is blind: one message kept from a client and one shown twice, it found\n%s", after)
		}
		return fair, nil
	}
	if fair.OK() {
		return fair, fmt.Errorf("too little to deceive a judge with: %s", fair)
	}
	return fair, nil
}

func (c *crowd) acknowledged() int {
	n := 0
	for i := range c.ledger.sends {
		if s := &c.ledger.sends[i]; s.acknowledged {
			n += len(s.prints)
		}
	}
	return n
}

// certain returns two messages that a client saw once, and had to.
func (c *crowd) certain(v *view) (first, second int32, ok bool) {
	c.count(v.seen)
	defer c.forget(v.seen)
	first = -1
	for _, id := range c.of(v.subject) {
		w := c.byID[id]
		if !w.single || w.least != 1 || w.most != 1 || c.counts[id] != 1 {
			continue
		}
		if first >= 0 {
			return first, id, true
		}
		first = id
	}
	return 0, 0, false
}

// deceive is what was seen without one message and with another twice.
func deceive(seen []int32, dropped, doubled int32) []int32 {
	var out []int32
	for _, id := range seen {
		if id != dropped {
			out = append(out, id)
		}
		if id == doubled {
			out = append(out, id)
		}
	}
	return out
}

package drill

import (
	"fmt"
	"maps"
	"slices"
)

// Record is one message as a reader saw it.
type Record struct {
	Partition int32
	Offset    int64
	// Key is nil where the record has none.
	Key   []byte
	Value []byte
}

// Judge compares what a reader saw with what the ledger holds. It is for one
// goroutine. Nothing may be entered in the ledger while it is at work.
type Judge struct {
	ledger *Ledger
	// seen counts the copies of each print of the ledger that were seen.
	seen map[Print]int
	// last is the offset at which a print was seen last, apart how far the
	// copies of one that was seen more than once stand apart: readers drop
	// those only within their look-back.
	last, apart map[Print]int64
	// foremost is the furthest request of each stream that was seen.
	foremost map[Stream]int32
	// ends is the offset behind the last record of each partition.
	ends    map[int32]int64
	verdict Verdict
}

// Judge begins a comparison.
func (l *Ledger) Judge() *Judge {
	return &Judge{ledger: l, seen: make(map[Print]int), last: make(map[Print]int64), apart: make(map[Print]int64), foremost: make(map[Stream]int32), ends: make(map[int32]int64)}
}

// Saw enters one record that the reader saw, in the order it saw them.
func (j *Judge) Saw(r Record) {
	j.verdict.Seen++
	j.ends[r.Partition] = max(j.ends[r.Partition], r.Offset+1)
	p := r.Print()
	places := j.ledger.byPrint[p]
	if len(places) == 0 {
		j.verdict.Invented.add("partition %d offset %d: nobody sent this: key %.40q value %.80q", r.Partition, r.Offset, r.Key, r.Value)
		return
	}
	j.seen[p]++
	if j.seen[p] > 1 {
		j.apart[p] = r.Offset - j.last[p]
	}
	j.last[p] = r.Offset
	// Of several alike nobody can tell which this is, and one that is seen
	// again is a finding of its own.
	if len(places) == 1 && j.seen[p] == 1 {
		j.order(places[0], r)
	}
}

// order finds a message out of order: one that was acknowledged before another
// of its stream was even sent, and is seen behind it.
func (j *Judge) order(at place, r Record) {
	s := &j.ledger.sends[at.send]
	if s.stream == NoStream || s.again {
		return
	}
	first, any := j.foremost[s.stream]
	if any && s.at < first && s.acknowledged {
		j.verdict.Disordered.add("partition %d offset %d: %s, seen after request %d", r.Partition, r.Offset, s, first)
	}
	if !any || s.at > first {
		j.foremost[s.stream] = s.at
	}
}

// Verdict ends the comparison: every acknowledged message must have been seen,
// none more often than it was sent, and each request as a whole or not at all.
func (j *Judge) Verdict() Verdict {
	v := &j.verdict
	for i := range j.ledger.sends {
		s := &j.ledger.sends[i]
		n := len(s.prints)
		v.Sent += n
		switch {
		case s.acknowledged:
			v.Acknowledged += n
		case s.open == 0:
			v.Refused += n
		default:
			v.Unknown += n
		}
	}
	records := int64(0)
	for _, end := range j.ends {
		records += end
	}
	v.Hidden = max(0, int(records)-v.Seen)
	part := make(map[Send]int) // messages seen of requests that may be torn
	for _, p := range slices.SortedFunc(maps.Keys(j.ledger.byPrint), func(a, b Print) int { return slices.Compare(a[:], b[:]) }) {
		j.weigh(p, part)
	}
	for _, send := range slices.Sorted(maps.Keys(part)) {
		s := &j.ledger.sends[send]
		if seen := part[send]; seen < len(s.prints) {
			v.Torn.add("%s: %d of its %d messages seen, its outcome is unknown", s, seen, len(s.prints))
		}
	}
	return *v
}

// weigh judges all copies of one print together, since they are alike.
func (j *Judge) weigh(p Print, part map[Send]int) {
	v, seen := &j.verdict, j.seen[p]
	places := j.ledger.byPrint[p]
	least, most := 0, 0
	for _, at := range places {
		s := &j.ledger.sends[at.send]
		if s.acknowledged {
			least++
		}
		if s.acknowledged || s.open > 0 {
			most++
		}
	}
	s := &j.ledger.sends[places[0].send]
	switch {
	case seen < least:
		for range least - seen {
			v.Lost.add("%s: acknowledged and never seen (%s)", s, p)
		}
	case seen > most && most == 0:
		v.Refuted.add("%s: refused as surely not stored, and seen (%s)", s, p)
	case seen > most:
		for range seen - most {
			v.Twice.add("%s: seen %d times, %d offsets apart, sent %s (%s)", s, seen, j.apart[p], times(most), p)
		}
	}
	if least < most {
		v.UnknownSeen += max(0, min(seen, most)-least)
	}
	if len(places) == 1 && len(s.prints) > 1 && !s.acknowledged && s.open > 0 && seen > 0 {
		part[places[0].send]++
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// String names a request for a person.
func (s *sent) String() string {
	if s.stream == NoStream {
		return fmt.Sprintf("%q", s.name)
	}
	return fmt.Sprintf("%q, request %d of stream %d", s.name, s.at, s.stream)
}

// String is the beginning of the hash.
func (p Print) String() string { return fmt.Sprintf("print %x", p[:6]) }

// panel is two judges of the same ledger. The second is deceived: one record
// that must be seen is kept from it and another is shown to it twice. Where it
// does not find just that, the verdict of the first is worth nothing.
type panel struct {
	fair, deceived *Judge
	// kept and shown say that the deceptions are done.
	kept, shown bool
}

func newPanel(l *Ledger) *panel { return &panel{fair: l.Judge(), deceived: l.Judge()} }

func (p *panel) saw(r Record) {
	p.fair.Saw(r)
	certain := p.fair.ledger.certain(r.Print())
	if certain && !p.kept {
		p.kept = true
		return
	}
	p.deceived.Saw(r)
	if certain && !p.shown {
		p.shown = true
		p.deceived.Saw(r)
	}
}

func (p *panel) verdict() (Verdict, error) {
	v, d := p.fair.Verdict(), p.deceived.Verdict()
	if !p.kept || !p.shown {
		if v.OK() {
			return v, fmt.Errorf("too little to deceive a judge with: %s", v)
		}
		return v, nil
	}
	if d.OK() || d.Lost.Count != v.Lost.Count+1 || d.Twice.Count != v.Twice.Count+1 {
		return v, fmt.Errorf("the judge is blind: one record kept from it and one shown twice, it found\n%s", d)
	}
	return v, nil
}

// certain reports whether a print was sent once, and acknowledged.
func (l *Ledger) certain(p Print) bool {
	places := l.byPrint[p]
	return len(places) == 1 && l.sends[places[0].send].acknowledged
}

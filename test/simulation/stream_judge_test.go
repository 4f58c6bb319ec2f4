package simulation

import (
	"fmt"
	"slices"
	"strings"

	"postroad/internal/stream/live"
)

// streamCounts are what the streams of a run had in them.
type streamCounts struct {
	shown, recovered, missed, lost, refused int
}

func (c *streamCounts) add(o streamCounts) {
	c.shown += o.shown
	c.recovered += o.recovered
	c.missed += o.missed
	c.lost += o.lost
	c.refused += o.refused
}

func (c streamCounts) String() string {
	return fmt.Sprintf("%d shown, recovered %d times with %d records, not recovered %d times, refused %d times",
		c.shown, c.recovered, c.missed, c.lost, c.refused)
}

// matches tells whether a record is of a subject.
func matches(s live.Subject, p part, key string) bool {
	return s.Topic == p.topic && (s.All && (s.Partition < 0 || s.Partition == p.partition) || !s.All && s.Key == key)
}

// due are the offsets of a subject in [from, to) of a partition that a viewer must
// be shown: by the bytes of what clients asked for, not by our ids. The same bytes
// are shown again where they stand further than W behind their last copy.
func (w *world) due(s live.Subject, p part, from, to int64) (out []int64) {
	last := map[string]int64{}
	for o, r := range w.hub.logs[p] {
		at, again := last[r.value]
		last[r.value] = int64(o)
		if again && int64(o)-at <= window || int64(o) < from || int64(o) >= to || !matches(s, p, r.key) {
			continue
		}
		out = append(out, int64(o))
	}
	return out
}

// lastOf is whose last value it is: of a key, by partition where several are in
// view, because a key may have moved.
type lastOf struct {
	key       string
	partition int32
}

func keyOf(s live.Subject, key string, partition int32) lastOf {
	if !s.All {
		partition = -1
	}
	return lastOf{key, partition}
}

// judgeLast holds the last values that a viewer begins with against the hub.
func (s *streams) judgeLast(of live.Subject, begin *live.Start) error {
	s.w.hub.mu.Lock()
	defer s.w.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := map[lastOf]*live.Record{}
	for _, r := range begin.Last {
		k := keyOf(of, string(r.Key), r.Partition)
		if newest[k] != nil {
			return fmt.Errorf("two last values of %+v", k)
		}
		newest[k] = r
		log := s.w.hub.logs[part{of.Topic, r.Partition}]
		if r.Offset >= int64(len(log)) || log[r.Offset].value != string(r.Value) || log[r.Offset].key != string(r.Key) || !of.All && of.Key != string(r.Key) {
			return fmt.Errorf("a last value that is not in the hub: %q at %d/%d", short(string(r.Value)), r.Partition, r.Offset)
		}
	}
	for _, at := range begin.Positions {
		p := part{of.Topic, at.Partition}
		for _, o := range s.w.due(of, p, s.starts[p], at.Next) {
			r := &s.w.hub.logs[p][o]
			last := newest[keyOf(of, r.key, at.Partition)]
			if last == nil {
				return fmt.Errorf("no last value of key %q, though %q is at %v/%d", r.key, short(r.value), p, o)
			}
			if r.accepted.After(last.Accepted) || r.accepted.Equal(last.Accepted) && last.Partition == p.partition && o > last.Offset {
				return fmt.Errorf("the last value of key %q is %q at %d, and %q at %d is later", r.key, short(string(last.Value)), last.Offset, short(r.value), o)
			}
		}
	}
	return nil
}

// complete tells whether a viewer has been shown all there is by now.
func (s *streams) complete(v *viewer) bool {
	if len(v.spells) == 0 {
		return false
	}
	s.w.hub.mu.Lock()
	defer s.w.hub.mu.Unlock()
	for p, from := range v.spell().from {
		at := part{v.subject.Topic, p}
		due := s.w.due(v.subject, at, from, int64(len(s.w.hub.logs[at])))
		if len(due) > 0 && due[len(due)-1] >= v.spell().to[p] {
			return false
		}
	}
	return true
}

// judge holds what viewers were shown against what was asked for.
func (s *streams) judge() (streamCounts, error) {
	var c streamCounts
	for _, v := range s.viewers {
		c.add(v.counts)
		for i, ch := range v.spells {
			last := i == len(v.spells)-1
			if err := s.judgeSpell(v, ch, last); err != nil {
				return c, fmt.Errorf("%s of %v: %w", v.name, v.subject, err)
			}
		}
		if !s.complete(v) {
			return c, fmt.Errorf("%s of %v is not shown everything in the end", v.name, v.subject)
		}
		if s.mustRecover() && v.counts.lost > 0 {
			return c, fmt.Errorf("%s of %v was not recovered %d times, though nothing was lost", v.name, v.subject, v.counts.lost)
		}
	}
	return c, nil
}

// mustRecover tells whether nothing has happened in a run that would keep a viewer
// from being recovered.
func (s *streams) mustRecover() bool { return !s.plan.trims && s.parts == s.w.hub.parts }

func (s *streams) judgeSpell(v *viewer, ch *spell, last bool) error {
	of := map[int32][]sight{}
	for _, x := range ch.shown {
		of[x.partition] = append(of[x.partition], x)
	}
	for p, seen := range of {
		if _, ok := ch.from[p]; !ok {
			return fmt.Errorf("partition %d shows something else than was begun with: %+v", p, seen[0])
		}
	}
	for p, from := range ch.from {
		at := part{v.subject.Topic, p}
		to := ch.to[p]
		if last {
			to = int64(len(s.w.hub.logs[at]))
		}
		if err := judgeSeen(at, s.w.hub.logs[at], of[p], s.w.due(v.subject, at, from, to)); err != nil {
			return fmt.Errorf("since %d, to %d: %w", from, to, err)
		}
	}
	return nil
}

// judgeSeen compares what was shown of a partition with what was due.
func judgeSeen(p part, log []record, seen []sight, due []int64) error {
	bodies := map[string]sight{}
	got := make([]int64, 0, len(seen))
	for _, x := range seen {
		if x.offset >= int64(len(log)) || log[x.offset].value != x.body || log[x.offset].key != x.key {
			return fmt.Errorf("%v/%d %s of %q, which is not there", p, x.offset, disagrees, short(x.body))
		}
		if before, again := bodies[x.body]; again && x.offset-before.offset <= window {
			return fmt.Errorf("%v: %q is %s: at %d by %s and at %d by %s", p, short(x.body), twice, before.offset, before.node, x.offset, x.node)
		}
		bodies[x.body] = x
		got = append(got, x.offset)
	}
	if !slices.IsSorted(got) {
		return fmt.Errorf("%v: out of order: %v", p, got)
	}
	var missing []string
	for _, o := range due {
		if _, found := slices.BinarySearch(got, o); !found {
			missing = append(missing, fmt.Sprintf("%q at %d", short(log[o].value), o))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%v: %d %s to a viewer: %s", p, len(missing), lost, strings.Join(missing[:min(5, len(missing))], ", "))
	}
	for _, x := range seen {
		if _, found := slices.BinarySearch(due, x.offset); found {
			continue
		}
		if at := copyBelow(log, x.offset); at >= 0 {
			return fmt.Errorf("%v: %q at %d by %s is %s: a copy stands at %d", p, short(x.body), x.offset, x.node, twice, at)
		}
		return fmt.Errorf("%v/%d %s than is due: %q by %s", p, x.offset, disagrees, short(x.body), x.node)
	}
	return nil
}

// copyBelow is where the same bytes stand in the W offsets below, -1 where nowhere.
func copyBelow(log []record, offset int64) int64 {
	for o := offset - 1; o >= max(0, offset-window); o-- {
		if log[o].value == log[offset].value {
			return o
		}
	}
	return -1
}

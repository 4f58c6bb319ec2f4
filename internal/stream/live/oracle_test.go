package live_test

import (
	"fmt"
	"slices"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// oracle reads a whole partition from offset 0 and decides by the rule as it is
// written: what must be shown, what is history, what is neither.
type oracle struct {
	w       int64
	records []live.Record
	end     int64
}

func ask(hub *livetest.Log, p int32, w int) *oracle {
	o := &oracle{w: int64(w)}
	o.records, o.end = hub.All(topicName, p)
	return o
}

// holders are the offsets in [o−W, o) that hold the record's id and may make it a
// duplicate.
func (o *oracle) holders(r *live.Record) (at []int64) {
	for i := range o.records {
		h := &o.records[i]
		if h.Offset >= r.Offset {
			break
		}
		if h.Offset >= r.Offset-o.w && h.HasID && !h.Replay && h.ID == r.ID {
			at = append(at, h.Offset)
		}
	}
	return at
}

// shown reports whether r must be shown to whoever follows, past whether it is
// history, too.
func (o *oracle) shown(r *live.Record) bool {
	return !r.Replay && (!r.HasID || len(o.holders(r)) == 0)
}

func (o *oracle) past(r *live.Record) bool {
	return o.shown(r) || r.Replay && (!r.HasID || len(o.holders(r)) == 0)
}

func of(s live.Subject, r *live.Record) bool { return s.All || string(r.Key) == s.Key }

// offsets returns those of a subject's records in [from, to) that pick picks.
func (o *oracle) offsets(s live.Subject, from, to int64, pick func(*live.Record) bool) []int64 {
	all := []int64{}
	for i := range o.records {
		if r := &o.records[i]; r.Offset >= from && r.Offset < to && of(s, r) && pick(r) {
			all = append(all, r.Offset)
		}
	}
	return all
}

// last is the last value of a key by what the log held below head: of the latest
// accept time, then offset. It is nil where there is none.
func (o *oracle) last(k string, head int64) *live.Record {
	var last *live.Record
	for i := range o.records {
		r := &o.records[i]
		if r.Offset < head && string(r.Key) == k && o.past(r) && (last == nil || !r.Accepted.Before(last.Accepted)) {
			last = r
		}
	}
	return last
}

// seen is a record that a client was shown: with the reply, as missed, or live.
type seen struct {
	offset int64
	live   bool
	// start is where the log of the node that showed it began when it was read.
	start int64
}

// judge compares what a client was shown of a partition from one offset on with
// what it must have been shown.
func (o *oracle) judge(s live.Subject, from, to int64, got []seen) error {
	want := o.offsets(s, from, to, o.shown)
	last := int64(-1)
	for _, g := range got {
		if g.offset <= last {
			return fmt.Errorf("offset %d is shown after %d", g.offset, last)
		}
		last = g.offset
		at, is := slices.BinarySearch(want, g.offset)
		switch {
		case is && at == 0:
			want = want[1:]
		case is:
			return fmt.Errorf("offset %d is shown, %d was not: a gap", g.offset, want[0])
		case !o.excused(g):
			return fmt.Errorf("offset %d is shown and must not be (live: %v)", g.offset, g.live)
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("offsets %v were never shown", want)
	}
	return nil
}

// excused: a live start accepts a repeat of what retention had removed before the
// node read it.
func (o *oracle) excused(g seen) bool {
	i := slices.IndexFunc(o.records, func(r live.Record) bool { return r.Offset == g.offset })
	if i < 0 || !g.live || o.records[i].Replay {
		return false
	}
	return !slices.ContainsFunc(o.holders(&o.records[i]), func(at int64) bool { return at >= g.start })
}

// homes lists the keys of a model that stand in a partition.
func home(k string, partitions int32) int32 { return message.PartitionOf([]byte(k), partitions) }

package live_test

import (
	"testing"
	"time"

	"postroad/internal/stream/live"
)

// Section 8: a record at offset o is a duplicate iff [o−W, o) holds its id. A
// message that was sent again, because its acknowledgement was lost, is shown once
// within W, and once more beyond.
func TestDuplicatesWithinTheWindowAreNotShown(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Window = 3
		c := w.node().subscribe(key("k"), nil)
		w.put(rec("k", "a", 1)) // 0
		w.put(rec("k", "b", 1)) // 1: within
		w.put(rec("k", "c", 2)) // 2
		w.put(rec("k", "d", 1)) // 3: the duplicate at 1 holds it
		w.put(rec("k", "e", 3)) // 4
		w.put(rec("k", "f", 2)) // 5: at W exactly
		w.put(rec("k", "g", 4)) // 6
		w.put(rec("k", "h", 1)) // 7: beyond W of 3
		return c.shows("a", "c", "e", "g", "h")
	}, "noWindow")
}

// Section 8: W counts offsets: aborted spans and markers take them, too.
func TestTheWindowCountsOffsets(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Window = 5
		c := w.node().subscribe(key("k"), nil)
		w.put(rec("k", "a", 1)) // 0
		w.hub.Abort(topicName, 0, 3)
		w.put(rec("k", "b", 1)) // 5: within W still
		w.hub.Abort(topicName, 0, 4)
		w.put(rec("k", "c", 1)) // 11: nothing of it within W
		return c.shows("a", "c")
	}, "noWindow")
}

// Section 8: replay-marked and id-less records never make another a duplicate, and
// replays are not shown to live subscribers. A replay that arrived before the
// message it repeats would hide the message else.
func TestReplaysAndRecordsWithoutIDHideNothing(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		replay := rec("k", "replay", 1)
		replay.Replay = true
		w.put(replay)
		w.put(rec("k", "message", 1))
		w.put(rec("k", "none", 0))
		w.put(rec("k", "none", 0))
		w.put(replay)
		if err := c.shows("message", "none", "none"); err != nil {
			return err
		}
		// Who was away gets what it would have been shown, and no replay.
		back := n.subscribe(key("k"), []live.Position{{Epoch: c.start.Positions[0].Epoch}})
		return back.recovers(true, "message", "none", "none")
	}, "replayHolds")
}

// Section 8: the first subscribe delivers the last value: the latest accept time,
// then offset. What a stamp sends that was cut off from the hub for an hour stands
// behind what was accepted later elsewhere, and is not the last value.
func TestTheLastValueIsOfTheLatestAcceptTime(t *testing.T) {
	clause(t, 1, func(w *world) error {
		now := time.Now()
		newest, late, same := rec("k", "newest", 1), rec("k", "late", 2), rec("j", "same 2", 4)
		newest.Accepted, late.Accepted, same.Accepted = now, now.Add(-time.Hour), now
		earlier := rec("j", "same 1", 3)
		earlier.Accepted = now
		for _, r := range []live.Record{newest, late, earlier, same} {
			w.put(r)
		}
		n := w.node()
		last := func(k string) string {
			c := n.subscribe(key(k), nil)
			if len(c.start.Last) != 1 {
				return "none"
			}
			return string(c.start.Last[0].Value)
		}
		all := n.subscribe(everything, nil)
		return first(
			expect(last("k") == "newest", "last value %q", last("k")),
			expect(last("j") == "same 2", "last value %q", last("j")),
			expect(len(all.start.Last) == 2 && !all.start.Recovered, "topic/* begins with %q", valuesOf(all.start.Last)),
		)
	}, "latestOffset")
}

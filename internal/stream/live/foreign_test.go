package live_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/stream/live"
)

// A node that does not read as far back as clients may come back has not seen
// whether a key's messages came to stand elsewhere meanwhile: from before that it
// recovers nothing. Else what stands there would be left out in silence.
func TestForeignPartitioningBeforeANodeReads(t *testing.T) {
	for _, row := range []struct {
		name          string
		age           time.Duration
		before, after int // records of other keys
	}{
		{"below where it is read", time.Minute, 0, 400},
		{"its own partition is silent", time.Minute, 400, 0},
		{"read, and settled", 24 * time.Hour, 0, 400},
	} {
		clause(t, 2, func(w *world) error {
			w.opts.LastValues.Age = row.age
			others := func(n int) {
				for i := range n {
					w.hub.Send(topicName, fmt.Sprint(i), "filler")
				}
			}
			others(row.before)
			n := w.node()
			c := n.subscribe(key("k"), nil)
			w.put(rec("k", "seen", 1))
			synctest.Wait()
			left := c.positions()
			n.stop()
			w.hub.Append(topicName, w.stray("k", "stray", 2))
			<-time.After(2 * time.Hour)
			others(row.after)
			<-time.After(2 * time.Minute)
			m := w.node()
			back := m.subscribe(key("k"), left)
			w.put(rec("k", "after", 3))
			synctest.Wait()
			if err := first(back.recovers(false), back.shows("after"), m.subscribe(key("k"), back.positions()).recovers(true)); err != nil {
				return fmt.Errorf("%s: %w", row.name, err)
			}
			return nil
		}, "foreignFine")
	}
}

// Of a topic that is read from its first offset nothing can have been missed.
func TestATopicReadWholeIsRecovered(t *testing.T) {
	clause(t, 2, func(w *world) error {
		w.opts.LastValues.Age = time.Minute
		n := w.node()
		c := n.subscribe(key("k"), nil)
		n.stop()
		w.put(rec("k", "missed", 1))
		return w.node().subscribe(key("k"), c.positions()).recovers(true, "missed")
	})
}

// Messages copied into the topic keep the time at which they were produced first.
// That they stand in another partition than their key's counts from when they
// came: else who is told of it would come back to one partition, and so each time.
func TestForeignRecordsOfLongAgo(t *testing.T) {
	clause(t, 2, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		copied := func(value string, id uint64) {
			r := w.stray("k", value, id)
			r.Timestamp = time.Now().Add(-2 * w.opts.DedupeHorizon)
			w.hub.Append(topicName, r)
			synctest.Wait()
		}
		copied("one", 1)
		back := n.subscribe(key("k"), c.positions())
		copied("two", 2)
		err := first(matchesErr(c.over, live.ErrChanged), back.recovers(false), back.shows("two"), expect(back.over == nil, "ended: %v", back.over))
		<-time.After(w.opts.DedupeHorizon + time.Second)
		return first(err, expect(n.subscribe(key("k"), nil).start.Recoverable, "not recoverable after the horizon"))
	}, "foreignFine")
}

// A topic that comes to be compacted while it is followed is read anew: who
// listens is told, and who comes back is answered, though not recovered. Without
// that each reading would find another topic than the one followed, for ever.
func TestATopicThatComesToBeCompacted(t *testing.T) {
	for _, compacted := range []bool{true, false} {
		clause(t, 1, func(w *world) error {
			w.opts.Ring.MaxRecords = 4
			w.hub.SetCompacted(topicName, !compacted)
			n := w.node()
			stays := n.subscribe(key("k"), nil)
			w.put(rec("k", "missed", 1))
			w.fill(50)
			synctest.Wait()
			w.hub.SetCompacted(topicName, compacted)
			_, err := n.History(w.t.Context(), live.HistoryRequest{Subject: key("k"), Limit: 1})
			if err := matchesErr(err, live.ErrChanged); err != nil {
				return err
			}
			<-time.After(5 * time.Second)
			synctest.Wait()
			back, err := n.trySubscribe(key("k"), stays.start.Positions)
			if err != nil {
				return err
			}
			return first(
				matchesErr(stays.over, live.ErrChanged), stays.shows("missed"), n.Ready(),
				expect(back.start.Recovered == !compacted && back.start.Recoverable == !compacted, "begins with %+v", back.start),
			)
		}, "silentChange")
	}
}

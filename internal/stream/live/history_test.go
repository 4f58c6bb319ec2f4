package live_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/stream/live"
)

// pages asks for history until there is no more, limit records at a time.
func (n *node) pages(r live.HistoryRequest) (values []string, pages int, err error) {
	for {
		h, err := n.History(n.w.t.Context(), r)
		if err != nil {
			return values, pages, err
		}
		values = append(values, valuesOf(h.Records)...)
		pages++
		if pages > 1000 {
			return values, pages, errors.New("history never ends")
		}
		if len(h.Records) > r.Limit && r.Limit >= 0 || len(h.Positions) != len(h.Heads) {
			return values, pages, fmt.Errorf("%d records, %d positions, %d heads", len(h.Records), len(h.Positions), len(h.Heads))
		}
		if !h.More {
			return values, pages, nil
		}
		r.Since = h.Positions
	}
}

// History, forward and in reverse, page by page, from memory and from the hub:
// each message once, replays where they are the only copy.
func TestHistory(t *testing.T) {
	for _, ring := range []int{0, 7, 1000} {
		clause(t, 1, func(w *world) error {
			w.opts.Ring.MaxRecords, w.opts.Window = ring, 20
			n := w.node()
			var want []string
			for i := range 40 {
				want = append(want, fmt.Sprint(i))
				w.put(rec("k", want[i], uint64(i+1)))
				w.fill(i % 3)
				w.put(rec("k", "again", uint64(i+1)))
				w.hub.Abort(topicName, 0, 1)
			}
			replay := rec("k", "replay", 1)
			replay.Replay = true
			w.put(replay)
			replay = rec("k", "no replay", 40)
			replay.Replay = true
			w.put(replay)
			want = append(want, "replay")
			synctest.Wait()
			back := slices.Clone(want)
			slices.Reverse(back)
			for _, limit := range []int{-1, 1, 7, 1000} {
				got, _, err := n.pages(live.HistoryRequest{Subject: key("k"), Limit: limit})
				rev, _, err2 := n.pages(live.HistoryRequest{Subject: key("k"), Limit: limit, Reverse: true})
				if err := first(err, err2,
					expect(slices.Equal(got, want), "limit %d: %q", limit, got),
					expect(slices.Equal(rev, back), "limit %d in reverse: %q", limit, rev)); err != nil {
					return err
				}
			}
			none, err := n.History(w.t.Context(), live.HistoryRequest{Subject: key("k")})
			if err != nil {
				return err
			}
			return expect(len(none.Records) == 0 && !none.More && none.Positions[0] == none.Heads[0], "limit 0: %+v", none)
		}, map[int][]string{0: {"noLookBack", "noWindow"}}[ring]...)
	}
}

// Reverse reads back in growing steps, and not the whole log for the newest few.
func TestHistoryInReverseReadsLittle(t *testing.T) {
	if err := in(t, "", 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 1
		n := w.node()
		w.put(rec("k", "old", 1))
		for range 10 {
			w.fill(live.FirstSpan)
			synctest.Wait()
		}
		w.put(rec("k", "new", 2))
		w.fill(10)
		synctest.Wait()
		before := n.view.Calls().Scan
		one, err := n.History(w.t.Context(), live.HistoryRequest{Subject: key("k"), Limit: 1, Reverse: true})
		if err != nil {
			return err
		}
		once := n.view.Calls().Scan - before
		two, err := n.History(w.t.Context(), live.HistoryRequest{Subject: key("k"), Limit: 2, Reverse: true})
		if err != nil {
			return err
		}
		return first(
			expect(once == 1, "%d scans for what is near", once),
			expect(slices.Equal(valuesOf(one.Records), []string{"new"}) && one.More, "newest %q", valuesOf(one.Records)),
			expect(slices.Equal(valuesOf(two.Records), []string{"new", "old"}), "newest %q", valuesOf(two.Records)),
		)
	}); err != nil {
		t.Error(err)
	}
}

// One answer is bounded in bytes and in what is read for it; the next goes on.
func TestHistoryIsBounded(t *testing.T) {
	bounds := map[string]func(*live.Options){
		"bytes":   func(o *live.Options) { o.Recovery.MaxBytes = 1024 },
		"records": func(o *live.Options) { o.Recovery.MaxRecords = 30 },
	}
	for name, bound := range bounds {
		for _, reverse := range []bool{false, true} {
			if err := in(t, "", 3, func(w *world) error {
				bound(&w.opts)
				w.opts.Ring.MaxRecords = 3
				n := w.node()
				var want []string
				for i := range 100 {
					want = append(want, fmt.Sprintf("%0100d", i))
					w.put(rec("k", want[i], uint64(i+1)))
					<-time.After(time.Millisecond)
				}
				synctest.Wait()
				if reverse {
					slices.Reverse(want)
				}
				got, pages, err := n.pages(live.HistoryRequest{Subject: everything, Limit: -1, Reverse: reverse})
				return first(err, expect(slices.Equal(got, want), "%d records", len(got)), expect(pages >= 4, "%d pages", pages))
			}); err != nil {
				t.Errorf("%s, reverse %v: %v", name, reverse, err)
			}
		}
	}
}

// History of several partitions in reverse is in the order of producing.
func TestHistoryOfSeveralPartitions(t *testing.T) {
	clause(t, 4, func(w *world) error {
		w.opts.Ring.MaxRecords = 3
		n := w.node()
		var want, forward []string
		byPartition := make([][]string, 4)
		for i := range 40 {
			r := rec("", fmt.Sprint(i), uint64(i+1))
			r.Partition = int32(i*i) % 4
			w.hub.Append(topicName, r)
			want = append(want, fmt.Sprint(i))
			byPartition[r.Partition] = append(byPartition[r.Partition], fmt.Sprint(i))
			<-time.After(time.Millisecond)
		}
		synctest.Wait()
		slices.Reverse(want)
		forward = slices.Concat(byPartition...)
		for _, limit := range []int{1, 3, 10, -1} {
			rev, _, err := n.pages(live.HistoryRequest{Subject: everything, Limit: limit, Reverse: true})
			got, _, err2 := n.pages(live.HistoryRequest{Subject: subject("t/"), Limit: limit})
			if err := first(err, err2, expect(slices.Equal(rev, want), "limit %d: %q", limit, rev),
				expect(slices.Equal(got, forward), "limit %d: %q", limit, got)); err != nil {
				return err
			}
		}
		return nil
	})
}

// A position that is of another epoch, gone, ahead of the hub, or of a topic that
// cannot be recovered is an error that says so.
func TestHistoryThatCannotBeHad(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		at, err := n.Positions(key("k"))
		if err != nil {
			return err
		}
		for i := range 20 {
			w.put(rec("k", fmt.Sprint(i), uint64(i+1)))
		}
		w.put(rec("k", "last", 100))
		synctest.Wait()
		w.hub.Truncate(topicName, 0, 10)
		since := func(epoch string, next int64) error {
			_, err := n.History(w.t.Context(), live.HistoryRequest{Subject: key("k"), Since: []live.Position{{Epoch: epoch, Next: next}}, Limit: 5})
			return err
		}
		all, _, err := n.pages(live.HistoryRequest{Subject: key("k"), Limit: 3, Repeats: true})
		_, unknown := n.History(w.t.Context(), live.HistoryRequest{Subject: live.Subject{Topic: "u"}})
		last, at2, err2 := n.Last(w.t.Context(), key("k"))
		return first(
			err, err2,
			matchesErr(since("other", 15), live.ErrUnrecoverable),
			matchesErr(since(at[0].Epoch, 5), live.ErrUnrecoverable),
			matchesErr(since(at[0].Epoch, 15), live.ErrUnrecoverable), // its look-back is cut short, all is young
			matchesErr(since(at[0].Epoch, 22), live.ErrUnrecoverable),
			matchesErr(since(at[0].Epoch, -1), live.ErrUnrecoverable),
			since(at[0].Epoch, 21), since(at[0].Epoch, 20),
			matchesErr(unknown, live.ErrUnknownTopic),
			expect(len(all) == 11 && all[0] == "10", "history %q", all),
			expect(len(last) == 1 && string(last[0].Value) == "last" && at2[0].Next == 21, "last %q at %v", valuesOf(last), at2),
		)
	}, "alwaysSure")
	clause(t, 1, func(w *world) error {
		w.hub.SetCompacted(topicName, true)
		n := w.node()
		at, err := n.Positions(everything)
		_, compacted := n.History(w.t.Context(), live.HistoryRequest{Subject: everything, Since: at, Limit: 5})
		return first(err, matchesErr(compacted, live.ErrUnrecoverable))
	})
}

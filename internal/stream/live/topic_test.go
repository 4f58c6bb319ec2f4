package live_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// A topic made anew, or given more partitions, has other epochs: who listens is
// told, and comes back to last values, never to silence.
func TestATopicThatIsNotWhatItWas(t *testing.T) {
	changes := map[string]func(*world){
		"made anew": func(w *world) { w.hub.Make(topicName, 2) },
		"raised":    func(w *world) { w.hub.Raise(topicName, 3) },
		"deleted":   func(w *world) { w.hub.Delete(topicName); <-time.After(10 * time.Second); w.hub.Make(topicName, 2) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			clause(t, 2, func(w *world) error {
				n := w.node()
				c, all := n.subscribe(key("k"), nil), n.subscribe(everything, nil)
				w.put(rec("k", "before", 1))
				synctest.Wait()
				change(w)
				<-time.After(5 * time.Second)
				synctest.Wait()
				if err := first(matchesErr(c.over, live.ErrChanged), matchesErr(all.over, live.ErrChanged)); err != nil {
					return err
				}
				back := n.subscribe(key("k"), c.positions())
				<-time.After(2 * time.Hour) // keys that moved are settled
				w.put(rec("k", "after", 2))
				synctest.Wait()
				return first(
					back.recovers(false), back.shows("after"), c.shows("before"),
					expect(!c.afterwards, "delivered after the end"),
					expect(c.start.Positions[0].Epoch != back.start.Positions[0].Epoch, "one epoch"),
				)
			}, "silentChange")
		})
	}
}

// A node that was cut off for longer than the hub keeps records has a gap in what
// it read: who listens is told, and comes back with a position.
func TestAGapEndsSubscriptions(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "a", 1))
		synctest.Wait()
		n.view.SetAway(true)
		w.put(rec("k", "b", 2))
		w.put(rec("k", "c", 3))
		w.hub.Truncate(topicName, 0, 2)
		n.view.SetAway(false)
		synctest.Wait()
		if err := first(matchesErr(c.over, live.ErrChanged), c.shows("a")); err != nil {
			return err
		}
		back := n.subscribe(key("k"), c.positions())
		w.put(rec("k", "d", 4))
		return first(
			back.recovers(false), back.shows("d"),
			expect(slices.Equal(valuesOf(back.start.Last), []string{"c"}), "last %q", valuesOf(back.start.Last)),
			n.subscribe(key("k"), back.start.Positions).recovers(false), // nor from the gap's upper edge: look-back
		)
	}, "silentGap")
}

// told is a client that looks around in the moment it is told of its end.
type told struct {
	*client
	look func()
}

func (t *told) Ended(s *live.Subscription, why error) {
	t.look()
	t.client.Ended(s, why)
}

// While those who listen are told of a gap one after the other, no position leads
// over it, and nobody begins before it: who is told later would come back with
// such a position and miss what is gone without hearing of it.
func TestNoPositionOverAGapBeforeAllAreTold(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		var errs []error
		look := func() {
			at, err := n.Positions(key("k"))
			_, begun := n.trySubscribe(key("k"), nil)
			errs = append(errs, err, matchesErr(begun, live.ErrNotReady),
				expect(len(at) == 1 && at[0].Next <= 1, "position %v while not all are told", at))
		}
		var all []*told
		for range 3 {
			c := &told{client: &client{n: n, next: map[int32]int64{}, epochs: map[int32]string{}}, look: look}
			if _, err := n.Subscribe(w.t.Context(), live.Request{Subject: key("k"), Name: "t/k", Receiver: c}); err != nil {
				return err
			}
			all = append(all, c)
		}
		w.put(rec("k", "a", 1))
		synctest.Wait()
		n.view.SetAway(true)
		w.put(rec("k", "gone", 2))
		w.fill(10)
		w.hub.Truncate(topicName, 0, 8)
		n.view.SetAway(false)
		<-time.After(10 * time.Second)
		for _, c := range all {
			errs = append(errs, c.shows("a"), matchesErr(c.over, live.ErrChanged))
		}
		at, err := n.Positions(key("k"))
		return first(append(errs, err, expect(len(errs) == 3*5, "%d looks", len(errs)), expect(at[0].Next > 8, "stuck at %v", at),
			n.subscribe(key("k"), nil).recovers(false))...)
	}, "silentGap")
}

// Section 8: before ready: look-back done, last values loaded. A node that takes
// subscribers earlier would show them what came long before, as if it were new.
func TestNotReadyBeforeItsLookBack(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.put(rec("k", "old", 1))
		w.fill(50)
		n := w.starting(func(v *livetest.View) {
			v.SetChunk(1)
			v.SetDelay(time.Second)
		})
		var c *client
		for range 200 {
			synctest.Wait()
			var err error
			if c, err = n.trySubscribe(key("k"), nil); err == nil {
				break
			}
			if err := first(matchesErr(err, live.ErrNotReady), expect(n.Ready() != nil, "ready, but: %v", err)); err != nil {
				return err
			}
			<-time.After(time.Second)
		}
		w.put(rec("k", "again", 1))
		w.put(rec("k", "new", 2))
		<-time.After(100 * time.Second)
		return first(c.shows("new"), expect(len(c.start.Last) == 1, "%d last values", len(c.start.Last)), n.Ready())
	}, "readyAtOnce")
}

// Last values reach back by age, a look-back before that; what is older is read by
// nobody, and no repeat of what stands in the look-back is shown.
func TestHowFarBackANodeReads(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Window, w.opts.LastValues.Age = 10, time.Hour
		w.put(rec("ancient", "x", 100))
		w.fill(30)
		w.put(rec("k", "in the look-back", 1))
		<-time.After(2 * time.Hour)
		w.put(rec("k", "again", 1))
		w.put(rec("young", "y", 2))
		n := w.node()
		last := func(k string) []string { return valuesOf(n.subscribe(key(k), nil).start.Last) }
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "and again", 1))
		return first(
			c.shows(),
			expect(len(last("ancient")) == 0, "an ancient last value %q", last("ancient")),
			expect(slices.Equal(last("young"), []string{"y"}), "last %q", last("young")),
			expect(slices.Equal(last("k"), []string{"in the look-back"}), "last %q", last("k")),
		)
	}, "noWindow")
}

// Subjects of several partitions: live and in order within each; with a position
// for each they are recovered, with one of them missing not.
func TestSubjectsOfSeveralPartitions(t *testing.T) {
	clause(t, 3, func(w *world) error {
		n := w.node()
		all := n.subscribe(everything, nil)
		one := n.subscribe(subject("/t/*@1"), nil)
		none := n.subscribe(subject("t/"), nil)
		for i := range 30 {
			r := rec("", fmt.Sprint(i), uint64(i+1))
			r.Partition = int32(i % 3)
			if i%2 == 0 {
				r.Key = []byte{}
			}
			w.hub.Append(topicName, r)
		}
		synctest.Wait()
		_, outside := n.trySubscribe(subject("t/*@3"), nil)
		back := n.subscribe(everything, all.start.Positions)
		backNone := n.subscribe(subject("t/"), all.start.Positions)
		return first(
			expect(!all.start.Recoverable && !none.start.Recoverable && one.start.Recoverable, "recoverable %v %v %v",
				all.start.Recoverable, none.start.Recoverable, one.start.Recoverable),
			expect(len(all.start.Positions) == 3 && len(one.start.Positions) == 1 && one.start.Positions[0].Partition == 1, "positions"),
			expect(len(all.values()) == 30 && len(none.values()) == 30, "shown %d and %d", len(all.values()), len(none.values())),
			one.shows("1", "4", "7", "10", "13", "16", "19", "22", "25", "28"),
			back.recovers(true, slices.Concat(every(30, 0), every(30, 1), every(30, 2))...),
			backNone.recovers(true, slices.Concat(every(30, 0), every(30, 1), every(30, 2))...),
			n.subscribe(everything, all.start.Positions[:2]).recovers(false),
			n.subscribe(subject("t/*@1"), one.start.Positions).recovers(true, every(30, 1)...),
			matchesErr(outside, live.ErrSubject),
			expect(len(n.subscribe(subject("t/"), nil).start.Last) == 1, "last values of the one subject without keys"),
		)
	})
}

// every returns the numbers below n that are p modulo 3.
func every(n, p int) (all []string) {
	for i := p; i < n; i += 3 {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// A topic that the hub does not have is no reason not to be ready; its subscribers
// wait, and are ended when it is there.
func TestATopicThatIsMissing(t *testing.T) {
	if err := in(t, "", 0, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		closed := n.subscribe(everything, nil)
		closed.s.Close()
		lost := n.subscribe(key("k"), []live.Position{{Epoch: "x", Next: 1}})
		_, unknown := n.trySubscribe(subject("u/k"), nil)
		w.hub.Make(topicName, 1)
		<-time.After(5 * time.Second)
		synctest.Wait()
		_, err := n.trySubscribe(key("k"), nil)
		return first(
			lost.recovers(false), matchesErr(unknown, live.ErrUnknownTopic),
			expect(!c.start.Recoverable && len(c.start.Positions) == 0, "begins with %+v", c.start),
			matchesErr(c.over, live.ErrChanged), expect(closed.over == nil, "ended after Close"), err,
		)
	}); err != nil {
		t.Error(err)
	}
}

// A node that the hub does not answer, or that does not get on, says so after
// max_lag, and that it is well again.
func TestReadySaysWhoIsBehind(t *testing.T) {
	if err := in(t, "", 2, func(w *world) error {
		n := w.node()
		if fmt.Sprint(n.Topics()) != "[t]" {
			return fmt.Errorf("topics %v", n.Topics())
		}
		n.view.SetAway(true)
		<-time.After(5 * time.Second)
		early := n.Ready()
		<-time.After(10 * time.Second)
		silent := n.Ready()
		n.view.SetAway(false)
		<-time.After(time.Second)
		again := n.Ready()
		n.view.Hold(topicName, 0, 0)
		w.hub.Append(topicName, live.Record{})
		<-time.After(5 * time.Second)
		notYet := n.Ready()
		<-time.After(10 * time.Second)
		behind := n.Ready()
		n.view.Hold(topicName, 0, -1)
		synctest.Wait()
		return first(
			early, again, notYet, n.Ready(),
			expect(silent != nil && strings.Contains(silent.Error(), "said nothing"), "%v", silent),
			expect(behind != nil && strings.Contains(behind.Error(), "1 records"), "%v", behind),
		)
	}); err != nil {
		t.Error(err)
	}
}

// A node of topics that are empty is ready as soon as it knows.
func TestAnEmptyTopicIsReadyAtOnce(t *testing.T) {
	if err := in(t, "", 3, func(w *world) error {
		n := w.starting(func(v *livetest.View) {
			for p := range int32(3) {
				v.Hold(topicName, p, 0)
			}
		})
		synctest.Wait()
		c := n.subscribe(everything, nil)
		for p := range int32(3) {
			n.view.Hold(topicName, p, -1)
		}
		w.put(rec("k", "a", 1))
		return first(n.Ready(), c.shows("a"))
	}); err != nil {
		t.Error(err)
	}
}

// A hub that cannot be asked when the node starts is asked again.
func TestAHubThatIsAwayAtFirst(t *testing.T) {
	if err := in(t, "", 1, func(w *world) error {
		w.put(rec("k", "a", 1))
		n := w.starting(func(v *livetest.View) { v.SetAway(true) })
		<-time.After(20 * time.Second)
		_, err := n.trySubscribe(key("k"), nil)
		if err := first(matchesErr(err, live.ErrNotReady), matchesErr(n.Ready(), livetest.ErrAway)); err != nil {
			return err
		}
		n.view.SetAway(false)
		<-time.After(10 * time.Second)
		return first(n.Ready(), expect(len(n.subscribe(key("k"), nil).start.Last) == 1, "no last value"))
	}); err != nil {
		t.Error(err)
	}
}

// Last values are bounded in keys and bytes; the one that was not updated for
// longest goes first. That nothing was missed is never concluded of a key that was
// forgotten meanwhile.
func TestLastValuesAreBounded(t *testing.T) {
	for _, by := range []string{"keys", "bytes"} {
		if err := in(t, "", 1, func(w *world) error {
			w.opts.Ring.MaxRecords = 2
			if by == "keys" {
				w.opts.LastValues.MaxKeys = 3
			} else {
				w.opts.LastValues.MaxBytes = 3 * (1 + 1 + 10)
			}
			n := w.node()
			before := n.subscribe(everything, nil).start.Positions
			for i, k := range []string{"a", "b", "c", "a", "d", "e"} {
				w.put(rec(k, fmt.Sprintf("%s%09d", k, i), uint64(i+1)))
			}
			synctest.Wait()
			got := n.subscribe(everything, nil).start.Last
			all := valuesOf(got)
			return first(
				expect(slices.Equal(all, []string{"a000000003", "d000000004", "e000000005"}), "last values %q", all),
				n.subscribe(key("b"), before).recovers(true, "b000000001"), // from the hub
				n.subscribe(key("never"), before).recovers(true),
			)
		}); err != nil {
			t.Errorf("%s: %v", by, err)
		}
	}
}

// While connections hold too much that is unsent nothing is read, and what waits
// is delivered after.
func TestRoomHoldsReadingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := livetest.NewLog()
		hub.Make(topicName, 1)
		room := make(chan struct{})
		e, err := live.New(options(), live.Deps{Log: hub, Logger: slog.New(slog.DiscardHandler), Room: func(ctx context.Context) error {
			select {
			case <-room:
			case <-ctx.Done():
			}
			return ctx.Err()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = e.Run(ctx) }()
		synctest.Wait()
		n := &node{Engine: e, w: &world{t: t}}
		c := n.subscribe(key("k"), nil)
		hub.Send(topicName, "k", "a")
		before := c.values()
		room <- struct{}{}
		synctest.Wait()
		close(room)
		if after := c.values(); len(before) != 0 || !slices.Equal(after, []string{"a"}) {
			t.Errorf("shown %q, then %q", before, after)
		}
		cancel()
		<-ended
		if _, err := n.trySubscribe(key("k"), []live.Position{{Epoch: c.epochs[0], Next: 5}}); !errors.Is(err, live.ErrNotReady) {
			t.Errorf("after the end: %v", err)
		}
	})
}

// What can be measured is there under its name.
func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := livetest.NewLog()
		hub.Make(topicName, 2)
		reg := prometheus.NewPedanticRegistry()
		e, err := live.New(options(), live.Deps{Log: hub, Registerer: reg, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := live.New(options(), live.Deps{Log: hub, Registerer: reg, Logger: slog.New(slog.DiscardHandler)}); err == nil {
			t.Error("registered twice")
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); _ = e.Run(ctx) }()
		synctest.Wait()
		n := &node{Engine: e, w: &world{t: t}}
		c := n.subscribe(key("k"), nil)
		r := hub.Send(topicName, "k", "value")
		hub.Append(topicName, r)
		synctest.Wait()
		hub.View.Hold(topicName, r.Partition, 2)
		hub.Send(topicName, "k", "value")
		<-time.After(3 * time.Second)
		n.subscribe(key("k"), c.start.Positions)
		n.subscribe(key("k"), []live.Position{{}})
		got := gather(t, reg)
		for name, want := range map[string]float64{
			"postroad_stream_lag_records": 1, "postroad_stream_lag_seconds": 2, "postroad_stream_records_total": 2,
			"postroad_stream_duplicates_total": 1, "postroad_stream_ring_records": 1, "postroad_stream_ring_bytes": 6,
			"postroad_stream_last_values": 1, "postroad_stream_last_values_bytes": 7, "postroad_stream_last_values_evicted_total": 0,
			"postroad_stream_window_bytes": 2 * 8192, "postroad_stream_recoveries_total ring": 1,
			"postroad_stream_recoveries_total incomplete": 1, "postroad_stream_recoveries_total scan": 0, "postroad_stream_scans_total": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v (%v), want %v", name, v, ok, want)
			}
		}
		cancel()
		<-ended
	})
}

// gather returns the metrics by name, and by name and result where there is one.
func gather(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() == "result" {
					name += " " + l.GetValue()
				}
			}
			got[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got
}

package live_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// Section 8: subscribe returns the last offset this node has processed, and whoever
// comes back with that has missed nothing; what is appended then is delivered.
func TestAPositionAtTheHeadHasMissedNothing(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "a", 1))
		if err := c.shows("a"); err != nil {
			return err
		}
		c.s.Close()
		back := n.subscribe(key("k"), c.positions())
		w.put(rec("k", "b", 2))
		return first(
			back.recovers(true),
			back.shows("b"),
			expect(back.start.Recoverable, "not recoverable"),
			expect(len(back.start.Last) == 0, "last values though nothing was missed"),
			c.shows("a"), // closed
		)
	})
}

// Section 8: recovery from the ring: a client that was away for a moment. Its ring
// begins above what another client asks for, which must not be given a part.
func TestRecoveryFromTheRing(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 4
		n := w.node()
		c := n.subscribe(key("k"), nil)
		early := c.positions()
		w.put(rec("k", "a", 1))
		w.put(rec("k", "b", 2))
		synctest.Wait()
		here := c.positions()
		w.put(rec("k", "c", 3))
		w.put(rec("other", "x", 4))
		w.put(rec("k", "c again", 3))
		w.put(rec("k", "d", 5))
		synctest.Wait()
		if scans := n.view.Calls().Scan; scans != 0 {
			return fmt.Errorf("%d scans", scans)
		}
		err := n.subscribe(key("k"), here).recovers(true, "c", "d")
		if scans := n.view.Calls().Scan; err == nil && scans != 0 {
			err = fmt.Errorf("%d scans for what the ring has", scans)
		}
		w.put(rec("k", "e", 6))
		synctest.Wait()
		return first(err, n.subscribe(key("k"), early).recovers(true, "a", "b", "c", "d", "e"))
	}, "ringHasAll")
}

// Section 8: recovery by a scan begins W earlier, so that a message of which a copy
// was shown before the client left is not given again on its return.
func TestRecoveryByScanLooksBack(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "a", 1))
		synctest.Wait()
		left := c.positions()
		w.put(rec("k", "a again", 1)) // within W of what it saw
		w.put(rec("k", "b", 2))
		w.fill(20)
		w.put(rec("k", "b again", 2))
		synctest.Wait()
		return n.subscribe(key("k"), left).recovers(true, "b")
	}, "noLookBack", "noWindow", "ringHasAll")
}

// Section 8: a scan, then the ring for what arrived meanwhile, under the lock: what
// comes while the hub is read is neither left out nor shown twice.
func TestWhatComesDuringAScanIsNotLeftOut(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 4
		n := w.node()
		c := n.subscribe(key("k"), nil)
		for i := range 10 {
			w.put(rec("k", fmt.Sprint(i), uint64(i+1)))
		}
		synctest.Wait()
		n.view.OnScan(func(string, int32, int64, int64) error {
			n.view.OnScan(nil)
			w.put(rec("k", "during", 11))
			<-time.After(10 * time.Millisecond) // the node takes it up
			return nil
		})
		back := n.subscribe(key("k"), c.start.Positions)
		w.put(rec("k", "after", 12))
		return first(
			back.recovers(true, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "during"),
			back.shows("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "during", "after"),
		)
	}, "stopAtScan")
}

// Where so much comes during the scan that the ring does not reach back to its
// end, the rest is read, too. A hub that fills faster than it is read for good is
// no reason to say that something was lost: the client is told to come again.
func TestScansThatTheRingDoesNotMeet(t *testing.T) {
	for _, busy := range []int{1, 5, 50, 1000} {
		clause(t, 1, func(w *world) error {
			w.opts.Ring.MaxRecords = 2
			n := w.node()
			c := n.subscribe(key("k"), nil)
			w.put(rec("k", "a", 1))
			w.fill(5)
			synctest.Wait()
			id := 1
			n.view.OnScan(func(string, int32, int64, int64) error {
				if id <= busy {
					id++
					w.put(rec("k", "more", uint64(id)))
					w.fill(5)
					<-time.After(10 * time.Millisecond)
				}
				return nil
			})
			back, err := n.trySubscribe(key("k"), c.start.Positions)
			if busy == 1000 {
				w.put(rec("k", "nobody hears", 5000))
				return first(matchesErr(err, live.ErrBusy), expect(len(back.values()) == 0, "registered"))
			}
			return first(err, back.recovers(true, append([]string{"a"}, slices.Repeat([]string{"more"}, busy)...)...))
		})
	}
}

// Section 8: a subject that was idle for longer than the hub keeps records is
// recovered all the same: this node knows that nothing was missed.
func TestAnIdleSubjectIsRecoveredBelowTheStartOfTheLog(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 5
		n := w.node()
		c := n.subscribe(key("k"), nil)
		none := n.subscribe(key("never"), nil)
		w.put(rec("k", "a", 1))
		synctest.Wait()
		left := c.positions()
		w.fill(500)
		synctest.Wait()
		w.hub.Truncate(topicName, 0, 400)
		synctest.Wait()
		other := n.subscribe(everything, left)
		return first(
			n.subscribe(key("k"), left).recovers(true),
			n.subscribe(key("never"), none.start.Positions).recovers(true),
			other.recovers(false), // of other subjects something was missed
		)
	}, "noLastOffset")
}

// Section 8: a log that begins above the position cannot tell what was missed.
func TestALogThatBeginsAboveThePositionIsNotRecovered(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("k"), nil)
		for i := range 50 {
			if i == 10 { // the look-back is as good as whole
				w.fill(1)
				<-time.After(w.opts.DedupeHorizon + time.Second)
			}
			w.put(rec("k", fmt.Sprint(i), uint64(i+1)))
		}
		synctest.Wait()
		w.hub.Truncate(topicName, 0, 10)
		back := n.subscribe(key("k"), c.start.Positions)
		return first(back.recovers(false), expect(slices.Equal(valuesOf(back.start.Last), []string{"49"}), "last %q", valuesOf(back.start.Last)))
	}, "cutStartIsFine")
}

// Section 8: a client that comes from a node that was further. Its position is a
// floor: recovered, its own offset echoed, nothing at or below it sent, ever, be
// it alone in its audience or with others that have none.
func TestAPositionAheadOfTheNodeIsAFloor(t *testing.T) {
	clause(t, 1, func(w *world) error {
		ahead, behind := w.node(), w.node()
		behind.view.Hold(topicName, 0, 2)
		c := ahead.subscribe(key("k"), nil)
		for i := range 6 {
			w.put(rec("k", fmt.Sprint(i), uint64(i+1)))
		}
		if err := c.shows("0", "1", "2", "3", "4", "5"); err != nil {
			return err
		}
		left := c.positions()
		moved := behind.subscribe(key("k"), left)
		all := behind.subscribe(everything, left)
		plain := behind.subscribe(key("k"), nil)
		echoed := moved.start.Positions[0].Next
		behind.view.Hold(topicName, 0, 4)
		synctest.Wait()
		// Meanwhile it goes back to the one ahead, and comes again.
		again := behind.subscribe(key("k"), moved.positions())
		behind.view.Hold(topicName, 0, -1)
		w.put(rec("k", "6", 7))
		return first(
			moved.recovers(true), again.recovers(true),
			expect(echoed == 6, "position %d is told, want its own, 6", echoed),
			moved.shows("6"), again.shows("6"), all.shows("6"),
			plain.shows("2", "3", "4", "5", "6"),
		)
	}, "noFloor")
}

// Section 8: a position above a fresh end is of another log; the hub is asked,
// since the end this node knows may be old.
func TestAPositionAboveTheHubsEndIsNotRecovered(t *testing.T) {
	clause(t, 1, func(w *world) error {
		n := w.node()
		w.put(rec("k", "a", 1))
		synctest.Wait()
		at := n.subscribe(key("k"), nil).start.Positions[0]
		at.Next = 2
		if err := n.subscribe(key("k"), []live.Position{at}).recovers(false); err != nil {
			return err
		}
		// The same position is a floor once the hub has it, heard of or not.
		n.view.Hold(topicName, 0, 1)
		w.put(rec("k", "b", 2))
		return n.subscribe(key("k"), []live.Position{at}).recovers(true)
	}, "noEnd")
}

// Section 8: a position of another epoch says nothing of this partition: of another
// topic of that name, of another hub or generation of it, of another partition.
func TestAnotherEpochIsNotRecovered(t *testing.T) {
	is := live.Topic{Partitions: 3, Cluster: "c", ID: [16]byte{1}}
	seen := map[string]string{}
	note := func(what string, hub live.Identity, topic string, is live.Topic, p int32) {
		epoch := live.Epoch(hub, topic, is, p)
		if was, twice := seen[epoch]; twice || len(epoch) != 16 {
			t.Errorf("%s: epoch %q, as of %s", what, epoch, was)
		}
		seen[epoch] = what
	}
	hub := live.Identity{Name: "hub"}
	note("as it is", hub, "t", is, 0)
	note("partition", hub, "t", is, 1)
	note("topic", hub, "u", is, 0)
	note("generation", live.Identity{Name: "hub", Generation: 1}, "t", is, 0)
	note("hub", live.Identity{Name: "hub2"}, "t", is, 0)
	other := is
	other.Cluster = "d"
	note("cluster", hub, "t", other, 0)
	other = is
	other.ID[0] = 2
	note("id", hub, "t", other, 0)
	other = is
	other.Partitions = 4
	note("count", hub, "t", other, 0)
	// Nodes of all versions must agree, or clients that move lose their place.
	if got := live.Epoch(hub, "t", is, 0); got != "05545395fb5bf9e1" {
		t.Errorf("the epoch is %s", got)
	}
	clause(t, 1, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "a", 1))
		synctest.Wait()
		at := c.start.Positions[0]
		at.Epoch = "0123456789abcdef"
		back := n.subscribe(key("k"), []live.Position{at})
		return first(back.recovers(false), expect(len(back.start.Last) == 1, "no last value"))
	}, "noEpoch")
}

// Section 8: of a compacted topic records of the middle may be gone.
func TestACompactedTopicIsNotRecovered(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.hub.SetCompacted(topicName, true)
		n := w.node()
		c := n.subscribe(key("k"), nil)
		w.put(rec("k", "a", 1))
		back := n.subscribe(key("k"), c.start.Positions)
		return first(back.recovers(false), expect(!c.start.Recoverable, "recoverable"), c.shows("a"))
	}, "compactedFine")
}

// Section 8: once a key's message stands in another partition than the key's,
// subjects of one key hear all partitions, without positions, and nothing is
// recovered, for dedupe_horizon; nor is later what came before.
func TestAForeignPartitionedTopicIsNotRecovered(t *testing.T) {
	clause(t, 4, func(w *world) error {
		n := w.node()
		c := n.subscribe(key("k"), nil)
		all := n.subscribe(everything, nil)
		home := c.start.Positions[0].Partition
		w.put(rec("k", "home", 1))
		synctest.Wait()
		left := c.positions()
		<-time.After(time.Second)
		stray := rec("k", "stray", 2)
		stray.Partition = (home + 1) % 4
		w.hub.Append(topicName, stray)
		synctest.Wait()
		if err := first(matchesErr(c.over, live.ErrChanged), c.shows("home"), all.shows("home", "stray")); err != nil {
			return err
		}
		during := n.subscribe(key("k"), left)
		w.put(rec("k", "home again", 3))
		stray.ID = livetest.ID(1<<32 + 4)
		w.hub.Append(topicName, stray)
		if err := first(
			during.recovers(false),
			expect(!during.start.Recoverable && len(during.start.Positions) == 4, "begins with %+v", during.start),
			expect(slices.Equal(valuesOf(during.start.Last), []string{"stray"}), "last %q", valuesOf(during.start.Last)),
			during.shows("home again", "stray"),
		); err != nil {
			return err
		}
		<-time.After(w.opts.DedupeHorizon + time.Second)
		later := n.subscribe(key("k"), left)
		fresh := w.node().subscribe(key("k"), left) // one that has not seen it happen
		w.put(rec("k", "later", 5))
		synctest.Wait()
		return first(
			later.recovers(false), fresh.recovers(false),
			n.subscribe(key("k"), during.positions()).recovers(false), // one partition is in view now, and it brings four
			expect(later.start.Recoverable, "not recoverable after the horizon"),
			n.subscribe(key("k"), later.positions()).recovers(true),
		)
	}, "foreignFine")
}

// stray is a record of the key in another partition than the key's.
func (w *world) stray(k, value string, id uint64) live.Record {
	r := rec(k, value, id)
	n := int32(w.hub.Partitions(topicName))
	r.Partition = (message.PartitionOf([]byte(k), n) + 1) % n
	return r
}

// Of a compacted topic nobody has positions; who hears one partition only, that of
// a key, is told all the same once the key's messages stand in another one, too.
func TestForeignPartitioningOfACompactedTopic(t *testing.T) {
	clause(t, 2, func(w *world) error {
		w.hub.SetCompacted(topicName, true)
		n := w.node()
		c, all := n.subscribe(key("k"), nil), n.subscribe(everything, nil)
		w.hub.Append(topicName, w.stray("k", "stray", 1))
		synctest.Wait()
		back := n.subscribe(key("k"), nil)
		w.hub.Append(topicName, w.stray("k", "another", 2))
		return first(
			matchesErr(c.over, live.ErrChanged), back.shows("another"), expect(back.over == nil, "ended: %v", back.over),
			all.shows("stray", "another"), expect(all.over == nil, "ended: %v", all.over),
		)
	}, "foreignFine")
}

// Section 8: a look-back cut short by the log's start counts as complete only if
// the first record retained is more than dedupe_horizon older than the accept time
// of every record delivered: else a copy may have stood in what is gone, which the
// client may have seen at another node.
func TestALookBackCutShort(t *testing.T) {
	for _, old := range []bool{false, true} {
		clause(t, 1, func(w *world) error {
			w.opts.Ring.MaxRecords = 2
			w.put(rec("k", "seen elsewhere", 1)) // goes with retention
			w.fill(1)                            // the first retained
			if old {
				<-time.After(w.opts.DedupeHorizon + time.Second)
			}
			w.put(rec("k", "again", 1))
			w.hub.Truncate(topicName, 0, 1)
			n := w.node()
			at := n.subscribe(key("k"), nil).start.Positions[0]
			at.Next = 1
			if err := n.subscribe(key("k"), []live.Position{at}).recovers(old, slices.Repeat([]string{"again"}, map[bool]int{true: 1}[old])...); err != nil {
				return err
			}
			w.fill(5) // beyond the ring: the same by a scan
			synctest.Wait()
			return n.subscribe(key("k"), []live.Position{at}).recovers(old, slices.Repeat([]string{"again"}, map[bool]int{true: 1}[old])...)
		}, map[bool][]string{false: {"alwaysSure"}}[old]...)
	}
}

// What tells how old the gone records are is when the first one retained was
// produced, not when it was accepted: it may have lain in a queue for long, right
// behind a copy that was sent at once.
func TestALateRecordSaysNothingOfThoseBeforeIt(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.put(rec("k", "seen elsewhere", 1))
		late := rec("filler", "late", 2)
		late.Accepted = time.Now().Add(-5 * time.Hour)
		w.put(late)
		w.put(rec("k", "again", 1))
		w.hub.Truncate(topicName, 0, 1)
		at := w.node().subscribe(key("k"), nil).start.Positions[0]
		at.Next = 1
		return w.node().subscribe(key("k"), []live.Position{at}).recovers(false)
	}, "alwaysSure")
}

// A log of which retention has left nothing: what was gone when the node saw it
// cannot be repeated by what is accepted a horizon later.
func TestALogThatIsAllGone(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.fill(10)
		w.hub.Truncate(topicName, 0, 10)
		n := w.node()
		c := n.subscribe(key("k"), nil)
		<-time.After(w.opts.DedupeHorizon / 2)
		w.put(rec("k", "too soon", 1))
		synctest.Wait()
		soon := n.subscribe(key("k"), c.start.Positions).recovers(false)
		<-time.After(w.opts.DedupeHorizon/2 + time.Second)
		here := n.subscribe(key("k"), nil).start.Positions
		w.put(rec("k", "late enough", 2))
		synctest.Wait()
		return first(soon, n.subscribe(key("k"), here).recovers(true, "late enough"))
	}, "alwaysSure")
}

// What cannot be complete within the limits is not recovered: bytes, records, age.
func TestWhatExceedsALimitIsNotRecovered(t *testing.T) {
	limits := map[string]func(*live.Options){
		"records": func(o *live.Options) { o.Recovery.MaxRecords = 49 },
		"bytes":   func(o *live.Options) { o.Recovery.MaxBytes = 1024 },
		"held":    func(o *live.Options) { o.Recovery.MaxHeldBytes = 1024 },
		"age":     func(o *live.Options) { o.Recovery.MaxAge = time.Minute },
		"none":    func(*live.Options) {},
	}
	for name, limit := range limits {
		t.Run(name, func(t *testing.T) {
			scenario := func(w *world) error {
				limit(&w.opts)
				w.opts.Ring.MaxRecords = 2
				n := w.node()
				c := n.subscribe(key("k"), nil)
				var want []string
				for i := range 50 {
					want = append(want, fmt.Sprintf("%030d", i))
					w.put(rec("k", want[i], uint64(i+1)))
				}
				<-time.After(2 * time.Minute)
				half := c.start.Positions[0]
				half.Next = 30
				w.put(rec("k", "young", 100))
				synctest.Wait()
				if name == "none" {
					return n.subscribe(key("k"), c.start.Positions).recovers(true, append(want, "young")...)
				}
				err := n.subscribe(key("k"), c.start.Positions).recovers(false)
				if err == nil && name != "age" { // one that is less behind is
					err = n.subscribe(key("k"), []live.Position{half}).recovers(true, append(want[30:], "young")...)
				}
				return err
			}
			if name == "none" {
				clause(t, 1, scenario)
				return
			}
			clause(t, 1, scenario, "noCaps")
		})
	}
}

// Section 8: limits do not count the look-back, be it large, many and old.
func TestLimitsDoNotCountTheLookBack(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 1
		w.opts.Recovery.MaxBytes, w.opts.Recovery.MaxHeldBytes = 1024, 1024
		w.opts.Recovery.MaxRecords, w.opts.Recovery.MaxAge = 5, time.Minute
		n := w.node()
		c := n.subscribe(key("k"), nil)
		for i := range 90 {
			w.put(rec("k", fmt.Sprintf("%0100d", i), uint64(i+1)))
		}
		synctest.Wait()
		<-time.After(time.Hour)
		left := c.positions()
		w.put(rec("k", "new", 100))
		w.put(rec("k", "repeat", 1))
		w.fill(2)
		synctest.Wait()
		return n.subscribe(key("k"), left).recovers(true, "new")
	}, "noLookBack")
}

// A crowd that comes back after a node's death costs the hub two readings of a
// partition, not one each; each gets what it missed itself.
func TestScansAreJoined(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("0"), nil)
		const keys, each = 10, 20
		for i := range keys * each {
			w.put(rec(fmt.Sprint(i%keys), fmt.Sprint(i), uint64(i+1)))
		}
		synctest.Wait()
		hold := make(chan struct{})
		n.view.OnScan(func(string, int32, int64, int64) error { <-hold; return nil })
		got := make(chan error, 1000)
		for i := range 1000 {
			go func() {
				at := c.start.Positions[0]
				at.Next = int64(i % (keys * (each - 1)))
				var want []string
				for j := range keys * each {
					if j%keys == i%keys && int64(j) >= at.Next {
						want = append(want, fmt.Sprint(j))
					}
				}
				b, err := n.trySubscribe(key(fmt.Sprint(i%keys)), []live.Position{at})
				if err == nil {
					err = b.recovers(true, want...)
				}
				got <- err
			}()
		}
		synctest.Wait()
		close(hold)
		for range 1000 {
			if err := <-got; err != nil {
				return err
			}
		}
		scans := n.view.Calls().Scan
		return expect(scans <= 2, "%d scans", scans)
	})
}

// More than may wait are refused, at once and with an error that says so.
func TestTooManyRecoveriesAreRefused(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		w.opts.Recovery.Waiting = 3
		n := w.node()
		c := n.subscribe(key("filler"), nil)
		w.fill(10)
		synctest.Wait()
		hold := make(chan struct{})
		n.view.OnScan(func(string, int32, int64, int64) error { <-hold; return nil })
		got := make(chan error, 5)
		for range 5 {
			go func() {
				_, err := n.trySubscribe(key("filler"), c.start.Positions)
				got <- err
			}()
		}
		synctest.Wait()
		refused := first(matchesErr(<-got, live.ErrBusy), matchesErr(<-got, live.ErrBusy))
		close(hold)
		return first(refused, <-got, <-got, <-got, n.subscribe(key("filler"), c.start.Positions).recovers(true,
			slices.Repeat([]string{"filler"}, 10)...))
	})
}

// A subscriber that gives up while the hub is read is not registered; a hub that
// fails is an error, and the next try goes well.
func TestASubscriberThatGivesUpIsNotRegistered(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("filler"), nil)
		w.fill(10)
		synctest.Wait()
		hold := make(chan struct{})
		n.view.OnScan(func(string, int32, int64, int64) error { <-hold; return nil })
		ctx, cancel := context.WithCancel(w.t.Context())
		got := make(chan error)
		begun := false
		go func() {
			_, err := n.Subscribe(ctx, live.Request{
				Subject: key("filler"), Receiver: c, Since: c.start.Positions,
				Begin: func(*live.Start) { begun = true },
			})
			got <- err
		}()
		synctest.Wait()
		cancel()
		gaveUp := matchesErr(<-got, context.Canceled)
		close(hold)
		synctest.Wait()
		n.view.OnScan(func(string, int32, int64, int64) error { return errors.New("no hub") })
		_, failed := n.trySubscribe(key("filler"), c.start.Positions)
		n.view.OnScan(nil)
		w.fill(1)
		return first(
			gaveUp, expect(!begun, "Begin was called"), expect(failed != nil, "no error of the hub"),
			expect(len(c.values()) == 11, "delivered %d times, want once each", len(c.values())),
			n.subscribe(key("filler"), c.start.Positions).recovers(true, slices.Repeat([]string{"filler"}, 11)...),
		)
	})
}

// Retention that goes on while the hub is read: not recovered, no gap.
func TestRetentionDuringAScan(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("filler"), nil)
		w.fill(50)
		synctest.Wait()
		n.view.OnScan(func(string, int32, int64, int64) error {
			w.hub.Truncate(topicName, 0, 20)
			return nil
		})
		late := c.start.Positions[0]
		late.Next = 30
		return first(
			n.subscribe(key("filler"), c.start.Positions).recovers(false),
			n.subscribe(key("filler"), []live.Position{late}).recovers(false), // its look-back is cut short, and all is young
		)
	})
}

// A topic that is made anew while it is read for recovery: what was missed is gone
// with it, though reading finds nothing wrong.
func TestATopicMadeAnewDuringAScan(t *testing.T) {
	clause(t, 1, func(w *world) error {
		w.opts.Ring.MaxRecords = 2
		n := w.node()
		c := n.subscribe(key("filler"), nil)
		w.fill(50)
		synctest.Wait()
		n.view.OnScan(func(string, int32, int64, int64) error {
			n.view.OnScan(nil)
			n.view.Hold(topicName, 0, 0) // the node does not know yet
			w.hub.Make(topicName, 1)
			return nil
		})
		at := c.start.Positions
		_, err := n.trySubscribe(key("filler"), at)
		n.view.OnScan(func(string, int32, int64, int64) error { w.hub.Make(topicName, 1); return nil })
		<-time.After(time.Minute)
		n.view.Hold(topicName, 0, -1)
		w.fill(10)
		<-time.After(time.Minute)
		now, err2 := n.Positions(key("filler"))
		if err2 != nil {
			return err2
		}
		now[0].Next = 0
		_, history := n.History(w.t.Context(), live.HistoryRequest{Subject: key("filler"), Since: now, Limit: 20})
		return first(matchesErr(err, live.ErrNotReady), matchesErr(history, live.ErrNotReady))
	}, "silentChange")
}

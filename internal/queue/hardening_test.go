package queue_test

import (
	"context"
	"fmt"
	"reflect"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// TestSleeperDoesNotRenewItself: a writer is suspended past its TTL, and its
// heartbeat loop runs first when it wakes. The lane may have been taken over
// meanwhile, and the fence be hidden by a share's caches.
func TestSleeperDoesNotRenewItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger()
		q, suspend := suspendable(t, faultfs.New(1))
		_ = l.append(t.Context(), q, "a")
		suspend(time.Minute)
		wait(3 * time.Second) // a heartbeat
		if err := l.append(t.Context(), q, "b"); err != nil {
			t.Fatal(err)
		}
		if l.places["a"].Lane == l.places["b"].Lane {
			t.Error("acknowledged in the lane whose renewal was overdue")
		}
	})
}

// TestLaneThatCannotBeReadNowIsNotTakenForAnother: one read of a file "lane"
// fails for a passing reason. Taken for a damaged one, all of the lane would be
// forwarded again.
func TestLaneThatCannotBeReadNowIsNotTakenForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, o := faultfs.New(1), faultOptions()
		o.Retain = 24 * time.Hour
		q, stop := begin(t, disk, with(o))
		for _, v := range []string{"a", "b", "c"} {
			appendOne(t, q, v)
		}
		c := claim(t, q)
		if err := c.Save(t.Context(), upTo(drain(t, c, 3))); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		stop()
		disk = disk.Restart()
		heal := disk.When(faultfs.Match{Kind: faultfs.OpOpen, Name: "queue/lanes/*/lane", Always: true}, faultfs.FailBefore(syscall.EMFILE))
		time.AfterFunc(time.Minute, heal)
		chains, err := drainAll(disk, o, true)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chains {
			if len(values(c)) > 0 {
				t.Errorf("handed out again: %v", values(c))
			}
		}
	})
}

// TestProgressOutgrowsItsFile: more topics and partitions than a progress file
// was made for must not stop the chain, in this life or the next.
func TestProgressOutgrowsItsFile(t *testing.T) {
	for _, fault := range []string{"", "progress", "claim"} {
		t.Run("fault at "+fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				q := started(t, disk, nil)
				r := appendOne(t, q, "a")
				c := claim(t, q)
				p := next(r.Lane, 2)
				p.Partitions = map[string]int32{}
				for i := range 40 {
					topic := fmt.Sprintf("topic-%02d", i)
					p.Partitions[topic] = 2000
					for n := range int32(2000) {
						p.Marks = append(p.Marks, message.Mark{Topic: topic, Partition: n, Offset: int64(n) << 20})
					}
				}
				failure := faultfs.FailAfter(syscall.EIO)
				if fault == "claim" { // of one that may be there nobody knows whose it is
					failure = faultfs.FailBefore(syscall.EIO)
				}
				if fault != "" {
					disk.When(faultfs.Match{Kind: faultfs.OpCreate, Name: "queue/claims/*/" + fault + ".000002"}, failure)
					if err := c.Save(t.Context(), p); err == nil {
						t.Fatal("no error")
					}
				}
				for range 2 {
					if err := c.Save(t.Context(), p); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := claim(t, q).Progress(); !reflect.DeepEqual(got, p) {
					t.Errorf("%d lanes, %d topics and %d marks came back", len(got.Lanes), len(got.Partitions), len(got.Marks))
				}
			})
		})
	}
}

// TestStatusSaysWhatIsNotReadYet: right after a crash nobody knows how much the
// old lanes hold, and a status of "nothing waits" would be believed.
func TestStatusSaysWhatIsNotReadYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		appendOne(t, q, "a")
		stop()
		q = started(t, disk.Restart(), nil)
		if s := q.Status(); s.UnreadLanes != 1 && !s.Listing {
			t.Errorf("before the old lane is read: %+v", s)
		}
		for range 2 {
			c := claim(t, q)
			if c.Progress().Lanes[0].Lane == "" {
				t.Fatal("no lane")
			}
			if len(c.Progress().Lanes) == 1 && q.Status().UnreadLanes == 1 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				for err := error(nil); err == nil; {
					_, err = c.Next(ctx, 10)
				}
				cancel()
			}
		}
		if s := q.Status(); s.UnreadLanes != 0 || s.UnforwardedMessages != 1 {
			t.Errorf("after it was read: %+v", s)
		}
	})
}

// TestSavedProgressDoesNotHideTheRest: a process dies with half of its lane in the
// hub. What it saved lies beyond what its heartbeat tells, and says nothing of the
// other half, which nobody has counted yet.
func TestSavedProgressDoesNotHideTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q, stop := begin(t, disk, nil)
		c, msgs := appendAndRead(t, q, 10)
		chain := c.ID()
		if err := c.Save(t.Context(), next(msgs[4].Lane, 6)); err != nil {
			t.Fatal(err)
		}
		disk = killed(disk, stop)
		// Nobody comes to read it for a while.
		heal := disk.When(faultfs.Match{Kind: faultfs.OpOpen, Name: "*.seg", Always: true}, faultfs.FailBefore(syscall.EMFILE))
		q = started(t, disk, nil)
		mustKnow := func(when string) {
			t.Helper()
			if s := q.Status(); s.UnforwardedMessages != 5 && s.UnreadLanes == 0 && !s.Listing {
				t.Errorf("%s five messages wait, and the status is %+v", when, s)
			}
		}
		mustKnow("before the directory is listed,")
		wait(time.Second)
		mustKnow("before the lane is claimed,")
		heal()
		for c = claim(t, q); c.ID() != chain; { // the other is its own chain
			c = claim(t, q)
		}
		mustKnow("before the lane is read,")
		if got := drain(t, c, 5); values(got)[0] != "5" {
			t.Errorf("the other half begins with %q", values(got)[0])
		}
		mustKnow("once the lane is read,")
	})
}

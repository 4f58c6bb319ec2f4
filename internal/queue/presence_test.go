package queue_test

import (
	"errors"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// TestHeartbeatsOfDeadProcessesGo: a process that is killed every hour for years
// must not leave a directory each time; one that lives keeps its own.
func TestHeartbeatsOfDeadProcessesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		for range 3 {
			_, stop := begin(t, disk, nil)
			wait(5 * time.Second)
			disk = killed(disk, stop)
		}
		started(t, disk, nil)
		started(t, disk, nil)
		if n := len(names(t, disk, "queue/processes")); n != 5 {
			t.Fatalf("%d heartbeats of three dead and two living processes", n)
		}
		wait(2 * time.Hour)
		if n := len(names(t, disk, "queue/processes")); n != 2 {
			t.Errorf("%d heartbeats of two living processes", n)
		}
	})
}

// A process that stops cleanly takes its heartbeat with it.
func TestHeartbeatGoesWithItsProcess(t *testing.T) {
	disk := faultfs.New(1)
	synctest.Test(t, func(t *testing.T) {
		_, stop := begin(t, disk, nil)
		stop()
		if left := names(t, disk, "queue/processes"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// TestIdleHolderLearnsThatItsHeartbeatEnded: a claim of a chain with nothing to
// forward is given up like any other, and the process claims it anew; or it would
// take part in nothing any more.
func TestIdleHolderLearnsThatItsHeartbeatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, nil)
		c := claim(t, q)
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "queue/processes/*/heartbeat"}, faultfs.FailBefore(syscall.EIO))
		if _, err := c.Next(t.Context(), 1); !errors.Is(err, message.ErrClaimLost) {
			t.Fatalf("an idle holder is told %v", err)
		}
		if q.Overdue() == nil {
			t.Error("it might send under a claim that is lost")
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		if err := q.Overdue(); err != nil {
			t.Errorf("a minute after the claim was given up: %v", err)
		}
		appendOne(t, q, "a")
		if got := values(drain(t, claim(t, q), 1)); len(got) != 1 || got[0] != "a" {
			t.Errorf("claimed anew: %q", got)
		}
	})
}

// TestHeartbeatComesBackAfterRetention: a process that has removed a chain, and
// then could not renew its heartbeat once, begins another.
func TestHeartbeatComesBackAfterRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		(&life{name: "old"}).run(disk, l)
		q := started(t, disk, only(queue.Drains))
		if _, err := drainChains(q, true); err != nil {
			t.Fatal(err)
		}
		wait(time.Hour)
		if left := names(t, disk, "queue/lanes"); len(left) != 0 {
			t.Fatalf("lanes left: %d", len(left))
		}
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "queue/processes/*/heartbeat"}, faultfs.FailBefore(syscall.EIO))
		wait(time.Hour)
		if err := q.Overdue(); err != nil {
			t.Errorf("an hour after one failed renewal: %v", err)
		}
	})
}

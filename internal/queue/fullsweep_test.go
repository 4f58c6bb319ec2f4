package queue_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// fullAt runs a process whose disk becomes full at its operation k, to the last
// page, and stays so; kills it, or cuts its power; and has another one start on
// what is left. That one has to forward what was acknowledged, and to accept
// again at the latest once there is room. It returns how many operations the
// first one made, and what was wrong.
func fullAt(t *testing.T, seed uint64, k int, late, cut bool) (ops int, err error) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(seed), newLedger()
		disk.SetLateSpace(late)
		o := roomOptions()
		q, openErr := queue.Open(o, onDisk(disk, silent))
		if openErr != nil {
			t.Fatal(openErr)
		}
		stop := run(q)
		until(t, "a ballast", hasBallast(disk))
		base := disk.Ops()
		disk.At(base+k, faultfs.Delay(func(faultfs.Op) { disk.SetCapacity(disk.Used()) }))
		first := life{name: "first", disk: disk}
		for i := range 6 {
			_ = l.append(t.Context(), q, fill(fmt.Sprint("a", i), 25<<10), fmt.Sprint("a'", i))
		}
		first.forward(q, l, 5)
		for i := range 6 {
			_ = l.append(t.Context(), q, fill(fmt.Sprint("b", i), 25<<10))
			wait(time.Second)
		}
		ops = disk.Ops() - base
		left := disk.Restart()
		if cut {
			left = disk.RebootBare()
		}
		stop()
		err = startFull(t, left, l)
	})
	return ops, err
}

// startFull starts a process on a disk of which it makes a full one.
func startFull(t *testing.T, disk *faultfs.FS, l *ledger) error {
	disk.SetCapacity(disk.Used())
	q, err := queue.Open(roomOptions(), onDisk(disk, silent))
	if err != nil {
		return fmt.Errorf("open on a full disk: %w", err)
	}
	defer run(q)()
	stop := forwarding(q)
	wait(2 * time.Minute)
	disk.SetCapacity(faultfs.DefaultCapacity)
	for range 60 {
		if wait(time.Second); q.Ready() == nil {
			break
		}
	}
	appended := l.append(t.Context(), q, "again")
	wait(time.Minute)
	if err := l.check(stop()); err != nil {
		return err
	}
	if appended != nil {
		return fmt.Errorf("refused with room on the disk: %w", appended)
	}
	for _, r := range reports(t, disk, "queue") {
		if r.Kind == "damage" {
			return fmt.Errorf("false alarm: %+v", r)
		}
	}
	return nil
}

// TestFullAtAnOperation fills the disk at some of the operations of a run;
// TestProofFull at each.
func TestFullAtAnOperation(t *testing.T) {
	for i, mode := range fullModes {
		fullAtEvery(t, i, 40, mode)
	}
}

// fullMode is how a disk tells that it is full, late (at the sync) or at once, and
// whether the power is cut then.
type fullMode struct{ late, cut bool }

var fullModes = []fullMode{{false, false}, {false, true}, {true, false}, {true, true}}

func fullAtEvery(t *testing.T, first, step int, mode fullMode) {
	t.Helper()
	seed := uint64(time.Now().UnixNano() % 1e6)
	ops, err := fullAt(t, seed, 1<<30, mode.late, mode.cut)
	if err != nil || ops == 0 {
		t.Fatalf("without a full disk: %d operations, %v", ops, err)
	}
	tried := 0
	for k := (int(seed) + first) % step; k < ops; k += step {
		tried++
		if _, err := fullAt(t, seed, k, mode.late, mode.cut); err != nil {
			t.Errorf("seed %d, full at operation %d of %d, late %v, power cut %v: %v", seed, k, ops, mode.late, mode.cut, err)
		}
	}
	t.Logf("seed %d, late %v, power cut %v: %d operations, %d tried", seed, mode.late, mode.cut, ops, tried)
}

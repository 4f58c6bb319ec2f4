package queue_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// roomOptions leave room for a few dozen small segments on a disk of some MiB.
func roomOptions() queue.Options {
	o := options("queue")
	o.TakeoverMargin = time.Second
	o.ReserveBytes, o.BallastBytes = 128<<10, 1<<20
	return o
}

// fillUp appends until the queue is full and returns the last error.
func fillUp(t *testing.T, q *queue.Queue, l *ledger, name string) error {
	t.Helper()
	for i := range 1000 {
		err := l.append(t.Context(), q, fill(fmt.Sprint(name, i), 20<<10))
		if errors.Is(err, message.ErrFull) {
			return err
		}
		if err != nil && !errors.Is(err, message.ErrOutcomeUnknown) {
			t.Fatalf("append %d: %v", i, err)
		}
	}
	t.Fatal("it never fills up")
	return nil
}

// until waits for something that a queue does by itself, for some minutes of the
// bubble's time.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 600 {
		if done() {
			return
		}
		wait(time.Second)
	}
	t.Fatalf("in ten minutes not: %s", what)
}

func ready(q *queue.Queue) func() bool { return func() bool { return q.Ready() == nil } }

// mustBeFull: readiness has to say that there is no room.
func mustBeFull(t *testing.T, q *queue.Queue, when string) {
	t.Helper()
	if err := q.Ready(); !errors.Is(err, message.ErrFull) {
		t.Errorf("ready %s: %v", when, err)
	}
}

func hasBallast(disk *faultfs.FS) func() bool {
	return func() bool { return durable.Exists(disk, "queue/ballast") }
}

// forwardAll forwards whatever is claimable until ctx ends, the chains beside
// each other: a hub that takes everything at once.
func forwardAll(ctx context.Context, q *queue.Queue) (sent [][]message.Stored) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		c, err := q.Claim(ctx)
		if err != nil {
			wait(time.Second)
			continue
		}
		wg.Go(func() {
			chain := forwardChain(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, chain)
		})
	}
	wg.Wait()
	return sent
}

func forwardChain(ctx context.Context, c *queue.Claim) (sent []message.Stored) {
	for ctx.Err() == nil {
		msgs, err := c.Next(ctx, 10)
		sent = append(sent, msgs...)
		if err != nil || c.Save(ctx, upTo(sent)) != nil {
			break // io.EOF above all
		}
	}
	_ = c.Release(context.Background())
	return sent
}

// forwarding runs forwardAll until the function that it returns is called, which
// gives what was sent.
func forwarding(q *queue.Queue) (stop func() [][]message.Stored) {
	ctx, cancel := context.WithCancel(context.Background())
	out := make(chan [][]message.Stored, 1)
	go func() { out <- forwardAll(ctx, q) }()
	return func() [][]message.Stored {
		cancel()
		return <-out
	}
}

// TestFullShareAndEverybodyDead is the scenario that the reserve and the ballast
// are for: a backlog on a share on which not one page is free, and no process
// alive. Whoever starts then seals, claims, drains and removes, and accepts
// again, by itself; nothing that was acknowledged is lost.
func TestFullShareAndEverybodyDead(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, zero := range []string{"always", "never"} {
			t.Run(fmt.Sprintf("late %v, zero-filled %s", late, zero), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := roomOptions()
					o.ZeroFill = zero
					if !recovers(t, o, late) {
						t.Error("it stands still")
					}
				})
			})
		}
	}
}

// The same without a ballast stands still: the test above can fail.
func TestFullShareWithoutBallastStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := roomOptions()
		o.BallastBytes = 0
		if recovers(t, o, false) {
			t.Error("it recovered without a ballast: the scenario is none")
		}
	})
}

// recovers fills a share, kills everybody, takes the last page, and reports
// whether a process that starts then accepts messages again.
func recovers(t *testing.T, o queue.Options, late bool) bool {
	disk, l := faultfs.New(1), newLedger()
	disk.SetLateSpace(late)
	disk.SetCapacity(6 << 20)
	q, stop := begin(t, disk, with(o))
	if o.BallastBytes > 0 {
		until(t, "a ballast", hasBallast(disk))
	}
	fillUp(t, q, l, "first")
	mustBeFull(t, q, "on a full disk")
	left := disk.Restart()
	stop()
	left.SetCapacity(left.Used())

	second, stop := begin(t, left, with(o))
	defer stop()
	stopForwarding := forwarding(second)
	for range 300 {
		if wait(time.Second); second.Ready() == nil {
			break
		}
	}
	accepts := second.Ready() == nil
	if accepts {
		if err := l.append(t.Context(), second, "again"); err != nil {
			t.Errorf("ready, and refused: %v", err)
		}
		wait(time.Minute)
		until(t, "a ballast again", func() bool { return o.BallastBytes == 0 || hasBallast(left)() })
	}
	sent := stopForwarding()
	if !accepts {
		return false
	}
	if err := l.check(sent); err != nil {
		t.Error(err)
	}
	if left := reports(t, left, "queue"); len(left) > 0 {
		t.Errorf("set aside: %+v", left)
	}
	return true
}

// TestForwardedMessagesGoFirst: what is kept for replay yields to new messages,
// the oldest first, and only what is in the hub.
func TestForwardedMessagesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		o := roomOptions()
		q := started(t, disk, with(o))
		until(t, "a ballast", hasBallast(disk))
		stop := forwarding(q)
		for i := range 100 { // 2 MB, all of it forwarded and kept
			if err := l.append(t.Context(), q, fill(fmt.Sprint("kept", i), 20<<10)); err != nil {
				t.Fatal(err)
			}
			wait(time.Second)
		}
		before := segmentNames(t, disk)
		disk.SetCapacity(disk.Used() + 300<<10)
		until(t, "room", func() bool { return len(segmentNames(t, disk)) < len(before) })
		wait(5 * time.Second)
		after := segmentNames(t, disk)
		if tail := before[len(before)-len(after):]; strings.Join(tail, " ") != strings.Join(after, " ") {
			t.Errorf("of %v there is left %v: not the newest", before, after)
		}
		s := q.Status().Space
		if s.ReplayMissingSeconds < (24*time.Hour-200*time.Second).Seconds() || s.ReplayMissingSeconds > (24*time.Hour).Seconds() {
			t.Errorf("%v s of replay are said to be missing", s.ReplayMissingSeconds)
		}
		for i := range 100 { // as much again as there is room for at once
			if err := l.append(t.Context(), q, fill(fmt.Sprint("new", i), 20<<10)); err != nil {
				t.Fatalf("%d: %v", i, err)
			}
			wait(3 * time.Second)
		}
		if !s.Ballast || !hasBallast(disk)() {
			t.Error("the ballast went for what others could yield")
		}
		if err := l.check(stop()); err != nil {
			t.Error(err)
		}
	})
}

// What is not forwarded is not removed, however short room is.
func TestWhatIsNotForwardedStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		disk.SetCapacity(3 << 20)
		q := started(t, disk, with(roomOptions()))
		err := fillUp(t, q, l, "m")
		if !strings.Contains(err.Error(), "reserve") {
			t.Errorf("refused without naming the reserve: %v", err)
		}
		wait(10 * time.Minute)
		l.checkChain(t, q)
	})
}

func segmentNames(t *testing.T, disk *faultfs.FS) (names []string) {
	t.Helper()
	lanes, err := disk.ReadDir("queue/lanes")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lanes {
		files, err := disk.ReadDir("queue/lanes/" + l.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name(), ".seg") {
				names = append(names, l.Name()+"/"+f.Name())
			}
		}
	}
	return names
}

// TestQuota: a directory does not outgrow its quota although the disk is large;
// the refusal names it; forwarding makes room.
func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		o := roomOptions()
		o.QuotaBytes = 3 << 20
		q := started(t, disk, with(o))
		until(t, "a ballast", hasBallast(disk))
		wait(30 * time.Second) // a walk
		err := fillUp(t, q, l, "m")
		if !strings.Contains(err.Error(), "quota_bytes is 3145728") {
			t.Errorf("refused without naming the quota: %v", err)
		}
		mustBeFull(t, q, "over the quota")
		s := q.Status().Space
		if s.QuotaBytes != o.QuotaBytes || s.UsedBytes > o.QuotaBytes || s.UsedBytes < o.QuotaBytes-256<<10 || s.UsedAt.IsZero() {
			t.Errorf("%+v", s)
		}
		stop := forwarding(q)
		until(t, "ready again", ready(q))
		if err := l.append(t.Context(), q, "after"); err != nil {
			t.Error(err)
		}
		wait(5 * time.Second)
		if err := l.check(stop()); err != nil {
			t.Error(err)
		}
	})
}

// What others have put into the directory counts, and a start counts what is
// there.
func TestQuotaCountsWhatIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		o := roomOptions()
		o.BallastBytes, o.QuotaBytes = 0, 1<<20
		q := started(t, disk, with(o))
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteNew(disk, "queue/quarantine/big", make([]byte, 2<<20)); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		fillUp(t, q, l, "m")
		if s := q.Status().Space; s.UsedBytes < 2<<20 {
			t.Errorf("%+v", s)
		}
		if err := disk.Remove("queue/quarantine/big"); err != nil {
			t.Fatal(err)
		}
		until(t, "ready again", ready(q))
	})
}

// TestAfterENOSPCNoLaneOpensUntilTheReserveIsBack: a disk that was full opens no
// lane for the first page that becomes free, and one that says so only at the
// sync costs its callers one uncertain answer, not one a second.
func TestAfterENOSPCNoLaneOpensUntilTheReserveIsBack(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		for _, kind := range []faultfs.Kind{faultfs.OpWrite, faultfs.OpSync} {
			t.Run(fmt.Sprint(errno, " at ", kind), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { noSpace(t, errno, kind) })
			})
		}
	}
}

func noSpace(t *testing.T, errno syscall.Errno, kind faultfs.Kind) {
	disk, l := faultfs.New(1), newLedger()
	o := roomOptions()
	o.BallastBytes = 0
	q := started(t, disk, with(o))
	if err := l.append(t.Context(), q, "before"); err != nil {
		t.Fatal(err)
	}
	first := l.places["before"].Lane
	// The free space as it is told does not show it: a quota of a user.
	heal := disk.When(faultfs.Match{Kind: kind, Name: segments.Name, Always: true}, faultfs.FailBefore(errno))
	if err := l.append(t.Context(), q, "during"); !errors.Is(err, message.ErrOutcomeUnknown) {
		t.Errorf("during: %v", err)
	}
	for i := range 10 {
		wait(2 * time.Second)
		if err := l.append(t.Context(), q, fmt.Sprint("refused", i)); !errors.Is(err, message.ErrFull) {
			t.Errorf("while there is no space: %v", err)
		}
		mustBeFull(t, q, "while there is no space")
	}
	heal()
	disk.SetCapacity(disk.Used() + o.ReserveBytes + o.SegmentBytes) // without what hysteresis asks for
	wait(10 * time.Second)
	mustBeFull(t, q, "before the reserve is back")
	disk.SetCapacity(faultfs.DefaultCapacity)
	until(t, "ready again", ready(q))
	if err := l.append(t.Context(), q, "after"); err != nil {
		t.Error(err)
	}
	if l.places["after"].Lane == first {
		t.Error("the lane went on after its disk was full")
	}
	l.checkChain(t, q)
}

// A segment that grows stops at half of the reserve, whoever took the rest: that
// half is for those who drain.
func TestReserveIsKeptFromSegmentsThatGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		o := roomOptions()
		o.ZeroFill, o.SegmentBytes, o.BallastBytes = "never", 4<<20, 0
		q := started(t, disk, with(o))
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		disk.SetCapacity(disk.Used() + o.ReserveBytes/2 - 1)
		wait(2 * time.Second)
		if err := l.append(t.Context(), q, "b"); !errors.Is(err, message.ErrFull) {
			t.Errorf("with less than half of the reserve free: %v", err)
		}
		mustBeFull(t, q, "with less than half of the reserve free")
		disk.SetCapacity(disk.Used() + o.ReserveBytes + 64<<10)
		until(t, "ready again", ready(q))
		if err := l.append(t.Context(), q, "c"); err != nil {
			t.Error(err)
		}
		if l.places["a"].Lane != l.places["c"].Lane {
			t.Error("the lane was ended, although it was sound")
		}
	})
}

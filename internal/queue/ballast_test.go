package queue_test

import (
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// A ballast takes room: zeros would take none on many file systems.
func TestBallastIsReal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		o := roomOptions()
		q := started(t, disk, with(o))
		until(t, "a ballast", hasBallast(disk))
		wait(time.Second)
		b, err := durable.ReadFile(disk.RebootBare(), "queue/ballast", 1<<30)
		if err != nil || int64(len(b)) != o.BallastBytes {
			t.Fatalf("%d bytes after a power cut, %v", len(b), err)
		}
		pages := map[string]bool{}
		for at := 0; at < len(b); at += 4096 {
			pages[string(b[at:at+4096])] = true
		}
		if len(pages) != len(b)/4096 {
			t.Errorf("%d different pages of %d", len(pages), len(b)/4096)
		}
		if !q.Status().Space.Ballast {
			t.Error("the status has none")
		}
	})
}

// A ballast that its maker left short is made anew; one that grows is another's.
func TestShortBallastIsMadeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		o := roomOptions()
		if err := durable.MkdirAll(disk, "queue"); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteNew(disk, "queue/ballast", make([]byte, 4096)); err != nil {
			t.Fatal(err)
		}
		started(t, disk, with(o))
		size := func() int {
			b, err := durable.ReadFile(disk, "queue/ballast", 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			return len(b)
		}
		for i := range 3 {
			wait(40 * time.Second)
			if n := size(); n != 4096*(i+1) {
				t.Fatalf("%d bytes: touched while it grew", n)
			}
			f, err := disk.OpenWrite("queue/ballast")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(make([]byte, 4096), int64(4096*(i+1))); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "a whole one", func() bool { return int64(size()) == o.BallastBytes })
	})
}

// Where making it fails nothing is left of it, and it is tried again.
func TestBallastThatCannotBeMade(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.OpCreate, faultfs.OpWrite, faultfs.OpSync} {
		t.Run(string(kind), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				disk.When(faultfs.Match{Kind: kind, Name: "ballast"}, faultfs.FailAfter(syscall.EIO))
				started(t, disk, with(roomOptions()))
				until(t, "a whole one", func() bool {
					b, err := durable.ReadFile(disk, "queue/ballast", 1<<30)
					return err == nil && len(b) == 1<<20
				})
			})
		})
	}
}

// Saving, on a file system that needs space for overwriting, lives on the
// ballast as well: the attempt that failed costs one try.
func TestSaveOnTheBallast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, with(roomOptions()))
		until(t, "a ballast", hasBallast(disk))
		for i := range 3 {
			if err := l.append(t.Context(), q, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		c := claim(t, q)
		msgs := drain(t, c, 3)
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "progress.*"}, faultfs.FailBefore(syscall.ENOSPC))
		if err := c.Save(t.Context(), upTo(msgs)); err == nil {
			t.Error("saved without space")
		}
		if hasBallast(disk)() {
			t.Error("the ballast is still there")
		}
		if err := c.Save(t.Context(), upTo(msgs)); err != nil {
			t.Errorf("with the ballast gone: %v", err)
		}
		until(t, "a ballast again", hasBallast(disk))
	})
}

func TestSpaceOptions(t *testing.T) {
	for name, x := range map[string]struct {
		change func(o *queue.Options)
		good   bool
	}{
		"no quota, no ballast": {func(o *queue.Options) { o.QuotaBytes, o.BallastBytes = 0, 0 }, true},
		"a quota of a GiB":     {func(o *queue.Options) { o.QuotaBytes = 1 << 30 }, true},
		"a quota too small":    {func(o *queue.Options) { o.QuotaBytes = 4*o.SegmentBytes + o.BallastBytes - 1 }, false},
		"a negative quota":     {func(o *queue.Options) { o.QuotaBytes = -1 }, false},
		"a tiny ballast":       {func(o *queue.Options) { o.BallastBytes = 1<<20 - 1 }, false},
		"a negative ballast":   {func(o *queue.Options) { o.BallastBytes = -1 }, false},
	} {
		o := queue.DefaultOptions()
		o.Dir = "q"
		x.change(&o)
		if err := o.Validate(); (err == nil) != x.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No ballast is made where it would take the room that writers need, or it would
// be made and deleted in turn.
func TestNoBallastWhereRoomIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		o := roomOptions()
		disk.SetCapacity(o.BallastBytes + 2*o.ReserveBytes)
		started(t, disk, with(o))
		wait(time.Minute)
		if hasBallast(disk)() {
			t.Error("a ballast was made of the last room")
		}
		disk.SetCapacity(faultfs.DefaultCapacity)
		until(t, "a ballast", hasBallast(disk))
	})
}

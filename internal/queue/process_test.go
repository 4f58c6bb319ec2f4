package queue_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// begin opens and runs a queue on a disk, or on a host of a share, as a process
// would, until stop is called: for a test in a bubble whose process does not live
// as long as the test.
func begin(t testing.TB, fsys durable.FS, change func(o *queue.Options, d *queue.Deps)) (q *queue.Queue, stop func()) {
	t.Helper()
	o, d := faultOptions(), onDisk(fsys, silent)
	if change != nil {
		change(&o, &d)
	}
	q, err := queue.Open(o, d)
	if err != nil {
		t.Fatal(err)
	}
	return q, run(q)
}

// started is a process that lives as long as the test.
func started(t *testing.T, fsys durable.FS, change func(o *queue.Options, d *queue.Deps)) *queue.Queue {
	t.Helper()
	q, stop := begin(t, fsys, change)
	t.Cleanup(stop)
	return q
}

// with gives a process all its options.
func with(o queue.Options) func(*queue.Options, *queue.Deps) {
	return func(to *queue.Options, _ *queue.Deps) { *to = o }
}

// only makes a process one that writes, or one that drains.
func only(p queue.Part) func(*queue.Options, *queue.Deps) {
	return func(_ *queue.Options, d *queue.Deps) { d.Part = p }
}

// suspendable is a process whose machine can be suspended, as CLOCK_BOOTTIME
// tells it: the bubble's own time does not pass meanwhile.
func suspendable(t *testing.T, fsys durable.FS) (q *queue.Queue, suspend func(time.Duration)) {
	t.Helper()
	var suspended atomic.Int64
	q = started(t, fsys, func(_ *queue.Options, d *queue.Deps) {
		awake := d.Elapsed
		d.Elapsed = func() time.Duration { return awake() + time.Duration(suspended.Load()) }
	})
	return q, func(d time.Duration) { suspended.Add(int64(d)) }
}

// killed ends a process in the middle of what it does, and returns the disk as
// the next one finds it.
func killed(disk *faultfs.FS, stop func()) *faultfs.FS {
	disk.Crash()
	stop()
	return disk.Restart()
}

// powerCut is killed together with the machine: of what was not synced, some is
// gone.
func powerCut(disk *faultfs.FS, stop func()) *faultfs.FS {
	disk.Crash()
	stop()
	return disk.Reboot()
}

// barePowerCut is a powerCut that takes all that was not synced.
func barePowerCut(disk *faultfs.FS, stop func()) *faultfs.FS {
	disk.Crash()
	stop()
	return disk.RebootBare()
}

// appendAndRead appends n messages, each in a group of its own with its number as
// the value, and reads them under a claim.
func appendAndRead(t *testing.T, q *queue.Queue, n int) (*queue.Claim, []message.Stored) {
	t.Helper()
	for i := range n {
		appendOne(t, q, fmt.Sprint(i))
	}
	c := claim(t, q)
	return c, drain(t, c, n)
}

package queue_test

import (
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/queue"
)

// TestHeartbeatsOfDeadProcessesGo: a process that is killed every hour for years
// must not leave a directory each time; one that lives keeps its own.
func TestHeartbeatsOfDeadProcessesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		for range 3 {
			q, err := queue.Open(faultOptions(), onDisk(disk, silent))
			if err != nil {
				t.Fatal(err)
			}
			stop := run(q)
			wait(5 * time.Second)
			disk.Crash()
			stop()
			disk = disk.Restart()
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
		q, err := queue.Open(faultOptions(), onDisk(disk, silent))
		if err != nil {
			t.Fatal(err)
		}
		run(q)()
		if left := names(t, disk, "queue/processes"); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

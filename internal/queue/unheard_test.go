package queue_test

import (
	"context"
	"fmt"
	"path"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// remembering is a share whose hosts remember for a minute what a directory was like,
// and that a name was not there.
func remembering() *faultfs.Share {
	return faultfs.NewShare(1, faultfs.ShareOptions{AttrMin: time.Minute, AttrMax: time.Minute, Calm: true})
}

// heldAt has a process stand at an operation until it is let go on.
func heldAt(host *faultfs.Host, at faultfs.Match) (goOn func()) {
	hold := make(chan struct{})
	host.When(at, faultfs.Delay(func(faultfs.Op) { <-hold }))
	return func() { close(hold) }
}

// A forwarder that looked at a lane while it was made remembers that it had neither
// file nor heartbeat. It is told of the file when it is to end the lane; the writer
// is alive and has acknowledged messages, and the heartbeat is still hidden.
func TestALaneWhoseHeartbeatIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share, l := remembering(), newLedger()
		host := share.Host("a")
		writer := started(t, host, only(queue.Writes))
		goOn := heldAt(host, faultfs.Match{Kind: faultfs.OpCreate, Name: "heartbeat"})
		host.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
		lost := make(chan error, 1)
		go func() { lost <- l.append(t.Context(), writer, "lost") }()
		synctest.Wait()
		drainer := started(t, share.Host("b"), only(queue.Drains))
		wait(3 * time.Second)
		goOn()
		if err := <-lost; err == nil {
			t.Fatal("acknowledged, although its sync failed")
		}
		wait(time.Second)
		lanes := map[string]bool{}
		var sent []string
		for i := range 100 {
			v := fmt.Sprintf("m%d", i)
			if err := l.append(t.Context(), writer, v); err != nil {
				t.Fatalf("after %d s: %v", i, err)
			}
			sent, lanes[l.places[v].Lane] = append(sent, v), true
			wait(time.Second)
		}
		if len(lanes) != 1 {
			t.Errorf("%d lanes", len(lanes))
		}
		chains, err := drainChains(drainer, true)
		var got []string
		for _, c := range chains {
			got = append(got, values(c)...)
		}
		got = slices.DeleteFunc(got, func(v string) bool { return v == "lost" })
		if err != nil || len(chains) != 1 || !slices.Equal(got, sent) {
			t.Errorf("drained %d chains, %q: %v", len(chains), got, err)
		}
	})
}

// A forwarder that looked at another while that began remembers that it had no
// heartbeat. That one lives, and keeps what it claims.
func TestAHolderWhoseHeartbeatIsNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		share, l := remembering(), newLedger()
		writer := started(t, share.Host("w"), only(queue.Writes))
		if err := l.append(t.Context(), writer, "a"); err != nil {
			t.Fatal(err)
		}
		host := share.Host("a")
		goOn := heldAt(host, faultfs.Match{Kind: faultfs.OpCreate, Name: "heartbeat"})
		begun := make(chan *queue.Queue, 1)
		go func() { begun <- started(t, host, only(queue.Drains)) }()
		synctest.Wait()
		other := started(t, share.Host("b"), only(queue.Drains)) // which looks for what is left of the dead
		wait(time.Second)
		goOn()
		holder := <-begun
		claim, err := holder.Claim(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		taken := make(chan string, 1)
		go func() {
			if c, err := other.Claim(ctx); err == nil {
				taken <- c.ID()
			}
		}()
		for i := range 100 {
			if err := claim.Save(t.Context(), message.Progress{}); err != nil {
				t.Fatalf("after %d s: %v", i, err)
			}
			wait(time.Second)
		}
		select {
		case id := <-taken:
			t.Errorf("chain %s was taken from a holder that lives", id)
		default:
		}
	})
}

// gone is a queue of two processes that were killed, one that wrote and one that
// claimed what it wrote, of which files are missing.
func gone(t *testing.T, missing ...string) (*faultfs.FS, *ledger) {
	t.Helper()
	disk, l := faultfs.New(1), newLedger()
	writer, stop := begin(t, disk, only(queue.Writes))
	holder, end := begin(t, disk, only(queue.Drains))
	if err := l.append(t.Context(), writer, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Claim(t.Context()); err != nil {
		t.Fatal(err)
	}
	disk.Crash()
	stop()
	end()
	disk = disk.Restart()
	for _, name := range missing {
		for _, dir := range []string{"queue/lanes", "queue/processes"} {
			for _, in := range names(t, disk, dir) {
				if err := disk.Remove(path.Join(dir, in, name)); err != nil && dir == "queue/lanes" {
					t.Fatal(err)
				}
			}
		}
	}
	return disk, l
}

// Heartbeats and lane files that are not there, for nobody, keep nothing from being
// drained; not even where the share is too full for the server to be asked.
func TestHeartbeatsThatAreMissing(t *testing.T) {
	full := faultfs.FailBefore(syscall.ENOSPC)
	for name, test := range map[string]struct {
		missing []string
		full    bool
		within  time.Duration
	}{
		"heartbeats":                   {[]string{"heartbeat"}, false, 40 * time.Second},
		"lane file":                    {[]string{"lane"}, false, 40 * time.Second},
		"heartbeats, on a full share":  {[]string{"heartbeat"}, true, 5 * time.Minute},
		"lane file, on a full share":   {[]string{"lane"}, true, 5 * time.Minute},
		"all of them, on a full share": {[]string{"lane", "heartbeat"}, true, 5 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, _ := gone(t, test.missing...)
				drainer := started(t, disk, only(queue.Drains))
				if test.full {
					for _, missing := range []string{"lane", "heartbeat"} {
						disk.When(faultfs.Match{Kind: faultfs.OpCreate, Name: missing, Always: true}, full)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.within)
				defer cancel()
				claim, err := drainer.Claim(ctx)
				if err != nil {
					t.Fatal(err)
				}
				got, err := drainChain(claim, true)
				if err != nil || !slices.Equal(values(got), []string{"a"}) {
					t.Errorf("drained %q: %v", values(got), err)
				}
			})
		})
	}
}

// Where the share is full as well, who cannot be asked about is given a while.
func TestAFullShareThatHidesAHeartbeat(t *testing.T) {
	for name, full := range map[string]string{"lane file too": "*", "heartbeat alone": "heartbeat"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fullAndHidden(t, full) })
		})
	}
}

func fullAndHidden(t *testing.T, full string) {
	share, l := remembering(), newLedger()
	host := share.Host("a")
	writer := started(t, host, only(queue.Writes))
	goOn := heldAt(host, faultfs.Match{Kind: faultfs.OpCreate, Name: "heartbeat"})
	host.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
	lost := make(chan error, 1)
	go func() { lost <- l.append(t.Context(), writer, "lost") }()
	synctest.Wait()
	other := share.Host("b")
	started(t, other, only(queue.Drains))
	other.When(faultfs.Match{Kind: faultfs.OpCreate, Name: full, Always: true}, faultfs.FailBefore(syscall.ENOSPC))
	wait(3 * time.Second)
	goOn()
	if err := <-lost; err == nil {
		t.Fatal("acknowledged, although its sync failed")
	}
	for i := range 200 {
		wait(time.Second)
		if err := l.append(t.Context(), writer, fmt.Sprintf("m%d", i)); err != nil {
			t.Fatalf("after %d s: %v", i, err)
		}
	}
}

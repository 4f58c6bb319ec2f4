package queue_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// wait lets the bubble's time pass.
func wait(d time.Duration) { <-time.After(d) }

var segments = faultfs.Match{Name: "*.seg"}

func syncs(m faultfs.Match) faultfs.Match {
	m.Kind = faultfs.OpSync
	return m
}

// laneFile reads a lane's file "lane".
func laneFile(t *testing.T, fsys durable.FS, lane string) string {
	t.Helper()
	b, err := durable.ReadFile(fsys, path.Join("queue/lanes", lane, "lane"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names lists a directory.
func names(t *testing.T, fsys durable.FS, dir string) (all []string) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// TestFailedSyncEndsTheLane has fdatasync fail, in each way it may: those who
// wait are told that the outcome is unknown, a new lane names the one it
// follows, the service goes on, and one claim drains both in order.
func TestFailedSyncEndsTheLane(t *testing.T) {
	for name, pages := range map[string]faultfs.Pages{"dirty": faultfs.PagesDirty, "clean": faultfs.PagesClean, "dropped": faultfs.PagesDropped} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, l := faultfs.New(1), newLedger()
				q := started(t, disk, nil)
				if err := l.append(t.Context(), q, "a"); err != nil {
					t.Fatal(err)
				}
				fault := faultfs.FailBefore(syscall.EIO)
				fault.Pages = pages
				disk.When(syncs(segments), fault)
				if err := l.append(t.Context(), q, "b", "b2"); !errors.Is(err, message.ErrOutcomeUnknown) {
					t.Errorf("append whose sync failed: %v", err)
				}
				for _, v := range []string{"c", "d"} {
					if err := l.append(t.Context(), q, v); err != nil {
						t.Errorf("append after a failed sync: %v", err)
					}
				}
				first, second := l.places["a"].Lane, l.places["c"].Lane
				if first == second || first > second || !strings.Contains(laneFile(t, disk, second), `"predecessor":"`+first+`"`) {
					t.Errorf("lane %s, then %s: %s", first, second, laneFile(t, disk, second))
				}
				if n := disk.Count(faultfs.OpSync); n == 0 {
					t.Fatal("no sync")
				}
				l.checkChain(t, q)
			})
		})
	}
}

// TestFailedSyncIsNotTriedAgain looks at the calls: after a failed fdatasync the
// same file is neither written nor synced again, since a second sync may report
// success for pages that are gone.
func TestFailedSyncIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		disk.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
		for i := range 5 {
			_ = l.append(t.Context(), q, fmt.Sprint(i))
		}
		var failed string
		for _, op := range disk.Trace() {
			changes := op.Kind == faultfs.OpSync || op.Kind == faultfs.OpWrite
			if changes && op.Name == failed {
				t.Errorf("touched again after its sync failed: %v", op)
			}
			if op.Kind == faultfs.OpSync && op.Err != nil {
				failed = op.Name
			}
		}
		if failed == "" {
			t.Error("no sync failed")
		}
	})
}

// TestForeignFenceStopsAcknowledging has another process end the lane, before
// the write or while it is synced.
func TestForeignFenceStopsAcknowledging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		fence := func() {
			lane := names(t, disk, "queue/lanes")
			if err := durable.Overwrite(disk, path.Join("queue/lanes", lane[len(lane)-1], "fence"), []byte("x")); err != nil {
				t.Error(err)
			}
		}
		fence()
		if err := l.append(t.Context(), q, "b"); !errors.Is(err, message.ErrOutcomeUnknown) {
			t.Errorf("append to a fenced lane: %v", err)
		}
		if err := l.append(t.Context(), q, "c"); err != nil {
			t.Errorf("append after that: %v", err)
		}
		disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { fence() }))
		if err := l.append(t.Context(), q, "d"); !errors.Is(err, message.ErrOutcomeUnknown) {
			t.Errorf("append to a lane that was fenced during the sync: %v", err)
		}
		if err := l.append(t.Context(), q, "e"); err != nil {
			t.Errorf("append after that: %v", err)
		}
		if n := len(names(t, disk, "queue/lanes")); n != 3 {
			t.Errorf("%d lanes, want 3", n)
		}
	})
}

// TestUnreadableFenceStopsAcknowledging: whether the fence is empty must be
// known, not assumed.
func TestUnreadableFenceStopsAcknowledging(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.OpOpen, faultfs.OpRead} {
		synctest.Test(t, func(t *testing.T) {
			disk, l := faultfs.New(1), newLedger()
			q := started(t, disk, nil)
			disk.When(faultfs.Match{Kind: kind, Name: "fence"}, faultfs.FailBefore(syscall.ESTALE))
			if err := l.append(t.Context(), q, "a"); !errors.Is(err, message.ErrOutcomeUnknown) {
				t.Errorf("%s of the fence failed: %v", kind, err)
			}
			if err := l.append(t.Context(), q, "b"); err != nil {
				t.Errorf("after that: %v", err)
			}
		})
	}
}

// TestOverdueRenewalStopsAcknowledging suspends the machine for longer than TTL,
// as CLOCK_BOOTTIME tells it: while a group is synced, which is then not
// acknowledged, and between two, where nothing is lost by going on in a new lane.
func TestOverdueRenewalStopsAcknowledging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, suspend := suspendable(t, disk)
		if err := l.append(t.Context(), q, "a"); err != nil {
			t.Fatal(err)
		}
		disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { suspend(11 * time.Second) }))
		if err := l.append(t.Context(), q, "b"); !errors.Is(err, message.ErrOutcomeUnknown) {
			t.Errorf("append over a suspend: %v", err)
		}
		if err := l.append(t.Context(), q, "c"); err != nil {
			t.Errorf("append in the lane after it: %v", err)
		}
		suspend(11 * time.Second)
		if err := l.append(t.Context(), q, "d"); err != nil {
			t.Errorf("append after a suspend: %v", err)
		}
		if l.places["a"].Lane == l.places["c"].Lane || l.places["c"].Lane == l.places["d"].Lane {
			t.Errorf("a lane went on after a suspend: %v", l.places)
		}
	})
}

// TestFailedRenewalEndsTheLane: a heartbeat that cannot be written ends the lane
// before the next group, and costs nobody an answer.
func TestFailedRenewalEndsTheLane(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.OpWrite, faultfs.OpSync} {
		synctest.Test(t, func(t *testing.T) {
			disk, l := faultfs.New(1), newLedger()
			q := started(t, disk, nil)
			if err := l.append(t.Context(), q, "a"); err != nil {
				t.Fatal(err)
			}
			disk.When(faultfs.Match{Kind: kind, Name: "queue/lanes/*/heartbeat"}, faultfs.FailBefore(syscall.EIO))
			wait(3 * time.Second)
			if err := l.append(t.Context(), q, "b"); err != nil {
				t.Errorf("append after a failed renewal: %v", err)
			}
			if l.places["a"].Lane == l.places["b"].Lane {
				t.Error("the lane went on")
			}
		})
	}
}

// TestFullDisk fills the disk: what does not fit is refused with ErrFull, and the
// queue takes messages again by itself once there is room, whether or not
// anyone has tried in between.
func TestFullDisk(t *testing.T) {
	for _, late := range []bool{false, true} {
		for _, tried := range []bool{false, true} {
			t.Run(fmt.Sprintf("late %v, tried %v", late, tried), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { fullDisk(t, late, tried) })
			})
		}
	}
}

func fullDisk(t *testing.T, late, tried bool) {
	disk, l := faultfs.New(1), newLedger()
	disk.SetLateSpace(late)
	disk.SetCapacity(400 << 10)
	q := started(t, disk, nil)
	var err error
	for i := 0; i < 100 && !errors.Is(err, message.ErrFull); i++ {
		err = l.append(t.Context(), q, fill(fmt.Sprint(i), 20<<10))
	}
	if !errors.Is(err, message.ErrFull) {
		t.Fatalf("a disk of 400 KiB took 100 messages of 20 KiB: %v", err)
	}
	mustBeFull(t, q, "on a full disk")
	for i := range 5 {
		wait(2 * time.Second)
		if tried {
			_ = l.append(t.Context(), q, fill(fmt.Sprint("full", i), 20<<10))
		}
	}
	disk.SetCapacity(faultfs.DefaultCapacity)
	wait(5 * time.Second)
	if err := q.Ready(); err != nil {
		t.Errorf("not ready after room has come: %v", err)
	}
	if err := l.append(t.Context(), q, fill("after", 20<<10)); err != nil {
		t.Errorf("append after room has come: %v", err)
	}
	l.checkChain(t, q)
}

// TestStartOnAFullDisk opens a queue where there is no room for a lane.
func TestStartOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		disk.SetCapacity(40 << 10)
		q := started(t, disk, nil)
		if err := l.append(t.Context(), q, "a"); !errors.Is(err, message.ErrFull) {
			t.Errorf("append: %v", err)
		}
		disk.SetCapacity(faultfs.DefaultCapacity)
		wait(3 * time.Second)
		if err := l.append(t.Context(), q, "b"); err != nil {
			t.Errorf("append after room has come: %v", err)
		}
	})
}

// TestSegmentThatCannotBeMade has the next segment fail for other reasons, the
// answer of its create lost among them: a lane must not be stuck with a file
// that is in its way.
func TestSegmentThatCannotBeMade(t *testing.T) {
	for name, c := range map[string]struct {
		kind  faultfs.Kind
		fault faultfs.Fault
	}{
		"create failed":       {faultfs.OpCreate, faultfs.FailBefore(syscall.EIO)},
		"create lost":         {faultfs.OpCreate, faultfs.FailAfter(syscall.EIO)},
		"header not written":  {faultfs.OpWrite, faultfs.FailBefore(syscall.EIO)},
		"header torn":         {faultfs.OpWrite, faultfs.FailTorn(syscall.EIO)},
		"header, answer lost": {faultfs.OpWrite, faultfs.FailAfter(syscall.EIO)},
		"close failed":        {faultfs.OpClose, faultfs.FailAfter(syscall.EIO)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk, l := faultfs.New(1), newLedger()
				disk.When(faultfs.Match{Kind: c.kind, Name: "00000002.seg"}, c.fault)
				q := started(t, disk, nil)
				for i := range 20 {
					err := l.append(t.Context(), q, fill(fmt.Sprint(i), 20<<10))
					if err != nil && !surelyNot(err) {
						t.Errorf("append %d: %v", i, err)
					}
					if err != nil && i > 8 {
						t.Errorf("append %d is still refused: %v", i, err)
					}
				}
				l.checkChain(t, q)
			})
		})
	}
}

// TestCallerGivesUp ends a caller's context before its group is written, which
// takes it back, and while it is, which does not.
func TestCallerGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		hold := make(chan struct{})
		disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { <-hold }))
		type result struct {
			name string
			err  error
		}
		results := make(chan result, 2)
		ctx, cancel := context.WithCancel(t.Context())
		for _, name := range []string{"writing", "waiting"} {
			go func() {
				_, err := q.Append(ctx, []message.Message{msg(name)})
				results <- result{name, err}
			}()
			synctest.Wait() // the first is being synced before the second comes
		}
		cancel()
		for range 2 {
			r := <-results
			want := map[string]error{"writing": message.ErrOutcomeUnknown, "waiting": message.ErrNotStored}[r.name]
			if !errors.Is(r.err, want) || !errors.Is(r.err, context.Canceled) {
				t.Errorf("%s: %v, want %v", r.name, r.err, want)
			}
		}
		close(hold)
		if err := l.append(t.Context(), q, "after"); err != nil {
			t.Fatal(err)
		}
		var got []string
		msgs, err := drainChain(claim(t, q), false)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range msgs {
			got = append(got, string(m.Value))
		}
		if !slices.Equal(got, []string{"writing", "after"}) {
			t.Errorf("drained %q: what was taken back must not be there", got)
		}
	})
}

// TestTooMuchWaiting refuses what goes over MaxPendingBytes while a sync takes
// long, and takes it once that is done.
func TestTooMuchWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, func(o *queue.Options, _ *queue.Deps) { o.MaxPendingBytes = 1 << 20 })
		hold := make(chan struct{})
		disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { <-hold }))
		results := make(chan error, 2)
		for _, name := range []string{"synced", "waiting"} {
			go func() {
				_, err := q.Append(t.Context(), []message.Message{msg(fill(name, 700<<10))})
				results <- err
			}()
			synctest.Wait()
		}
		if _, err := q.Append(t.Context(), []message.Message{msg(fill("too much", 700<<10))}); !errors.Is(err, message.ErrNotStored) {
			t.Errorf("with 700 KiB waiting: %v", err)
		}
		close(hold)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		appendOne(t, q, fill("too much", 700<<10))
	})
}

// TestWhatCannotBeReadBackIsRefused: what the codec would not decode must not be
// acknowledged.
func TestWhatCannotBeReadBackIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := started(t, faultfs.New(1), nil)
		for name, change := range map[string]func(m *message.Message){
			"no id":        func(m *message.Message) { m.ID = message.ID{} },
			"no topic":     func(m *message.Message) { m.Topic = "" },
			"topic a path": func(m *message.Message) { m.Topic = "a/b" },
			"no time":      func(m *message.Message) { m.Time = time.Time{} },
			"almost none":  func(m *message.Message) { m.Time = time.Time{}.Add(time.Nanosecond) },
		} {
			m := msg("x")
			change(&m)
			if _, err := q.Append(t.Context(), []message.Message{msg("fine"), m}); !errors.Is(err, message.ErrInvalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := q.Append(t.Context(), nil); !errors.Is(err, message.ErrTooLarge) && !errors.Is(err, message.ErrInvalid) {
			t.Errorf("no messages: %v", err)
		}
		odd := msg("odd")
		odd.Value, odd.Key, odd.Headers = nil, []byte{}, []message.Header{{}, {Name: "\x00\xff", Value: nil}}
		odd.Time = time.Date(1, 1, 1, 0, 0, 0, 1000, time.UTC)
		if _, err := q.Append(t.Context(), []message.Message{odd}); err != nil {
			t.Fatal(err)
		}
		got := drain(t, claim(t, q), 1)[0]
		if len(got.Value) != 0 || got.Key == nil || len(got.Headers) != 2 || !got.Time.Equal(odd.Time) {
			t.Errorf("read back %+v", got)
		}
	})
}

// TestHugeGroupInSmallSegments stores a group of many times a segment's size.
func TestHugeGroupInSmallSegments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		for i := range 3 {
			if err := l.append(t.Context(), q, fmt.Sprint("small", i)); err != nil {
				t.Fatal(err)
			}
			if err := l.append(t.Context(), q, fill(fmt.Sprint("huge", i), 2<<20), fill(fmt.Sprint("huger", i), 3<<20), fmt.Sprint("last", i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.append(t.Context(), q, fill("over", 49<<20)); !errors.Is(err, message.ErrTooLarge) {
			t.Errorf("49 MiB: %v", err)
		}
		l.checkChain(t, q)
	})
}

// TestAClosingQueueAnswersEveryone closes a queue under load: each caller has an
// answer, and it is true.
func TestAClosingQueueAnswersEveryone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, stop := begin(t, disk, nil)
		hold := make(chan struct{})
		disk.When(syncs(segments), faultfs.Delay(func(faultfs.Op) { <-hold }))
		results := make(chan error, 10)
		for i := range 10 {
			v := fmt.Sprint(i)
			l.order[v] = i
			go func() {
				_, err := q.Append(t.Context(), []message.Message{msg(v)})
				results <- err
			}()
			synctest.Wait()
		}
		done := make(chan struct{})
		go func() { stop(); close(done) }()
		synctest.Wait()
		close(hold)
		<-done
		for range 10 {
			if err := <-results; err != nil {
				t.Errorf("a request that waited when the queue was closed: %v", err)
			}
		}
		chains, err := drainAll(disk.RebootBare(), faultOptions(), false)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(slices.Concat(chains...)); n != 10 {
			t.Errorf("%d messages drained, 10 acknowledged", n)
		}
	})
}

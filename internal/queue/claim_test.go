package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
)

// values are the values of messages, shortened.
func values(msgs []message.Stored) (all []string) {
	for _, m := range msgs {
		all = append(all, short(string(m.Value)))
	}
	return all
}

// TestReleasedClaimLeavesNothingBehind claims a chain whose first lane has ended,
// reads all of it, saves little, and releases: the next claim goes on behind
// what was saved, in every lane.
func TestReleasedClaimLeavesNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		for _, v := range []string{"a", "b", "c"} {
			_ = l.append(t.Context(), q, v)
		}
		disk.When(syncs(segments), faultfs.FailAfter(syscall.EIO))
		_ = l.append(t.Context(), q, "unknown")
		_ = l.append(t.Context(), q, "d")
		c := claim(t, q)
		all, err := drainChain(c, false)
		if err != nil {
			t.Fatal(err)
		}
		if got := values(all); !slices.Equal(got, []string{"a", "b", "c", "unknown", "d"}) {
			t.Errorf("first claim: %q", got)
		}
		if err := l.save(t.Context(), c, next(all[0].Lane, 2)); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		again, err := drainChain(claim(t, q), false)
		if err != nil {
			t.Fatal(err)
		}
		if got := values(again); !slices.Equal(got, []string{"b", "c", "unknown", "d"}) {
			t.Errorf("second claim: %q", got)
		}
	})
}

// TestChainReadToItsEndAndNotSettledIsOfferedAgain: the end of reading is not the
// end of forwarding.
func TestChainReadToItsEndAndNotSettledIsOfferedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		(&life{name: "old"}).run(disk, l)
		q := started(t, disk.Restart(), nil)
		claimOld := func() (*queue.Claim, []message.Stored) {
			for {
				c := claim(t, q)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				msgs, err := c.Next(ctx, 1)
				cancel()
				if errors.Is(err, context.DeadlineExceeded) { // this process's own
					defer c.Release(t.Context())
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				rest, err := drainChain(c, false)
				if err != nil {
					t.Fatal(err)
				}
				return c, append(msgs, rest...)
			}
		}
		c, first := claimOld()
		if _, err := c.Next(t.Context(), 1); !errors.Is(err, io.EOF) {
			t.Fatalf("end of the chain: %v", err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		c, second := claimOld()
		if !slices.Equal(values(first), values(second)) || len(first) == 0 {
			t.Errorf("first %q, then %q", values(first), values(second))
		}
		if err := c.Save(t.Context(), upTo(second)); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		seen := map[string]bool{c.ID(): true}
		for {
			c, err := q.Claim(ctx)
			if err != nil {
				break
			}
			if seen[c.ID()] {
				t.Error("a settled chain is offered again")
				break
			}
			seen[c.ID()] = true
		}
	})
}

// frozen shows another host's view of a share: the heartbeats stand still.
type frozen struct{ *faultfs.FS }

func (f frozen) Open(name string) (durable.File, error) {
	file, err := f.FS.Open(name)
	if err == nil && path.Base(name) == "heartbeat" {
		return still{file}, nil
	}
	return file, err
}

type still struct{ durable.File }

func (s still) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

// unfenced reads every fence as empty: the sabotage that the fence is there to
// survive.
type unfenced struct{ *faultfs.FS }

func (f unfenced) Open(name string) (durable.File, error) {
	if path.Base(name) == "fence" {
		return blank{}, nil
	}
	return f.FS.Open(name)
}

type blank struct{ durable.File }

func (blank) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }
func (blank) Close() error                          { return nil }

// takeOver has a second process take over the chain of a first one that is alive
// and whose heartbeat it cannot see, drain and settle it and remove it; then
// the first goes on. It returns what the ledger says of what the second and a
// third process drained.
func takeOver(t *testing.T, disk *faultfs.FS, first durable.FS) (saved, verdict error) {
	l := newLedger()
	q := started(t, first, nil)
	_ = l.append(t.Context(), q, "a", "a2")
	_ = l.append(t.Context(), q, "b")
	c := claim(t, q)
	drain(t, c, 1)
	if err := l.save(t.Context(), c, next(l.places["a"].Lane, 2)); err != nil {
		t.Fatal(err)
	}
	second, stop := begin(t, frozen{disk}, nil)
	chains, err := drainChains(second, true)
	if err != nil {
		t.Fatal(err)
	}
	saved = c.Save(t.Context(), next(l.places["a"].Lane, 3))
	wait(5 * time.Minute) // retention comes by
	if err := c.Save(t.Context(), next(l.places["a"].Lane, 3)); !errors.Is(err, message.ErrClaimLost) {
		t.Errorf("save of a claim that is gone: %v", err)
	}
	_ = l.append(t.Context(), q, "late")
	_ = l.append(t.Context(), q, "later")
	stop()
	disk = disk.Restart()
	third, err := drainAll(disk, faultOptions(), true)
	if err != nil {
		t.Fatal(err)
	}
	return saved, l.check(append(chains, third...))
}

// TestTakeover: the claim of the first process is revoked and its messages are
// not acknowledged any more in the lane that was ended.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		saved, verdict := takeOver(t, disk, disk)
		if !errors.Is(saved, message.ErrClaimLost) {
			t.Errorf("save of a revoked claim: %v", saved)
		}
		if verdict != nil {
			t.Error(verdict)
		}
	})
}

// TestTakeoverWithoutFenceIsCaught is the sabotaged twin.
func TestTakeoverWithoutFenceIsCaught(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		if _, verdict := takeOver(t, disk, unfenced{disk}); verdict == nil || !strings.Contains(verdict.Error(), "acknowledged and lost") {
			t.Errorf("the fence was ignored, and the check says %v", verdict)
		}
	})
}

// TestNoTakeoverOfALivingWriter: a heartbeat that is seen to move is left alone,
// however long it takes.
func TestNoTakeoverOfALivingWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		_ = l.append(t.Context(), q, "a")
		started(t, disk, nil)
		wait(time.Hour)
		if err := l.append(t.Context(), q, "b"); err != nil {
			t.Errorf("append an hour after another process came: %v", err)
		}
		if l.places["a"].Lane != l.places["b"].Lane {
			t.Error("the lane was taken over")
		}
	})
}

// TestWatcherThatSleepsTakesNothing suspends the watcher: what it slept through
// is no proof that the writer stood still.
func TestWatcherThatSleepsTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q := started(t, disk, nil)
		_ = l.append(t.Context(), q, "a")
		var slept atomic.Int64
		started(t, frozen{disk}, func(_ *queue.Options, d *queue.Deps) {
			awake := d.Elapsed
			d.Elapsed = func() time.Duration { return awake() + time.Duration(slept.Add(int64(3*time.Second))) }
		})
		wait(time.Hour)
		if err := l.append(t.Context(), q, "b"); err != nil || l.places["a"].Lane != l.places["b"].Lane {
			t.Errorf("taken over by a watcher with gaps of 3 s between its looks: %v", err)
		}
	})
}

// TestLaneCutShortWhileItWasMade leaves a lane as a power cut may: with a fence,
// a heartbeat or a lane file of any length. It must not be in the way for ever.
func TestLaneCutShortWhileItWasMade(t *testing.T) {
	const id = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	for name, files := range map[string]map[string]int{
		"empty":            {},
		"fence of 0":       {"fence": 0},
		"fence of 100":     {"fence": 100},
		"no heartbeat":     {"fence": 512},
		"heartbeat of 5":   {"fence": 512, "heartbeat": 5},
		"lane file of 0":   {"fence": 512, "heartbeat": 1024, "lane": 0},
		"lane file zeroed": {"fence": 512, "heartbeat": 1024, "lane": 300, "00000001.seg": 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				content := map[string][]byte{"lanes/stray": []byte("x")}
				for file, size := range files {
					content["lanes/"+id+"/"+file] = make([]byte, size)
				}
				write(t, disk, "queue", content)
				if err := durable.MkdirAll(disk, "queue/lanes/"+id); err != nil {
					t.Fatal(err)
				}
				q := started(t, disk, nil)
				appendOne(t, q, "a")
				chains, err := drainChains(q, true)
				if err != nil || len(slices.Concat(chains...)) != 1 {
					t.Errorf("drained %v, %v", chains, err)
				}
				wait(5 * time.Minute)
				if left := names(t, disk, "queue/lanes"); slices.Contains(left, id) || len(left) != 2 {
					t.Errorf("lanes left: %q", left)
				}
				if all := reports(t, disk, "queue"); len(all) > 0 {
					t.Errorf("reported %+v", all)
				}
			})
		})
	}
}

// TestRetention: a chain is removed, claims and all, when it is settled and old
// enough, and not before; a power cut at any moment after brings none of it out
// again.
func TestRetention(t *testing.T) {
	for _, damage := range []bool{false, true} {
		t.Run(fmt.Sprint("damage ", damage), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { retention(t, damage) })
		})
	}
}

func retention(t *testing.T, damage bool) {
	disk, l := faultfs.New(3), newLedger()
	(&life{name: "old"}).run(disk, l)
	disk = disk.Restart()
	old := names(t, disk, "queue/lanes")
	if damage { // the header of a middle segment, and the last message
		spoil(t, disk, path.Join("queue/lanes", old[0], "00000003.seg"), 3, 2051)
		spoil(t, disk, path.Join("queue/lanes", old[0], lastSegment(t, disk, old[0])), 4096+9)
	}
	o := faultOptions()
	o.Retain = time.Hour
	q := started(t, disk, with(o))
	held := func() bool { return slices.Contains(names(t, disk, "queue/lanes"), old[0]) }
	wait(3 * time.Hour)
	if !held() {
		t.Fatal("removed before it was forwarded")
	}
	if _, err := drainChains(q, true); err != nil {
		t.Fatal(err)
	}
	wait(10 * time.Minute)
	if held() {
		t.Error("settled and hours old, and still there")
	}
	if left := names(t, disk, "queue/lanes"); len(left) != 1 {
		t.Errorf("lanes left: %q", left)
	}
	if left := names(t, disk, "queue/claims"); len(left) != 1 {
		t.Errorf("claims left: %q", left)
	}
	if s := q.Status(); s.UnforwardedMessages != 0 {
		t.Errorf("%d messages wait, by the status", s.UnforwardedMessages)
	}
	for i := range 10 {
		chains, err := drainAll(disk.Reboot(), o, false)
		if err != nil {
			t.Fatal(err)
		}
		if all := slices.Concat(chains...); len(all) > 0 {
			t.Errorf("power cut %d brings out %d messages again, the first %v", i, len(all), all[0].Place)
		}
	}
}

func lastSegment(t *testing.T, disk *faultfs.FS, lane string) string {
	t.Helper()
	last := ""
	for _, name := range names(t, disk, path.Join("queue/lanes", lane)) {
		if strings.HasSuffix(name, ".seg") {
			if b, err := durable.ReadFile(disk, path.Join("queue/lanes", lane, name), 1<<30); err == nil && len(b) > 4096 {
				last = name
			}
		}
	}
	return last
}

// spoil changes bytes of a file.
func spoil(t *testing.T, fsys durable.FS, name string, at ...int64) {
	t.Helper()
	f, err := fsys.OpenWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	for _, at := range at {
		if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		b[0] ^= 0xff
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRetentionKeepsWhatIsYoungOrNotSettled looks at the segments of a live lane.
func TestRetentionKeepsWhatIsYoungOrNotSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, func(o *queue.Options, _ *queue.Deps) { o.Retain = time.Hour })
		var r message.Receipt
		put := func(n int) {
			for i := range n {
				r = appendOne(t, q, fill(fmt.Sprint(i, time.Now()), 20<<10))
			}
		}
		first := func() string { return names(t, disk, path.Join("queue/lanes", r.Lane))[0] }
		put(12)
		c := claim(t, q)
		drain(t, c, 12)
		wait(2 * time.Hour)
		put(3)
		if got := first(); got != "00000001.seg" {
			t.Fatalf("not settled, and the first segment is %s", got)
		}
		if err := c.Save(t.Context(), next(r.Lane, 8)); err != nil {
			t.Fatal(err)
		}
		wait(10 * time.Minute)
		if got := first(); got == "00000001.seg" {
			t.Error("the first segment is settled and old, and still there")
		}
		drain(t, c, 3)
		put(12)
		if err := c.Save(t.Context(), next(r.Lane, 27)); err != nil {
			t.Fatal(err)
		}
		before := names(t, disk, path.Join("queue/lanes", r.Lane))
		wait(30 * time.Minute) // less than an hour since the last ones
		if got := drain(t, c, 12); got[0].Seq != 16 {
			t.Errorf("goes on at %d", got[0].Seq)
		}
		if after := names(t, disk, path.Join("queue/lanes", r.Lane)); len(after) < len(before)-4 {
			t.Errorf("removed what is young: %q, then %q", before, after)
		}
		for seq := uint64(20); seq <= 27; seq++ { // still looked up
			if _, err := q.Locate(t.Context(), message.Receipt{ID: r.ID, Place: message.Place{Lane: r.Lane, Seq: 27}}); err != nil {
				t.Errorf("seq %d: %v", seq, err)
			}
		}
	})
}

// TestFailedReadsDelayAndLoseNothing has reads fail once, at each operation that a
// claim makes.
func TestFailedReadsDelayAndLoseNothing(t *testing.T) {
	for _, kind := range []faultfs.Kind{faultfs.OpOpen, faultfs.OpRead, faultfs.OpSize, faultfs.OpReadDir} {
		for nth := 1; nth < 12; nth++ {
			synctest.Test(t, func(t *testing.T) {
				disk, l := faultfs.New(1), newLedger()
				q := started(t, disk, nil)
				for i := range 8 {
					if err := l.append(t.Context(), q, fill(fmt.Sprint(i), 20<<10)); err != nil {
						t.Fatal(err)
					}
				}
				c := claim(t, q)
				m := faultfs.Match{Kind: kind, Nth: nth, If: func(op faultfs.Op) bool {
					return strings.HasSuffix(op.Name, ".seg") || strings.HasPrefix(op.Name, "queue/lanes")
				}}
				disk.When(m, faultfs.FailTorn(syscall.EIO))
				var all []message.Stored
				for failures := 0; len(all) < 8 && failures < 3; {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					msgs, err := c.Next(ctx, 3)
					cancel()
					if err != nil {
						failures++
					}
					all = append(all, msgs...)
				}
				if err := l.check([][]message.Stored{all}); err != nil {
					t.Errorf("%s %d failed: %v", kind, nth, err)
				}
				if all := reports(t, disk, "queue"); len(all) > 0 {
					t.Errorf("%s %d failed: reported %+v", kind, nth, all)
				}
			})
		}
	}
}

// TestClockSetBack: lanes of one run are drained in the order they were written,
// whatever the clock says.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, l := faultfs.New(1), newLedger()
		q, stop := begin(t, disk, func(_ *queue.Options, d *queue.Deps) {
			now := time.Now()
			d.Now = func() time.Time { now = now.Add(-time.Hour); return now }
		})
		for i := range 5 {
			if err := l.append(t.Context(), q, fmt.Sprint("a", i)); err != nil {
				t.Fatal(err)
			}
			disk.When(syncs(segments), faultfs.FailBefore(syscall.EIO))
			_ = l.append(t.Context(), q, fmt.Sprint("b", i))
		}
		stop()
		chains, err := drainAll(disk.RebootBare(), faultOptions(), false)
		if err == nil {
			err = l.check(chains)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestSaveRefusesWhatCannotBeRead: a value that would not be read back must not
// take the place of one that is.
func TestSaveRefusesWhatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, nil)
		r := appendOne(t, q, "a")
		c := claim(t, q)
		good := next(r.Lane, 2)
		if err := c.Save(t.Context(), good); err != nil {
			t.Fatal(err)
		}
		for name, p := range map[string]message.Progress{
			"offset":     {Marks: []message.Mark{{Topic: "t", Offset: -1}}},
			"partition":  {Marks: []message.Mark{{Topic: "t", Partition: -1}}},
			"partitions": {Partitions: map[string]int32{"t": -1}},
		} {
			if err := c.Save(t.Context(), p); err == nil {
				t.Errorf("%s: saved", name)
			}
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := claim(t, q).Progress(); len(p.Lanes) != 1 || p.Lanes[0].Next != 2 {
			t.Errorf("progress %+v", p)
		}
	})
}

// TestReaderBesideAWriter drains a lane while several write to it and others look
// messages up, on real files; the race detector watches.
func TestReaderBesideAWriter(t *testing.T) {
	for _, zero := range []string{"always", "never"} {
		t.Run("zero_fill "+zero, func(t *testing.T) {
			o := options(t.TempDir())
			o.ZeroFill = zero
			q := start(t, o, queue.Deps{})
			const writers, each = 8, 120
			var wg sync.WaitGroup
			last := make(chan message.Receipt, writers*each)
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						m := msg(fill(fmt.Sprintf("%d-%d", w, i), 10+(i*w*97)%6000))
						p, err := q.Append(context.Background(), []message.Message{m})
						if err != nil {
							t.Error(err)
							return
						}
						last <- message.Receipt{ID: m.ID, Place: p}
					}
				})
			}
			wg.Go(func() {
				for range writers * each / 4 {
					r, ok := <-last
					if !ok {
						return
					}
					if _, err := q.Locate(context.Background(), r); err != nil {
						t.Errorf("locate %v: %v", r, err)
					}
				}
			})
			latest := map[string]int{}
			for i, m := range drain(t, claim(t, q.Queue), writers*each) {
				if m.Seq != uint64(i+1) {
					t.Fatalf("message %d has seq %d", i, m.Seq)
				}
				var w, n int
				if _, err := fmt.Sscanf(short(string(m.Value)), "%d-%d", &w, &n); err != nil {
					t.Fatal(err)
				}
				key := fmt.Sprint(w)
				if n != latest[key] {
					t.Fatalf("writer %d: message %d after %d", w, n, latest[key]-1)
				}
				latest[key]++
			}
			wg.Wait()
			if left := names(t, durable.OS{}, path.Join(o.Dir, "quarantine")); len(left) > 0 {
				t.Errorf("set aside: %q", left)
			}
		})
	}
}

// TestOldEpochsAreRemoved claims a chain many times: what stays is what a
// successor may need.
func TestOldEpochsAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, nil)
		var r message.Receipt
		for i := range 30 {
			r = appendOne(t, q, fmt.Sprint(i))
			c := claim(t, q)
			if got := drain(t, c, 1)[0].Seq; got != uint64(i+1) {
				t.Fatalf("claim %d goes on at %d", i, got)
			}
			if err := c.Save(t.Context(), next(r.Lane, uint64(i+2))); err != nil {
				t.Fatal(err)
			}
			if err := c.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			left := names(t, disk, path.Join("queue/claims", c.ID()))
			claims := slices.DeleteFunc(slices.Clone(left), func(n string) bool { return !strings.HasPrefix(n, "claim.") })
			if len(claims) != i+1 { // a number that is free again would be a claim to be had
				t.Fatalf("after %d claims: %q", i+1, left)
			}
			if len(left)-len(claims) > 4 {
				t.Fatalf("after %d claims: %q", i+1, left)
			}
		}
	})
}

// TestProgressWithoutItsClaimDoesNotCount: a holder that could not go on under a
// later epoch goes on under its own, and that is what its successor reads.
func TestProgressWithoutItsClaimDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := started(t, disk, nil)
		var r message.Receipt
		for i := range 3 {
			r = appendOne(t, q, fmt.Sprint(i))
		}
		c := claim(t, q)
		large := next(r.Lane, 2)
		for i := range int32(60_000) {
			large.Marks = append(large.Marks, message.Mark{Topic: "t", Partition: i, Offset: 1})
		}
		disk.When(faultfs.Match{Kind: faultfs.OpCreate, Name: "claim.000002"}, faultfs.FailBefore(syscall.EIO))
		if err := c.Save(t.Context(), large); err == nil {
			t.Fatal("saved without a claim")
		}
		if err := c.Save(t.Context(), next(r.Lane, 4)); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p := claim(t, q).Progress(); len(p.Lanes) != 1 || p.Lanes[0].Next != 4 {
			t.Errorf("goes on at %+v, saved 4", p.Lanes)
		}
	})
}

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"path"
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

// keyed are the messages of request i: one or several, by i, under a key of the
// client's.
func keyed(i int) []message.Message {
	var msgs []message.Message
	h := message.NewHasher("test key")
	h.Uint(uint64(i))
	hash := h.Sum()
	for n := range 1 + i%3%2*(i%5) {
		m := msg(fmt.Sprint("request ", i, " message ", n))
		m.KeyHash, m.Digest, m.Time = hash, hash, time.Now().UTC().Truncate(time.Microsecond)
		msgs = append(msgs, m)
	}
	return msgs
}

// keyOf is what Keys should say of a request that was stored at a place.
func keyOf(msgs []message.Message, first message.Place) queue.Key {
	return queue.Key{Hash: msgs[0].KeyHash, Digest: message.GroupDigest(msgs), ID: msgs[0].ID, First: first, Time: msgs[0].Time}
}

// keysOf collects what Keys hands out; twice the same is once.
func keysOf(t testing.TB, q *queue.Queue, since time.Time) map[queue.Key]bool {
	t.Helper()
	found := map[queue.Key]bool{}
	if err := q.Keys(t.Context(), since, func(k queue.Key) error { found[k] = true; return nil }); err != nil {
		t.Errorf("keys: %v", err)
	}
	return found
}

// keyFilesOf lists the key files.
func keyFilesOf(t testing.TB, fsys durable.FS) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir("queue/keys")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		names = append(names, path.Join("queue/keys", e.Name()))
	}
	return names
}

// storeKeyed appends requests from, from+1, … and returns their keys.
func storeKeyed(t testing.TB, q *queue.Queue, from, to int) map[queue.Key]bool {
	t.Helper()
	keys := map[queue.Key]bool{}
	for i := from; i < to; i++ {
		msgs := keyed(i)
		p, err := q.Append(context.Background(), msgs)
		if err != nil {
			t.Fatal(err)
		}
		keys[keyOf(msgs, p)] = true
	}
	return keys
}

// keysLife is a process whose keys are kept for an hour.
func keysLife(t testing.TB, fsys durable.FS) running {
	t.Helper()
	q, stop := begin(t, fsys, func(_ *queue.Options, d *queue.Deps) { d.KeysRetain = time.Hour })
	r := running{q, sync.OnceFunc(stop)}
	t.Cleanup(r.stop)
	return r
}

// lanesOf lists the directories of lanes.
func lanesOf(t testing.TB, fsys durable.FS) (names []string) {
	t.Helper()
	entries, err := fsys.ReadDir("queue/lanes")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, path.Join("queue/lanes", e.Name()))
	}
	return names
}

// clear removes the files of a directory that are chosen.
func clearOut(t testing.TB, fsys durable.FS, dir string, chosen func(name string) bool) {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if chosen(e.Name()) {
			if err := fsys.Remove(path.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func every(string) bool { return true }

func removeKeyFiles(t testing.TB, disk *faultfs.FS) { clearOut(t, disk, "queue/keys", every) }

func removeSegments(t testing.TB, disk *faultfs.FS) {
	for _, lane := range lanesOf(t, disk) {
		clearOut(t, disk, lane, func(name string) bool { return strings.HasSuffix(name, ".seg") })
	}
}

func removeLanes(t testing.TB, disk *faultfs.FS) {
	for _, lane := range lanesOf(t, disk) {
		clearOut(t, disk, lane, every)
	}
	clearOut(t, disk, "queue/lanes", every)
}

// flip changes one byte of a file.
func flip(t testing.TB, disk *faultfs.FS, name string, at int64) {
	t.Helper()
	b, err := durable.ReadFile(disk, name, 1<<20)
	if err == nil {
		b[at] ^= 0x40
		err = durable.Overwrite(disk, name, b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func sameKeys(t testing.TB, what string, got, want map[queue.Key]bool) {
	t.Helper()
	for k := range want {
		if !got[k] {
			t.Errorf("%s: key of %v is missing (%d of %d are there)", what, k.First, len(got), len(want))
			return
		}
	}
	for k := range got {
		if !want[k] {
			t.Errorf("%s: key of %v should not be there", what, k.First)
		}
	}
}

var ages = time.UnixMicro(0)

// TestKeysAfterACleanStop are all there, from the key files alone, and each is
// what was stored.
func TestKeysAfterACleanStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		if got := keysOf(t, q.Queue, ages); len(got) != 0 {
			t.Errorf("%d keys of nobody", len(got))
		}
		want := storeKeyed(t, q.Queue, 0, 50)
		wait(1500 * time.Millisecond)
		for k := range storeKeyed(t, q.Queue, 50, 80) {
			want[k] = true
		}
		_ = appendOne(t, q.Queue, "without a key")
		sameKeys(t, "of this run itself", keysOf(t, q.Queue, ages), nil)
		q.stop()
		disk = disk.RebootBare()
		removeSegments(t, disk) // as if forwarded and removed
		q = keysLife(t, disk)
		sameKeys(t, "after the stop", keysOf(t, q.Queue, ages), want)
	})
}

// TestKeysOnlySince: those that are older are left out.
func TestKeysOnlySince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		storeKeyed(t, q.Queue, 0, 5)
		wait(2 * time.Hour)
		since := time.Now()
		want := storeKeyed(t, q.Queue, 5, 9)
		wait(3 * time.Second) // a heartbeat
		for _, mess := range []string{"", "no key files"} {
			left := disk.Restart()
			if mess != "" {
				removeKeyFiles(t, left)
			}
			q.stop()
			disk = left
			sameKeys(t, "since then "+mess, keysOf(t, keysLife(t, left).Queue, since), want)
		}
	})
}

// TestKeysAfterAKill: what is in no key file comes from the lane, up to the
// durable seq that the disk tells of.
func TestKeysAfterAKill(t *testing.T) {
	for name, harm := range map[string]func(testing.TB, *faultfs.FS){
		"as it is":     func(testing.TB, *faultfs.FS) {},
		"no key files": removeKeyFiles,
		"a damaged block": func(t testing.TB, disk *faultfs.FS) {
			flip(t, disk, keyFilesOf(t, disk)[0], 70)
		},
		"a damaged header": func(t testing.TB, disk *faultfs.FS) {
			flip(t, disk, keyFilesOf(t, disk)[0], 20)
		},
		"a file under another's name": func(t testing.TB, disk *faultfs.FS) {
			name := keyFilesOf(t, disk)[0]
			b, err := durable.ReadFile(disk, name, 1<<20)
			if err == nil {
				err = errors.Join(disk.Remove(name), durable.WriteNew(disk, otherName(name), b))
			}
			if err != nil {
				t.Fatal(err)
			}
		},
		"an empty file beside": func(t testing.TB, disk *faultfs.FS) {
			if err := durable.WriteNew(disk, otherName(keyFilesOf(t, disk)[0]), nil); err != nil {
				t.Fatal(err)
			}
		},
		"no lane file": func(t testing.TB, disk *faultfs.FS) {
			if err := disk.Remove(path.Join(lanesOf(t, disk)[0], "lane")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				q := keysLife(t, disk)
				want := map[queue.Key]bool{}
				for i := range 6 { // blocks of their own
					for k := range storeKeyed(t, q.Queue, 10*i, 10*i+10) {
						want[k] = true
					}
					wait(1100 * time.Millisecond)
				}
				for k := range storeKeyed(t, q.Queue, 100, 110) {
					want[k] = true
				}
				wait(0)
				left := disk.Restart()
				// The next group's header tells that these were acknowledged,
				// the last one's own nobody tells.
				q.stop()
				if harm(t, left); t.Failed() {
					return
				}
				got := keysOf(t, keysLife(t, left).Queue, ages)
				last := lastKey(want)
				delete(want, last)
				delete(got, last)
				sameKeys(t, name, got, want)
			})
		})
	}
}

// otherName is that of another key file of the lane.
func otherName(name string) string {
	return name[:len(name)-len("0000.keys")] + "0001.keys"
}

// lastKey is the one that was stored last.
func lastKey(keys map[queue.Key]bool) (last queue.Key) {
	for k := range keys {
		if k.First.Lane > last.First.Lane || k.First.Lane == last.First.Lane && k.First.Seq > last.First.Seq {
			last = k
		}
	}
	return last
}

// TestKeyBehindTheDurableSeq: a group that was written and never acknowledged
// stands whole in the lane, and its key is none: answered with its place, its
// messages would be lost by the next power cut. Its lane is sealed meanwhile, and
// drained to its end.
func TestKeyBehindTheDurableSeq(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		want := storeKeyed(t, q.Queue, 0, 4)
		wait(3 * time.Second)
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Name: "*.seg"}, faultfs.CrashBefore())
		if _, err := q.Append(t.Context(), keyed(9)); err == nil {
			t.Fatal("acknowledged")
		}
		left := disk.Restart()
		q.stop()
		q = keysLife(t, left)
		sameKeys(t, "before it is sealed", keysOf(t, q.Queue, ages), want)
		chains, err := drainChains(q.Queue, false)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, c := range chains {
			n += len(c)
		}
		if whole := 0; n > 0 {
			for i := range 4 {
				whole += len(keyed(i))
			}
			if n != whole+len(keyed(9)) {
				t.Fatalf("%d messages drained: the group should stand there whole", n)
			}
		}
		sameKeys(t, "after it is drained", keysOf(t, q.Queue, ages), want)
		removeKeyFiles(t, left)
		sameKeys(t, "from the lane alone", keysOf(t, q.Queue, ages), want)
	})
}

// TestKeysDoNotFail: whatever happens to key files, requests are answered, and
// what they say is read from the lanes later.
func TestKeysDoNotFail(t *testing.T) {
	for name, fault := range map[string]faultfs.Match{
		"create":  {Kind: faultfs.OpCreate, Name: "*.keys", Always: true},
		"write":   {Kind: faultfs.OpWrite, Name: "*.keys", Always: true},
		"mkdir":   {Kind: faultfs.OpMkdir, Name: "keys", Always: true},
		"sync":    {Kind: faultfs.OpSync, Name: "*.keys", Always: true},
		"syncdir": {Kind: faultfs.OpSyncDir, Name: "keys", Always: true},
		"write 2": {Kind: faultfs.OpWrite, Name: "*.keys", Nth: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				q := keysLife(t, disk)
				disk.When(fault, faultfs.FailTorn(syscall.ENOSPC))
				want := map[queue.Key]bool{}
				for i := range 30 {
					for k := range storeKeyed(t, q.Queue, 10*i, 10*i+10) {
						want[k] = true
					}
					wait(time.Second)
				}
				q.stop()
				if disk.Fired() == 0 {
					t.Fatal("the fault did not happen")
				}
				sameKeys(t, name, keysOf(t, keysLife(t, disk.Restart()).Queue, ages), want)
			})
		})
	}
}

// TestMovedMessagesHaveNoKey: nor do replayed ones, and those without a key of
// the client's. They stand in the queue a second time.
func TestMovedMessagesHaveNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		moved, replayed, bare := keyed(1), keyed(2), keyed(3)
		moved[0].Moved = &message.Place{Lane: "01ARZ3NDEKTSV4RRFFQ69G5FAV", Seq: 4}
		replayed[0].Replay = true
		bare[0].KeyHash = message.Hash{}
		for _, msgs := range [][]message.Message{moved, replayed, bare} {
			if _, err := q.Append(t.Context(), msgs); err != nil {
				t.Fatal(err)
			}
		}
		want := storeKeyed(t, q.Queue, 4, 5)
		q.stop()
		left := disk.Restart()
		sameKeys(t, "from the file", keysOf(t, keysLife(t, left).Queue, ages), want)
		removeKeyFiles(t, left)
		sameKeys(t, "from the lane", keysOf(t, keysLife(t, left).Queue, ages), want)
	})
}

// TestKeysEnd: an error of yield and the end of ctx are returned at once.
func TestKeysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		storeKeyed(t, q.Queue, 0, 9)
		q.stop()
		for _, harm := range []func(testing.TB, *faultfs.FS){func(testing.TB, *faultfs.FS) {}, removeKeyFiles} {
			disk = disk.Restart()
			harm(t, disk)
			q := keysLife(t, disk)
			full, n := errors.New("full"), 0
			if err := q.Keys(t.Context(), ages, func(queue.Key) error { n++; return full }); !errors.Is(err, full) || n != 1 {
				t.Errorf("%v after %d keys", err, n)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := q.Keys(ctx, ages, func(queue.Key) error { t.Error("a key"); return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("after the end: %v", err)
			}
		}
	})
}

// TestOldKeyFilesGo: those of this process's lanes, and of lanes that are gone;
// those of others stay.
func TestOldKeyFilesGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := faultfs.New(1)
		q := keysLife(t, disk)
		storeKeyed(t, q.Queue, 0, 3)
		wait(2 * time.Second)
		first := keyFilesOf(t, disk)
		wait(100 * time.Minute)
		storeKeyed(t, q.Queue, 3, 5)
		wait(2 * time.Second)
		if n := len(keyFilesOf(t, disk)); len(first) != 1 || n != 2 {
			t.Fatalf("%d key files, then %d", len(first), n)
		}
		wait(40 * time.Minute)
		if left := keyFilesOf(t, disk); len(left) != 1 || left[0] == first[0] {
			t.Errorf("left of this run's own: %q", left)
		}
		q.stop()
		disk = disk.Restart()
		q = keysLife(t, disk)
		wait(6 * time.Hour)
		if n := len(keyFilesOf(t, disk)); n != 1 {
			t.Errorf("%d files of a lane that is there", n)
		}
		q.stop()
		disk = disk.Restart()
		removeLanes(t, disk)
		keysLife(t, disk)
		wait(time.Hour)
		if left := keyFilesOf(t, disk); len(left) != 0 {
			t.Errorf("left of a lane that is gone: %q", left)
		}
	})
}

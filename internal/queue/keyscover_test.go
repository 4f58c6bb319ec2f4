package queue

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
)

// keyedLane is a lane of a killed process with n keyed requests, all known to be
// acknowledged, and no key file.
func keyedLane(t *testing.T, n int) (disk *faultfs.FS, lane string) {
	t.Helper()
	disk = faultfs.New(1)
	l := openKeyLife(t, disk)
	for i := range n {
		m := message.Message{ID: message.ID{1, byte(i >> 8), byte(i)}, Topic: "t", KeyHash: message.Hash{2, byte(i >> 8), byte(i)}, Value: make([]byte, 500), Time: time.Now()}
		p, err := l.Append(context.Background(), []message.Message{m})
		if err != nil {
			t.Fatal(err)
		}
		lane = p.Lane
	}
	<-time.After(3 * time.Second) // a heartbeat
	left := disk.Restart()
	l.stop()
	files, err := left.ReadDir("queue/keys")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range files {
		if err := left.Remove("queue/keys/" + e.Name()); err != nil {
			t.Fatal(err)
		}
	}
	return left, lane
}

// named is a lane as far as coverKeys looks at it.
func named(id string) *lane { return &lane{id: id} }

// seqsOf lists which keys a new process finds on the disk.
func seqsOf(t *testing.T, disk *faultfs.FS) map[uint64]bool {
	t.Helper()
	seqs := map[uint64]bool{}
	l := openKeyLife(t, disk)
	defer l.stop()
	if err := l.Keys(context.Background(), time.UnixMicro(0), func(k Key) error { seqs[k.First.Seq] = true; return nil }); err != nil {
		t.Error(err)
	}
	return seqs
}

func dropSegments(t *testing.T, disk *faultfs.FS, lane string) {
	t.Helper()
	entries, err := disk.ReadDir("queue/lanes/" + lane)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Name()) == len("00000001.seg") {
			if err := disk.Remove("queue/lanes/" + lane + "/" + e.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCoverKeys: after it segments may go, and a power cut come, and every key
// below is there; what is above is not lost to it.
func TestCoverKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 2 * keyBlockKeys
		disk, lane := keyedLane(t, n)
		l := openKeyLife(t, disk)
		for _, below := range []uint64{0, 1, 1000, 1001, n + 1} {
			l.coverKeys(named(lane), below, time.Time{})
			before := disk.Ops()
			l.coverKeys(named(lane), below, time.Time{})
			if disk.Ops() != before {
				t.Errorf("below %d: the disk is asked again", below)
			}
		}
		left := disk.RebootBare()
		l.stop()
		dropSegments(t, left, lane)
		if got := seqsOf(t, left); len(got) != n {
			t.Errorf("%d of %d keys are left", len(got), n)
		}
	})
}

// TestCoverKeysOfAPart: the rest still comes from the segments.
func TestCoverKeysOfAPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, lane := keyedLane(t, 300)
		l := openKeyLife(t, disk)
		l.coverKeys(named(lane), 101, time.Time{})
		left := disk.Restart()
		l.stop()
		files, err := l.keyFiles()
		if err == nil || len(files) > 0 {
			t.Errorf("a machine that is gone lists %v", files)
		}
		if got := seqsOf(t, left); len(got) != 300 {
			t.Errorf("%d of 300 keys are found", len(got))
		}
		dropSegments(t, left, lane)
		got := seqsOf(t, left)
		for seq := uint64(1); seq <= 300; seq++ {
			if got[seq] != (seq <= 100) {
				t.Fatalf("without segments, the key at %d: %v", seq, got[seq])
			}
		}
	})
}

// TestCoverKeysWhereNothingIsToDo asks nothing of the disk.
func TestCoverKeysWhereNothingIsToDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, lane := keyedLane(t, 10)
		l := openKeyLife(t, disk)
		synctest.Wait()
		side, dead := named(lane), named(lane)
		side.info.Kind, dead.info.Kind = kindSide, kindDead
		before := disk.Ops()
		l.coverKeys(side, 11, time.Time{})
		l.coverKeys(dead, 11, time.Time{})
		l.coverKeys(named(lane), 1, time.Time{})
		l.coverKeys(named(lane), 11, time.Now().Add(-time.Hour-time.Second))
		if disk.Ops() != before {
			t.Error("something was read or written")
		}
		l.coverKeys(named(lane), 11, time.Now().Add(-time.Hour+time.Minute))
		if disk.Ops() == before {
			t.Error("young keys were not looked at")
		}
	})
}

// TestCoverKeysFails without harm, at any operation, and is tried again by the
// next call.
func TestCoverKeysFails(t *testing.T) {
	for k, fired := 0, true; fired; k++ {
		synctest.Test(t, func(t *testing.T) {
			disk, lane := keyedLane(t, 40)
			l := openKeyLife(t, disk)
			synctest.Wait()
			disk.At(disk.Ops()+k, faultfs.FailTorn(syscall.ENOSPC))
			l.coverKeys(named(lane), 41, time.Time{})
			fired = disk.Fired() > 0
			l.coverKeys(named(lane), 41, time.Time{})
			left := disk.Restart()
			l.stop()
			dropSegments(t, left, lane)
			if got := seqsOf(t, left); len(got) != 40 {
				t.Errorf("after a fault at %d: %d of 40 keys", k, len(got))
			}
		})
		if k > 200 {
			t.Fatal("it does not end")
		}
	}
}

// TestCoverKeysOnAFullDisk gives up at once, and the reserve is left alone.
func TestCoverKeysOnAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, lane := keyedLane(t, 40)
		l := openKeyLife(t, disk)
		synctest.Wait()
		l.opts.ReserveBytes = 1 << 50
		l.coverKeys(named(lane), 41, time.Time{})
		if files, err := l.keyFiles(); err != nil || len(files) != 0 {
			t.Errorf("key files %v, %v", files, err)
		}
		if l.keys.covered[lane] != 0 {
			t.Error("taken for covered")
		}
	})
}

// TestForgottenLane: coverKeys keeps nothing about a lane that is gone.
func TestForgottenLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, lane := keyedLane(t, 5)
		l := openKeyLife(t, disk)
		l.coverKeys(named(lane), 6, time.Time{})
		if fmt.Sprint(l.keys.covered) != fmt.Sprint(map[string]uint64{lane: 5}) {
			t.Errorf("covered %v", l.keys.covered)
		}
		if l.keys.forgetLane(lane); len(l.keys.covered) != 0 {
			t.Errorf("covered %v", l.keys.covered)
		}
	})
}

// TestKeysOfADamagedLane: a damaged byte costs the key of its own group, and no
// other key is handed out for it.
func TestKeysOfADamagedLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 150
		disk, lane := keyedLane(t, n)
		name := "queue/lanes/" + lane + "/00000001.seg"
		b, err := durable.ReadFile(disk, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		missing := 0
		for at := 0; at < len(b); at += 2411 {
			b[at] ^= 0x10
			if err := durable.Overwrite(disk, name, b); err != nil {
				t.Fatal(err)
			}
			got := seqsOf(t, disk)
			for seq := range got {
				if seq == 0 || seq > n {
					t.Fatalf("byte %d: a key at %d", at, seq)
				}
			}
			if len(got) < n-1 {
				t.Fatalf("byte %d: %d of %d keys", at, len(got), n)
			}
			missing += n - len(got)
			b[at] ^= 0x10
		}
		if missing == 0 {
			t.Error("no byte was of any use")
		}
	})
}

// TestKeysThatNobodyWrites are dropped beyond a bound, which leaves a gap.
func TestKeysThatNobodyWrites(t *testing.T) {
	q := keyQueue(t, faultfs.New(1))
	w := &writer{lane: named(goldenKeyFile.lane), next: 1}
	var requests []*request
	for range 1000 {
		requests = append(requests, &request{key: &keyRecord{hash: message.Hash{1}, id: message.ID{1}}})
	}
	for w.next < 2*keyMostPending {
		for _, r := range requests {
			r.place.Seq = w.next
			w.next++
		}
		q.keys.committed(w, requests)
		if l := q.keys.lanes[0]; len(l.records) > keyMostPending || l.to != w.next-1 || len(l.records) > 0 && l.records[0].seq != l.from+1 {
			t.Fatalf("%d keys behind %d wait, at %d", len(l.records), l.from, l.to)
		}
	}
	if q.keys.lanes[0].from == 0 {
		t.Error("nothing was dropped")
	}
}

package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// some fills n groups of a message each of about 10 kB: six to a segment.
func (l *rawLane) some(n int) {
	for range n {
		l.add(rawMessage("messages", "k", strings.Repeat("x", 10_000)+fmt.Sprint(l.next)))
	}
}

func (q *rawQueue) segment(l *rawLane, number uint64) string {
	return path.Join(q.at.lane(l.id), wal.Name(number))
}

// found writes findings in a form that is short to compare.
func found(r CheckReport) string {
	var all []string
	for _, f := range r.Findings {
		s := f.Severity + " " + path.Base(f.File)
		if f.FirstSeq > 0 {
			s += fmt.Sprintf(" %d-%d", f.FirstSeq, f.LastSeq)
		}
		if f.Forwarded {
			s += " forwarded"
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

// Each case changes a lane of 20 messages over four segments of six, six, six and
// two, all of them acknowledged.
func TestCheckRules(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(q *rawQueue, l *rawLane)
		sealed bool
		want   string
	}{
		{"sound and live", func(*rawQueue, *rawLane) {}, false, ""},
		{"sound and sealed", func(*rawQueue, *rawLane) {}, true, ""},
		{"first segment gone, nothing forwarded", func(q *rawQueue, l *rawLane) {
			q.must(q.fsys.Remove(q.segment(l, 1)))
		}, true, "damage 00000002.seg 1-6"},
		{"first segment gone, forwarded", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 7})
			q.must(q.fsys.Remove(q.segment(l, 1)))
		}, true, ""},
		{"first segment gone, forwarded but for one", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 6})
			q.must(q.fsys.Remove(q.segment(l, 1)))
		}, true, "damage 00000002.seg 1-6"},
		{"progress of an epoch without claim does not count", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 7})
			q.must(q.fsys.Remove(q.at.claimFile(l.info.Owner.Process, claimKind, 1)))
			q.must(q.fsys.Remove(q.segment(l, 1)))
		}, true, "damage 00000002.seg 1-6"},
		{"a segment between is gone", func(q *rawQueue, l *rawLane) {
			q.must(q.fsys.Remove(q.segment(l, 2)))
		}, true, "damage 00000003.seg 7-12"},
		{"the last segment is gone", func(q *rawQueue, l *rawLane) {
			q.must(q.fsys.Remove(q.segment(l, 4)))
		}, true, "damage 00000003.seg 19-20"},
		{"all segments are gone", func(q *rawQueue, l *rawLane) {
			for n := range uint64(4) {
				q.must(q.fsys.Remove(q.segment(l, n+1)))
			}
		}, true, "damage " + "LANE" + " 1-20"},
		{"a lane in the middle of its removal", func(q *rawQueue, l *rawLane) {
			q.must(q.fsys.Remove(q.at.laneFile(l.id, heartbeatFileName)))
			for n := range uint64(4) {
				q.must(q.fsys.Remove(q.segment(l, n+1)))
			}
		}, true, ""},
		{"a damaged message that was forwarded", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 7})
			q.flip(q.segment(l, 1), 4096+60, 1)
		}, true, "damage 00000001.seg 1-1 forwarded"},
		{"zero bytes over a group", func(q *rawQueue, l *rawLane) {
			f, err := q.fsys.OpenWrite(q.segment(l, 2))
			q.must(err)
			_, err = f.WriteAt(make([]byte, 9<<10), 4096)
			q.must(err)
			f.Close()
		}, true, "damage 00000002.seg 7-7"},
		{"a segment of zero bytes", func(q *rawQueue, l *rawLane) {
			f, err := q.fsys.OpenWrite(q.segment(l, 2))
			q.must(err)
			_, err = f.WriteAt(make([]byte, 64<<10), 0)
			q.must(err)
			f.Close()
		}, true, "damage 00000003.seg 7-12"},
		{"a header of zero bytes", func(q *rawQueue, l *rawLane) {
			f, err := q.fsys.OpenWrite(q.segment(l, 2))
			q.must(err)
			_, err = f.WriteAt(make([]byte, 4096), 0)
			q.must(err)
			f.Close()
		}, true, "damage 00000002.seg 7-12"},
		{"a segment of another lane", func(q *rawQueue, l *rawLane) {
			b, err := durable.ReadFile(q.fsys, q.segment(l, 3), 1<<20)
			q.must(err)
			q.must(durable.Overwrite(q.fsys, q.segment(l, 2), b))
		}, true, "damage 00000002.seg 7-12"},
		{"garbage behind the end, sealed", func(q *rawQueue, l *rawLane) {
			appendBytes(q, q.segment(l, 4), "PRGP, torn")
		}, true, "notice 00000004.seg"},
		{"garbage behind the end, live: it may be being written", func(q *rawQueue, l *rawLane) {
			appendBytes(q, q.segment(l, 4), "PRGP, torn")
		}, false, ""},
		{"garbage behind the end of a segment that is done", func(q *rawQueue, l *rawLane) {
			appendBytes(q, q.segment(l, 2), "PRGP, torn")
		}, true, "warning 00000002.seg"},
		{"a segment of a later version", func(q *rawQueue, l *rawLane) {
			disk := q.fsys.(*faultfs.FS)
			disk.When(faultfs.Match{Kind: faultfs.OpRead, Name: wal.Name(2), Always: true}, faultfs.FailBefore(syscall.EIO))
		}, true, "unread 00000002.seg 7-12"},
		{"both heartbeat slots", func(q *rawQueue, l *rawLane) {
			q.flip(q.at.laneFile(l.id, heartbeatFileName), 10, 1)
			q.flip(q.at.laneFile(l.id, heartbeatFileName), heartbeatSlot+10, 1)
		}, false, "warning heartbeat"},
		{"one heartbeat slot", func(q *rawQueue, l *rawLane) {
			q.flip(q.at.laneFile(l.id, heartbeatFileName), 10, 1)
		}, false, "notice heartbeat"},
		{"a flipped fence", func(q *rawQueue, l *rawLane) {
			q.flip(q.at.laneFile(l.id, fenceFileName), 10, 1)
		}, false, "warning fence"},
		{"a lane file that is no JSON", func(q *rawQueue, l *rawLane) {
			q.flip(q.at.laneFile(l.id, laneFileName), 0, 1)
		}, false, "warning lane"},
		{"no lane file", func(q *rawQueue, l *rawLane) {
			q.must(q.fsys.Remove(q.at.laneFile(l.id, laneFileName)))
		}, false, "warning lane"},
		{"a claim of another chain", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "")
			f := q.at.claimFile(l.info.Owner.Process, claimKind, 1)
			b, err := durable.ReadFile(q.fsys, f, 1<<16)
			q.must(err)
			q.must(durable.Overwrite(q.fsys, f, []byte(strings.Replace(string(b), `"epoch":1`, `"epoch":2`, 1))))
		}, true, "warning claim.000001"},
		{"a flipped revocation", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "")
			q.flip(q.at.claimFile(l.info.Owner.Process, revokedKind, 1), 400, 1)
		}, true, "warning revoked.000001"},
		{"one progress slot", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "")
			q.flip(q.at.claimFile(l.info.Owner.Process, progressKind, 1), 5, 1)
		}, true, "notice progress.000001"},
		{"both progress slots", func(q *rawQueue, l *rawLane) {
			q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 7})
			q.flip(q.at.claimFile(l.info.Owner.Process, progressKind, 1), rawSlot+30, 1)
		}, true, "warning progress.000001"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := newRawQueue(t, faultfs.New(1), "queue")
			l := q.lane(q.newID(), laneInfo{})
			l.some(20)
			if l.beat(); tc.sealed {
				l.seal()
			}
			tc.change(q, l)
			if got, want := found(q.check()), strings.ReplaceAll(tc.want, "LANE", l.id); got != want {
				t.Errorf("found %q, want %q", got, want)
			}
		})
	}
}

func appendBytes(q *rawQueue, name, text string) {
	f, err := q.fsys.OpenWrite(name)
	q.must(err)
	n, err := f.Size()
	q.must(err)
	_, err = f.WriteAt([]byte(text), n)
	q.must(err)
	q.must(f.Datasync())
	f.Close()
}

// What is acknowledged and damaged at the end of a lane is told apart from what
// nobody was told of, by heartbeat alone.
func TestCheckTail(t *testing.T) {
	q := newRawQueue(t, faultfs.New(1), "queue")
	l := q.lane(q.newID(), laneInfo{})
	l.some(2)
	l.beat()
	l.some(1)
	end := l.seg.End()
	l.some(1) // whose header says that the third was acknowledged
	q.must(durable.Overwrite(q.fsys, q.at.laneFile(l.id, fenceFileName), note("ended by process X")))
	if got := found(q.check()); got != "" {
		t.Errorf("whole: %q", got)
	}
	q.flip(q.segment(l, 1), end+100, 1)
	if got := found(q.check()); got != "notice 00000001.seg 4-4" {
		t.Errorf("the last one damaged, which the heartbeat does not know: %q", got)
	}
	q.flip(q.segment(l, 1), end+2, 1)
	if got := found(q.check()); got != "notice 00000001.seg" {
		t.Errorf("its header, too: %q", got)
	}
	q.flip(q.segment(l, 1), end+2, 1)
	q.flip(q.segment(l, 1), end+100, 1)
	q.flip(q.segment(l, 1), end-5, 1)
	if got := found(q.check()); got != "damage 00000001.seg 3-3" {
		t.Errorf("the one before, which the header of the last one knows: %q", got)
	}
}

// A gateway that appends while the lane is read makes it look damaged, once: the
// reader comes to the end of a segment, the writer goes on and begins the next
// one, and the reader finds that one and misses what stood between.
func TestCheckWhileTheLaneGrows(t *testing.T) {
	for _, looks := range []int{1, 2} {
		disk := faultfs.New(1)
		q := newRawQueue(t, disk, "queue")
		l := q.lane(q.newID(), laneInfo{})
		l.some(7) // the second segment has one group, and is listed
		l.beat()
		grown := false
		// A third is made ahead, blank.
		blank, err := wal.Prepare(disk, q.at.lane(l.id), 3, l.size, false, nil)
		q.must(err)
		heal := disk.When(faultfs.Match{Kind: faultfs.OpOpen, Name: wal.Name(3)}, faultfs.Delay(func(faultfs.Op) {
			if grown {
				return
			}
			grown = true
			l.some(5) // fills the second segment, which was read
			l.number++
			l.seg, err = blank.Begin(l.seg.Header.Lane, l.next, q.time)
			q.must(err)
			l.some(3)
			l.beat()
		}))
		v := q.inspect()
		var d *LaneDetail
		if looks == 1 { // the sabotaged twin
			d, err = v.walkLane(t.Context(), l.id, nil)
		} else {
			d, err = v.verifyLane(t.Context(), l.id, nil)
		}
		q.must(err)
		heal()
		if !grown {
			t.Fatal("the lane did not grow meanwhile")
		}
		if got := len(d.Findings); got != 2-looks {
			t.Errorf("%d looks: %d findings: %+v", looks, got, d.Findings)
		}
	}
}

// Retention takes segments away between the list and the read.
func TestCheckWhileSegmentsAreRemoved(t *testing.T) {
	disk := faultfs.New(1)
	q := newRawQueue(t, disk, "queue")
	l := q.lane(q.newID(), laneInfo{})
	l.some(20)
	l.seal()
	disk.When(faultfs.Match{Kind: faultfs.OpOpen, Name: wal.Name(1)}, faultfs.Delay(func(faultfs.Op) {
		if errors.Is(disk.Remove(q.segment(l, 1)), fs.ErrNotExist) {
			return
		}
		// Saved before it is removed, and after it was read for this check.
		q.claim(l.info.Owner.Process, 1, "", message.LaneProgress{Lane: l.id, Next: 15})
	}))
	if got := found(q.check()); got != "" {
		t.Errorf("found %q", got)
	}
	if _, err := disk.Open(q.segment(l, 1)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the segment was not removed")
	}
}

func TestInspectNoQueue(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/no/such/directory"} {
		if _, err := Inspect(dir, nil); !errors.Is(err, message.ErrInvalid) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

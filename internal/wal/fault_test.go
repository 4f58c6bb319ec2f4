package wal_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/wal"
)

// group is a group as the script wrote it; values tells its messages apart.
type group struct {
	lane   string
	first  uint64
	values string
}

// log is what a writer knows at its end: what it handed to the disk, and what
// it was told is durable.
type log struct {
	written map[group]bool
	acked   []group
}

// script is a writer that appends groups to a lane and rolls its segments. It
// goes on in a new lane after any error, as the queue does, until the machine
// has crashed. prepare has to be called first.
type script struct {
	segment int64 // size of a segment in bytes
	zero    bool  // fill segments ahead
	hurry   bool  // end the filling at once
	// batches has the groups of each commit, as the sizes of their messages.
	batches [][][]int
}

// shape is batches of one and several groups, of one and several messages,
// within a sector and over several pages.
var shape = [][][]int{
	{{10}},
	{{200, 0, 30}, {7}},
	{{3000}, {5000, 100}},
	{{1}},
	{{900}, {900}, {900}},
}

func (s script) run(disk durable.FS) log {
	l := log{written: map[group]bool{}}
	left := s.batches
	for lane := 1; lane <= 3 && len(left) > 0; lane++ {
		done, err := s.fill(disk, fmt.Sprintf("/lanes/%d", lane), byte(lane), left, &l)
		left = left[done:]
		if errors.Is(err, faultfs.ErrCrashed) {
			break
		}
	}
	return l
}

// prepare makes what a queue directory has before its first lane. Should the
// sync of that name fail, no later one would be worth anything (see faultfs).
func prepare(disk *faultfs.FS) error { return durable.MkdirAll(disk, "/lanes") }

// fresh is a machine with an empty queue directory.
func fresh(t *testing.T, seed uint64) *faultfs.FS {
	t.Helper()
	disk := faultfs.New(seed)
	if err := prepare(disk); err != nil {
		t.Fatal(err)
	}
	return disk
}

// fill appends the batches to a new lane and returns how many are durable.
func (s script) fill(disk durable.FS, dir string, id byte, batches [][][]int, l *log) (done int, err error) {
	if err := durable.MkdirAll(disk, dir); err != nil {
		return 0, err
	}
	seg, err := s.open(disk, dir, 1, id, 1)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, seg.Close()) }()
	seq := uint64(1)
	for n, batch := range batches {
		frames, size := encode(batch)
		if !seg.Fits(size) {
			next, err := s.open(disk, dir, seg.Header.Number+1, id, seq)
			if err != nil {
				return n, err
			}
			full := seg
			seg = next
			if err := full.Close(); err != nil {
				return n, err
			}
		}
		var groups []group
		for i, f := range frames {
			seg.Add(f, seq, seq-1, time.UnixMicro(1))
			groups = append(groups, group{dir, seq, values(batch[i])})
			l.written[groups[i]] = true
			seq += uint64(f.Count())
		}
		if err := seg.Commit(); err != nil {
			return n, err
		}
		l.acked = append(l.acked, groups...)
	}
	return len(batches), nil
}

func (s script) open(disk durable.FS, dir string, number uint64, id byte, first uint64) (*wal.Segment, error) {
	hurry := make(chan struct{})
	if s.hurry {
		close(hurry)
	}
	blank, err := wal.Prepare(disk, dir, number, s.segment, s.zero, hurry)
	if err != nil {
		return nil, err
	}
	seg, err := blank.Begin([16]byte{id}, first, time.UnixMicro(1))
	if err != nil {
		return nil, errors.Join(err, blank.Discard(disk))
	}
	return seg, nil
}

func encode(batch [][]int) (frames []*wal.Frames, size int64) {
	for _, sizes := range batch {
		f := &wal.Frames{}
		for _, n := range sizes {
			f.Add(&message.Message{ID: message.ID{1}, Topic: "t", Value: []byte(value(n)), Time: time.UnixMicro(1)})
		}
		f.Close()
		frames = append(frames, f)
		size += f.Size()
	}
	return frames, size
}

func value(n int) string { return strings.Repeat(fmt.Sprintf("%d,", n), n/4+1) }

func values(sizes []int) string {
	var b strings.Builder
	for _, n := range sizes {
		b.WriteString(value(n) + ";")
	}
	return b.String()
}

// readBack reads all that is left, past what is invalid.
func readBack(disk durable.FS) (found []group, err error) {
	lanes, err := disk.ReadDir("/lanes")
	if err != nil {
		return nil, err
	}
	for _, lane := range lanes {
		dir := path.Join("/lanes", lane.Name())
		for number := uint64(1); ; number++ {
			in, err := readSegment(disk, dir, number)
			found = append(found, in...)
			if errors.Is(err, fs.ErrNotExist) {
				break
			}
			if err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

func readSegment(disk durable.FS, dir string, number uint64) (found []group, err error) {
	r, err := wal.OpenReader(disk, path.Join(dir, wal.Name(number)))
	if errors.Is(err, wal.ErrBlank) || errors.Is(err, message.ErrDamaged) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if r.Header.Number != number {
		return nil, fmt.Errorf("segment %d says that it is %d", number, r.Header.Number)
	}
	for next := r.Header.First; ; {
		g, err := r.Next()
		if invalid := (*wal.InvalidError)(nil); errors.As(err, &invalid) || errors.Is(err, io.EOF) {
			if _, err = r.FindNext(next); errors.Is(err, io.EOF) {
				return found, nil
			}
			if err == nil {
				continue
			}
		}
		if err != nil {
			return found, err
		}
		msgs, err := g.Messages()
		if err != nil {
			return found, err
		}
		var b strings.Builder
		for _, m := range msgs {
			b.WriteString(string(m.Value) + ";")
		}
		found = append(found, group{dir, g.First, b.String()})
		next = g.Last() + 1
	}
}

// check holds what is left against what the writer knows: every group that was
// acknowledged is there, and every group that is there was written so.
func check(disk *faultfs.FS, l log) error {
	found, err := readBack(disk)
	if err != nil {
		return fmt.Errorf("read back: %w", err)
	}
	there := map[group]bool{}
	for _, g := range found {
		switch {
		case !l.written[g]:
			return fmt.Errorf("a group that nobody wrote: lane %s, seq %d, %.30q", g.lane, g.first, g.values)
		case there[g]:
			return fmt.Errorf("a group twice: lane %s, seq %d", g.lane, g.first)
		}
		there[g] = true
	}
	for _, g := range l.acked {
		if !there[g] {
			return fmt.Errorf("acknowledged and lost: lane %s, seq %d, %.30q", g.lane, g.first, g.values)
		}
	}
	return nil
}

func scripts() map[string]script {
	return map[string]script{
		"growing":             {segment: 12 << 10, batches: shape},
		"filled with zeros":   {segment: 12 << 10, batches: shape, zero: true},
		"filling cut short":   {segment: 12 << 10, batches: shape, zero: true, hurry: true},
		"a segment per batch": {segment: 1, batches: shape},
		"one segment":         {segment: 1 << 20, batches: shape},
	}
}

// Every operation fails, fails after it was applied, or is the machine's last;
// then the process is killed or the power cut.
func TestEveryFaultAtEveryOperation(t *testing.T) {
	for name, s := range scripts() {
		t.Run(name, func(t *testing.T) {
			sweep := faultfs.Sweep[log]{
				Seed: 11, Prepare: prepare, Check: check,
				Run: func(disk *faultfs.FS) log { return s.run(disk) },
			}
			sweep.Test(t)
			l := s.run(fresh(t, 1))
			if want := len(l.written); len(l.acked) != want || want != 9 {
				t.Errorf("without a fault %d of %d groups are acknowledged", len(l.acked), want)
			}
		})
	}
}

// unsound is a file system whose files do not keep to the rules of syncing.
type unsound struct {
	*faultfs.FS
	sync    func(durable.File) error
	syncDir func(*faultfs.FS, string) error
}

func (u unsound) SyncDir(name string) error { return u.syncDir(u.FS, name) }

func (u unsound) Create(name string) (durable.File, error) {
	f, err := u.FS.Create(name)
	return unsoundFile{f, u.sync}, err
}

type unsoundFile struct {
	durable.File
	sync func(durable.File) error
}

func (f unsoundFile) Datasync() error { return f.sync(f.File) }

// The check that passes above finds out a writer that leaves out a sync, or
// makes one again that has failed.
func TestMissingSyncsAreFoundOut(t *testing.T) {
	sync := func(f durable.File) error { return f.Datasync() }
	syncDir := func(disk *faultfs.FS, name string) error { return disk.SyncDir(name) }
	for name, u := range map[string]unsound{
		"no datasync": {sync: func(durable.File) error { return nil }, syncDir: syncDir},
		"no syncdir":  {sync: sync, syncDir: func(*faultfs.FS, string) error { return nil }},
		"datasync again": {syncDir: syncDir, sync: func(f durable.File) error {
			if f.Datasync() == nil {
				return nil
			}
			return f.Datasync()
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := script{segment: 12 << 10, batches: shape}
			sweep := faultfs.Sweep[log]{Seed: 12, Cuts: 1, Prepare: prepare, Check: check, Run: func(disk *faultfs.FS) log {
				u.FS = disk
				return s.run(u)
			}}
			if _, failures := sweep.Find(); len(failures) == 0 {
				t.Error("was not found out")
			}
		})
	}
}

// A disk that is full at any point, at the write or only at the sync, costs no
// group that was acknowledged.
func TestFullDisk(t *testing.T) {
	for name, s := range scripts() {
		for _, late := range []bool{false, true} {
			all := 0
			for pages := int64(1); pages < 60; pages++ {
				disk := fresh(t, uint64(pages))
				disk.SetCapacity(pages * 4096)
				disk.SetLateSpace(late)
				l := s.run(disk)
				if len(l.acked) == 9 {
					all++
				}
				for outcome, left := range map[string]*faultfs.FS{"kill": disk.Restart(), "power cut": disk.RebootBare()} {
					if err := check(left, l); err != nil {
						t.Fatalf("%s, %d pages, late %v, %s: %v\n%s", name, pages, late, outcome, err, disk.Trace())
					}
				}
			}
			if s.segment < 1<<20 && (all == 0 || all > 55) {
				t.Errorf("%s, late %v: %d of 59 sizes of the disk hold everything", name, late, all)
			}
		}
	}
}

// A read that fails is told from damage and from the end: neither would be
// looked at again.
func TestFailedReadIsNoDamage(t *testing.T) {
	s := script{segment: 12 << 10, batches: shape, zero: true}
	written := fresh(t, 1)
	s.run(written)
	reads := 0
	for k := 0; ; k++ {
		disk := written.Restart()
		disk.When(faultfs.Match{Kind: faultfs.OpRead, Nth: k + 1}, faultfs.FailTorn(syscall.EIO))
		_, err := readBack(disk)
		if disk.Fired() == 0 {
			break
		}
		reads++
		if !errors.Is(err, syscall.EIO) || errors.Is(err, message.ErrDamaged) || errors.Is(err, io.EOF) {
			t.Errorf("read %d fails: %v\n%s", k, err, disk.Trace())
		}
	}
	if reads == 0 {
		t.Error("nothing was read")
	}
}

// One damaged sector costs the groups that it holds bytes of, and no other;
// in the header it costs none.
func TestDamagedSector(t *testing.T) {
	const dir, sector = "/lanes/1", 512
	s := script{segment: 64 << 10, batches: shape}
	written := fresh(t, 1)
	l := s.run(written)
	spans := groupSpans(t, written, path.Join(dir, wal.Name(1)))
	end := spans[len(spans)-1][1]
	for at := int64(0); at < end; at += sector {
		disk := written.Restart()
		damage := make([]byte, sector)
		for i := range damage {
			damage[i] = 0xa5
		}
		if err := durable.MkdirAll(disk, dir); err != nil {
			t.Fatal(err)
		}
		f, err := disk.OpenWrite(path.Join(dir, wal.Name(1)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(damage, at); err != nil {
			t.Fatal(err)
		}
		found, err := readBack(disk)
		if err != nil {
			t.Fatalf("sector at %d: %v", at, err)
		}
		there := map[group]bool{}
		for _, g := range found {
			there[g] = true
		}
		for i, g := range l.acked {
			hit := spans[i][0] < at+sector && at < spans[i][1]
			if there[g] == hit {
				t.Errorf("sector at %d damaged: group of [%d, %d) found is %v", at, spans[i][0], spans[i][1], there[g])
			}
		}
	}
}

// groupSpans returns where each group of a segment begins and ends.
func groupSpans(t *testing.T, disk durable.FS, name string) (spans [][2]int64) {
	t.Helper()
	r, err := wal.OpenReader(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		g, err := r.Next()
		if errors.Is(err, io.EOF) && len(spans) > 0 {
			return spans
		}
		if err != nil {
			t.Fatal(err)
		}
		spans = append(spans, [2]int64{g.Offset, g.Offset + g.Size})
	}
}

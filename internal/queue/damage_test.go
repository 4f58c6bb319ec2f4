package queue_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
	"postroad/internal/message"
	"postroad/internal/queue"
	"postroad/internal/wal"
)

// stored is a group as it stands in a lane's segment.
type stored struct {
	segment     string
	from, to    int64
	first, last uint64
}

// closedLane is a queue directory that a process has closed: what its files
// hold, by their path below the directory, and the groups in its only lane.
type closedLane struct {
	files  map[string][]byte
	groups []stored
	values map[uint64]string
}

// segments are the names of the segments with groups in them, in order.
func (c closedLane) segments() (names []string) {
	for _, g := range c.groups {
		if !slices.Contains(names, g.segment) {
			names = append(names, g.segment)
		}
	}
	return names
}

// makeLane writes a lane of several segments and closes it.
func makeLane(t *testing.T, prefix string) (lane closedLane) {
	synctest.Test(t, func(t *testing.T) { lane = writeLane(t, prefix) })
	return lane
}

func writeLane(t *testing.T, prefix string) closedLane {
	dir := t.TempDir()
	q, err := queue.Open(options(dir), onDisk(durable.OS{}, silent))
	if err != nil {
		t.Fatal(err)
	}
	stop := run(q)
	lane := closedLane{files: map[string][]byte{}, values: map[uint64]string{}}
	for i := range 30 {
		msgs := []message.Message{msg(fill(fmt.Sprint(prefix, i), 200+337*(i%20)))}
		if i%4 == 0 {
			msgs = append(msgs, msg(fmt.Sprint("w", i)), msg(fill(fmt.Sprint("x", i), 5000)))
		}
		p, err := q.Append(t.Context(), msgs)
		if err != nil {
			t.Fatal(err)
		}
		for j, m := range msgs {
			lane.values[p.Seq+uint64(j)] = string(m.Value)
		}
	}
	stop()
	lane.load(t, dir)
	return lane
}

func (c *closedLane) load(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		c.files[rel] = b
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(c.files)) {
		if !strings.HasSuffix(name, ".seg") {
			continue
		}
		r, err := wal.OpenReader(durable.OS{}, filepath.Join(dir, name))
		if errors.Is(err, wal.ErrBlank) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for g, err := r.Next(); !errors.Is(err, io.EOF); g, err = r.Next() {
			if err != nil {
				t.Fatal(err)
			}
			c.groups = append(c.groups, stored{name, g.Offset, g.Offset + g.Size, g.First, g.Last()})
		}
		r.Close()
	}
	if len(c.segments()) < 3 {
		t.Fatalf("only %d segments: the tests would show little", len(c.segments()))
	}
}

// write makes a queue directory that holds files.
func write(t *testing.T, fsys durable.FS, dir string, files map[string][]byte) {
	t.Helper()
	for _, sub := range []string{"lanes", "claims", "quarantine"} {
		if err := durable.MkdirAll(fsys, path.Join(dir, sub)); err != nil {
			t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := durable.MkdirAll(fsys, path.Join(dir, path.Dir(name))); err != nil {
			t.Fatal(err)
		}
		if err := durable.WriteNew(fsys, path.Join(dir, name), b); err != nil {
			t.Fatal(err)
		}
	}
}

// intact reports whether a group can still be read from changed files: its own
// bytes and a copy of its segment's header are as they were.
func (c closedLane) intact(g stored, files map[string][]byte) bool {
	was, is := c.files[g.segment], files[g.segment]
	same := func(from, to int64) bool { return int64(len(is)) >= to && bytes.Equal(was[from:to], is[from:to]) }
	return same(g.from, g.to) && (same(0, 64) || same(2048, 2048+64))
}

// expect drains a directory of changed files and wants every group out that is
// intact, nothing else, and the seqs of all others reported as damage.
func (c closedLane) expect(t *testing.T, files map[string][]byte) (all []report) {
	synctest.Test(t, func(t *testing.T) { all = c.expectOn(t, faultfs.New(1), "queue", files) })
	return all
}

func (c closedLane) expectOn(t *testing.T, fsys durable.FS, dir string, files map[string][]byte) []report {
	write(t, fsys, dir, files)
	chains, err := drainAll(fsys, options(dir), false)
	if err != nil {
		t.Fatal(err)
	}
	var got, want, lost []uint64
	for _, m := range slices.Concat(chains...) {
		got = append(got, m.Seq)
		if string(m.Value) != c.values[m.Seq] {
			t.Errorf("seq %d: %.20q, stored %.20q", m.Seq, m.Value, c.values[m.Seq])
		}
	}
	for _, g := range c.groups {
		for seq := g.first; seq <= g.last; seq++ {
			if c.intact(g, files) {
				want = append(want, seq)
			} else {
				lost = append(lost, seq)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("drained %v, want %v", got, want)
	}
	all := reports(t, fsys, dir)
	var reported []uint64
	for _, r := range all {
		if r.Kind != "damage" {
			continue
		}
		for seq := r.FirstSeq; seq <= r.LastSeq; seq++ {
			if !slices.Contains(reported, seq) {
				reported = append(reported, seq)
			}
		}
	}
	slices.Sort(reported)
	if !slices.Equal(reported, lost) {
		t.Errorf("reported as damaged %v, damaged %v: %+v", reported, lost, all)
	}
	return all
}

// changed returns the files with some of them changed.
func (c closedLane) changed(change func(files map[string][]byte)) map[string][]byte {
	files := map[string][]byte{}
	for name, b := range c.files {
		files[name] = slices.Clone(b)
	}
	change(files)
	return files
}

func TestSoundLaneRaisesNoAlarm(t *testing.T) {
	lane := makeLane(t, "v")
	if all := lane.expect(t, lane.files); len(all) > 0 {
		t.Errorf("reported: %+v", all)
	}
}

// TestEachFlippedByteCostsItsGroupAlone flips a byte at places all over a closed
// lane's segments.
func TestEachFlippedByteCostsItsGroupAlone(t *testing.T) {
	lane := makeLane(t, "v")
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	flip := func(segment string, at int64) {
		files := lane.changed(func(files map[string][]byte) { files[segment][at] ^= 1 << rng.IntN(8) })
		all := lane.expect(t, files)
		for _, g := range lane.groups {
			if g.segment != segment || at < g.from || at >= g.to {
				continue
			}
			if len(all) != 1 || all[0].FirstSeq != g.first || all[0].LastSeq != g.last || all[0].Offset != g.from {
				t.Errorf("reported %+v, damaged %+v", all, g)
			} else if !bytes.Equal(all[0].content, bytes.TrimRight(files[segment][g.from:g.to], "\x00")) {
				t.Errorf("%d bytes set aside, not the group's %d", len(all[0].content), g.to-g.from)
			}
		}
		if t.Failed() {
			t.Fatalf("seed %d: byte %d of %s", seed, at, segment)
		}
	}
	for i, g := range lane.groups {
		for n := range int64(3) { // in its header, in each third of it
			flip(g.segment, g.from+(int64(i)*3+n)*7%wal.GroupHeaderSize)
		}
		flip(g.segment, g.from+wal.GroupHeaderSize+rng.Int64N(g.to-g.from-wal.GroupHeaderSize))
	}
	for _, segment := range lane.segments() {
		for range 4 {
			flip(segment, rng.Int64N(wal.HeaderSize))
		}
	}
}

func TestDamageOfWholeParts(t *testing.T) {
	lane := makeLane(t, "v")
	names, other := lane.segments(), makeLane(t, "o")
	first, middle, last := names[0], names[1], names[len(names)-1]
	headers := func(name string) func(map[string][]byte) {
		return func(f map[string][]byte) { f[name][3] ^= 1; f[name][2048+3] ^= 1 }
	}
	page := func(name string, n int) func(map[string][]byte) {
		return func(f map[string][]byte) { clear(f[name][n*4096 : (n+1)*4096]) }
	}
	cut := func(name string, to int) func(map[string][]byte) {
		return func(f map[string][]byte) { f[name] = f[name][:to] }
	}
	gone := func(name string) func(map[string][]byte) {
		return func(f map[string][]byte) { delete(f, name) }
	}
	for name, change := range map[string]func(map[string][]byte){
		"truncated first segment":         cut(first, 30_000),
		"truncated middle segment":        cut(middle, 30_001),
		"truncated last segment":          cut(last, 4096+60),
		"truncated within the header":     cut(middle, 1000),
		"truncated to nothing":            cut(middle, 0),
		"last truncated to nothing":       cut(last, 0),
		"first segment missing":           gone(first),
		"middle segment missing":          gone(middle),
		"last segment missing":            gone(last),
		"headers of the first damaged":    headers(first),
		"headers of a middle one damaged": headers(middle),
		"headers of the last damaged":     headers(last),
		"header page of the first zeroed": page(first, 0),
		"header page of a middle zeroed":  page(middle, 0),
		"header page of the last zeroed":  page(last, 0),
		"page in the first zeroed":        page(first, 5),
		"page in a middle one zeroed":     page(middle, 7),
		"first page of groups zeroed":     page(last, 1),
		"a middle one replaced":           func(f map[string][]byte) { f[middle] = slices.Clone(f[first]) },
		"one of another lane":             func(f map[string][]byte) { f[middle] = slices.Clone(other.files[other.segments()[1]]) },
		"two damaged in a row":            func(f map[string][]byte) { headers(first)(f); headers(middle)(f) },
		"all headers damaged": func(f map[string][]byte) {
			for _, n := range names {
				headers(n)(f)
			}
		},
		"all segments missing": func(f map[string][]byte) {
			for _, n := range names {
				delete(f, n)
			}
		},
		"heartbeat missing, group damaged": func(f map[string][]byte) { delete(f, path.Join(path.Dir(first), "heartbeat")); f[first][5000] ^= 1 },
	} {
		t.Run(name, func(t *testing.T) {
			files := lane.changed(change)
			var all []report
			synctest.Test(t, func(t *testing.T) { all = lane.expectOn(t, durable.OS{}, t.TempDir(), files) })
			if len(all) == 0 {
				t.Error("nothing reported")
			}
			for _, segment := range names { // what cannot be read is kept
				b, was := files[segment], lane.files[segment]
				if headerGone := len(b) > 4096 && !bytes.Equal(b[:64], was[:64]) && !bytes.Equal(b[2048:2048+64], was[2048:2048+64]); !headerGone {
					continue
				}
				if !slices.ContainsFunc(all, func(r report) bool { return bytes.Equal(r.content, bytes.TrimRight(b, "\x00")) }) {
					t.Errorf("no copy of %s", segment)
				}
			}
		})
	}
}

// TestRandomDamage changes several places at once.
func TestRandomDamage(t *testing.T) {
	lane := makeLane(t, "v")
	names := lane.segments()
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 4))
		files := lane.changed(func(f map[string][]byte) {
			for range 1 + rng.IntN(4) {
				name := names[rng.IntN(len(names))]
				b := f[name]
				if len(b) == 0 {
					continue
				}
				switch at := rng.IntN(len(b)); rng.IntN(6) {
				case 0, 1, 2:
					b[at] ^= 1 << rng.IntN(8)
				case 3:
					from := at / 4096 * 4096
					clear(b[from:min(from+4096, len(b))])
				case 4:
					if rng.IntN(3) == 0 {
						f[name] = b[:at]
					}
				case 5:
					copy(b[at:], bytes.Repeat([]byte("PRGP\xff"), rng.IntN(3000)))
				}
			}
		})
		lane.expect(t, files)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// TestClaimBeginsBehindDamage has settled messages damaged, and the claim begin
// in the middle of the group behind them: nothing sound may be lost with them.
func TestClaimBeginsBehindDamage(t *testing.T) {
	for name, at := range map[string]int64{"frames": wal.GroupHeaderSize + 3, "header": 9} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := faultfs.New(1)
				o := faultOptions()
				q, stop := begin(t, disk, with(o))
				first := appendOne(t, q, "a")
				if _, err := q.Append(t.Context(), []message.Message{msg("b"), msg("c"), msg("d")}); err != nil {
					t.Fatal(err)
				}
				c := claim(t, q)
				if err := c.Save(t.Context(), next(first.Lane, 3)); err != nil { // a and b
					t.Fatal(err)
				}
				stop()
				disk = disk.Restart()
				f, err := disk.OpenWrite(path.Join("queue/lanes", first.Lane, wal.Name(1)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte{0xff}, wal.HeaderSize+at); err != nil {
					t.Fatal(err)
				}
				chains, err := drainAll(disk, o, false)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, m := range slices.Concat(chains...) {
					got = append(got, string(m.Value))
				}
				if !slices.Equal(got, []string{"c", "d"}) {
					t.Errorf("drained %q behind a damaged settled group, want c and d", got)
				}
				if all := reports(t, disk, "queue"); len(all) > 0 {
					t.Errorf("what was forwarded is reported: %+v", all)
				}
			})
		})
	}
}

// crash appends values, one group each, without a renewal of the heartbeat
// between, and kills the process; change then gets at the only segment.
func crash(t *testing.T, disk *faultfs.FS, values []string, change func(f durable.File, offsets []int64)) *faultfs.FS {
	t.Helper()
	q, stop := begin(t, disk, nil)
	var r message.Receipt
	for _, v := range values {
		r = appendOne(t, q, v)
	}
	disk = barePowerCut(disk, stop)
	name := path.Join("queue/lanes", r.Lane, wal.Name(1))
	seg, err := wal.OpenReader(disk, name)
	if err != nil {
		t.Fatal(err)
	}
	var offsets []int64
	for {
		g, err := seg.Next()
		if err != nil {
			break
		}
		offsets = append(offsets, g.Offset)
	}
	f, err := disk.OpenWrite(name)
	if err != nil {
		t.Fatal(err)
	}
	change(f, append(offsets, seg.Offset()))
	seg.Close()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestDamageAboveAnOldHeartbeat damages a group of a lane whose writer died
// before its heartbeat told of it. That it was acknowledged is known all the
// same, from a later group; of the last ones it is not.
func TestDamageAboveAnOldHeartbeat(t *testing.T) {
	for name, c := range map[string]struct {
		damaged int
		kind    string
	}{"in the middle": {1, "damage"}, "at the end": {4, "undecidable tail"}} {
		for part, at := range map[string]int64{"frames": wal.GroupHeaderSize + 3, "header": 9} {
			t.Run(name+", "+part, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := crash(t, faultfs.New(1), []string{"a", "b", "c", "d", "e"}, func(f durable.File, offsets []int64) {
						if _, err := f.WriteAt([]byte{0xff}, offsets[c.damaged]+at); err != nil {
							t.Fatal(err)
						}
					})
					chains, err := drainAll(disk, faultOptions(), false)
					if err != nil {
						t.Fatal(err)
					}
					if n := len(slices.Concat(chains...)); n != 4 {
						t.Errorf("%d messages drained, want 4", n)
					}
					all := reports(t, disk, "queue")
					seq := uint64(c.damaged + 1)
					if len(all) != 1 || all[0].Kind != c.kind || all[0].FirstSeq != seq || all[0].LastSeq != seq {
						t.Errorf("reported %+v, want %s of seq %d", all, c.kind, seq)
					}
				})
			})
		}
	}
}

// TestTornGroupAtTheEnd kills the process while a group is written: what is there
// of it is set aside and raises no alarm, what was before it is drained.
func TestTornGroupAtTheEnd(t *testing.T) {
	torn := 0
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			disk := faultfs.New(seed)
			q, stop := begin(t, disk, nil)
			for _, v := range []string{"a", "b", "c"} {
				appendOne(t, q, v)
			}
			disk.When(faultfs.Match{Kind: faultfs.OpWrite, Name: "*.seg"}, faultfs.CrashTorn())
			if _, err := q.Append(t.Context(), []message.Message{msg("torn"), msg("torn2")}); !errors.Is(err, message.ErrOutcomeUnknown) {
				t.Errorf("append while the machine ends: %v", err)
			}
			stop()
			disk = disk.Restart()
			chains, err := drainAll(disk, faultOptions(), true)
			if err != nil {
				t.Fatal(err)
			}
			all := reports(t, disk, "queue")
			for _, r := range all {
				if r.Kind != "undecidable tail" || r.FirstSeq != 4 || len(r.content) == 0 {
					t.Errorf("seed %d: reported %+v", seed, r)
				}
			}
			torn += len(all)
			if n := len(slices.Concat(chains...)); n != 3 && n != 5 || n == 5 && len(all) > 0 {
				t.Errorf("seed %d: %d messages drained, want the 3 before it", seed, n)
			}
		})
	}
	if torn == 0 {
		t.Error("no group was torn: the test shows nothing")
	}
}

// TestDamageInALiveLane damages a group before a forwarder has come to it, while
// the writer goes on: only that group is lost, and it is reported as soon as
// something stands behind it. What was damaged last might be in a segment that
// the list does not name yet.
func TestDamageInALiveLane(t *testing.T) {
	for _, part := range []string{"group header", "frames", "segment headers"} {
		t.Run(part, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { damageLive(t, part) })
		})
	}
}

func damageLive(t *testing.T, part string) {
	disk := faultfs.New(1)
	q, stop := begin(t, disk, nil)
	defer stop()
	r := appendOne(t, q, "a")
	f, err := disk.OpenWrite(path.Join("queue/lanes", r.Lane, wal.Name(1)))
	if err != nil {
		t.Fatal(err)
	}
	at := map[string][]int64{
		"group header": {wal.HeaderSize + 9}, "frames": {wal.HeaderSize + wal.GroupHeaderSize + 1}, "segment headers": {1, 2049},
	}[part]
	for _, at := range at {
		if _, err := f.WriteAt([]byte{0xff}, at); err != nil {
			t.Fatal(err)
		}
	}
	// Another process: the writer's own has it in memory.
	second, stopSecond := begin(t, disk, only(queue.Drains))
	defer stopSecond()
	want, last := []string{"b", "c"}, uint64(1)
	for _, v := range want {
		appendOne(t, q, v)
	}
	if part == "segment headers" { // costs its whole segment, and not the next
		want, last = []string{fill("big", 60<<10), "c2"}, 3
		for _, v := range want {
			appendOne(t, q, v)
		}
	}
	for i, m := range drain(t, claim(t, second), 2) {
		if string(m.Value) != want[i] {
			t.Errorf("drained %.20q, want %.20q", m.Value, want[i])
		}
	}
	all := reports(t, disk, "queue")
	if len(all) != 1 || all[0].Kind != "damage" || all[0].FirstSeq != 1 || all[0].LastSeq != last {
		t.Errorf("reported %+v", all)
	}
}

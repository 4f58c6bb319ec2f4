package faultfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

const page = 4096

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// make a file with content, neither synced nor named for good.
func create(t *testing.T, disk *faultfs.FS, name string, content []byte) durable.File {
	t.Helper()
	f, err := disk.Create(name)
	must(t, err)
	_, err = f.WriteAt(content, 0)
	must(t, err)
	return f
}

func read(t *testing.T, disk *faultfs.FS, name string) []byte {
	t.Helper()
	b, err := durable.ReadFile(disk, name, 1<<30)
	must(t, err)
	return b
}

func gone(disk *faultfs.FS, name string) bool {
	_, err := disk.Open(name)
	return errors.Is(err, fs.ErrNotExist)
}

func TestWhatIsStableAfterWhichSync(t *testing.T) {
	first, second := bytes.Repeat([]byte{1}, 3*page), bytes.Repeat([]byte{2}, 3*page)
	disk := faultfs.New(1)
	create(t, disk, "f", first)
	if left := disk.Restart().RebootBare(); !gone(left, "f") {
		t.Error("a name is stable without SyncDir")
	}

	disk = faultfs.New(1)
	create(t, disk, "f", first)
	must(t, disk.SyncDir("/"))
	if left := disk.Restart().RebootBare(); len(read(t, left, "f")) != 0 {
		t.Error("content is stable with the name alone")
	}

	disk = faultfs.New(1)
	f := create(t, disk, "f", first)
	must(t, f.Datasync())
	if left := disk.Restart().RebootBare(); !gone(left, "f") {
		t.Error("a name is stable with the content alone")
	}

	disk = faultfs.New(1)
	f = create(t, disk, "f", first)
	must(t, f.Datasync())
	must(t, disk.SyncDir("/"))
	_, err := f.WriteAt(second, 0)
	must(t, err)
	_, err = f.WriteAt(second, int64(len(first)))
	must(t, err)
	must(t, disk.Remove("f"))
	if got := read(t, disk.RebootBare(), "f"); !bytes.Equal(got, first) {
		t.Errorf("what was synced is not what is left: %d bytes", len(got))
	}
}

func TestDirectoryIsLostWithItsParent(t *testing.T) {
	disk := faultfs.New(1)
	must(t, disk.Mkdir("/a"))
	must(t, durable.WriteNew(disk, "/a/f", []byte("x")))
	if left := disk.RebootBare(); !gone(left, "/a") || !gone(left, "/a/f") {
		t.Error("a file survives in a directory whose name was not synced")
	}
}

func TestRestartKeepsWhatProcessesSaw(t *testing.T) {
	disk := faultfs.New(1)
	old := create(t, disk, "f", []byte("seen"))
	killed := disk.Restart()
	if got := read(t, killed, "f"); string(got) != "seen" {
		t.Errorf("after a kill the file holds %q", got)
	}
	if _, err := old.WriteAt([]byte("late"), 0); !errors.Is(err, faultfs.ErrCrashed) {
		t.Errorf("a handle from before writes: %v", err)
	}
	if err := old.Datasync(); !errors.Is(err, faultfs.ErrCrashed) {
		t.Errorf("a handle from before syncs: %v", err)
	}
	if got := read(t, killed, "f"); string(got) != "seen" {
		t.Errorf("a handle from before changed the file to %q", got)
	}
	if !gone(killed.RebootBare(), "f") {
		t.Error("a kill made something stable")
	}
}

// A power cut may lose, keep or tear what was not synced, in any order, and
// shows each page in a version that it has had.
func TestRebootOutcomes(t *testing.T) {
	disk := faultfs.New(7)
	f := create(t, disk, "f", bytes.Repeat([]byte{1}, 4*page))
	must(t, f.Datasync())
	must(t, disk.SyncDir("/"))
	for _, version := range []byte{2, 3} {
		_, err := f.WriteAt(bytes.Repeat([]byte{version}, 6*page), 0)
		must(t, err)
	}
	must(t, create(t, disk, "new", nil).Close())

	seen := map[string]bool{}
	for range 400 {
		left := disk.Reboot()
		seen["name kept"] = seen["name kept"] || !gone(left, "new")
		seen["name lost"] = seen["name lost"] || gone(left, "new")
		classify(t, read(t, left, "f"), seen)
	}
	for _, outcome := range []string{
		"name kept", "name lost", "all old", "all new", "page torn", "later page newer",
		"version between", "size between", "zeros in the extension",
	} {
		if !seen[outcome] {
			t.Errorf("400 power cuts and never: %s", outcome)
		}
	}
}

func classify(t *testing.T, got []byte, seen map[string]bool) {
	t.Helper()
	if len(got) < 4*page || len(got) > 6*page {
		t.Fatalf("%d bytes left of a file of %d stable and %d written", len(got), 4*page, 6*page)
	}
	for at, b := range got {
		if b > 3 || b == 0 && at < 4*page || b == 1 && at >= 4*page {
			t.Fatalf("byte %d is %d, which it never was", at, b)
		}
	}
	all := func(b byte) bool { return bytes.Count(got, []byte{b}) == len(got) }
	note := func(name string, yes bool) { seen[name] = seen[name] || yes }
	note("all old", all(1) && len(got) == 4*page)
	note("all new", all(3) && len(got) == 6*page)
	note("version between", bytes.IndexByte(got, 2) >= 0)
	note("size between", len(got)%page != 0)
	note("zeros in the extension", bytes.IndexByte(got, 0) >= 0)
	for p := 0; p+page <= len(got); p += page {
		note("page torn", bytes.Count(got[p:p+page], got[p:p+1]) != page)
		note("later page newer", p > 0 && got[p] > got[p-page])
	}
}

func TestNamesAfterPowerCutsAreOnesThatWere(t *testing.T) {
	disk := faultfs.New(3)
	must(t, durable.WriteNew(disk, "/f", []byte("first")))
	must(t, disk.Remove("/f"))
	f := create(t, disk, "/f", []byte("second"))
	must(t, f.Datasync())
	must(t, disk.Remove("/f"))
	must(t, disk.Mkdir("/f"))
	seen := map[string]int{}
	for range 200 {
		left := disk.Reboot()
		entries, err := left.ReadDir("/")
		must(t, err)
		switch {
		case len(entries) == 0:
			seen["none"]++
		case entries[0].IsDir():
			seen["directory"]++
		default:
			seen[string(read(t, left, "/f"))]++
		}
	}
	if len(seen) != 4 || seen["first"] == 0 || seen["second"] == 0 || seen["none"] == 0 || seen["directory"] == 0 {
		t.Errorf("a name that was first, none, second, none and a directory was left as %v", seen)
	}
}

// The same seed and calls give the same machine, another seed another.
func TestSeedDecides(t *testing.T) {
	run := func(seed uint64) string {
		disk := faultfs.New(seed)
		disk.When(faultfs.Match{Kind: faultfs.OpWrite, Nth: 3}, faultfs.FailTorn(syscall.EIO))
		disk.When(faultfs.Match{Kind: faultfs.OpSync, Nth: 2}, faultfs.FailBefore(syscall.EIO))
		for _, name := range []string{"a", "b", "c", "d"} {
			f, err := disk.Create(name)
			must(t, err)
			f.WriteAt(bytes.Repeat([]byte(name), 5*page), 0)
			f.Datasync()
			f.WriteAt(bytes.Repeat([]byte("+"), 5*page), 5*page)
		}
		var b strings.Builder
		b.WriteString(disk.Trace().String())
		for range 3 {
			left := disk.Reboot()
			entries, err := left.ReadDir("/")
			must(t, err)
			for _, e := range entries {
				b.WriteString(e.Name())
				b.Write(read(t, left, e.Name()))
			}
		}
		return b.String()
	}
	first := run(5)
	if again := run(5); again != first {
		t.Error("two runs with one seed differ")
	}
	if run(6) == first {
		t.Error("two seeds have one outcome")
	}
}

func TestTracePrints(t *testing.T) {
	disk := faultfs.New(1)
	disk.At(2, faultfs.FailAfter(syscall.EIO))
	f, err := disk.Create("//d/../f")
	must(t, err)
	f.WriteAt([]byte("0123"), 100)
	f.Datasync()
	disk.Remove("g")
	disk.Crash()
	disk.Remove("g")
	want := `#0    create    /f
#1    write     /f [100,+4)
#2    sync      /f !fail after (input/output error) -> sync /f: input/output error
#3    remove    g -> remove g: no such file or directory
`
	if got := disk.Trace().String(); got != want {
		t.Errorf("trace:\n%swant:\n%s", got, want)
	}
	if disk.Ops() != 4 || disk.Fired() != 1 || disk.Count(faultfs.OpWrite) != 1 || disk.Count(faultfs.OpSync) != 1 {
		t.Errorf("%d operations, %d faults, %d writes", disk.Ops(), disk.Fired(), disk.Count(faultfs.OpWrite))
	}
}

func TestCapacity(t *testing.T) {
	disk := faultfs.New(1)
	f := create(t, disk, "f", make([]byte, 3*page)) // with root and f itself 5 pages
	disk.SetCapacity(8 * page)
	if s, err := disk.Space("/"); err != nil || s != (durable.Space{Free: 3 * page, Total: 8 * page}) {
		t.Errorf("space %+v, %v", s, err)
	}
	n, err := f.WriteAt(bytes.Repeat([]byte{1}, 5*page), 2*page)
	if n != 4*page || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write of 5 pages with room for 3 and one page of its own: %d bytes, %v", n, err)
	}
	if n, err := f.WriteAt(bytes.Repeat([]byte{2}, 6*page), 0); n != 6*page || err != nil {
		t.Errorf("overwriting on a full disk: %d bytes, %v", n, err)
	}
	if _, err := disk.Create("g"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("create on a full disk: %v", err)
	}
	if err := disk.Mkdir("g"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("mkdir on a full disk: %v", err)
	}
	must(t, disk.Remove("f"))
	if disk.Used() != 8*page {
		t.Errorf("a removed file that is open gave back space: %d used", disk.Used())
	}
	must(t, f.Close())
	if disk.Used() != page {
		t.Errorf("%d used on an empty disk", disk.Used())
	}
}

func TestSpaceAfterReboot(t *testing.T) {
	disk := faultfs.New(1)
	must(t, durable.WriteNew(disk, "f", make([]byte, 10*page)))
	f, err := disk.OpenWrite("f")
	must(t, err)
	_, err = f.WriteAt([]byte{1}, 100*page)
	must(t, err)
	if disk.Used() != 13*page {
		t.Errorf("%d pages used by a file of 11 with a hole", disk.Used()/page)
	}
	left := disk.RebootBare()
	if left.Used() != 12*page {
		t.Errorf("%d pages used after the power cut", left.Used()/page)
	}
	left.SetCapacity(12 * page)
	f, err = left.OpenWrite("f")
	must(t, err)
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, 10*page), 0); err != nil {
		t.Errorf("pages filled with zeros and synced lost their room: %v", err)
	}
}

func TestLateSpace(t *testing.T) {
	disk := faultfs.New(1)
	must(t, durable.WriteNew(disk, "f", bytes.Repeat([]byte{1}, page)))
	disk.SetCapacity(4 * page)
	disk.SetLateSpace(true)
	f, err := disk.OpenWrite("f")
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{2}, 3*page), 0)
	must(t, err)
	if err := f.Datasync(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("sync of 3 pages with room for 2: %v", err)
	}
	if err := f.Datasync(); err != nil {
		t.Errorf("the second sync knows of the first: %v", err)
	}
	want := slices.Concat(bytes.Repeat([]byte{2}, 2*page), make([]byte, page))
	check := func(disk *faultfs.FS) {
		t.Helper()
		if got := read(t, disk, "f"); !bytes.Equal(got, want) {
			t.Errorf("after a late ENOSPC the file holds %d bytes, first %d last %d", len(got), got[0], got[len(got)-1])
		}
	}
	check(disk)
	if disk.Used() != 4*page {
		t.Errorf("%d pages used of 4", disk.Used()/page)
	}
	check(disk.RebootBare())
}

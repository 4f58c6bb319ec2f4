package faultfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// acts is one operation of each kind that changes something, and how to tell
// from what processes see that it was applied.
var acts = []struct {
	kind    faultfs.Kind
	do      func(disk *faultfs.FS, f durable.File) error
	applied func(disk *faultfs.FS) bool
}{
	{
		faultfs.OpCreate,
		func(disk *faultfs.FS, _ durable.File) error {
			_, err := disk.Create("new")
			return err
		},
		func(disk *faultfs.FS) bool { return !gone(disk, "new") },
	},
	{
		faultfs.OpMkdir,
		func(disk *faultfs.FS, _ durable.File) error { return disk.Mkdir("new") },
		func(disk *faultfs.FS) bool { return !gone(disk, "new") },
	},
	{
		faultfs.OpRemove,
		func(disk *faultfs.FS, _ durable.File) error { return disk.Remove("old") },
		func(disk *faultfs.FS) bool { return gone(disk, "old") },
	},
	{
		faultfs.OpWrite,
		func(_ *faultfs.FS, f durable.File) error {
			_, err := f.WriteAt([]byte("new"), 0)
			return err
		},
		func(disk *faultfs.FS) bool {
			b, err := durable.ReadFile(disk, "old", 100)
			return err == nil && string(b) == "new"
		},
	},
	{
		faultfs.OpSync,
		func(_ *faultfs.FS, f durable.File) error { return f.Datasync() },
		func(disk *faultfs.FS) bool {
			b, err := durable.ReadFile(disk.RebootBare(), "old", 100)
			return err == nil && string(b) == "old"
		},
	},
	{
		faultfs.OpSyncDir,
		func(disk *faultfs.FS, _ durable.File) error { return disk.SyncDir("/") },
		func(disk *faultfs.FS) bool { return !gone(disk.RebootBare(), "dir") },
	},
}

// ready returns a machine with a stable file "old", which is open and has
// "old" to be synced, and a directory whose name is not stable.
func ready(t *testing.T) (*faultfs.FS, durable.File) {
	t.Helper()
	disk := faultfs.New(1)
	must(t, durable.WriteNew(disk, "old", nil))
	f, err := disk.OpenWrite("old")
	must(t, err)
	_, err = f.WriteAt([]byte("old"), 0)
	must(t, err)
	must(t, disk.Mkdir("dir"))
	return disk, f
}

func TestFaultBeforeAndAfter(t *testing.T) {
	boom := errors.New("boom")
	for _, act := range acts {
		for _, row := range []struct {
			name    string
			fault   faultfs.Fault
			applied bool
			want    error
		}{
			{"none", faultfs.Delay(nil), true, nil},
			{"fail before", faultfs.FailBefore(boom), false, boom},
			{"fail after", faultfs.FailAfter(boom), true, boom},
			{"crash before", faultfs.CrashBefore(), false, faultfs.ErrCrashed},
			{"crash after", faultfs.CrashAfter(), true, faultfs.ErrCrashed},
		} {
			t.Run(fmt.Sprintf("%s/%s", act.kind, row.name), func(t *testing.T) {
				disk, f := ready(t)
				row.fault.Pages = faultfs.PagesDirty
				// A failed sync of three bytes in one page may have written it.
				disk.When(faultfs.Match{Kind: act.kind}, row.fault)
				if err := act.do(disk, f); !errors.Is(err, row.want) || row.want == nil && err != nil {
					t.Errorf("error %v, want %v", err, row.want)
				}
				if disk.Fired() != 1 {
					t.Errorf("%d faults fired", disk.Fired())
				}
				crashed := errors.Is(row.want, faultfs.ErrCrashed)
				if disk.Crashed() != crashed {
					t.Errorf("crashed is %v, want %v", !crashed, crashed)
				}
				if act.kind == faultfs.OpSync && row.name == "fail before" {
					return // some of it may have been written: TestFailedSync
				}
				if got := act.applied(disk.Restart()); got != row.applied {
					t.Errorf("applied is %v, want %v\n%s", got, row.applied, disk.Trace())
				}
			})
		}
	}
}

func TestAllCallsOfACrashedMachineFail(t *testing.T) {
	disk, f := ready(t)
	disk.Crash()
	before := disk.Ops()
	calls := map[string]error{"sync": f.Datasync(), "close": f.Close(), "mkdir": disk.Mkdir("x"), "remove": disk.Remove("old"), "syncdir": disk.SyncDir("/")}
	_, calls["create"] = disk.Create("x")
	_, calls["open"] = disk.Open("old")
	_, calls["open for writing"] = disk.OpenWrite("old")
	_, calls["readdir"] = disk.ReadDir("/")
	_, calls["space"] = disk.Space("/")
	_, calls["read"] = f.ReadAt(make([]byte, 1), 0)
	_, calls["write"] = f.WriteAt(make([]byte, 1), 0)
	_, calls["size"] = f.Size()
	for name, err := range calls {
		if !errors.Is(err, faultfs.ErrCrashed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if disk.Ops() != before {
		t.Errorf("%d calls of a crashed machine were numbered", disk.Ops()-before)
	}
}

func TestTornWrite(t *testing.T) {
	whole := bytes.Repeat([]byte("0123456789"), 1000)
	lengths := map[int]bool{}
	for seed := range uint64(20) {
		disk := faultfs.New(seed)
		f, err := disk.Create("f")
		must(t, err)
		disk.When(faultfs.Match{Kind: faultfs.OpWrite}, faultfs.FailTorn(syscall.EIO))
		n, err := f.WriteAt(whole, 0)
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("a torn write: %v", err)
		}
		got := read(t, disk, "f")
		if !bytes.Equal(got, whole[:len(got)]) || n != len(got) && n != 0 {
			t.Errorf("seed %d: said %d, wrote %d bytes", seed, n, len(got))
		}
		lengths[len(got)] = true
	}
	if len(lengths) < 10 {
		t.Errorf("20 seeds tear at %d places", len(lengths))
	}
}

// A failed sync leaves pages dirty, clean or dropped. Only after the first
// does a later sync, which succeeds after all three, keep its promise.
func TestFailedSync(t *testing.T) {
	for _, row := range []struct {
		pages           faultfs.Pages
		readsNew, later bool
	}{
		{faultfs.PagesDirty, true, true},
		{faultfs.PagesClean, true, false},
		{faultfs.PagesDropped, false, false},
	} {
		t.Run(fmt.Sprint(row.pages), func(t *testing.T) {
			old, renewed := bytes.Repeat([]byte{1}, 40*page), bytes.Repeat([]byte{2}, 40*page)
			disk := faultfs.New(uint64(row.pages))
			must(t, durable.WriteNew(disk, "f", old))
			f, err := disk.OpenWrite("f")
			must(t, err)
			_, err = f.WriteAt(renewed, 0)
			must(t, err)
			fault := faultfs.FailBefore(syscall.EIO)
			fault.Pages = row.pages
			disk.When(faultfs.Match{Kind: faultfs.OpSync}, fault)
			if err := f.Datasync(); !errors.Is(err, syscall.EIO) {
				t.Fatalf("sync: %v", err)
			}
			must(t, f.Datasync())
			if got := bytes.Equal(read(t, disk, "f"), renewed); got != row.readsNew {
				t.Errorf("reads back as written: %v, want %v", got, row.readsNew)
			}
			left := read(t, disk.RebootBare(), "f")
			if got := bytes.Equal(left, renewed); got != row.later {
				t.Errorf("the later sync made it stable: %v, want %v", got, row.later)
			}
			if n := bytes.Count(left, []byte{2}); !row.later && (n == 0 || n == len(left)) {
				t.Errorf("the failed sync wrote %d of %d bytes, want some", n, len(left))
			}
		})
	}
}

func TestFailedSyncDir(t *testing.T) {
	for pages, want := range map[faultfs.Pages]bool{faultfs.PagesDirty: true, faultfs.PagesClean: false} {
		disk := faultfs.New(1)
		must(t, disk.Mkdir("d"))
		fault := faultfs.FailBefore(syscall.EIO)
		fault.Pages = pages
		disk.At(disk.Ops(), fault)
		if err := disk.SyncDir("/"); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v", err)
		}
		must(t, disk.SyncDir("/"))
		if gone(disk, "d") {
			t.Error("a failed sync took the name away")
		}
		if got := !gone(disk.RebootBare(), "d"); got != want {
			t.Errorf("%v: the later sync made the name stable: %v, want %v", pages, got, want)
		}
	}
}

func TestWhen(t *testing.T) {
	disk := faultfs.New(1)
	must(t, disk.Mkdir("a"))
	must(t, disk.Mkdir("b"))
	disk.When(faultfs.Match{Kind: faultfs.OpCreate, Name: "*.seg", Nth: 2}, faultfs.FailBefore(syscall.EIO))
	heal := disk.When(faultfs.Match{Name: "/b/*", Nth: 2, Always: true}, faultfs.FailBefore(syscall.ENOSPC))
	disk.When(faultfs.Match{If: func(op faultfs.Op) bool { return op.Length == 3 }}, faultfs.FailBefore(syscall.EINTR))
	for _, row := range []struct {
		name string
		want error
	}{
		{"/a/1.log", nil},
		{"/a/1.seg", nil},
		{"/b/1.log", nil},
		{"/a/2.seg", syscall.EIO},
		{"/a/3.seg", nil},
		{"/b/2.log", syscall.ENOSPC},
		{"/b/4.seg", syscall.ENOSPC},
	} {
		if _, err := disk.Create(row.name); !errors.Is(err, row.want) {
			t.Errorf("create %s: %v, want %v", row.name, err, row.want)
		}
	}
	heal()
	f, err := disk.Create("/b/5.log")
	must(t, err)
	if _, err := f.WriteAt([]byte("abc"), 0); !errors.Is(err, syscall.EINTR) {
		t.Errorf("write of 3 bytes: %v", err)
	}
	if disk.Fired() != 4 {
		t.Errorf("%d faults fired, want 4", disk.Fired())
	}
}

// A fault's error is reported with the path, also where it hides another.
func TestLostAnswer(t *testing.T) {
	disk := faultfs.New(1)
	disk.At(0, faultfs.FailAfter(syscall.ETIMEDOUT))
	_, err := disk.Create("/claim")
	var at *fs.PathError
	if !errors.As(err, &at) || at.Path != "/claim" || !errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("error %v", err)
	}
	if _, err := disk.Create("/claim"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the second try: %v", err)
	}
	must(t, disk.Remove("/claim"))
	if disk.Used() != page {
		t.Errorf("a handle that nobody got holds %d bytes", disk.Used()-page)
	}
}

// An operation that is held up lets others pass, and does not survive a crash.
func TestDelay(t *testing.T) {
	disk, f := ready(t)
	entered, release := make(chan faultfs.Op), make(chan struct{})
	disk.When(faultfs.Match{Kind: faultfs.OpSync, Always: true}, faultfs.Delay(func(op faultfs.Op) {
		entered <- op
		<-release
	}))
	done := make(chan error)
	sync := func() { done <- f.Datasync() }
	go sync()
	if op := <-entered; op.Name != "old" || op.Kind != faultfs.OpSync {
		t.Errorf("held up %v", op)
	}
	must(t, durable.WriteNew(disk.Restart(), "meanwhile", nil))
	release <- struct{}{}
	if err := <-done; !errors.Is(err, faultfs.ErrCrashed) {
		t.Errorf("a sync over a crash: %v", err)
	}

	disk, f = ready(t)
	disk.When(faultfs.Match{Kind: faultfs.OpSync}, faultfs.Delay(func(op faultfs.Op) {
		entered <- op
		<-release
	}))
	go sync()
	<-entered
	must(t, disk.Mkdir("meanwhile"))
	release <- struct{}{}
	must(t, <-done)
	if got := read(t, disk.RebootBare(), "old"); string(got) != "old" {
		t.Errorf("a sync that was held up made %q stable", got)
	}
}

func TestSweepFindsWhatIsNotDurable(t *testing.T) {
	type known struct{ durable bool }
	sweep := func(write func(*faultfs.FS) error) faultfs.Sweep[known] {
		return faultfs.Sweep[known]{
			Seed:    1,
			Prepare: func(disk *faultfs.FS) error { return disk.Mkdir("unrelated") },
			Run:     func(disk *faultfs.FS) known { return known{write(disk) == nil} },
			Check: func(disk *faultfs.FS, k known) error {
				b, err := durable.ReadFile(disk, "f", 100)
				if k.durable && string(b) != "content" {
					return fmt.Errorf("acknowledged and lost: %q, %w", b, err)
				}
				return nil
			},
		}
	}
	good := sweep(func(disk *faultfs.FS) error { return durable.WriteNew(disk, "f", []byte("content")) })
	good.Test(t)
	if runs, _ := good.Find(); runs != 5*len(faultfs.Faults()) {
		t.Errorf("a script of 5 operations was run %d times", runs)
	}

	once := func(f durable.File) error { return f.Datasync() }
	for name, bad := range map[string]func(*faultfs.FS) error{
		"no SyncDir": func(disk *faultfs.FS) error { return writeFile(disk, once) },
		"no Datasync": func(disk *faultfs.FS) error {
			return errors.Join(writeFile(disk, func(durable.File) error { return nil }), disk.SyncDir("/"))
		},
		"sync tried again": func(disk *faultfs.FS) error {
			return errors.Join(writeFile(disk, func(f durable.File) error {
				err := f.Datasync()
				if errors.Is(err, syscall.EIO) {
					err = f.Datasync()
				}
				return err
			}), disk.SyncDir("/"))
		},
	} {
		s := sweep(bad)
		found := 0
		for s.Seed = range uint64(10) {
			_, failures := s.Find()
			found += len(failures)
			for _, f := range failures {
				if f.Err == nil || !strings.Contains(f.String(), "acknowledged and lost") {
					t.Errorf("failure without its reason: %v", f)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s was not found out", name)
		}
	}
}

func writeFile(disk *faultfs.FS, sync func(durable.File) error) error {
	f, err := disk.Create("f")
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte("content"), 0); err != nil {
		return err
	}
	return sync(f)
}

package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/faultfs"
)

// done is what a script was told: whether it may count on its effect.
type done bool

func TestWriteNewIsDurable(t *testing.T) {
	content := strings.Repeat("whole ", 2000)
	sweep := faultfs.Sweep[done]{
		Seed: 1,
		Run: func(disk *faultfs.FS) done {
			return durable.WriteNew(disk, "f", []byte(content)) == nil
		},
		Check: func(disk *faultfs.FS, ok done) error {
			got, err := durable.ReadFile(disk, "f", 1<<20)
			if bool(ok) && string(got) != content {
				return fmt.Errorf("%d bytes left of %d: %w", len(got), len(content), err)
			}
			return nil
		},
	}
	sweep.Test(t)
}

func TestOverwriteIsDurable(t *testing.T) {
	old, renewed := strings.Repeat("old ", 3000), strings.Repeat("new ", 3000)
	sweep := faultfs.Sweep[done]{
		Seed:    2,
		Prepare: func(disk *faultfs.FS) error { return durable.WriteNew(disk, "f", []byte(old+"tail")) },
		Run: func(disk *faultfs.FS) done {
			return durable.Overwrite(disk, "f", []byte(renewed)) == nil
		},
		Check: func(disk *faultfs.FS, ok done) error {
			got, err := durable.ReadFile(disk, "f", 1<<20)
			if err != nil || len(got) != len(old)+4 || !strings.HasSuffix(string(got), "tail") {
				return fmt.Errorf("%d bytes left: %w", len(got), err)
			}
			if bool(ok) && string(got) != renewed+"tail" {
				return errors.New("the new content is not there")
			}
			return nil
		},
	}
	sweep.Test(t)
}

// A handle that is not closed would keep the file from being removed on SMB.
func TestWholeFileCallsCloseTheirHandles(t *testing.T) {
	acts := map[string]func(disk *faultfs.FS) error{
		"WriteNew":  func(disk *faultfs.FS) error { return durable.WriteNew(disk, "new", []byte("x")) },
		"Overwrite": func(disk *faultfs.FS) error { return durable.Overwrite(disk, "f", []byte("x")) },
		"Exists": func(disk *faultfs.FS) error {
			durable.Exists(disk, "f")
			return nil
		},
		"ReadFile": func(disk *faultfs.FS) error {
			_, err := durable.ReadFile(disk, "f", 100)
			return err
		},
		"ReadFile over its limit": func(disk *faultfs.FS) error {
			_, err := durable.ReadFile(disk, "f", 1)
			return err
		},
	}
	for name, act := range acts {
		for k := range 6 {
			disk := faultfs.New(1)
			if err := durable.WriteNew(disk, "f", []byte("abc")); err != nil {
				t.Fatal(err)
			}
			opened := func() int {
				return disk.Count(faultfs.OpCreate) + disk.Count(faultfs.OpOpen) + disk.Count(faultfs.OpOpenWrite)
			}
			before, closed := opened(), disk.Count(faultfs.OpClose)
			disk.At(disk.Ops()+k, faultfs.FailBefore(syscall.EIO))
			err := act(disk)
			failedToOpen := 0
			if k == 0 {
				failedToOpen = 1
			}
			if o, c := opened()-before-failedToOpen, disk.Count(faultfs.OpClose)-closed; o != c {
				t.Errorf("%s with operation %d failing (%v): %d opened, %d closed\n%s", name, k, err, o, c, disk.Trace())
			}
		}
	}
}

func TestMkdirAllIsDurable(t *testing.T) {
	for _, dir := range []string{"/var/lib/queue/lanes", "lib/queue/lanes"} {
		sweep := faultfs.Sweep[done]{
			Seed: 3,
			Run:  func(disk *faultfs.FS) done { return durable.MkdirAll(disk, dir) == nil },
			Check: func(disk *faultfs.FS, ok done) error {
				if bool(ok) && !durable.Exists(disk, dir) {
					return errors.New("made and lost")
				}
				return nil
			},
		}
		sweep.Test(t)
	}
}

// A process may be killed between mkdir and the sync of the name. The next one
// finds the directory there and must not take it for durable.
func TestMkdirAllIsDurableAfterAKill(t *testing.T) {
	for _, dir := range []string{"/var/lib/queue/lanes", "lib/queue/lanes"} {
		sweep := faultfs.Sweep[done]{
			Seed:   4,
			Faults: []faultfs.Fault{faultfs.CrashBefore(), faultfs.CrashAfter()},
			Run:    func(disk *faultfs.FS) done { return durable.MkdirAll(disk, dir) == nil },
			Check: func(disk *faultfs.FS, _ done) error {
				if err := durable.MkdirAll(disk, dir); err != nil {
					return fmt.Errorf("second time: %w", err)
				}
				if !durable.Exists(disk.RebootBare(), dir) {
					return errors.New("found there, taken for durable and lost")
				}
				return nil
			},
		}
		sweep.Test(t)
	}
}

func TestMkdirAllBelowAFile(t *testing.T) {
	disk := faultfs.New(1)
	if err := durable.WriteNew(disk, "/f", nil); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(disk, "/f/d"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("MkdirAll below a file: %v", err)
	}
}

// What exists above may belong to others, and be neither readable nor
// writable for us. That keeps nothing from being made below.
func TestMkdirAllBelowADirectoryThatMayNotBeOpened(t *testing.T) {
	disk := faultfs.New(1)
	if err := durable.MkdirAll(disk, "/srv/data"); err != nil {
		t.Fatal(err)
	}
	disk.When(faultfs.Match{Kind: faultfs.OpSyncDir, Name: "/", Always: true}, faultfs.FailBefore(syscall.EACCES))
	disk.When(faultfs.Match{Kind: faultfs.OpSyncDir, Name: "/srv", Always: true}, faultfs.FailBefore(syscall.EROFS))
	if err := durable.MkdirAll(disk, "/srv/data/queue"); err != nil {
		t.Error(err)
	}
	disk.When(faultfs.Match{Kind: faultfs.OpSyncDir, Name: "data", Always: true}, faultfs.FailBefore(syscall.EACCES))
	if err := durable.MkdirAll(disk, "/srv/data/other"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a name was made that could not be synced: %v", err)
	}
	if !durable.Exists(disk.RebootBare(), "/srv/data/queue") {
		t.Error("made and lost")
	}
}

func TestExistsWhereItCannotTell(t *testing.T) {
	disk := faultfs.New(1)
	disk.When(faultfs.Match{Always: true}, faultfs.FailBefore(syscall.EACCES))
	if !durable.Exists(disk, "/f") {
		t.Error("a file that could not be looked for was taken for absent")
	}
}

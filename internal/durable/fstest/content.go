package fstest

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"postroad/internal/durable"
)

func size(t *testing.T, f durable.File) int64 {
	t.Helper()
	n, err := f.Size()
	must(t, err)
	return n
}

func testContent(t *testing.T, fsys durable.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "0123456789")
	_, err := f.WriteAt([]byte("ab"), 4)
	must(t, err)
	must(t, f.Datasync())
	if got := size(t, f); got != 10 {
		t.Errorf("size %d, want 10", got)
	}
	for _, row := range []struct {
		off    int64
		length int
		want   string
		eof    bool
	}{
		{0, 10, "0123ab6789", false},
		{3, 4, "3ab6", false},
		{8, 4, "89", true},
		{10, 1, "", true},
		{99, 1, "", true},
		{5, 0, "", false},
		{10, 0, "", false},
	} {
		b := make([]byte, row.length)
		n, err := f.ReadAt(b, row.off)
		if string(b[:n]) != row.want || (row.eof && !errors.Is(err, io.EOF)) || (!row.eof && err != nil) {
			t.Errorf("ReadAt of %d at %d: %q, %v; want %q, EOF %v", row.length, row.off, b[:n], err, row.want, row.eof)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("ReadAt at a negative offset has no error")
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		t.Error("WriteAt at a negative offset has no error")
	}
	must(t, f.Close())

	f, err = fsys.OpenWrite(name)
	must(t, err)
	_, err = f.WriteAt([]byte("XYZ"), 8)
	must(t, err)
	must(t, f.Close())
	if got := content(t, fsys, name); got != "0123ab67XYZ" {
		t.Errorf("content %q after writing over the end", got)
	}
}

func testHoles(t *testing.T, fsys durable.FS, dir string) {
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "begin")
	_, err := f.WriteAt([]byte("end"), 10_000)
	must(t, err)
	must(t, f.Close())
	want := "begin" + strings.Repeat("\x00", 10_000-5) + "end"
	if got := content(t, fsys, name); got != want {
		t.Errorf("a hole does not read as zeros: %d bytes, want %d", len(got), len(want))
	}
}

func testReadOnly(t *testing.T, fsys durable.FS, dir string) {
	name := path.Join(dir, "f")
	must(t, create(t, fsys, name, "one").Close())
	f, err := fsys.Open(name)
	must(t, err)
	_, err = f.WriteAt([]byte("two"), 0)
	want(t, "write to a file opened for reading", err, syscall.EBADF)
	must(t, f.Close())
	if got := content(t, fsys, name); got != "one" {
		t.Errorf("content %q, want one", got)
	}
}

func testDirectoryAsFile(t *testing.T, fsys durable.FS, dir string) {
	f, err := fsys.Open(dir)
	must(t, err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	want(t, "read a directory", err, syscall.EISDIR)
	must(t, f.Close())
}

func testClosed(t *testing.T, fsys durable.FS, dir string) {
	f := create(t, fsys, path.Join(dir, "f"), "one")
	must(t, f.Close())
	_, err := f.ReadAt(make([]byte, 1), 0)
	want(t, "read", err, fs.ErrClosed)
	_, err = f.WriteAt([]byte("x"), 0)
	want(t, "write", err, fs.ErrClosed)
	_, err = f.Size()
	want(t, "size", err, fs.ErrClosed)
	want(t, "datasync", f.Datasync(), fs.ErrClosed)
	want(t, "close", f.Close(), fs.ErrClosed)
}

func testUnlinked(t *testing.T, fsys durable.FS, dir string) {
	name := path.Join(dir, "f")
	old := create(t, fsys, name, "old")
	must(t, fsys.Remove(name))
	must(t, create(t, fsys, name, "new").Close())
	_, err := old.WriteAt([]byte("er"), 3)
	must(t, err)
	must(t, old.Datasync())
	b := make([]byte, 5)
	_, err = old.ReadAt(b, 0)
	must(t, err)
	if string(b) != "older" {
		t.Errorf("the removed file holds %q, want older", b)
	}
	if got := content(t, fsys, name); got != "new" {
		t.Errorf("the file in its place holds %q, want new", got)
	}
	must(t, old.Close())
}

func testOneCreator(t *testing.T, fsys durable.FS, dir string) {
	name := path.Join(dir, "f")
	var won, lost atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			f, err := fsys.Create(name)
			if err == nil {
				won.Add(1)
				err = f.Close()
			}
			if errors.Is(err, fs.ErrExist) {
				lost.Add(1)
			}
		})
	}
	all.Wait()
	if won.Load() != 1 || lost.Load() != 7 {
		t.Errorf("of 8 that create one name %d succeed and %d find it taken", won.Load(), lost.Load())
	}
}

// testConcurrentContent writes disjoint ranges that share pages, reads and
// syncs, all at the same time.
func testConcurrentContent(t *testing.T, fsys durable.FS, dir string) {
	const writers, each = 8, 1000
	name := path.Join(dir, "f")
	f := create(t, fsys, name, "")
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			mine := bytes.Repeat([]byte{'a' + byte(w)}, each)
			got := make([]byte, each)
			_, err := f.WriteAt(mine, int64(w*each))
			if err == nil {
				err = f.Datasync()
			}
			if err == nil {
				_, err = f.ReadAt(got, int64(w*each))
			}
			if err != nil || !bytes.Equal(got, mine) {
				t.Errorf("writer %d reads back something else: %v", w, err)
			}
		})
	}
	all.Wait()
	must(t, f.Close())
	if got := len(content(t, fsys, name)); got != writers*each {
		t.Errorf("%d bytes, want %d", got, writers*each)
	}
}

func testSpace(t *testing.T, fsys durable.FS, dir string) {
	s, err := fsys.Space(dir)
	must(t, err)
	if s.Free <= 0 || s.Total < s.Free {
		t.Errorf("space %+v", s)
	}
}

func testWholeFiles(t *testing.T, fsys durable.FS, dir string) {
	deep := path.Join(dir, "a/b/c")
	must(t, durable.MkdirAll(fsys, deep))
	must(t, durable.MkdirAll(fsys, deep))
	name := path.Join(deep, "f")
	must(t, durable.WriteNew(fsys, name, []byte("first")))
	want(t, "write a new file twice", durable.WriteNew(fsys, name, []byte("second")), fs.ErrExist)
	must(t, durable.Overwrite(fsys, name, []byte("FI")))
	if got := content(t, fsys, name); got != "FIrst" {
		t.Errorf("content %q, want FIrst", got)
	}
	want(t, "overwrite what is not there", durable.Overwrite(fsys, path.Join(deep, "g"), nil), fs.ErrNotExist)
	if _, err := durable.ReadFile(fsys, name, 4); err == nil {
		t.Error("a file over the limit was read")
	}
}

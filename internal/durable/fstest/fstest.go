package fstest

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
	"testing"

	"postroad/internal/durable"
)

// Test runs the suite. Each test has a file system of its own, made by open,
// and an empty directory on it.
func Test(t *testing.T, open func(t *testing.T) (fsys durable.FS, dir string)) {
	tests := []struct {
		name string
		run  func(t *testing.T, fsys durable.FS, dir string)
	}{
		{"names", testNames},
		{"errors of names", testNameErrors},
		{"listing", testListing},
		{"removal", testRemoval},
		{"content", testContent},
		{"holes", testHoles},
		{"read only", testReadOnly},
		{"directory as file", testDirectoryAsFile},
		{"closed", testClosed},
		{"open file outlives its name", testUnlinked},
		{"one creator", testOneCreator},
		{"concurrent content", testConcurrentContent},
		{"space", testSpace},
		{"whole files", testWholeFiles},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fsys, dir := open(t)
			test.run(t, fsys, dir)
		})
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err matches target.
func want(t *testing.T, act string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: got error %v, want %v", act, err, target)
	}
}

func create(t *testing.T, fsys durable.FS, name, content string) durable.File {
	t.Helper()
	f, err := fsys.Create(name)
	must(t, err)
	t.Cleanup(func() { _ = f.Close() }) // most tests have closed it by then
	n, err := f.WriteAt([]byte(content), 0)
	must(t, err)
	if n != len(content) {
		t.Fatalf("write of %d bytes to %s: wrote %d", len(content), name, n)
	}
	return f
}

func content(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	b, err := durable.ReadFile(fsys, name, 1<<20)
	must(t, err)
	return string(b)
}

func list(t *testing.T, fsys durable.FS, dir string) string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
		if e.IsDir() {
			names[i] += "/"
		}
	}
	return strings.Join(names, " ")
}

func testNames(t *testing.T, fsys durable.FS, dir string) {
	must(t, fsys.Mkdir(path.Join(dir, "d")))
	must(t, create(t, fsys, path.Join(dir, "d/f"), "one").Close())
	must(t, fsys.SyncDir(path.Join(dir, "d")))
	must(t, fsys.SyncDir(dir))
	if got := content(t, fsys, path.Join(dir, "d/f")); got != "one" {
		t.Errorf("content %q, want one", got)
	}
	for name, want := range map[string]bool{"d": true, "d/f": true, "e": false, "d/g": false, "e/f": false} {
		if got := durable.Exists(fsys, path.Join(dir, name)); got != want {
			t.Errorf("Exists(%s) = %v, want %v", name, got, want)
		}
	}
}

func testNameErrors(t *testing.T, fsys durable.FS, dir string) {
	must(t, fsys.Mkdir(path.Join(dir, "d")))
	must(t, create(t, fsys, path.Join(dir, "f"), "one").Close())
	long := strings.Repeat("n", 256)
	acts := map[string]func(name string) error{
		"create": func(name string) error {
			_, err := fsys.Create(name)
			return err
		},
		"open": func(name string) error {
			_, err := fsys.Open(name)
			return err
		},
		"open for writing": func(name string) error {
			_, err := fsys.OpenWrite(name)
			return err
		},
		"mkdir": fsys.Mkdir,
		"readdir": func(name string) error {
			_, err := fsys.ReadDir(name)
			return err
		},
		"remove":  fsys.Remove,
		"syncdir": fsys.SyncDir,
		"touch":   fsys.Touch,
		"space": func(name string) error {
			_, err := fsys.Space(name)
			return err
		},
	}
	for _, row := range []struct {
		act, name string
		want      error
	}{
		{"create", "f", fs.ErrExist},
		{"create", "d", fs.ErrExist},
		{"create", "missing/f", fs.ErrNotExist},
		{"create", "f/g", syscall.ENOTDIR},
		{"create", long, syscall.ENAMETOOLONG},
		{"open", "missing", fs.ErrNotExist},
		{"open", "missing/f", fs.ErrNotExist},
		{"open", "f/g", syscall.ENOTDIR},
		{"open for writing", "missing", fs.ErrNotExist},
		{"open for writing", "d", syscall.EISDIR},
		{"mkdir", "d", fs.ErrExist},
		{"mkdir", "f", fs.ErrExist},
		{"mkdir", "missing/d", fs.ErrNotExist},
		{"mkdir", "f/d", syscall.ENOTDIR},
		{"mkdir", long, syscall.ENAMETOOLONG},
		{"readdir", "missing", fs.ErrNotExist},
		{"readdir", "f", syscall.ENOTDIR},
		{"remove", "missing", fs.ErrNotExist},
		{"remove", "missing/f", fs.ErrNotExist},
		{"syncdir", "missing", fs.ErrNotExist},
		{"touch", "missing", fs.ErrNotExist},
		{"space", "missing", fs.ErrNotExist},
	} {
		want(t, row.act+" "+row.name, acts[row.act](path.Join(dir, row.name)), row.want)
	}
}

func testListing(t *testing.T, fsys durable.FS, dir string) {
	if got := list(t, fsys, dir); got != "" {
		t.Errorf("fresh directory lists %q", got)
	}
	must(t, create(t, fsys, path.Join(dir, "b"), "four").Close())
	must(t, fsys.Mkdir(path.Join(dir, "a")))
	must(t, create(t, fsys, path.Join(dir, "a/x"), "").Close())
	must(t, create(t, fsys, path.Join(dir, "B"), "").Close())
	if got, want := list(t, fsys, dir), "B a/ b"; got != want {
		t.Errorf("listed %q, want %q", got, want)
	}
	entries, err := fsys.ReadDir(dir)
	must(t, err)
	file, err := entries[2].Info()
	must(t, err)
	if file.Name() != "b" || file.Size() != 4 || !file.Mode().IsRegular() || entries[2].Type() != 0 {
		t.Errorf("entry of a file: %v %d %v, type %v", file.Name(), file.Size(), file.Mode(), entries[2].Type())
	}
	if entries[1].Type() != fs.ModeDir {
		t.Errorf("entry of a directory has type %v", entries[1].Type())
	}
}

func testRemoval(t *testing.T, fsys durable.FS, dir string) {
	d := path.Join(dir, "d")
	must(t, fsys.Mkdir(d))
	must(t, create(t, fsys, path.Join(d, "f"), "one").Close())
	want(t, "remove a directory in use", fsys.Remove(d), syscall.ENOTEMPTY)
	must(t, fsys.Remove(path.Join(d, "f")))
	want(t, "remove twice", fsys.Remove(path.Join(d, "f")), fs.ErrNotExist)
	must(t, create(t, fsys, path.Join(d, "f"), "two").Close())
	if got := content(t, fsys, path.Join(d, "f")); got != "two" {
		t.Errorf("a name used again holds %q, want two", got)
	}
	must(t, fsys.Remove(path.Join(d, "f")))
	must(t, fsys.Remove(d))
	if got := list(t, fsys, dir); got != "" {
		t.Errorf("after removal the directory lists %q", got)
	}
}

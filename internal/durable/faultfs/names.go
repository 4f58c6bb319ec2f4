package faultfs

import (
	"io/fs"
	"math/rand/v2"
	"syscall"
	"time"

	"postroad/internal/durable"
)

// Create implements durable.FS.
func (f *FS) Create(name string) (durable.File, error) {
	n := newFile()
	return f.open(named(OpCreate, name), true, func() (*node, error) { return n, f.disk.add(name, n) })
}

// Open implements durable.FS. A directory can be opened and not be read.
func (f *FS) Open(name string) (durable.File, error) {
	return f.open(named(OpOpen, name), false, func() (*node, error) { return f.disk.find(elements(name)) })
}

// OpenWrite implements durable.FS.
func (f *FS) OpenWrite(name string) (durable.File, error) {
	return f.open(named(OpOpenWrite, name), true, func() (*node, error) {
		n, err := f.disk.find(elements(name))
		if err == nil && n.dir {
			err = syscall.EISDIR
		}
		return n, err
	})
}

func (f *FS) open(op Op, write bool, find func() (*node, error)) (durable.File, error) {
	h := &file{fs: f, name: op.Name, write: write}
	err := f.do(call{op: op, apply: func(int) error {
		n, err := find()
		if err == nil && h.node == nil {
			h.node = n
			n.opens++
		}
		return err
	}})
	if err == nil {
		return h, nil
	}
	defer f.lock()()
	if h.node != nil { // opened, and the answer lost
		h.release()
	}
	return nil, err
}

// Mkdir implements durable.FS.
func (f *FS) Mkdir(name string) error {
	return f.do(call{op: named(OpMkdir, name), apply: func(int) error { return f.disk.add(name, newDir()) }})
}

// Remove implements durable.FS.
func (f *FS) Remove(name string) error {
	return f.do(call{op: named(OpRemove, name), apply: func(int) error { return f.disk.remove(name) }})
}

// ReadDir implements durable.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	err := f.do(call{op: named(OpReadDir, name), apply: func(int) error {
		n, err := f.directory(name)
		if err != nil {
			return err
		}
		for _, child := range sortedKeys(n.names) {
			entries = append(entries, fs.FileInfoToDirEntry(info{child, n.names[child].dir, n.names[child].size}))
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	return f.do(call{
		op: named(OpSyncDir, name),
		apply: func(int) error {
			n, err := f.directory(name)
			if err == nil {
				n.syncNames()
			}
			return err
		},
		spoil: func(after Pages, rng *rand.Rand) {
			if n, err := f.directory(name); err == nil {
				f.disk.failSyncDir(n, after, rng)
			}
		},
	})
}

func (f *FS) directory(name string) (*node, error) {
	n, err := f.disk.find(elements(name))
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return n, err
}

// Space implements durable.FS.
func (f *FS) Space(name string) (durable.Space, error) {
	var s durable.Space
	err := f.do(call{op: named(OpSpace, name), apply: func(int) error {
		_, err := f.disk.find(elements(name))
		s = durable.Space{Free: max(f.disk.capacity-f.disk.used, 0), Total: f.disk.capacity}
		return err
	}})
	if err != nil {
		return durable.Space{}, err
	}
	return s, nil
}

// info is a fs.FileInfo as of the listing.
type info struct {
	name string
	dir  bool
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) IsDir() bool        { return i.dir }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) Sys() any           { return nil }

func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}

// Touch implements durable.FS. A disk has no caches that it would change.
func (f *FS) Touch(name string) error {
	return f.do(call{
		op: named(OpTouch, name),
		apply: func(int) error {
			_, err := f.directory(name)
			return err
		},
	})
}

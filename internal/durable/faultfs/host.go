package faultfs

import (
	"io/fs"
	"math/rand/v2"
	"strconv"
	"syscall"

	"postroad/internal/durable"
)

// Host is a process on a host that has mounted a Share. It numbers its own
// operations, has its own faults and trace, and shares the host's caches. It is
// safe for concurrent use.
//
// Crash, and the faults that crash, end the whole host: its unsynced pages are
// lost, but for those that had already been sent.
type Host struct {
	machine
	client  *client
	label   string
	handles map[*shareFile]struct{} // guarded by the share's lock
}

var _ durable.FS = (*Host)(nil)

// process is called with the share's lock held.
func (c *client) process() *Host {
	h := &Host{
		machine: newMachine(c.rng.Uint64(), &c.share.disk.mu), client: c,
		label: c.name, handles: map[*shareFile]struct{}{},
	}
	if n := len(c.procs); n > 0 {
		h.label += "/" + strconv.Itoa(n+1)
	}
	h.ended = c.crash
	h.began = func(index int) {
		c.share.history = append(c.share.history, moment{c.share.opts.Now(), h, index})
	}
	c.procs = append(c.procs, h)
	return h
}

// Restart crashes the host, if it has not, and returns a process on it after it
// has been started again, with empty caches.
func (h *Host) Restart() *Host {
	h.Crash()
	return h.client.share.Host(h.client.name)
}

// Kill ends the process alone and returns another one on the same host: what
// was written stays in the host's cache, and its files are closed.
func (h *Host) Kill() *Host {
	func() {
		defer h.lock()()
		h.ended = nil
		h.die()
		for f := range h.handles {
			_ = h.client.closed(f.ino, f.write) // as the kernel does, which has nobody to tell
			f.closed = true
		}
		clear(h.handles)
	}()
	return h.client.share.Host(h.client.name)
}

// call does an operation, with the kernel's own work in between.
func (h *Host) call(op Op, apply func(n int) error) error {
	return h.do(call{op: op, apply: func(n int) error {
		h.client.share.stir()
		return apply(n)
	}})
}

// Create implements durable.FS. It always asks the server.
func (h *Host) Create(name string) (durable.File, error) {
	return h.open(named(OpCreate, name), true, func(fresh bool) (*node, error) {
		n := newFile()
		return n, h.make(name, n, fresh)
	})
}

func (h *Host) make(name string, child *node, fresh bool) error {
	c := h.client
	dir, last, err := c.parent(name, fresh)
	if err != nil {
		return err
	}
	before := dir.change
	err = c.share.create(dir, last, child)
	if old := dir.names[last]; err != nil && old != nil {
		if _, doomed := c.share.doomed[old.id]; doomed {
			return syscall.ENOENT
		}
	}
	if err != nil {
		if d := c.dirs[dir.id]; d != nil && !c.chance(4) {
			delete(d.entries, last)
		}
		return err
	}
	c.changed(dir, before, last, dentry{child.id, child.dir})
	return nil
}

// Open implements durable.FS. A name that is cached as missing is missing;
// otherwise the server is asked whether the file has changed.
func (h *Host) Open(name string) (durable.File, error) {
	return h.open(named(OpOpen, name), false, func(fresh bool) (*node, error) { return h.find(name, fresh) })
}

// OpenWrite implements durable.FS.
func (h *Host) OpenWrite(name string) (durable.File, error) {
	return h.open(named(OpOpenWrite, name), true, func(fresh bool) (*node, error) {
		n, err := h.find(name, fresh)
		if err == nil && n.dir {
			err = syscall.EISDIR
		}
		return n, err
	})
}

func (h *Host) find(name string, fresh bool) (*node, error) {
	at, err := h.client.resolve(name, fresh)
	if err != nil {
		return nil, err
	}
	if _, doomed := h.client.share.doomed[at.id]; doomed {
		return nil, syscall.ENOENT
	}
	return h.client.share.get(at.id)
}

func (h *Host) open(op Op, write bool, find func(fresh bool) (*node, error)) (durable.File, error) {
	f := &shareFile{host: h, name: op.Name, write: write}
	err := h.call(op, func(int) error {
		return retried(func(fresh bool) error {
			n, err := find(fresh)
			if err != nil {
				return err
			}
			if f.ino == nil {
				f.ino = h.client.inode(n)
				h.client.opened(f.ino)
				h.handles[f] = struct{}{}
			}
			return h.client.revalidate(f.ino, true)
		})
	})
	if err == nil {
		return f, nil
	}
	defer h.lock()()
	if f.ino != nil && !h.dead { // opened, and the answer lost
		_ = f.release() // nothing was written
	}
	return nil, err
}

// Mkdir implements durable.FS. A name that is cached as taken is taken.
func (h *Host) Mkdir(name string) error {
	return h.call(named(OpMkdir, name), func(int) error {
		return retried(func(fresh bool) error {
			if at, err := h.client.resolve(name, fresh); err == nil && at.id != 0 {
				return syscall.EEXIST
			}
			return h.make(name, newDir(), fresh)
		})
	})
}

// Remove implements durable.FS. A name that is cached as missing is missing.
func (h *Host) Remove(name string) error {
	return h.call(named(OpRemove, name), func(int) error {
		if len(elements(name)) == 0 {
			return syscall.EBUSY
		}
		return retried(func(fresh bool) error {
			if _, err := h.client.resolve(name, fresh); err != nil {
				return err
			}
			dir, last, err := h.client.parent(name, fresh)
			if err == nil {
				err = h.client.remove(dir, last)
			}
			return err
		})
	})
}

// ReadDir implements durable.FS. A listing may be as old as a cached name.
func (h *Host) ReadDir(name string) ([]fs.DirEntry, error) {
	var entries []fs.DirEntry
	err := h.call(named(OpReadDir, name), func(int) error {
		return retried(func(fresh bool) error {
			at, err := h.client.resolve(name, fresh)
			if err == nil && !at.dir {
				err = syscall.ENOTDIR
			}
			if err == nil {
				entries, err = h.client.list(at.id)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// SyncDir implements durable.FS. Names are stable on the server as soon as they
// are made or removed, unless it is misconfigured, so nothing is left to do.
func (h *Host) SyncDir(name string) error {
	return h.call(named(OpSyncDir, name), func(int) error {
		return retried(func(fresh bool) error {
			at, err := h.client.resolve(name, fresh)
			if err == nil && !at.dir {
				err = syscall.ENOTDIR
			}
			if err == nil {
				_, err = h.client.share.get(at.id)
			}
			return err
		})
	})
}

// Touch implements durable.FS.
func (h *Host) Touch(name string) error {
	return h.call(named(OpTouch, name), func(int) error {
		return retried(func(fresh bool) error {
			at, err := h.client.resolve(name, fresh)
			if err == nil && !at.dir {
				err = syscall.ENOTDIR
			}
			if err == nil {
				err = h.client.touch(at.id)
			}
			return err
		})
	})
}

// Space implements durable.FS.
func (h *Host) Space(name string) (durable.Space, error) {
	var s durable.Space
	d := h.client.share.disk
	err := h.call(named(OpSpace, name), func(int) error {
		return retried(func(fresh bool) error {
			_, err := h.client.resolve(name, fresh)
			s = durable.Space{Free: max(d.capacity-d.used, 0), Total: d.capacity}
			return err
		})
	})
	if err != nil {
		return durable.Space{}, err
	}
	return s, nil
}

// shareFile is a handle of a process on a host.
type shareFile struct {
	host  *Host
	name  string
	write bool
	// Guarded by the share's lock.
	ino    *inode
	closed bool
}

func (f *shareFile) call(op Op, apply func(n int) error) error {
	op.Name = f.name
	return f.host.call(op, func(n int) error {
		if f.closed {
			return fs.ErrClosed
		}
		return apply(n)
	})
}

// ReadAt implements durable.File. What it reads may be old until the attributes
// expire or the file is opened again, and pages of different age may stand
// beside each other.
func (f *shareFile) ReadAt(p []byte, off int64) (int, error) {
	got := 0
	err := f.call(Op{Kind: OpRead, Offset: off, Length: len(p)}, func(n int) error {
		switch {
		case f.ino.dir:
			return syscall.EISDIR
		case off < 0:
			return syscall.EINVAL
		}
		var err error
		got, err = f.host.client.read(f.ino, off, p[:n])
		if err == nil && got < n {
			err = errEOF
		}
		return err
	})
	return got, err
}

// WriteAt implements durable.File. It changes the host's cache; a full disk and
// a removed file show later.
func (f *shareFile) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	err := f.call(Op{Kind: OpWrite, Offset: off, Length: len(p)}, func(n int) error {
		switch {
		case !f.write:
			return syscall.EBADF
		case off < 0:
			return syscall.EINVAL
		}
		var err error
		done, err = f.host.client.write(f.ino, off, p[:n])
		return err
	})
	if err != nil && done == len(p) {
		done = 0 // applied, and the answer lost
	}
	return done, err
}

// Datasync implements durable.File.
func (f *shareFile) Datasync() error {
	c := f.host.client
	return f.host.do(call{
		op: Op{Kind: OpSync, Name: f.name},
		apply: func(int) error {
			c.share.stir()
			if f.closed {
				return fs.ErrClosed
			}
			return c.sync(f.ino)
		},
		spoil: func(after Pages, rng *rand.Rand) {
			if !f.closed && !f.ino.dir {
				c.failSync(f.ino, after, rng)
			}
		},
	})
}

// Size implements durable.File.
func (f *shareFile) Size() (int64, error) {
	var size int64
	err := f.call(Op{Kind: OpSize}, func(int) error {
		err := f.host.client.revalidate(f.ino, false)
		size = f.ino.size
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

// Close implements durable.File. The handle is closed whether or not it fails;
// a failure says that something written was not kept.
func (f *shareFile) Close() error {
	err := f.call(Op{Kind: OpClose}, func(int) error { return f.release() })
	defer f.host.lock()()
	if !f.closed && !f.host.dead {
		_ = f.release() // the error of the call is the one that counts
	}
	return err
}

// release is called with the lock held.
func (f *shareFile) release() error {
	f.closed = true
	delete(f.host.handles, f)
	return f.host.client.closed(f.ino, f.write)
}

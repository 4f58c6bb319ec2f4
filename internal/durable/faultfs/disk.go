package faultfs

import (
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"syscall"
)

// DefaultCapacity of a disk, in bytes: more than a test fills.
const DefaultCapacity = 1 << 40

// disk is the tree of files with its two states. Its methods, but for the
// lock, are called with mu held and return bare errnos.
type disk struct {
	mu       sync.Mutex
	root     *node
	capacity int64 // bytes
	used     int64 // bytes: a page for each file and directory, and the pages with room
	late     bool  // pages are given room at Datasync and not when written
}

func newDisk() *disk {
	root := newDir()
	root.linked = true
	return &disk{root: root, capacity: DefaultCapacity, used: pageSize}
}

// elements splits a path; a relative one is taken from the root.
func elements(name string) []string {
	name = path.Clean("/" + name)
	if name == "/" {
		return nil
	}
	return strings.Split(name[1:], "/")
}

// find returns what a path names.
func (d *disk) find(elems []string) (*node, error) {
	n := d.root
	for _, e := range elems {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		if len(e) > 255 {
			return nil, syscall.ENAMETOOLONG
		}
		if n = n.names[e]; n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

// parent returns the directory that holds, or would hold, a path's last
// element, and that element.
func (d *disk) parent(name string) (*node, string, error) {
	elems := elements(name)
	if len(elems) == 0 {
		return nil, "", syscall.EEXIST
	}
	last := elems[len(elems)-1]
	dir, err := d.find(elems[:len(elems)-1])
	switch {
	case err != nil:
		return nil, "", err
	case !dir.dir:
		return nil, "", syscall.ENOTDIR
	case len(last) > 255:
		return nil, "", syscall.ENAMETOOLONG
	}
	return dir, last, nil
}

// add puts a new node under a name that is free.
func (d *disk) add(name string, child *node) error {
	dir, last, err := d.parent(name)
	if err != nil {
		return err
	}
	return d.link(dir, last, child)
}

func (d *disk) link(dir *node, last string, child *node) error {
	if dir.names[last] != nil {
		return syscall.EEXIST
	}
	if !d.reserve() {
		return syscall.ENOSPC
	}
	dir.set(last, child)
	return nil
}

// remove takes a file or an empty directory out of its directory.
func (d *disk) remove(name string) error {
	if len(elements(name)) == 0 {
		return syscall.EBUSY
	}
	dir, last, err := d.parent(name)
	if err != nil {
		return err
	}
	return d.unlink(dir, last)
}

func (d *disk) unlink(dir *node, last string) error {
	child := dir.names[last]
	switch {
	case child == nil:
		return syscall.ENOENT
	case len(child.names) > 0:
		return syscall.ENOTEMPTY
	}
	dir.set(last, nil)
	d.release(child)
	return nil
}

// reserve takes a page of space, if there is one.
func (d *disk) reserve() bool {
	if d.used+pageSize > d.capacity {
		return false
	}
	d.used += pageSize
	return true
}

// release gives the space of a node back once nothing names or holds it.
func (d *disk) release(n *node) {
	if !n.linked && n.opens == 0 {
		d.used -= n.space()
	}
}

// space is what a node takes, in bytes.
func (n *node) space() int64 {
	sum := int64(pageSize)
	for _, c := range n.cells {
		if c.room {
			sum += pageSize
		}
	}
	return sum
}

// write stores p in the volatile state, as much of it as there is room for.
func (d *disk) write(n *node, off int64, p []byte) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		i, in := at/pageSize, int(at%pageSize)
		if n.cells[i] == nil {
			if !d.late && !d.reserve() {
				return done, syscall.ENOSPC
			}
			n.cells[i] = &cell{room: !d.late}
		}
		k := min(len(p)-done, pageSize-in)
		n.put(i, in, p[done:done+k])
		done += k
		n.size = max(n.size, off+int64(done))
	}
	return len(p), nil
}

// sync makes a file's content stable. Pages for which there is no room are
// dropped.
func (d *disk) sync(n *node) error {
	if n.dir {
		n.syncNames()
		return nil
	}
	var err error
	for _, i := range sortedKeys(n.dirty) {
		c := n.cells[i]
		if !c.room && !d.reserve() {
			delete(n.cells, i)
			err = syscall.ENOSPC
			continue
		}
		c.room = true
		c.write()
	}
	clear(n.dirty)
	n.stableSize = n.size
	return err
}

// failSync leaves a file as a failed Datasync does. Some pages may have been
// written before it failed. The size that processes see stays.
func (d *disk) failSync(n *node, after Pages, rng *rand.Rand) {
	if after == PagesAny {
		after = PagesDirty + Pages(rng.IntN(3))
	}
	for _, i := range sortedKeys(n.dirty) {
		c := n.cells[i]
		if rng.IntN(2) == 0 && c.room {
			c.write()
		}
		if after == PagesDirty {
			continue
		}
		delete(n.dirty, i)
		c.older = nil
		if after == PagesDropped {
			c.cur = c.stable
			if !c.onDisk {
				d.drop(n, i)
			}
		}
	}
}

// drop turns a page into a hole.
func (d *disk) drop(n *node, i int64) {
	if n.cells[i].room {
		d.used -= pageSize
	}
	delete(n.cells, i)
}

// failSyncDir leaves a directory as a failed SyncDir does.
func (d *disk) failSyncDir(n *node, after Pages, rng *rand.Rand) {
	if after == PagesAny {
		after = PagesDirty + Pages(rng.IntN(2))
	}
	if after != PagesDirty {
		clear(n.pending)
	}
}

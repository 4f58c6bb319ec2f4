package faultfs

import (
	"bytes"
	"maps"
	"slices"
)

const (
	pageSize   = 4096 // what a cache holds and a disk usually writes at once
	sectorSize = 512  // what a disk writes whole or not at all
	// maxVersions bounds the versions of a page between two syncs that are
	// remembered for a power cut to choose from.
	maxVersions = 8
)

// page is content that never changes once made; nil is a page of zeros.
type page [pageSize]byte

var zeros page

// cell is one page of a file.
type cell struct {
	cur    *page   // what processes read
	stable *page   // what the disk holds
	older  []*page // versions between, while dirty: the disk may hold any of them
	room   bool    // counts as used space
	onDisk bool    // stable, be it as zeros; survives a power cut
}

// node is a file or a directory. Guarded by disk.mu.
type node struct {
	dir    bool
	linked bool // has a name
	opens  int  // handles

	// On a share: its name for clients, and a number that grows with each
	// change that a client can tell from its attributes.
	id, change uint64

	// Of a directory: what processes see, what is stable, and for each name
	// changed since it was last stable, the states it has been in between.
	names, stableNames map[string]*node
	pending            map[string][]*node

	// Of a file.
	size, stableSize int64
	cells            map[int64]*cell
	dirty            map[int64]struct{} // cells to be written
}

func newDir() *node {
	return &node{dir: true, names: map[string]*node{}, stableNames: map[string]*node{}, pending: map[string][]*node{}}
}

func newFile() *node {
	return &node{cells: map[int64]*cell{}, dirty: map[int64]struct{}{}}
}

// set gives a name to child, or takes it away where child is nil.
func (n *node) set(name string, child *node) {
	versions, changed := n.pending[name]
	if changed {
		versions = append(versions, n.names[name])
	}
	n.pending[name] = versions
	if child == nil {
		n.names[name].linked = false
		delete(n.names, name)
		return
	}
	child.linked = true
	n.names[name] = child
}

// syncNames makes the names stable.
func (n *node) syncNames() {
	for name := range n.pending {
		if child := n.names[name]; child != nil {
			n.stableNames[name] = child
		} else {
			delete(n.stableNames, name)
		}
	}
	clear(n.pending)
}

// read copies what processes see at off, at most up to the size.
func (n *node) read(off int64, p []byte) int {
	if off >= n.size {
		return 0
	}
	p = p[:min(int64(len(p)), n.size-off)]
	for done := 0; done < len(p); {
		i, in := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		from := &zeros
		if c := n.cells[i]; c != nil && c.cur != nil {
			from = c.cur
		}
		done += copy(p[done:], from[in:])
	}
	return len(p)
}

// put replaces part of one page, which has a cell.
func (n *node) put(i int64, in int, p []byte) {
	c := n.cells[i]
	if _, dirty := n.dirty[i]; dirty {
		c.remember(c.cur)
	}
	n.dirty[i] = struct{}{}
	c.cur = c.cur.with(in, p)
}

func (c *cell) remember(p *page) {
	if len(c.older) == maxVersions {
		c.older = slices.Delete(c.older, maxVersions/2, maxVersions/2+1)
	}
	c.older = append(c.older, p)
}

// with returns the page with p at offset in.
func (pg *page) with(in int, p []byte) *page {
	if pg == nil && bytes.Equal(p, zeros[:len(p)]) {
		return nil
	}
	next := new(page)
	if pg != nil {
		*next = *pg
	}
	copy(next[in:], p)
	return next
}

// bytes returns the page's content, not to be changed.
func (pg *page) bytes() []byte {
	if pg == nil {
		return zeros[:]
	}
	return pg[:]
}

// clip returns the page with zeros from n on.
func (pg *page) clip(n int64) *page {
	if pg == nil || n >= pageSize {
		return pg
	}
	next := new(page)
	copy(next[:n], pg[:n])
	return next
}

// write brings the page to the disk.
func (c *cell) write() {
	c.stable, c.older, c.onDisk = c.cur, nil, true
}

func sortedKeys[K int64 | uint64 | string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

package faultfs

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// inode is what a host has cached of a file. Guarded by the share's lock.
type inode struct {
	id      uint64
	dir     bool
	handles int
	// Attributes, as last fetched or as the host's own writes made them, and
	// until when they are believed.
	size  int64
	seen  stamp
	until time.Duration
	pages map[int64]*page // nil is a page of zeros
	dirty map[int64]*span
	// err is that of a write that failed since the last sync.
	err error
	// silly is the name that the file has since it was removed here while open.
	silly    string
	sillyDir uint64
}

// stamp is how a client tells that a file has changed.
type stamp struct {
	change uint64
	size   int64
}

func (n *node) stamp() stamp { return stamp{n.change, n.size} }

// span is the part of a page that the server does not have for good.
type span struct {
	from, to int
	sent     bool
	boot     uint64 // of the server that it was sent to
}

func (c *client) inode(n *node) *inode {
	ino := c.files[n.id]
	if ino == nil {
		ino = &inode{id: n.id, dir: n.dir, pages: map[int64]*page{}, dirty: map[int64]*span{}}
		c.files[n.id] = ino
	}
	return ino
}

// revalidate asks the server whether the file has changed, if that was not done
// recently or force is set, and drops what is cached if so.
func (c *client) revalidate(ino *inode, force bool) error {
	now := c.share.opts.Now()
	if !force && now < ino.until {
		return nil
	}
	n, err := c.share.get(ino.id)
	if err != nil {
		return err
	}
	if ino.seen != n.stamp() {
		for i := range ino.pages {
			if ino.dirty[i] == nil {
				delete(ino.pages, i)
			}
		}
		ino.seen, ino.size = n.stamp(), n.size
		for i, s := range ino.dirty {
			ino.size = max(ino.size, i*pageSize+int64(s.to))
		}
	}
	ino.until = now + c.life()
	return nil
}

// page returns a page from the cache, or else from the server as it is now.
func (c *client) page(ino *inode, i int64) (*page, error) {
	p, known := ino.pages[i]
	if known && (ino.dirty[i] != nil || !c.chance(16)) {
		return p, nil
	}
	n, err := c.share.get(ino.id)
	if err != nil {
		return nil, err
	}
	p = nil
	if cell := n.cells[i]; cell != nil {
		p = cell.cur
	}
	ino.pages[i] = p
	return p, nil
}

// read copies what the host believes to stand at off.
func (c *client) read(ino *inode, off int64, p []byte) (int, error) {
	if err := c.revalidate(ino, false); err != nil {
		return 0, err
	}
	if off >= ino.size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), ino.size-off)]
	for done := 0; done < len(p); {
		at := off + int64(done)
		pg, err := c.page(ino, at/pageSize)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], pg.bytes()[at%pageSize:])
	}
	return len(p), nil
}

// write changes the cached pages, which are then dirty.
func (c *client) write(ino *inode, off int64, p []byte) (int, error) {
	for done := 0; done < len(p); {
		at := off + int64(done)
		i, in := at/pageSize, int(at%pageSize)
		k := min(len(p)-done, pageSize-in)
		var pg *page
		if k < pageSize && i*pageSize < ino.size {
			var err error
			if pg, err = c.page(ino, i); err != nil {
				return done, err
			}
		}
		ino.pages[i] = pg.with(in, p[done:done+k])
		s := ino.dirty[i]
		if s == nil {
			s = &span{from: in, to: in + k}
			ino.dirty[i] = s
		}
		s.from, s.to, s.sent = min(s.from, in), max(s.to, in+k), false
		done += k
		ino.size = max(ino.size, off+int64(done))
	}
	return len(p), nil
}

// send has the server take a dirty page: the part that was written or, where
// the client prefers whole pages, all that it has of it. A page that the server
// does not take is lost, and the next sync says so.
func (c *client) send(ino *inode, i int64) {
	s := ino.dirty[i]
	if s.sent && s.boot == c.share.boots {
		return
	}
	n, err := c.share.get(ino.id)
	if err == nil {
		before := n.stamp()
		from, to := s.from, s.to
		if c.chance(4) {
			from, to = 0, int(min(pageSize, max(ino.size-i*pageSize, int64(to))))
		}
		err = c.share.write(n, i*pageSize+int64(from), ino.pages[i].bytes()[from:to])
		if before == ino.seen { // else somebody else has written, and it stays noticeable
			ino.seen = n.stamp()
		}
	}
	if err == nil {
		s.sent, s.boot = true, c.share.boots
		return
	}
	ino.err = err
	delete(ino.dirty, i)
	if !c.chance(2) {
		delete(ino.pages, i)
	}
}

// flush sends all that is dirty, in any order.
func (c *client) flush(ino *inode) {
	pages := sortedKeys(ino.dirty)
	if !c.share.opts.Calm {
		c.rng.Shuffle(len(pages), func(a, b int) { pages[a], pages[b] = pages[b], pages[a] })
	}
	for _, i := range pages {
		c.send(ino, i)
	}
}

// sync has the server make stable all that was written here.
func (c *client) sync(ino *inode) error {
	c.flush(ino)
	return c.settle(ino, true)
}

// settle reports what went wrong since the last sync, once, and has the server
// commit the rest.
func (c *client) settle(ino *inode, commit bool) error {
	err, sent := ino.err, len(ino.dirty) > 0
	ino.err = nil
	clear(ino.dirty)
	if err != nil || !sent || !commit {
		return err
	}
	n, err := c.share.get(ino.id)
	if err != nil {
		return err
	}
	return c.share.commit(n)
}

// failSync leaves a file as a failed Datasync does.
func (c *client) failSync(ino *inode, after Pages, rng *rand.Rand) {
	if after == PagesAny {
		after = PagesDirty + Pages(rng.IntN(3))
	}
	for _, i := range sortedKeys(ino.dirty) {
		if rng.IntN(2) == 0 {
			c.send(ino, i)
		}
		if after != PagesDirty {
			delete(ino.dirty, i)
		}
		if after == PagesDropped {
			delete(ino.pages, i)
		}
	}
}

// opened counts a handle.
func (c *client) opened(ino *inode) {
	ino.handles++
	if n := c.share.nodes[ino.id]; n != nil && c.share.opts.SMB {
		n.opens++
	}
}

// closed is opened's end. What was written is sent, so that the next to open
// the file sees it, and on NFS committed. A file that was removed while it was
// open goes with its last handle.
func (c *client) closed(ino *inode, wrote bool) error {
	var err error
	if wrote {
		commit := !c.share.opts.SMB
		if c.chance(2) {
			commit = false
		}
		c.flush(ino)
		err = c.settle(ino, commit)
	}
	ino.handles--
	n := c.share.nodes[ino.id]
	if n != nil && c.share.opts.SMB {
		c.share.left(n, 1)
	}
	if ino.handles == 0 && ino.silly != "" {
		if dir := c.share.nodes[ino.sillyDir]; dir != nil {
			before := dir.change
			if c.share.remove(dir, ino.silly) == nil {
				c.changed(dir, before, ino.silly, dentry{})
			}
		}
		delete(c.files, ino.id)
	}
	return err
}

// remove removes a name. A file that this host has open is renamed instead,
// where the server knows of no opens.
func (c *client) remove(dir *node, last string) error {
	before := dir.change
	child := dir.names[last]
	if child == nil || child.dir || c.share.opts.SMB || c.files[child.id] == nil || c.files[child.id].handles == 0 {
		err := c.share.remove(dir, last)
		if err == nil {
			if c.share.nodes[child.id] == nil {
				delete(c.files, child.id)
			}
			c.changed(dir, before, last, dentry{})
		}
		return err
	}
	ino := c.files[child.id]
	ino.silly, ino.sillyDir = fmt.Sprintf(".nfs%016x", child.id), dir.id
	c.share.move(dir, last, ino.silly)
	c.changed(dir, before, last, dentry{})
	c.changed(dir, dir.change, ino.silly, dentry{child.id, false})
	return nil
}

package faultfs

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

// client is a host's side of a share: its caches. All of it is guarded by the
// share's lock.
type client struct {
	share *Share
	name  string
	rng   *rand.Rand
	dead  bool
	procs []*Host
	dirs  map[uint64]*directory
	files map[uint64]*inode
}

// directory is what is cached of one: valid until a time, as it was when its
// attributes were last fetched, but for names looked up since.
type directory struct {
	change  uint64
	until   time.Duration
	entries map[string]dentry
	listing []listed // in order of names
	whole   bool     // there is a listing
}

// listed is an entry of a cached listing.
type listed struct {
	info
	id uint64
}

// dentry is the result of looking a name up; the id 0 says that it is missing.
type dentry struct {
	id  uint64
	dir bool
}

// life is how long what was fetched now is taken for true.
func (c *client) life() time.Duration {
	o := c.share.opts
	return o.AttrMin + time.Duration(c.rng.Int64N(int64(o.AttrMax-o.AttrMin)+1))
}

// chance is true once in n times; never where nothing is left to chance.
func (c *client) chance(n int) bool { return !c.share.opts.Calm && c.rng.IntN(n) == 0 }

// cached returns what is known of a directory, fetching its attributes if they
// have expired. Names survive that if the directory has not changed.
func (c *client) cached(id uint64) (*directory, error) {
	d, now := c.dirs[id], c.share.opts.Now()
	if d != nil && now < d.until {
		return d, nil
	}
	n, err := c.share.get(id)
	if err != nil {
		delete(c.dirs, id)
		return nil, err
	}
	if d == nil || d.change != n.change {
		d = &directory{change: n.change, entries: map[string]dentry{}}
		c.dirs[id] = d
	}
	d.until = now + c.life()
	return d, nil
}

// lookup finds a name, in the cache unless fresh.
func (c *client) lookup(dir uint64, name string, fresh bool) (dentry, error) {
	d, err := c.cached(dir)
	if err != nil {
		return dentry{}, err
	}
	if e, known := d.entries[name]; known && !fresh && c.trusts(e) {
		return e, nil
	}
	n, err := c.share.get(dir)
	if err != nil {
		return dentry{}, err
	}
	e := dentry{}
	if child := n.names[name]; child != nil {
		e = dentry{child.id, child.dir}
	}
	d.entries[name] = e
	return e, nil
}

func (c *client) trusts(e dentry) bool {
	switch c.share.opts.LookupCache {
	case LookupNone:
		return false
	case LookupPos:
		return e.id != 0
	default:
		return true
	}
}

// walk finds what a path names.
func (c *client) walk(elems []string, fresh bool) (dentry, error) {
	at := dentry{rootID, true}
	for _, name := range elems {
		switch {
		case !at.dir:
			return at, syscall.ENOTDIR
		case len(name) > 255:
			return at, syscall.ENAMETOOLONG
		}
		var err error
		if at, err = c.lookup(at.id, name, fresh); err != nil {
			return at, err
		}
		if at.id == 0 {
			return at, syscall.ENOENT
		}
	}
	return at, nil
}

// resolve is walk for a whole path.
func (c *client) resolve(name string, fresh bool) (dentry, error) {
	return c.walk(elements(name), fresh)
}

// parent finds the directory of a path's last element, on the server.
func (c *client) parent(name string, fresh bool) (*node, string, error) {
	elems := elements(name)
	if len(elems) == 0 {
		return nil, "", syscall.EEXIST
	}
	last := elems[len(elems)-1]
	at, err := c.walk(elems[:len(elems)-1], fresh)
	switch {
	case err != nil:
		return nil, "", err
	case !at.dir:
		return nil, "", syscall.ENOTDIR
	case len(last) > 255:
		return nil, "", syscall.ENAMETOOLONG
	}
	dir, err := c.share.get(at.id)
	return dir, last, err
}

// retried does what needs a path: where the cached one is stale, once more
// without the cache, as the kernel does.
func retried(act func(fresh bool) error) error {
	err := act(false)
	if errors.Is(err, syscall.ESTALE) {
		err = act(true)
	}
	return err
}

// changed records the host's own change of a directory. The server tells what
// the directory was like before: where somebody else has changed it as well,
// the cache is dropped, or goes on being believed, by the seed.
func (c *client) changed(dir *node, before uint64, name string, now dentry) {
	d := c.kept(dir, before)
	if d == nil {
		return
	}
	d.entries[name] = now
	if !d.whole {
		return
	}
	d.listing = slices.DeleteFunc(d.listing, func(e listed) bool { return e.name == name })
	if now.id != 0 {
		d.listing = append(d.listing, listed{info{name, now.dir, 0}, now.id})
		slices.SortFunc(d.listing, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	}
}

// kept is what the host goes on believing of a directory that it has changed
// itself; nil for nothing.
func (c *client) kept(dir *node, before uint64) *directory {
	d := c.dirs[dir.id]
	switch {
	case d == nil:
		return nil
	case d.change == before:
		d.change = dir.change
	case !c.chance(2):
		delete(c.dirs, dir.id)
		return nil
	}
	return d
}

// touch changes a directory's time of change and nothing else. What the host
// itself has cached of it may stay.
func (c *client) touch(id uint64) error {
	n, err := c.share.get(id)
	if err != nil {
		return err
	}
	before := n.change
	c.share.touch(n)
	c.kept(n, before)
	return nil
}

// list returns the names in a directory.
func (c *client) list(id uint64) ([]fs.DirEntry, error) {
	d, err := c.cached(id)
	if err != nil {
		return nil, err
	}
	if !d.whole || c.share.opts.LookupCache == LookupNone {
		n, err := c.share.get(id)
		if err != nil {
			return nil, err
		}
		d.listing = nil
		for _, name := range sortedKeys(n.names) {
			child := n.names[name]
			d.listing = append(d.listing, listed{info{name, child.dir, child.size}, child.id})
		}
		d.whole = true
	}
	var entries []fs.DirEntry
	for _, e := range d.listing {
		if ino := c.files[e.id]; ino != nil {
			e.size = ino.size
		}
		entries = append(entries, fs.FileInfoToDirEntry(e.info))
	}
	return entries, nil
}

// stir has the kernels do what they may at any time: write some of what is
// dirty, in any order.
func (s *Share) stir() {
	s.expire()
	for _, c := range s.clients {
		if c.dead || !c.chance(4) {
			continue
		}
		for _, id := range sortedKeys(c.files) {
			ino := c.files[id]
			for _, i := range sortedKeys(ino.dirty) {
				if c.rng.IntN(3) == 0 {
					c.send(ino, i)
				}
			}
		}
	}
}

// crash loses the caches. Some of what was dirty had been sent.
func (c *client) crash() {
	if c.dead {
		return
	}
	c.dead = true
	mood := fate{rng: c.rng}.mood()
	opens := map[uint64]int{}
	for _, id := range sortedKeys(c.files) {
		ino := c.files[id]
		opens[id] = ino.handles
		for _, i := range sortedKeys(ino.dirty) {
			if mood == keepAll || mood == eachAlone && c.rng.IntN(2) == 0 {
				c.send(ino, i)
			}
		}
	}
	if c.share.opts.SMB {
		c.share.gone = append(c.share.gone, lostSession{c.share.opts.Now() + c.share.opts.SessionTimeout, opens})
	}
	c.dirs, c.files = nil, nil
	for _, p := range c.procs {
		p.die()
	}
}

package faultfs

import (
	"math/rand/v2"
)

// Reboot crashes the machine, if it has not, and returns another one with what
// its disk holds after a power cut. What was not stable is there or not by the
// seed; each further Reboot of the same machine gives another such outcome.
// Capacity stays, faults do not.
func (f *FS) Reboot() *FS {
	defer f.lock()()
	f.die()
	f.reboots++
	fate := fate{rng: f.random(^f.reboots)}
	return boot(fate.rng.Uint64(), f.disk.cut(fate))
}

// RebootBare is Reboot with the outcome in which nothing has survived but what
// was stable.
func (f *FS) RebootBare() *FS {
	defer f.lock()()
	f.die()
	return boot(f.seed, f.disk.cut(fate{}))
}

// Restart crashes the machine, if it has not, and returns another one with all
// that the processes of the first saw: only they were killed. What was not
// stable is still not.
func (f *FS) Restart() *FS {
	defer f.lock()()
	f.die()
	f.reboots++
	return boot(f.random(^f.reboots).Uint64(), f.disk.clone())
}

// fate decides what of the unstable survives; without a source, nothing.
type fate struct{ rng *rand.Rand }

// mood is how kind a power cut is to one file or directory.
type mood int

const (
	loseAll mood = iota
	keepAll
	eachAlone
)

// mood makes the plain outcomes as frequent as the mixed ones.
func (f fate) mood() mood {
	if f.rng == nil {
		return loseAll
	}
	return [...]mood{loseAll, keepAll, eachAlone, eachAlone}[f.rng.IntN(4)]
}

// cut returns the disk as it is after a power cut.
func (d *disk) cut(f fate) *disk {
	return d.renew(d.root.cut(f))
}

// clone returns a copy of the disk with both its states.
func (d *disk) clone() *disk {
	return d.renew(d.root.clone(map[*node]*node{}))
}

func (d *disk) renew(root *node) *disk {
	root.linked = true
	return &disk{root: root, capacity: d.capacity, late: d.late, used: root.treeSpace()}
}

func (n *node) treeSpace() int64 {
	sum := n.space()
	for _, child := range n.names {
		sum += child.treeSpace()
	}
	return sum
}

func (n *node) cut(f fate) *node {
	if n.dir {
		return n.cutDir(f)
	}
	return n.cutFile(f)
}

func (n *node) cutDir(f fate) *node {
	out := newDir()
	out.id, out.change = n.id, n.change
	mood := f.mood()
	all := map[string]struct{}{}
	for name := range n.stableNames {
		all[name] = struct{}{}
	}
	for name := range n.pending {
		all[name] = struct{}{}
	}
	for _, name := range sortedKeys(all) {
		child := n.stableNames[name]
		if versions, changed := n.pending[name]; changed {
			child = pick(f, mood, child, versions, n.names[name])
		}
		if child != nil {
			survivor := child.cut(f)
			survivor.linked = true
			out.names[name], out.stableNames[name] = survivor, survivor
		}
	}
	return out
}

// pick chooses the state in which a thing survives.
func pick[T any](f fate, m mood, stable T, between []T, current T) T {
	switch m {
	case loseAll:
		return stable
	case keepAll:
		return current
	default:
		i := f.rng.IntN(len(between) + 2)
		switch {
		case i == 0:
			return stable
		case i <= len(between):
			return between[i-1]
		default:
			return current
		}
	}
}

func (n *node) cutFile(f fate) *node {
	out := newFile()
	out.id, out.change = n.id, n.change
	mood := f.mood()
	out.size = n.cutSize(f, mood)
	out.stableSize = out.size
	for _, i := range sortedKeys(n.cells) {
		c := n.cells[i]
		survivor, onDisk := c.stable, c.onDisk
		if _, dirty := n.dirty[i]; dirty {
			survivor = c.cut(f, mood)
			onDisk = onDisk || mood != loseAll
		}
		if room := out.size - i*pageSize; onDisk && room > 0 {
			survivor = survivor.clip(room)
			out.cells[i] = &cell{cur: survivor, stable: survivor, room: true, onDisk: true}
		}
	}
	return out
}

// cutSize is the length that a file is left with.
func (n *node) cutSize(f fate, m mood) int64 {
	grown := n.size - n.stableSize
	if m != eachAlone || grown <= 0 {
		return pick(f, m, n.stableSize, nil, n.size)
	}
	switch size := n.stableSize + f.rng.Int64N(grown+1); f.rng.IntN(4) {
	case 0:
		return n.stableSize
	case 1:
		return n.size
	case 2:
		return max(n.stableSize, size/pageSize*pageSize)
	default:
		return size
	}
}

// cut is what the disk holds of a dirty page: one of its versions, or a
// mixture of them by sectors.
func (c *cell) cut(f fate, m mood) *page {
	if m != eachAlone || f.rng.IntN(2) == 0 {
		return pick(f, m, c.stable, c.older, c.cur)
	}
	torn := new(page)
	for at := 0; at < pageSize; at += sectorSize {
		from := pick(f, m, c.stable, c.older, c.cur)
		copy(torn[at:at+sectorSize], from.bytes()[at:])
	}
	return torn
}

// clone copies a node, its stable and its unsynced names included. The pages
// themselves never change and are shared. seen holds the copies made so far,
// since a name may lead to the same node in both states.
func (n *node) clone(seen map[*node]*node) *node {
	if n == nil {
		return nil
	}
	if out := seen[n]; out != nil {
		return out
	}
	if n.dir {
		return n.cloneDir(seen)
	}
	out := newFile()
	seen[n] = out
	out.linked, out.size, out.stableSize = n.linked, n.size, n.stableSize
	for i, c := range n.cells {
		copied := *c
		copied.older = append([]*page(nil), c.older...)
		out.cells[i] = &copied
	}
	for i := range n.dirty {
		out.dirty[i] = struct{}{}
	}
	return out
}

func (n *node) cloneDir(seen map[*node]*node) *node {
	out := newDir()
	seen[n] = out
	out.linked = n.linked
	for name, child := range n.names {
		out.names[name] = child.clone(seen)
	}
	for name, child := range n.stableNames {
		out.stableNames[name] = child.clone(seen)
	}
	for name, versions := range n.pending {
		copied := make([]*node, len(versions))
		for i, v := range versions {
			copied[i] = v.clone(seen)
		}
		out.pending[name] = copied
	}
	return out
}

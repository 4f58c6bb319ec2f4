package faultfs

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"
)

// ShareOptions are what a share and its mounts are like. The zero value is an
// NFS export with `sync`, mounted with the defaults of Linux. What each stands
// for, and where it is written, is in docs/design/share-model.md.
type ShareOptions struct {
	// Now is the clock that cache lifetimes are measured by; nil means the time
	// since NewShare, which in a testing/synctest bubble is the bubble's.
	Now func() time.Duration
	// AttrMin and AttrMax bound the lifetime of cached attributes, names and
	// listings: each lives for a time in between, by the seed. 0 means 3 and
	// 60 seconds.
	AttrMin, AttrMax time.Duration
	// LookupCache says which results of looking a name up are cached.
	LookupCache LookupCache
	// Granularity is the step of the server's change times: a file that is
	// changed twice within one looks unchanged to a client that saw the first.
	// 0 means a counter, as NFSv4's.
	Granularity time.Duration
	// SMB has files that any host has open refuse to be removed, SyncDir do
	// nothing, and close not commit.
	SMB bool
	// DeletePending has SMB take the removal of an open file and carry it out
	// once the last handle is closed. Until then the name is listed, keeps its
	// directory from being removed, and cannot be opened or used again.
	DeletePending bool
	// SessionTimeout is how long an SMB server keeps the opens of a host that
	// crashed. 0 means 60 seconds.
	SessionTimeout time.Duration
	// AsyncExport has the server answer before anything is stable, which voids
	// Datasync. It models a mistake of the operator's.
	AsyncExport bool
	// Calm has nothing happen that no call asks for: no page is written before
	// a sync or dropped from a cache, and no chance is taken where Linux takes
	// the better one. It is for tests of one thing.
	Calm bool
}

// LookupCache is the mount option lookupcache.
type LookupCache int

// Values of lookupcache.
const (
	LookupAll  LookupCache = iota // names found and names missing
	LookupPos                     // names found
	LookupNone                    // nothing
)

func (o ShareOptions) withDefaults() ShareOptions {
	if o.Now == nil {
		start := time.Now()
		o.Now = func() time.Duration { return time.Since(start) }
	}
	if o.AttrMax == 0 {
		o.AttrMin, o.AttrMax = 3*time.Second, 60*time.Second
	}
	if o.SessionTimeout == 0 {
		o.SessionTimeout = 60 * time.Second
	}
	return o
}

// Share is a server with a disk, used by hosts that have caches of their own.
// It is safe for concurrent use. Hosts know files by ids, as by file handles.
type Share struct {
	seed uint64
	opts ShareOptions
	disk *disk

	// Guarded by disk.mu.
	rng     *rand.Rand
	nodes   map[uint64]*node // by id; what is not here is ESTALE
	lastID  uint64
	boots   uint64 // a client sends again what an earlier boot may have lost
	clients []*client
	gone    []lostSession
	doomed  map[uint64]doom // by id
	history []moment
}

// rootID is the id of the root directory.
const rootID = 1

// NewShare returns an empty share of unlimited capacity. The root directory is
// "/".
func NewShare(seed uint64, opts ShareOptions) *Share {
	s := &Share{
		seed: seed, opts: opts.withDefaults(), disk: newDisk(), lastID: rootID,
		rng: rand.New(rand.NewPCG(seed, 0x5a)), nodes: map[uint64]*node{}, doomed: map[uint64]doom{},
	}
	s.disk.root.id = rootID
	s.nodes[rootID] = s.disk.root
	return s
}

// Host returns a process on the host of that name. Processes of one host share
// its caches. A host that has crashed is started anew, with empty ones.
func (s *Share) Host(name string) *Host {
	defer s.lock()()
	for _, c := range s.clients {
		if c.name == name && !c.dead {
			return c.process()
		}
	}
	c := &client{
		share: s, name: name, rng: rand.New(rand.NewPCG(s.rng.Uint64(), uint64(len(s.clients)))),
		dirs: map[uint64]*directory{}, files: map[uint64]*inode{},
	}
	s.clients = append(s.clients, c)
	return c.process()
}

// PowerCut cuts the server's power and starts it again. What it had said to be
// stable is there; of the rest any part, by the seed. Hosts go on: they send
// again what they had sent and not yet seen committed.
func (s *Share) PowerCut() {
	defer s.lock()()
	root := s.disk.root.cut(fate{rng: s.rng})
	root.linked = true
	s.disk.root, s.disk.used = root, root.treeSpace()
	s.boots++
	s.gone = nil
	clear(s.doomed)
	clear(s.nodes)
	s.index(root)
	if !s.opts.SMB {
		return
	}
	for _, c := range s.clients {
		for id, ino := range c.files {
			if n := s.nodes[id]; n != nil && !c.dead {
				n.opens = ino.handles
			}
		}
	}
}

func (s *Share) index(n *node) {
	n.change += 1 << 32 // whatever a client has cached, it is not this
	s.nodes[n.id] = n
	for _, name := range sortedKeys(n.names) {
		s.index(n.names[name])
	}
}

// View is the share as its server has it now, without caches. It is for
// looking: nothing may be changed through it.
func (s *Share) View() *FS { return boot(s.seed, s.disk) }

// SetCapacity sets the size of the server's disk in bytes, counted as
// FS.SetCapacity says. A host's writes succeed on a full disk; Datasync and
// Close then fail.
func (s *Share) SetCapacity(bytes int64) {
	defer s.lock()()
	s.disk.capacity = bytes
}

// Used returns the space taken, in bytes.
func (s *Share) Used() int64 {
	defer s.lock()()
	return s.disk.used
}

func (s *Share) lock() (unlock func()) {
	s.disk.mu.Lock()
	return s.disk.mu.Unlock
}

// moment is an operation of a process and when it began.
type moment struct {
	at    time.Duration
	host  *Host
	index int
}

// History writes the last operations of all hosts, one a line, in the order in
// which they began: at most n, or all where n is 0.
func (s *Share) History(n int) string {
	defer s.lock()()
	var b strings.Builder
	from := 0
	if n > 0 {
		from = max(0, len(s.history)-n)
	}
	for _, m := range s.history[from:] {
		fmt.Fprintf(&b, "%10.3fs %-12s %v\n", m.at.Seconds(), m.host.label, m.host.trace[m.index])
	}
	return b.String()
}

// What follows is the server. It is called with the lock held.

// get returns what an id stands for.
func (s *Share) get(id uint64) (*node, error) {
	n := s.nodes[id]
	if n == nil {
		return nil, syscall.ESTALE
	}
	return n, nil
}

// touch makes a change visible in the attributes.
func (s *Share) touch(n *node) {
	if s.opts.Granularity > 0 {
		n.change = n.change&^(1<<32-1) | uint64(s.opts.Now()/s.opts.Granularity+1)
		return
	}
	n.change++
}

// create gives a new node a name. The name is stable when it returns.
func (s *Share) create(dir *node, last string, child *node) error {
	if err := s.disk.link(dir, last, child); err != nil {
		return err
	}
	s.lastID++
	child.id = s.lastID
	s.nodes[child.id] = child
	s.touch(child)
	s.renamed(dir)
	return nil
}

// remove takes a name away, and with it what it names.
func (s *Share) remove(dir *node, last string) error {
	child := dir.names[last]
	if child != nil && len(child.names) == 0 && s.inUse(child) {
		return s.refuse(dir, last, child)
	}
	if err := s.disk.unlink(dir, last); err != nil {
		return err
	}
	delete(s.nodes, child.id)
	s.renamed(dir)
	return nil
}

// doom is where the name of a file stands that goes with its last handle.
type doom struct {
	dir  *node
	name string
}

// refuse is what an SMB server answers to the removal of an open file.
func (s *Share) refuse(dir *node, last string, child *node) error {
	switch _, doomed := s.doomed[child.id]; {
	case doomed:
		return syscall.ENOENT
	case !s.opts.DeletePending:
		return syscall.EBUSY
	}
	s.doomed[child.id] = doom{dir, last}
	s.touch(dir)
	return nil
}

// left is called when handles of a file were closed.
func (s *Share) left(n *node, handles int) {
	n.opens -= handles
	s.disk.release(n)
	if d, doomed := s.doomed[n.id]; doomed && n.opens == 0 {
		delete(s.doomed, n.id)
		_ = s.remove(d.dir, d.name) // it stands there and nobody has it open
	}
}

// move gives a file another name in its directory.
func (s *Share) move(dir *node, from, to string) {
	child := dir.names[from]
	dir.set(from, nil)
	dir.set(to, child)
	s.renamed(dir)
}

func (s *Share) renamed(dir *node) {
	s.touch(dir)
	if !s.opts.AsyncExport {
		dir.syncNames()
	}
}

func (s *Share) write(n *node, off int64, p []byte) error {
	_, err := s.disk.write(n, off, p)
	s.touch(n)
	return err
}

func (s *Share) commit(n *node) error {
	if s.opts.AsyncExport {
		return nil
	}
	return s.disk.sync(n)
}

// lostSession is what an SMB server still holds open for a crashed host.
type lostSession struct {
	until time.Duration
	opens map[uint64]int // handles by id
}

// inUse reports whether an SMB server has a file open for anybody.
func (s *Share) inUse(n *node) bool { return s.opts.SMB && n.opens > 0 }

// expire forgets the sessions of crashed hosts whose time is over.
func (s *Share) expire() {
	for len(s.gone) > 0 && s.opts.Now() >= s.gone[0].until {
		session := s.gone[0]
		s.gone = s.gone[1:]
		for _, id := range sortedKeys(session.opens) {
			if n := s.nodes[id]; n != nil {
				s.left(n, session.opens[id])
			}
		}
	}
}

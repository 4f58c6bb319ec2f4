package queue

import (
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// lane is what a process knows of a lane, its own or another's.
type lane struct {
	id    string
	info  laneInfo
	q     *Queue
	chain *chain // nil for lanes of other kinds than accepted messages
	// nameless says that its file "lane" is missing or damaged, unseen that it was
	// not found.
	nameless, unseen bool
	// living says that its writer, another process, was seen to renew its
	// heartbeat, which tells how much there is in the lane.
	living atomic.Bool
	// watched says that a goroutine watches its writer. Guarded by chain.mu.
	watched bool
	// own says that this process wrote it, and its committer keeps the index.
	own bool

	// sealed says that nothing will be appended. Guarded by chain.mu.
	sealed bool
	// ended is set once the lane has been read to its end; read is then the
	// last seq of those that could be read, which durable may exceed: a
	// forwarder never hears of what is behind it. Guarded by chain.mu.
	ended bool
	read  uint64

	// durable is the highest seq known to be on stable storage.
	durable atomic.Uint64
	// settled is the seq below which every message is forwarded or set aside,
	// as saved in the chain's progress.
	settled atomic.Uint64
	// shown is the same by another process's progress, which may not be on
	// stable storage: for showing, and nothing else.
	shown atomic.Uint64
	// appended is how many bytes of groups this process has written to the
	// lane and synced; 0 for lanes of others.
	appended atomic.Int64
	index    laneIndex
	// lastWritten caches when the last group was written. Owned by retainLoop.
	lastWritten time.Time
}

// settleEnd takes what was set aside at the end of the lane for settled once all
// before it is: without that a damaged last message would keep the lane for
// ever. Called with chain.mu held.
func (l *lane) settleEnd() {
	if l.ended && l.settled.Load() > l.read && l.settled.Load() <= l.durable.Load() {
		l.settled.Store(l.durable.Load() + 1)
	}
}

// done reports whether nothing is left to forward of a lane that was read to its
// end. Called with chain.mu held.
func (l *lane) done() bool { return l.ended && l.settled.Load() > l.durable.Load() }

// raise takes note that all up to seq is on stable storage.
func (l *lane) raise(seq uint64) {
	for {
		known := l.durable.Load()
		if seq <= known || l.durable.CompareAndSwap(known, seq) {
			return
		}
	}
}

// forwarded is the seq below which every message is known to be forwarded or
// set aside, saved or not.
func (l *lane) forwarded() uint64 {
	return max(l.settled.Load(), l.shown.Load(), l.q.deps.Forwarded(l.id))
}

// unforwarded is how many messages are durable and not known to be forwarded.
func (l *lane) unforwarded() uint64 {
	forwarded, durable := l.forwarded(), l.durable.Load()
	return max(durable+1, forwarded) - forwarded
}

// laneIndex finds the group that holds a seq without reading a lane from its
// start. It is sparse, and not stored: whoever writes or reads a lane adds to it.
type laneIndex struct {
	mu      sync.Mutex
	entries []indexEntry // guarded by mu; in order of seq
}

type indexEntry struct {
	seq     uint64 // first seq of the group
	segment uint64
	offset  int64
	written time.Time
	// before is how many bytes of groups stand before this one in the lane,
	// where this process wrote it.
	before int64
}

// indexStep is how far apart entries of one segment are, in bytes.
const indexStep = 256 << 10

func (x *laneIndex) add(e indexEntry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if n := len(x.entries); n > 0 {
		last := x.entries[n-1]
		if e.seq <= last.seq || e.segment == last.segment && e.offset-last.offset < indexStep {
			return
		}
	}
	x.entries = append(x.entries, e)
}

// find returns the entry nearest below or at seq.
func (x *laneIndex) find(seq uint64) (indexEntry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].seq > seq })
	if i == 0 {
		return indexEntry{}, false
	}
	return x.entries[i-1], true
}

// drop forgets the segments below one that were removed.
func (x *laneIndex) drop(segment uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i].segment >= segment })
	x.entries = append([]indexEntry(nil), x.entries[i:]...)
}

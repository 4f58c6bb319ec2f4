package queue

import (
	"bytes"
	"slices"
	"sync"

	"postroad/internal/message"
	"postroad/internal/wal"
)

// recentBytes is how much of what was committed last a process keeps in memory
// for its own forwarder, in bytes.
const recentBytes = 6 << 20

// recent hands over in memory what this process's committer has made durable, so
// that its forwarder need not read it back: the newest groups of its own lanes.
// Who asks for something older reads the files.
type recent struct {
	mu     sync.Mutex
	blocks []recentBlock // guarded by mu; in order, without gaps but between lanes
	bytes  int           // guarded by mu
}

// recentBlock is what one sync made durable.
type recentBlock struct {
	lane        string
	first, last uint64
	groups      []byte
}

// add takes the groups of one commit, which it copies. It drops the oldest where
// there are too many: a forwarder that far behind reads the files.
func (r *recent) add(lane string, first, last uint64, groups []byte) {
	if len(groups) > recentBytes/2 { // two of these would push out all others
		return
	}
	b := recentBlock{lane, first, last, bytes.Clone(groups)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks = append(r.blocks, b)
	r.bytes += len(b.groups)
	n := 0
	for r.bytes > recentBytes {
		r.bytes -= len(r.blocks[n].groups)
		n++
	}
	r.drop(n)
}

// drop forgets the oldest n blocks. Called with mu held.
func (r *recent) drop(n int) {
	if n > 0 {
		r.blocks = slices.Delete(r.blocks, 0, n)
	}
}

// take returns the blocks that begin with the group of a lane in which seq stands,
// and forgets them, and all before; nil where seq is not there.
func (r *recent) take(lane string, seq uint64) (taken []recentBlock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := slices.IndexFunc(r.blocks, func(b recentBlock) bool { return b.lane == lane && b.last >= seq })
	if from < 0 || r.blocks[from].first > seq {
		return nil
	}
	to := from
	for next := r.blocks[from].first; to < len(r.blocks) && r.blocks[to].lane == lane && r.blocks[to].first == next; to++ {
		next = r.blocks[to].last + 1
	}
	taken = slices.Clone(r.blocks[from:to])
	for i := range r.blocks[:to] {
		r.bytes -= len(r.blocks[i].groups)
	}
	r.drop(to)
	return taken
}

// fromMemory returns what this process's committer hands over from r.next on, or
// nothing. What it returns is behind no damage: it is what was written.
func (r *laneReader) fromMemory() []message.Stored {
	var stored []message.Stored
	for _, b := range r.chain.recent.take(r.lane.id, r.next) {
		groups, err := wal.Groups(b.groups)
		if err != nil {
			break // cannot be; the file tells
		}
		for i := range groups {
			g := &groups[i]
			msgs, err := g.Messages()
			if err != nil {
				return stored // written so; the file's reader sets it aside
			}
			stored = r.appendFrom(stored, g.First, msgs)
		}
	}
	return stored
}

// appendFrom adds the messages of a group from r.next on, and goes on behind them.
func (r *laneReader) appendFrom(stored []message.Stored, first uint64, msgs []message.Message) []message.Stored {
	for i, m := range msgs {
		seq := first + uint64(i)
		if seq >= r.next { // a claim may begin in the middle of a group
			stored = append(stored, message.StoredAt(message.Place{Lane: r.lane.id, Seq: seq}, m))
		}
	}
	last := first + uint64(len(msgs)) - 1
	r.next, r.read = last+1, last
	return stored
}

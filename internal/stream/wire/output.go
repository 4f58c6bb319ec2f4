package wire

import (
	"errors"

	"golang.org/x/sys/unix"
)

const (
	// maxJoin is how many bytes of small blocks are copied together for one write.
	maxJoin = 64 << 10
	// maxParts is how many blocks one writev takes.
	maxParts = 64
)

// output is what is written next to one connection: parts of its queue.
type output struct {
	parts  [][]byte
	joined []byte // what small blocks are copied into
}

// clear lets go of the blocks.
func (o *output) clear() {
	clear(o.parts)
	o.parts = o.parts[:0]
}

// take fills o with what is to be written next and holds those entries in the
// queue. It returns false where nothing may be written now; nobody writes then.
// Small blocks are copied into one where join is set.
func (c *Conn) take(o *output, join bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := len(c.queue)
	if c.merging {
		end = c.mergeFrom
	}
	if end == 0 || c.over {
		c.activity = idle
		return false
	}
	if c.activity == listed {
		c.activity = writing
	}
	c.held = o.fill(c.queue[:end], c.sent, join)
	return true
}

// fill takes entries from the first on, of which sent bytes are out, and returns
// how many it took, at least one.
func (o *output) fill(queue []entry, sent int, join bool) int {
	first := queue[0].block.Bytes[sent:]
	if join && len(queue) > 1 && len(first)+queue[1].size() <= maxJoin {
		o.joined = append(o.joined[:0], first...)
		n := 1
		for ; n < len(queue) && len(o.joined)+queue[n].size() <= maxJoin; n++ {
			o.joined = append(o.joined, queue[n].block.Bytes...)
		}
		o.parts = append(o.parts[:0], o.joined)
		return n
	}
	o.parts = append(o.parts[:0], first)
	total := len(first)
	for n, e := range queue[1:] {
		if n+1 == maxParts || total >= maxFlush {
			return n + 1
		}
		o.parts = append(o.parts, e.block.Bytes)
		total += e.size()
	}
	return len(queue)
}

// writeParts writes as much as the socket takes without waiting.
func writeParts(fd int, parts [][]byte) result {
	want := 0
	for _, p := range parts {
		want += len(p)
	}
	for {
		var n int
		var err error
		if len(parts) == 1 {
			n, err = unix.Write(fd, parts[0])
		} else {
			n, err = unix.Writev(fd, parts)
		}
		switch {
		case err == nil:
			return result{n: n, again: n < want}
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return result{again: true}
		default:
			return result{err: err}
		}
	}
}

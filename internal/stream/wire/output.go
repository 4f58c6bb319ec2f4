package wire

import (
	"errors"
	"unsafe"

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
			n, err = send(fd, parts[0])
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

// maxRaw is up to how many bytes a write is too short to tell the scheduler of.
const maxRaw = 64 << 10

// send writes to a socket what it takes without waiting.
//
// The runtime prepares for each system call that it may block, and takes the
// processor away from one that is not back after 20 µs, which a write to a busy
// loopback often is not. This one never blocks, and a delivery costs a tenth less
// without that (BenchmarkFanout). Long ones go the usual way: a collection waits for
// those that the runtime does not know of.
func send(fd int, b []byte) (int, error) {
	if len(b) == 0 || len(b) > maxRaw {
		return unix.Write(fd, b)
	}
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)),
		unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

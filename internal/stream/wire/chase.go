package wire

import "sync"

// chase goes on with a connection whose socket takes no more, from a goroutine of
// its own, until nothing waits or the connection ends.
func (c *Conn) chase() {
	var out output
	var failure error
	err := c.raw.Write(func(fd uintptr) bool {
		for c.take(&out, false) {
			w := writeParts(int(fd), out.parts)
			c.shard.metrics.count(w)
			out.clear()
			if w.err != nil {
				failure = w.err
				return true
			}
			c.mu.Lock()
			c.written(w.n)
			c.mu.Unlock()
			if w.again {
				return false // until the socket takes more; nothing is held meanwhile
			}
		}
		return true
	})
	if err != nil || failure != nil {
		c.fail(CodeWriteError, reasonWriteFail)
	}
}

// streamJoin is how much is joined for one write to a connection that is no
// socket: what fits one record of TLS.
const streamJoin = 16 << 10

// streamPiece is the most that is written at once to one. How much of it the client
// took shows only when it has taken all: one that takes megabytes slowly would be
// held for one that takes nothing.
const streamPiece = 64 << 10

// streamBuffers are the buffers for that.
type streamBuffers struct{ pool sync.Pool }

func (b *streamBuffers) get() *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return p
	}
	p := make([]byte, 0, streamJoin)
	return &p
}

// chaseStream writes to a connection that is no plain socket, and so waits for
// its client, until nothing waits.
func (c *Conn) chaseStream() {
	buffer := c.shard.buffers.get()
	defer c.shard.buffers.pool.Put(buffer)
	var out output
	for c.take(&out, false) {
		n, err := c.writeStream(&out, buffer)
		c.shard.metrics.count(result{n: n, err: err})
		if err != nil {
			c.fail(CodeWriteError, reasonWriteFail)
			return
		}
		c.mu.Lock()
		c.written(n)
		c.mu.Unlock()
	}
}

// writeStream writes the first of out's parts, small ones joined.
func (c *Conn) writeStream(out *output, buffer *[]byte) (int, error) {
	defer out.clear()
	if len(out.parts) == 1 || len(out.parts[0])+len(out.parts[1]) > streamJoin {
		return c.nc.Write(out.parts[0][:min(len(out.parts[0]), streamPiece)])
	}
	b := (*buffer)[:0]
	for _, p := range out.parts {
		if len(b)+len(p) > streamJoin {
			break
		}
		b = append(b, p...)
	}
	return c.nc.Write(b)
}

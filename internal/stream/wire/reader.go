package wire

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"postroad/internal/stream/live"
)

const (
	// smallRead is the buffer that each connection has for as long as it lives:
	// enough for a pong and for most commands.
	smallRead = 128
	// bigRead is the size of the buffers that are lent while a message comes that
	// does not fit.
	bigRead = 4 << 10
)

// breachTimeout is how long a connection stays that is closed for a breach of the
// protocol: closing it at once would take the close frame from the client's buffer.
const breachTimeout = time.Second

// readBuffers are the buffers that are lent.
type readBuffers struct{ pool sync.Pool }

func (b *readBuffers) get() *[bigRead]byte {
	if p, ok := b.pool.Get().(*[bigRead]byte); ok {
		return p
	}
	return new([bigRead]byte)
}

// read takes what the client sends until the connection ends, which it then
// reports. Its goroutine is there for as long as the connection, so it must not
// grow its stack: what handlers do is done by workers.
func (w *Writers) read(c *Conn, early []byte) {
	defer w.readers.Done()
	deaf := !w.feed(c, early)
	var big *[bigRead]byte
	buf := c.small[:]
	for {
		n, err := c.nc.Read(buf)
		if n > 0 {
			c.heard.Store(c.shard.now.Load())
		}
		if n > 0 && !deaf {
			deaf = !w.feed(c, buf[:n])
		}
		if err != nil {
			c.fail(codeAbnormal, readFailure(err))
			break
		}
		switch midway := c.decoder.midway(); {
		case midway && big == nil:
			big = w.buffers.get()
			buf = big[:]
		case !midway && big != nil:
			w.buffers.pool.Put(big)
			big, buf = nil, c.small[:]
		}
	}
	if big != nil {
		w.buffers.pool.Put(big)
	}
	c.hangUp()
	c.shard.remove(c)
	w.workers.do(c, nil, true)
}

func readFailure(err error) string {
	if errors.Is(err, io.EOF) {
		return "the client is gone"
	}
	return "read error"
}

// feed decodes what was read. It returns false once nothing that follows counts.
func (w *Writers) feed(c *Conn, p []byte) bool {
	for len(p) > 0 {
		n, got, err := c.decoder.next(p)
		p = p[n:]
		if err == nil {
			err = w.dispatch(c, got)
		}
		var breach *protocolError
		if errors.As(err, &breach) {
			c.breach(breach)
			return false
		}
		if got.op == ws.OpClose {
			return false
		}
	}
	return true
}

func (w *Writers) dispatch(c *Conn, got received) error {
	switch got.op {
	case ws.OpText, ws.OpBinary:
		if !c.isEnding() {
			w.workers.do(c, got.payload, false)
		}
	case ws.OpPing:
		pong := appendControl(make([]byte, 0, 2+len(got.payload)), ws.OpPong, got.payload)
		c.enqueue(entry{block: &live.Block{Bytes: pong}})
	case ws.OpClose:
		code, reason, err := closeCode(got.payload)
		if err != nil {
			return err
		}
		c.goodbye(code, reason)
	}
	return nil
}

// breach ends a connection whose client does not keep to the protocol. What it
// says next cannot be understood, so there is no close frame of its to wait for,
// only the time in which ours arrives.
func (c *Conn) breach(e *protocolError) {
	c.mu.Lock()
	list := c.end(e.code, e.reason, true)
	c.watch(min(breachTimeout, c.shard.opts.CloseTimeout))
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// goodbye takes the client's close frame: it answers our own, or is answered.
func (c *Conn) goodbye(code uint16, reason string) {
	c.mu.Lock()
	c.answered = true
	list := false
	if c.ending {
		// Whatever still waits, the client has stopped to read.
		c.leave()
	} else {
		echo := code
		if echo == codeNoneGiven {
			echo = 0
		}
		list = c.end(echo, "", true)
		c.code, c.reason = code, reason
	}
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

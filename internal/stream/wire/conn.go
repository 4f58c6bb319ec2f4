package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"postroad/internal/stream/live"
)

// The codes of closing that this package gives by itself.
const (
	CodeShutdown    = 3001
	CodeSlow        = 3008
	CodeWriteError  = 3009
	CodeNoPong      = 3012
	codeProtocol    = 1002
	codeAbnormal    = 1006
	codeNotUTF8     = 1007
	codeTooBig      = 1009
	codeNoneGiven   = 1005
	reasonShutdown  = "shutdown"
	reasonSlow      = "slow"
	reasonNoPong    = "no pong"
	reasonWriteFail = "write error"
)

// errEnded is the cause of Conn.Context once the connection has ended.
var errEnded = errors.New("the connection has ended")

// entry is something that waits to be sent. Blocks of a subscription say which,
// so that they can be conflated.
type entry struct {
	source source // nil for what Send was given
	block  *live.Block
}

func (e entry) size() int { return len(e.block.Bytes) }

// activity is who writes to a connection now.
type activity uint8

const (
	idle    activity = iota // nobody: nothing waits, or what does is being merged
	listed                  // nobody yet: the shard will
	writing                 // the shard
	chasing                 // a goroutine of its own
)

// Conn is one WebSocket connection. Its methods are safe for concurrent use and
// never wait for the client.
type Conn struct {
	shard       *shard
	nc          net.Conn
	raw         syscall.RawConn // nil where bytes cannot go straight to a socket (TLS)
	subprotocol string
	binary      bool
	ping        *live.Block

	// busy is held while a method of handler runs; gone, which it guards, says
	// that Closed was called.
	busy    sync.Mutex
	handler Handler
	gone    bool

	// heard is the shard's step at which the client last sent a frame.
	heard atomic.Uint32

	mu sync.Mutex // guards all that follows
	// queue is what waits, the oldest first. Of the first entry, sent bytes are
	// out; the first held entries are being written now.
	queue      []entry
	few        [2]entry // the array behind a short queue
	sent, held int
	waiting    int // bytes in queue that are not out
	// Entries [mergeFrom, mergeTo) are being merged where merging. A queue is
	// merged again when mergeAt bytes wait.
	mergeFrom, mergeTo, mergeAt int
	merging                     bool
	activity                    activity
	watched                     bool // in the shard's list of those with a deadline
	crowded                     bool // more waits than may, until deadline
	pinging                     bool
	pinged                      uint32 // the step of the last ping; 0 before
	deadline                    uint32 // a step
	// stuck is the step at which something was seen to wait, of which nothing was
	// written since; 0 where there is no such.
	stuck uint32
	// ending: the close frame is queued, nothing follows it. answered: the
	// client's close frame came. over: nothing is written or read any more; polite
	// where both close frames went their way.
	ending, answered, over, polite bool
	code                           uint16
	reason                         string
	ctx                            context.Context
	cancel                         context.CancelCauseFunc

	slot, place int // in the shard's wheel, guarded by the shard's mu
	decoder     decoder
	small       [smallRead]byte // what a reader without work reads into
}

// Subprotocol is what was agreed on with the client; empty where nothing was.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Binary says whether messages of Send go out in binary frames.
func (c *Conn) Binary() bool { return c.binary }

// RemoteAddr is the client's address, or that of a proxy before it.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Context ends with the connection: for work that is done for its client. A
// connection whose context was never asked for has none, which saves memory.
func (c *Conn) Context() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		if c.ending || c.over {
			c.cancel(errEnded)
		}
	}
	return c.ctx
}

// StartPings makes the connection be pinged from now on, for the first time
// within Options.PingInterval.
func (c *Conn) StartPings() {
	c.mu.Lock()
	c.pinging = true
	c.mu.Unlock()
}

// Send queues one message. The bytes are copied.
func (c *Conn) Send(payload []byte) {
	frame := AppendFrame(make([]byte, 0, len(payload)+maxHeader), c.binary, payload)
	c.enqueue(entry{block: &live.Block{Bytes: frame}})
}

// Deliver queues a block, whose Bytes are whole frames (AppendFrame) and are
// shared, not copied. s says what they are of; nil where they must not be
// conflated.
func (c *Conn) Deliver(s *live.Subscription, b *live.Block) {
	if s == nil { // a nil pointer would be no nil source
		c.deliver(nil, b)
		return
	}
	c.deliver(s, b)
}

func (c *Conn) deliver(s source, b *live.Block) { c.enqueue(entry{source: s, block: b}) }

// Disconnect ends the connection: what is queued goes first, then a close frame
// with the code and the reason, all within Options.CloseTimeout. Later messages
// are dropped. Handler.Closed follows when the client has answered, or not in
// time. Only the first call counts.
func (c *Conn) Disconnect(code uint16, reason string) {
	c.mu.Lock()
	list := c.end(code, reason, false)
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

func (c *Conn) enqueue(e entry) {
	n := e.size()
	if n == 0 {
		return
	}
	c.mu.Lock()
	if c.ending {
		c.mu.Unlock()
		return
	}
	c.push(e)
	list := c.listable()
	if c.waiting > c.shard.opts.MaxQueuedBytes {
		list = c.crowd() || list
	}
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// push appends e to the queue. The caller holds mu.
func (c *Conn) push(e entry) {
	if c.queue == nil {
		c.queue = c.few[:0]
	}
	c.queue = append(c.queue, e)
	c.waiting += e.size()
	c.shard.pending.Add(int64(e.size()))
}

// listable says that the caller, who holds mu, shall hand the connection to the
// shard once it has let go of mu.
func (c *Conn) listable() bool {
	if c.activity != idle || len(c.queue) == 0 || (c.merging && c.mergeFrom == 0) || c.over {
		return false
	}
	c.activity = listed
	return true
}

// crowd deals with more waiting than may. The caller holds mu. It returns
// listable's answer where the connection is told to end.
func (c *Conn) crowd() bool {
	if c.waiting > c.shard.opts.MaxBurstBytes {
		return c.end(CodeSlow, reasonSlow, true)
	}
	c.consider()
	if !c.crowded {
		c.crowded = true
		c.watch(c.shard.opts.SlowFor)
	}
	return false
}

// end queues the close frame, after what waits, or instead of it where cut is
// set: without that, a client that is dropped since it does not read would have
// to read megabytes to learn why. The caller holds mu and hands the connection to
// the shard where end says so.
func (c *Conn) end(code uint16, reason string, cut bool) bool {
	if c.ending || c.over {
		return false
	}
	if cut {
		c.cut()
	}
	c.push(entry{block: &live.Block{Bytes: closeFrame(code, reason)}})
	c.ending, c.code, c.reason = true, code, reason
	c.watch(c.shard.opts.CloseTimeout)
	c.done()
	return c.listable()
}

// done ends the context, where there is one. The caller holds mu.
func (c *Conn) done() {
	if c.cancel != nil {
		c.cancel(errEnded)
	}
}

// cut drops what waits, except frames that are partly out or being written. The
// caller holds mu.
func (c *Conn) cut() {
	keep := c.held
	if keep == 0 && c.sent > 0 {
		keep = 1
	}
	dropped := 0
	for _, e := range c.queue[keep:] {
		dropped += e.size()
	}
	clear(c.queue[keep:])
	c.queue = c.queue[:keep]
	c.merging = false
	c.forget(dropped)
}

// forget takes n bytes off what waits. The caller holds mu.
func (c *Conn) forget(n int) {
	c.waiting -= n
	c.shard.pending.Add(-int64(n))
}

// written notes that n bytes of the held entries are out and nobody writes now,
// and frees the entries that are out entirely. The caller holds mu.
func (c *Conn) written(n int) {
	c.held = 0
	if c.over {
		return
	}
	if n > 0 {
		c.stuck = 0
	}
	c.forget(n)
	n += c.sent
	out := 0
	for out < len(c.queue) && n >= c.queue[out].size() {
		n -= c.queue[out].size()
		out++
	}
	c.sent = n
	clear(c.queue[:out])
	c.queue = c.queue[out:]
	c.mergeFrom, c.mergeTo = c.mergeFrom-out, c.mergeTo-out
	c.calm()
	if len(c.queue) == 0 {
		// Blocks that the queue grew out of few with are still named there: a quiet
		// connection would keep them in memory.
		c.queue, c.few = nil, [2]entry{}
		c.mergeAt = c.shard.opts.MaxQueuedBytes
		if c.ending && c.answered {
			c.leave()
		}
	}
}

// calm notes that no more waits than may. The caller holds mu.
func (c *Conn) calm() {
	if c.waiting <= c.shard.opts.MaxQueuedBytes {
		c.crowded = false
	}
}

// leave ends the connection in good order: both close frames are exchanged. The
// caller holds mu.
func (c *Conn) leave() {
	if !c.over {
		c.polite = true
		c.abort()
	}
}

// fail ends the connection at once. code and reason count where nothing else
// ended it before.
func (c *Conn) fail(code uint16, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		c.ending, c.code, c.reason = true, code, reason
	}
	c.abort()
}

// abort drops the queue for good and wakes whoever waits for the client, the
// reader among them, which closes the socket. It does not close it here: closing
// waits for those who use the socket, and they may wait for mu. The caller holds
// mu.
func (c *Conn) abort() {
	if c.over {
		return
	}
	c.over = true
	c.merging = false
	c.forget(c.waiting)
	c.few = [2]entry{}
	c.queue = nil
	c.done()
	_ = under(c.nc).SetDeadline(time.Unix(1, 0)) // it fails only where the socket is closed
}

// under is the connection below TLS: what is done to it waits for no client.
func under(nc net.Conn) net.Conn {
	if t, ok := nc.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return nc
}

// hangUp closes the socket. Only the reader calls it, at its end.
func (c *Conn) hangUp() {
	c.mu.Lock()
	nc := under(c.nc)
	if c.polite {
		nc = c.nc // TLS says goodbye, too
	}
	c.mu.Unlock()
	_ = nc.Close() // whatever it says, the connection is over
}

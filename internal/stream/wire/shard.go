package wire

import (
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// step is the grain of pings and deadlines.
	step = 250 * time.Millisecond
	// tickEvery is how often Handler.Tick is called, and it is looked who takes
	// nothing, in steps.
	tickEvery = int(5 * time.Second / step)
)

// shard writes to its share of the connections, from one goroutine.
//
// Lock order: Conn.mu, then shard.mu.
type shard struct {
	opts     Options
	patience uint32 // Options.patience in steps
	metrics  *metrics
	log      *slog.Logger
	buffers  streamBuffers

	pending, connections atomic.Int64
	// now counts the steps of the wheel; from 1, so that 0 is "never".
	now  atomic.Uint32
	wake chan struct{} // of one: connections are listed

	mu      sync.Mutex // guards the following
	dirty   []*Conn    // have something to send
	watched []*Conn    // have a deadline
	// wheel holds every connection in one slot. A hand moves one slot a step and
	// pings; another follows, and looks who has not answered.
	wheel [][]*Conn

	// Owned by the goroutine of run.
	last  time.Time // when the last flush began
	batch []*Conn   // reused
	round []*Conn   // reused
	out   output
	wrote result
	write func(fd uintptr) bool
}

// result is what a write to a socket came to.
type result struct {
	n     int
	again bool // the socket takes no more now
	err   error
}

func newShard(opts Options, m *metrics, log *slog.Logger) *shard {
	s := &shard{
		opts: opts, patience: uint32(opts.patience() / step), metrics: m, log: log,
		wake: make(chan struct{}, 1), wheel: make([][]*Conn, opts.PingInterval/step),
	}
	s.now.Store(1)
	s.write = func(fd uintptr) bool {
		s.wrote = writeParts(int(fd), s.out.parts)
		return true // never wait here
	}
	return s
}

func (s *shard) add(c *Conn) {
	c.heard.Store(s.now.Load())
	s.mu.Lock()
	defer s.mu.Unlock()
	// Any slot: where thousands connect at once, their pings are spread.
	c.slot = rand.IntN(len(s.wheel))
	c.place = len(s.wheel[c.slot])
	s.wheel[c.slot] = append(s.wheel[c.slot], c)
	s.connections.Add(1)
}

func (s *shard) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	slot := s.wheel[c.slot]
	last := len(slot) - 1
	slot[c.place] = slot[last]
	slot[c.place].place = c.place
	slot[last] = nil
	s.wheel[c.slot] = slot[:last]
	s.connections.Add(-1)
}

func (s *shard) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*Conn
	for _, slot := range s.wheel {
		all = append(all, slot...)
	}
	return all
}

// list has the connection written to soon. Its activity is listed.
func (s *shard) list(c *Conn) {
	s.mu.Lock()
	first := len(s.dirty) == 0
	s.dirty = append(s.dirty, c)
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// watch sets the connection's deadline. The caller holds its mu.
func (c *Conn) watch(d time.Duration) {
	s := c.shard
	c.deadline = s.now.Load() + uint32(d/step) + 1
	if c.watched {
		return
	}
	c.watched = true
	s.mu.Lock()
	s.watched = append(s.watched, c)
	s.mu.Unlock()
}

func (s *shard) run(stop <-chan struct{}) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	delay := time.NewTimer(time.Hour)
	defer delay.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-ticker.C:
			s.turn(now)
		case <-s.wake:
			s.gather(delay, stop)
			s.flushAll()
		}
	}
}

// gather waits, so that what comes together goes out together: after a pause until
// nobody adds to the list any more, else until WriteDelay after the last flush began.
func (s *shard) gather(delay *time.Timer, stop <-chan struct{}) {
	began := time.Now()
	defer func() { s.last = time.Now() }()
	rest := s.opts.WriteDelay - began.Sub(s.last)
	if rest > 0 {
		delay.Reset(rest)
		select {
		case <-delay.C:
		case <-stop:
		}
		return
	}
	// Without this the first connection of a thousand that are sent the same would
	// be written to alone, and the others would wait for WriteDelay.
	for listed := 0; time.Since(began) < s.opts.WriteDelay; {
		runtime.Gosched()
		s.mu.Lock()
		n := len(s.dirty)
		s.mu.Unlock()
		if n == listed {
			return
		}
		listed = n
	}
}

func (s *shard) flushAll() {
	s.mu.Lock()
	s.batch, s.dirty = s.dirty, s.batch[:0]
	s.mu.Unlock()
	for _, c := range s.batch {
		s.flush(c)
	}
	clear(s.batch) // or closed connections would stay in memory
	if cap(s.batch) > maxBatchKept && len(s.batch) < cap(s.batch)/8 {
		s.batch = nil
	}
}

// maxBatchKept is the length up to which lists are kept when they are hardly used.
const maxBatchKept = 1024

// maxFlush is how many bytes a connection may be written before it is another's
// turn.
const maxFlush = 1 << 20

// flush writes what waits for a connection, as far as the socket takes it.
func (s *shard) flush(c *Conn) {
	if c.raw == nil {
		c.mu.Lock()
		c.activity = chasing
		c.mu.Unlock()
		go c.chaseStream()
		return
	}
	for done := 0; ; {
		if !c.take(&s.out, true) {
			return
		}
		if err := c.raw.Write(s.write); err != nil {
			s.wrote = result{err: err}
		}
		s.metrics.count(s.wrote)
		s.out.clear()
		if s.wrote.err != nil {
			c.fail(CodeWriteError, reasonWriteFail)
			return
		}
		done += s.wrote.n
		if s.flushed(c, done >= maxFlush) {
			return
		}
	}
}

// flushed notes what was written and says whether that is all for now: the queue
// is empty, or a goroutine goes on, or it is another connection's turn.
func (s *shard) flushed(c *Conn, enough bool) bool {
	c.mu.Lock()
	c.written(s.wrote.n)
	chase, list := false, false
	switch {
	case c.over:
	case s.wrote.again:
		c.activity, chase = chasing, true
		c.consider()
	case enough:
		c.activity = idle
		list = c.listable()
	}
	c.mu.Unlock()
	if chase {
		s.metrics.chases.Inc()
		go c.chase()
	}
	if list {
		s.list(c)
	}
	return chase || enough
}

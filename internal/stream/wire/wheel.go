package wire

import "time"

// turn moves the hands of the wheel by one step. It is called once a step, and
// less often where the machine is too busy for that: the wheel is late then, so
// that clients have their time to answer all the same.
func (s *shard) turn(now time.Time) {
	at := s.now.Add(1)
	slots := len(s.wheel)
	hand := int(at) % slots
	pong := int(s.opts.PongTimeout / step)
	s.each(hand, func(c *Conn) { c.sendPing(at) })
	s.each((hand-pong+slots)%slots, func(c *Conn) { c.checkPong(at, uint32(pong)) })
	for i := hand % tickEvery; i < slots; i += tickEvery {
		s.each(i, func(c *Conn) { c.checkTaken(at); c.tick(now) })
	}
	s.deadlines(at)
}

// each calls fn for the connections of a slot.
func (s *shard) each(slot int, fn func(*Conn)) {
	s.mu.Lock()
	s.round = append(s.round[:0], s.wheel[slot]...)
	s.mu.Unlock()
	for _, c := range s.round {
		fn(c)
	}
	clear(s.round)
}

func (c *Conn) sendPing(at uint32) {
	c.mu.Lock()
	if !c.pinging || c.ending || c.over {
		c.mu.Unlock()
		return
	}
	c.pinged = at
	c.push(entry{block: c.ping})
	list := c.listable()
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// checkPong ends a connection that was pinged and has been silent since. Without
// it a client that lost its network would be written to until its queue is full.
func (c *Conn) checkPong(at, timeout uint32) {
	c.mu.Lock()
	late := c.pinged != 0 && at-c.pinged >= timeout && int32(c.heard.Load()-c.pinged) < 0
	list := late && c.end(CodeNoPong, reasonNoPong, true)
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// checkTaken ends a connection of which something waits and nothing was written
// for Options.patience, however little it is. Without it a client that reads
// nothing and sends a frame now and then, which answers every ping, could hold as
// much as may wait for as long as it likes, and a few hundred of them all that the
// node has room for.
func (c *Conn) checkTaken(at uint32) {
	c.mu.Lock()
	list := false
	switch {
	case c.ending || c.over || len(c.queue) == 0:
		c.stuck = 0
	case c.stuck == 0:
		c.stuck = at
	case at-c.stuck >= c.shard.patience:
		list = c.end(CodeSlow, reasonSlow, true)
	}
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// tick lets the protocol look at the time, unless it is busy with a message.
func (c *Conn) tick(now time.Time) {
	if !c.busy.TryLock() {
		return
	}
	defer c.busy.Unlock()
	if !c.gone && !c.isEnding() {
		c.handler.Tick(now)
	}
}

func (c *Conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// deadlines looks at the connections that have one.
func (s *shard) deadlines(at uint32) {
	s.mu.Lock()
	due := s.watched
	s.watched = nil
	s.mu.Unlock()
	kept := due[:0]
	for _, c := range due {
		if c.attend(at) {
			kept = append(kept, c)
		}
	}
	clear(due[len(kept):])
	s.mu.Lock()
	s.watched = append(kept, s.watched...)
	s.mu.Unlock()
}

// attend does what a connection's deadline asks for, and says whether it is still
// to be watched.
func (c *Conn) attend(at uint32) bool {
	c.mu.Lock()
	due := int32(at-c.deadline) >= 0
	list := false
	switch {
	case c.over || (!c.ending && !c.crowded):
		c.watched = false
	case c.ending && due:
		c.watched = false
		c.abort()
	case c.ending:
	case due:
		list = c.end(CodeSlow, reasonSlow, true)
	default:
		c.conflate()
	}
	watched := c.watched
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
	return watched
}

package wire

import (
	"slices"

	"postroad/internal/stream/live"
)

// source is a subscription, as far as conflation needs it.
type source interface {
	// Conflates says whether its topic allows it.
	Conflates() bool
	// Merge makes one block of several of one partition: of all their records the
	// newest of each key. It returns nil where it cannot.
	Merge(blocks []*live.Block) *live.Block
}

// consider conflates where so much waits that it is due: always at twice of what
// was left the last time, so that its cost stays in proportion to what comes. The
// caller holds mu.
func (c *Conn) consider() {
	if c.waiting > c.mergeAt {
		c.conflate()
	}
}

// conflate begins to merge what waits for a slow client, from a goroutine of its
// own: encoding takes its time, and the caller may hold locks that all
// subscribers wait for. Only a connection whose socket takes no more is slow; one
// that the shard is about to write to is not. The caller holds mu.
func (c *Conn) conflate() {
	from := c.held
	if from == 0 && c.sent > 0 {
		from = 1
	}
	if c.merging || c.ending || c.over || c.activity != chasing || len(c.queue)-from < 1 {
		return
	}
	c.merging, c.mergeFrom, c.mergeTo = true, from, len(c.queue)
	go c.merge(slices.Clone(c.queue[from:]))
}

// merge puts what conflated makes of entries in their place.
func (c *Conn) merge(entries []entry) {
	entries, gone := conflated(entries)
	c.mu.Lock()
	if !c.merging { // cut off, or over
		c.mu.Unlock()
		return
	}
	c.merging = false
	if gone > 0 {
		before := 0
		for _, e := range c.queue[c.mergeFrom:c.mergeTo] {
			before += e.size()
		}
		for _, e := range entries {
			before -= e.size()
		}
		c.queue = slices.Concat(c.queue[:c.mergeFrom], entries, c.queue[c.mergeTo:])
		c.forget(before)
		c.shard.metrics.conflated.Add(float64(gone))
	}
	c.mergeAt = max(c.shard.opts.MaxQueuedBytes, 2*c.waiting)
	c.calm()
	list := c.listable()
	c.mu.Unlock()
	if list {
		c.shard.list(c)
	}
}

// lane is what keeps its order: what a subscription is sent of one partition.
type lane struct {
	source    source
	partition int32
}

// conflated returns entries with each lane merged into one block, which stands
// where its newest stood, and how many records are gone. Entries without a
// subscription, and those of subscriptions that do not conflate, stay.
func conflated(entries []entry) (_ []entry, gone int) {
	lanes := make(map[lane][]*live.Block)
	for _, e := range entries {
		if e.source != nil && e.source.Conflates() {
			l := lane{e.source, e.block.Partition}
			lanes[l] = append(lanes[l], e.block)
		}
	}
	// A block may stand in lanes of several subscriptions (they share bytes), so
	// it counts together with its lane.
	type at struct {
		lane  lane
		block *live.Block
	}
	newest, old := make(map[at]*live.Block), make(map[at]bool)
	for l, blocks := range lanes {
		before := 0
		for _, b := range blocks {
			before += len(b.Records)
		}
		if before < 2 {
			continue
		}
		b := l.source.Merge(blocks)
		if b == nil || len(b.Records) >= before {
			continue
		}
		gone += before - len(b.Records)
		for _, o := range blocks {
			old[at{l, o}] = true
		}
		newest[at{l, blocks[len(blocks)-1]}] = b
	}
	if gone == 0 {
		return entries, 0
	}
	kept := entries[:0]
	for _, e := range entries {
		if e.source == nil {
			kept = append(kept, e)
			continue
		}
		k := at{lane{e.source, e.block.Partition}, e.block}
		if b, ok := newest[k]; ok {
			kept = append(kept, entry{e.source, b})
		} else if !old[k] {
			kept = append(kept, e)
		}
	}
	return kept, gone
}

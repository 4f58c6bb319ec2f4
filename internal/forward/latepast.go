package forward

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"postroad/internal/message"
)

// past is what is known of a partition's newest past: which messages stand there,
// whoever sent them, from a time on.
//
// Marked records are known up to next. The others are needed only for messages
// that are marked themselves, and they are many: where there is no room for all
// they are known up to near, and the oldest make room as the backlog gets on.
type past struct {
	topic     string
	partition int32

	mu   sync.Mutex
	gone bool      // guarded by mu, and all below: nobody asks any more
	from time.Time // from when on it was read
	// cutTo is the time before which the hub may have dropped records of after from.
	cutTo time.Time
	cut   bool  // it did, and cutTo is yet to be found out
	whole bool  // it was read to what was the end then
	next  int64 // all marked ones below are in marked
	// near is next, unless behind is set: all others below are in plain.
	near   int64
	behind bool
	short  bool // there was no room for all of what is being read for near
	unseen bool // more is written at its end than is read, see overtaken
	marked ids
	plain  ids
	// lostMarked and lostPlain: of what was produced before then, something was
	// forgotten for want of room.
	lostMarked, lostPlain time.Time
	runs                  []run // of what this process sent itself, at or above next
}

// run is of offsets. bare says that those of it without a mark are not in plain.
type run struct {
	from, to int64
	bare     bool
}

// maxRuns bounds the runs: more of them are read like what others sent.
const maxRuns = 1024

// saw takes in a record that was read, of the span up to next, or of one for near.
func (p *past) saw(c *message.Copy, forNear bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut {
		p.cut, p.cutTo = false, c.Produced
	}
	after := c.At.Offset + 1
	if forNear {
		// What comes behind one that was not kept is read again, in order.
		p.short = p.short || p.behind && !c.Repeat && !p.plain.add(c.ID, c.At.Offset, c.Produced)
		if !p.short {
			p.near = max(p.near, after)
		}
		return
	}
	p.keep(c)
	p.next = max(p.next, after)
	if !p.behind {
		p.near = p.next
	}
}

// keep notes a record at or above next. The caller holds mu.
func (p *past) keep(c *message.Copy) {
	if !c.Repeat {
		if !p.behind && !p.plain.add(c.ID, c.At.Offset, c.Produced) {
			p.behind = true
		}
		return
	}
	for !p.marked.add(c.ID, c.At.Offset, c.Produced) {
		newest, ok := p.marked.dropOldest(farAway)
		if !ok {
			newest = c.Produced
		}
		if newest.After(p.lostMarked) {
			p.lostMarked = newest
		}
		if !ok {
			return
		}
	}
}

var farAway = time.Unix(1<<40, 0) //nolint:gochecknoglobals // a constant: the end of time

// done notes that a span was read to its end.
func (p *past) done(to int64, forNear bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut { // there is nothing that would say since when
		p.cut, p.cutTo = false, time.Now()
	}
	switch {
	case !forNear:
		p.next, p.whole = max(p.next, to), true
	case !p.short:
		p.near = max(p.near, to)
	}
	if !p.behind || p.near >= p.next {
		p.near, p.behind = p.next, false
	}
	p.trim()
}

// removed notes that retention overtook reading.
func (p *past) removed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.cutTo = false, time.Now()
}

// landed notes what this process sent itself, so that it need not be read. A replay
// is no copy: readers that follow are not shown it.
func (p *past) landed(c *message.Copy, replay bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := c.At.Offset
	if p.gone || o < p.next {
		return
	}
	at, found := slices.BinarySearchFunc(p.runs, o, func(r run, o int64) int { return cmp.Compare(r.from, o) })
	if found {
		return
	}
	bare := false
	if !replay {
		p.keep(c)
		bare = p.behind && !c.Repeat
	}
	switch n := len(p.runs); {
	case n > 0 && p.runs[n-1].to == o:
		p.runs[n-1].to++
		p.runs[n-1].bare = p.runs[n-1].bare || bare
	case n == maxRuns:
		p.runs = []run{{o, o + 1, bare}}
	default:
		p.runs = slices.Insert(p.runs, at, run{o, o + 1, bare})
	}
}

// trim moves next over what this process sent itself. The caller holds mu.
func (p *past) trim() {
	n := 0
	for n < len(p.runs) && p.runs[n].from <= p.next {
		if p.runs[n].bare && !p.behind && p.runs[n].to > p.next { // near stays where it is
			p.near, p.behind = p.next, true
		}
		p.next = max(p.next, p.runs[n].to)
		n++
	}
	p.runs = slices.Delete(p.runs, 0, n)
	if !p.behind {
		p.near = p.next
	}
}

// unread returns what is to be read so that all marked records below end are known,
// but for those in the last distance before it, and false where it is nothing.
func (p *past) unread(end, distance int64) (message.Span, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trim()
	if p.whole = p.whole || p.next >= end; !p.whole {
		distance = 0
	}
	p.unseen = p.unseen && p.next < end-distance
	return message.Span{Topic: p.topic, Partition: p.partition, From: p.next, To: end}, p.next < end-distance
}

// overtaken notes that messages are sent although more than distance is unread: others
// write faster than it is read, and it would never end.
func (p *past) overtaken() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unseen = true
}

// high returns an offset below which records stand, unless the partition was made
// anew.
func (p *past) high() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.runs); n > 0 {
		return max(p.next, p.runs[n-1].to)
	}
	return p.next
}

// spare forgets what was produced before a time of records without a mark, as far
// as room is short.
func (p *past) spare(needed time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.plain.room.left.Load() < idBlockSize {
		newest, ok := p.plain.dropOldest(needed)
		if !ok {
			return
		}
		if newest.After(p.lostPlain) {
			p.lostPlain = newest
		}
	}
}

// nearer returns what is to be read of records without a mark: as much as there is
// room for when so many ids are kept for others.
func (p *past) nearer(promised int64) (message.Span, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.behind {
		return message.Span{}, false
	}
	p.short = false
	room := p.plain.room.left.Load() - promised
	to := min(p.next, p.near+room)
	// Not for a few records at a time: each read has a connection of its own.
	return message.Span{Topic: p.topic, Partition: p.partition, From: p.near, To: to}, room >= idBlockSize && p.near < to
}

// lags reports whether not all records without a mark are known up to next.
func (p *past) lags() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.behind
}

// twin looks for another copy of a message that is about to be sent: it counts
// where either is marked. unsure says that one may have been there that is not
// known.
func (p *past) twin(m *message.Stored) (offset int64, found, unsure bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if offset, found = p.marked.find(m.ID); !found && m.Repeat {
		offset, found = p.plain.find(m.ID)
	}
	since := m.Accepted().Add(-lateSlack)
	unsure = p.unseen || since.Before(p.cutTo) || since.Before(p.lostMarked) ||
		m.Repeat && (p.behind || since.Before(p.lostPlain))
	return offset, found, unsure && !found
}

// forget gives the memory back.
func (p *past) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.runs = true, nil
	p.marked.clear()
	p.plain.clear()
}

package live

import (
	"sync"
	"time"

	"postroad/internal/message"
)

// partition is one partition of a topic as it is.
type partition struct {
	of    *state
	n     int32
	epoch string
	scans *scanner

	// judge and next are of the goroutine that reads the topic.
	judge *judge
	next  int64
	// batch is the memory of the batch in hand.
	batch []taken
	// shows is the offset below which records are read for the look-back, and for
	// last values, only.
	shows int64

	mu sync.Mutex // guards all that follows
	// over says that the topic is not what it was.
	over bool
	// skipping is true while the subscriptions that a gap ends are told, before the
	// head goes over it: nobody is to sit down then.
	skipping bool
	// head is how far it was read: all below was taken up.
	head int64
	// known is the offset from which on all that was shown of any key is known.
	known int64
	// shown is the highest offset shown live; -1 for none.
	shown int64
	// replayed is the highest offset of a replay that is history; -1 for none.
	replayed int64
	ring     ring
	values   values
	all      []*audience // of all keys
	lag      lag
	// windowBytes is the memory of the judge's window.
	windowBytes int
	records     uint64
	duplicates  uint64
}

// lag is how far reading is behind the end.
type lag struct {
	heard time.Time // when the partition was last heard of
	end   int64     // as far as known
	// target is an end that was told at since and is not reached yet.
	target int64
	since  time.Time
}

// hear notes what a batch tells of the end. The lock is held.
func (l *lag) hear(now time.Time, next, end int64) {
	l.heard, l.end = now, max(end, next)
	if next >= l.target {
		l.target, l.since = l.end, now
	}
}

// behind is for how long what the hub has told of was not reached.
func (l *lag) behind(now time.Time, head int64) time.Duration {
	if head >= l.target {
		return 0
	}
	return now.Sub(l.since)
}

// taken is a record of the batch in hand.
type taken struct {
	record *Record
	ruling ruling
	hash   uint32 // of the key
	state  *keyState
}

// take takes up a batch whose records begin where the last one ended.
func (p *partition) take(b *Batch) {
	var foreign time.Time
	batch, duplicates := p.batch[:0], 0
	for i := range b.Records {
		r := &b.Records[i]
		if r.Offset < p.next {
			continue
		}
		hash := message.Murmur2(r.Key)
		if r.Key != nil && p.of.home(hash) != p.n && r.Timestamp.After(foreign) {
			foreign = r.Timestamp
		}
		u := p.judge.decide(r)
		if !u.live && !u.past {
			duplicates++
			continue
		}
		kept := *r // the batch is not kept alive by one of its records
		batch = append(batch, taken{record: &kept, ruling: u, hash: hash})
	}
	p.next = max(p.next, b.Next)
	if !foreign.IsZero() {
		p.of.markForeign(foreign)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(batch)
	p.head = max(p.head, b.Next)
	p.records += uint64(len(b.Records))
	p.duplicates += uint64(duplicates)
	p.windowBytes = p.judge.window.Bytes()
	p.lag.hear(time.Now(), p.head, b.End)
	p.hand(batch)
	clear(batch) // the memory stays, what it points to need not
	p.batch = batch[:0]
}

// keep files the records of a batch: ring, last values, what was shown. The lock
// is held.
func (p *partition) keep(batch []taken) {
	for i := range batch {
		t := &batch[i]
		t.state = p.values.state(t.record.Key)
		shows := t.record.Offset >= p.shows
		if t.ruling.live && shows {
			p.shown, t.state.shown = t.record.Offset, t.record.Offset
		}
		if t.ruling.past {
			p.replayed = t.record.Offset
		}
		if shows {
			p.ring.push(t.record, t.ruling, t.hash)
		}
		p.values.set(t.state, t.record, p.of.flaws().latestOffset)
	}
}

// hand delivers what is live of a batch: grouped by key, each group encoded once
// for each audience. The lock is held.
func (p *partition) hand(batch []taken) {
	live, keyed, blocks := 0, 0, 0
	var groups []*keyState
	for i := range batch {
		t := &batch[i]
		if !t.ruling.live || t.record.Offset < p.shows {
			continue
		}
		live++
		if len(t.state.audiences) == 0 {
			continue
		}
		keyed++
		if t.state.wanted == 0 {
			groups = append(groups, t.state)
			blocks += len(t.state.audiences)
		}
		t.state.wanted++
	}
	if live == 0 || len(groups) == 0 && len(p.all) == 0 {
		return
	}
	room := make([]Block, blocks+len(p.all))
	if len(p.all) > 0 {
		everything := make([]*Record, 0, live)
		for i := range batch {
			if t := &batch[i]; t.ruling.live && t.record.Offset >= p.shows {
				everything = append(everything, t.record)
			}
		}
		for i, a := range p.all {
			a.deliver(&room[blocks+i], p.n, everything)
		}
	}
	p.handByKey(batch, groups, make([]*Record, keyed), room)
}

// handByKey delivers the groups; records and room have space for all of them.
func (p *partition) handByKey(batch []taken, groups []*keyState, records []*Record, room []Block) {
	for _, ks := range groups {
		ks.burst, records = records[:0:ks.wanted], records[ks.wanted:]
		ks.wanted = 0
	}
	for i := range batch {
		if t := &batch[i]; t.ruling.live && t.state.burst != nil && t.record.Offset >= p.shows {
			t.state.burst = append(t.state.burst, t.record)
		}
	}
	for _, ks := range groups {
		for _, a := range ks.audiences {
			a.deliver(&room[0], p.n, ks.burst)
			room = room[1:]
		}
		ks.burst = nil
	}
}

// gap takes up that what was between the last batch and from is gone: nothing is
// known of it. Without telling those who listen they would miss it and not know.
// They are told before the head goes over it: a viewer that took a position from
// behind the gap, and was told then, would come back with it as if nothing had
// been missed.
func (p *partition) gap(from int64) {
	p.judge.begin(from, from, time.Now())
	p.next = from
	if !p.of.flaws().silentGap {
		p.mu.Lock()
		p.skipping = true
		gone := p.everyone(nil, func(*Subscription) bool { return true })
		p.mu.Unlock()
		for _, s := range gone {
			s.end(ErrChanged)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shows, p.known, p.head = from, from, from
	p.ring.clear(from)
	p.skipping = false
}

// everyone appends the subscriptions that which picks. The lock is held.
func (p *partition) everyone(to []*Subscription, which func(*Subscription) bool) []*Subscription {
	add := func(a *audience) {
		for i := range a.members {
			if s := a.members[i].s; which(s) {
				to = append(to, s)
			}
		}
	}
	for _, a := range p.all {
		add(a)
	}
	for _, ks := range p.values.keys {
		for _, a := range ks.audiences {
			add(a)
		}
	}
	return to
}

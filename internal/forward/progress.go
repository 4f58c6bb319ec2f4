package forward

import (
	"postroad/internal/message"
)

// restore takes over what the last holder saved: all of it where it sent to the
// same hub, else only how far the lanes are. Topics that are held begin
// aside, with their marks pinned: what of their side lanes is in the hub already
// stands from there on.
func (f *flight) restore(p message.Progress, held []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, n := range p.Partitions {
		f.counts[topic] = n
	}
	for _, m := range p.Marks {
		f.topicNamed(m.Topic).parts[m.Partition] = newPart(m.Offset)
	}
	for _, l := range p.Lanes {
		f.addLane(l.Lane, max(l.Next, 1))
	}
	for _, name := range held {
		t := f.topicNamed(name)
		t.aside = true
		f.putUnread(t)
	}
}

// leaveUnread puts off reading a topic back to its worker.
func (f *flight) leaveUnread(topic string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putUnread(f.topicNamed(topic))
}

func (f *flight) putUnread(t *topic) {
	t.unread = true
	for _, p := range t.parts {
		p.pin = min(p.pin, p.floor)
	}
	f.call(t)
}

// marksOf returns the marks by which to read a topic back now.
func (f *flight) marksOf(t *topic) []message.Mark {
	f.mu.Lock()
	t.own = false
	f.mu.Unlock()
	p, _ := f.progress(false)
	var out []message.Mark
	for _, m := range p.Marks {
		if m.Topic == t.name {
			out = append(out, m)
		}
	}
	return out
}

// found takes in a place at which the hub holds a message, at takeover.
func (f *flight) found(at message.Place, where message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.takeFound(f.topicNamed(where.Topic), at)
}

// takeFound: messages of the chain's own lanes are met again in the order of
// reading, unless they have been moved. The caller holds mu.
func (f *flight) takeFound(t *topic, at message.Place) {
	l := f.laneNamed(at.Lane)
	if l != nil && at.Seq > l.last {
		f.know(t, at)
	}
	if l == nil || t.aside {
		if t.landed == nil {
			t.landed = places{}
		}
		t.landed.add(at)
	}
}

// know notes a message of the chain's own lanes that is in the hub and has not
// been read yet. The caller holds mu.
func (f *flight) know(t *topic, p message.Place) {
	if t.known == nil {
		t.known = places{}
	}
	if t.known.add(p) {
		t.pending++
		f.pending++
	}
}

// beginReadBack has what waits of a topic, and what is read of it from now on, looked
// for by match, until endReadBack.
func (f *flight) beginReadBack(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.reading = map[message.Place]*slot{}
	f.eachOf(t, func(s *slot) bool {
		if s.state == slotFailed || s.state == slotReady {
			t.awaits(s)
		}
		return true
	})
}

func (f *flight) endReadBack(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.reading = nil
}

// awaits has a read-back that runs look for a message; that of a side lane comes
// before another copy, and is met first. The caller holds the flight's mu.
func (t *topic) awaits(s *slot) {
	if _, there := t.reading[s.msg.Place]; t.reading != nil && !there {
		t.reading[s.msg.Place] = s
	}
}

// match is found for a topic that its worker reads back. The chain is read on
// meanwhile: a message that came between the begin of the read-back and its being
// found there is neither yet to be read nor among those that waited before.
func (f *flight) match(t *topic, at message.Place, where message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.own = t.own || f.laneNamed(at.Lane) != nil
	if t.unread || t.aside {
		f.takeFound(t, at) // even if it is matched here: it may stand in a side lane, too
	}
	s := t.reading[at]
	if s == nil || s.msg.Replay || s.state != slotFailed && s.state != slotReady {
		return
	}
	delete(t.reading, at)
	f.unwait(s)
	// Where it was found is where it stands, whatever it was mapped to last.
	if s.part = t.parts[where.Partition]; s.part != nil {
		s.low, s.partition, s.offset = where.Offset, where.Partition, where.Offset
	}
	f.metrics.duplicates.Inc()
	f.settle(s, landed, "")
}

// unwait counts a slot out of those that wait for the worker. The caller holds
// mu.
func (f *flight) unwait(s *slot) {
	switch {
	case s.state == slotFailed:
		s.topic.failed--
	case !s.side:
		s.topic.ready--
	}
}

// touch has progress saved although nothing of it has changed.
func (f *flight) touch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.version++
}

// readBackDone notes that a topic was read back. Where nothing of the chain was
// found from the pins on, they need not be kept.
func (f *flight) readBackDone(t *topic) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.unread = false; t.own {
		f.unpin(t)
		return
	}
	for _, p := range t.parts {
		p.pin = noPin
	}
}

// unpin lets a topic's marks go where nothing is left that they are kept for.
// Until what was found at takeover has been read they stay at the floor. The
// caller holds mu.
func (f *flight) unpin(t *topic) {
	if t.aside || t.unread || t.movedIn > 0 {
		return
	}
	for _, p := range t.parts {
		if p.pin != noPin {
			p.pin = noPin
			f.version++
		}
	}
}

// lower corrects marks that were out of range.
func (f *flight) lower(lost []message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range lost {
		t := f.topics[m.Topic]
		if t == nil || t.parts[m.Partition] == nil {
			continue
		}
		p := t.parts[m.Partition]
		p.next, p.floor = m.Offset, m.Offset
		if p.pin != noPin {
			p.pin = m.Offset
		}
		f.version++
	}
}

// progress returns what may be saved now, and its version. Where it is to be
// saved, the messages settled are counted anew from here.
//
// Offsets: whatever is given to the sink after an answer with offset o stands
// above o. So a slot that was sent once stands at its offset if it is known,
// and not below the partition's next at the time of sending if it is not.
func (f *flight) progress(save bool) (message.Progress, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if save {
		f.unsaved = 0
	}
	low := map[*part]int64{}
	for _, t := range f.topics {
		for _, p := range t.parts {
			low[p] = min(p.next, p.pin)
			if t.found > 0 || t.pending > 0 {
				low[p] = min(low[p], p.floor)
			}
		}
	}
	hold := func(s *slot) {
		at := s.low
		if s.state == slotSettled && s.tries <= 1 && s.offset >= 0 {
			at = s.offset
		}
		if l, ok := low[s.part]; ok {
			low[s.part] = min(l, at)
		}
	}
	for i := f.ring.head; i < f.ring.tail; i++ {
		hold(f.ring.at(i))
	}
	for _, batch := range f.sides {
		for _, s := range batch {
			hold(s)
		}
	}
	p := message.Progress{Hub: f.hub, Partitions: make(map[string]int32, len(f.counts))}
	for _, l := range f.lanes {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: l.id, Next: l.next})
	}
	for name, t := range f.topics {
		for id, pt := range t.parts {
			p.Marks = append(p.Marks, message.Mark{Topic: name, Partition: id, Offset: low[pt]})
		}
	}
	for topic, n := range f.counts {
		p.Partitions[topic] = n
	}
	return p, f.version
}

package forward

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// flight holds the messages of a chain from being read to being settled, in
// order, and knows from them what progress may be saved.
//
// Where a message stands in the lanes of the chain is Stands(): progress, the
// ring's order and the board go by that. What a message is to the hub is its
// Place, which stays when it is moved: what is read back is matched by that.
type flight struct {
	metrics  *metrics
	board    *Board
	budget   *budget
	gates    *gates
	pool     *slabPool
	inFlight func(int)
	hub      string // see message.Progress
	exact    bool   // what comes back is certainly not in the hub, see Session
	late     *late
	total    *atomic.Int64 // messages acknowledged, of all chains
	bytes    *atomic.Int64 // of their keys, headers and values

	// wake has a token, for run, when a worker is called for, when room was
	// made that somebody waits for, or when the last answer came.
	wake chan struct{}
	// due has a token when enough was settled to save progress.
	due     chan struct{}
	dueSize int
	// squeezed says that another chain waits for what this one has.
	squeezed atomic.Bool

	mu      sync.Mutex
	ring    ring               // guarded by mu, and all below
	use     usage              // of the budget
	sides   map[*topic][]*slot // messages of side lanes under way
	topics  map[string]*topic
	calls   []*topic         // for which a worker is to be started
	full    bool             // run waits for room
	sent    int              // slots with the sink
	pending int              // the topics' pending together
	counts  map[string]int32 // partitions of each topic, as saved
	lanes   []*lane          // in order; those seen under this claim
	version uint64           // counts changes of progress
	unsaved int              // settled since progress was taken
	dead    int64            // dead letters made under this claim
	ruling  ruling           // of run's trial
	gone    bool             // nobody reads the outcome any more
}

// lane is one of the chain's lanes. Guarded by flight.mu.
type lane struct {
	id    string
	next  uint64 // all below are settled
	last  uint64 // the last seq read
	side  bool   // known to be a side lane
	board *laneBoard
}

// ending is what became of a message.
type ending uint8

const (
	landed ending = iota // it is in the hub
	moved                // it stands in a side lane
	buried               // it is a dead letter
)

func newFlight(fw *Forwarder) *flight {
	f := &flight{
		metrics: fw.metrics, board: fw.board, budget: fw.budget, gates: &fw.gates, pool: &fw.slabs,
		inFlight: fw.deps.InFlight, hub: identityOf(fw.deps.Sink), exact: fw.opts.Delivery == DeliveryExactlyOnce, late: fw.late, total: &fw.total, bytes: &fw.bytes,
		wake: make(chan struct{}, 1), due: make(chan struct{}, 1), dueSize: fw.opts.SaveMessages,
		sides: map[*topic][]*slot{}, topics: map[string]*topic{}, counts: map[string]int32{},
	}
	f.budget.join(f)
	return f
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// addLane notes a lane of which all below next are settled. The caller holds
// mu.
func (f *flight) addLane(id string, next uint64) *lane {
	l := &lane{id: id, next: next, last: next - 1, board: f.board.hold(id)}
	l.board.begin(next)
	f.lanes = append(f.lanes, l)
	return l
}

// laneNamed finds a lane, usually the newest, or returns nil. The caller holds
// mu.
func (f *flight) laneNamed(id string) *lane {
	for i := len(f.lanes) - 1; i >= 0; i-- {
		if f.lanes[i].id == id {
			return f.lanes[i]
		}
	}
	return nil
}

// laneOf finds or notes the lane of a message. The caller holds mu.
func (f *flight) laneOf(at message.Place) *lane {
	if l := f.laneNamed(at.Lane); l != nil {
		return l
	}
	return f.addLane(at.Lane, at.Seq)
}

// release lets the board and the budget forget the flight.
func (f *flight) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lanes {
		f.board.drop(l.board)
	}
	f.lanes, f.gone = nil, true
	f.budget.leave(f, &f.use)
}

// verdict is what became of a message given to take.
type verdict int

const (
	taken  verdict = iota // its slot is to be given to the sink
	passed                // it is settled already
	kept                  // its topic's worker will send it
	noRoom                // wake tells when there may be
	again                 // the topic's partitions have changed: map it anew
)

// take takes one message in, which of count partitions belongs to the given
// one. A message below the watermark was settled by an earlier holder.
func (f *flight) take(m *message.Stored, t *topic, partition, count int32) (*slot, verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !t.busy && t.count == 0 {
		f.call(t) // to be looked up first
	}
	if !t.busy && t.count != count {
		return nil, again
	}
	at := m.Stands()
	l := f.laneOf(at)
	if at.Seq <= l.last {
		return nil, passed
	}
	size, late := int64(m.Size())+slotOverhead, f.late.due(m)
	if !f.budget.take(&f.use, size, late) {
		f.full = true
		f.press(false)
		return nil, noRoom
	}
	if at.Seq > l.last+1 {
		l.board.skip(l.last+1, at.Seq)
	}
	l.last = at.Seq
	s := f.ring.push(f.pool)
	s.reset(f, m, t, l, size)
	s.late = late
	if f.recognise(m, t, at) {
		t.found++
		s.found = true
		f.metrics.duplicates.Inc()
		f.settle(s, landed, "")
		return nil, passed
	}
	if !t.busy && !late && f.lift(s, partition, t.turn, false) {
		return s, taken
	}
	t.ready++
	t.awaits(s)
	f.call(t)
	return nil, kept
}

// count returns a topic's partition count.
func (f *flight) count(t *topic) int32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return t.count
}

// press lets held topics move their waiting messages out of memory, where they
// stand in the way: the ring does not advance past the first one. The caller
// holds mu.
func (f *flight) press(all bool) {
	if f.ring.len() == 0 {
		return
	}
	for _, t := range f.topics {
		if t.busy && t.ready+t.failed > 0 && (all || f.ring.at(f.ring.head).topic == t) {
			signal(t.nudge)
		}
	}
}

// pressed reports whether the topic's waiting messages stand in the way of
// others now.
func (f *flight) pressed(t *topic) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.ready+t.failed == 0 || f.ring.len() == 0 {
		return false
	}
	slots, bytes := f.budget.share(&f.use)
	return f.full && f.ring.at(f.ring.head).topic == t || f.use.slots > slots || f.use.bytes > bytes
}

// giveWay is press where another chain waits for room.
func (f *flight) giveWay() {
	if !f.squeezed.CompareAndSwap(true, false) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if slots, bytes := f.budget.share(&f.use); f.use.slots > slots || f.use.bytes > bytes {
		f.press(true)
	}
}

// recognise reports whether the message was found in the hub at takeover. What
// was found of its lane and earlier ones and has not been read by now will never
// be: it was damaged and set aside since. A message that is replayed is sent
// whatever the hub holds. The caller holds mu.
func (f *flight) recognise(m *message.Stored, t *topic, at message.Place) (yes bool) {
	switch {
	case m.Replay:
	case m.At.Lane != "":
		yes = t.landed.remove(m.Place)
	case t.pending > 0 && t.known.remove(m.Place):
		yes = true
		f.forgetKnown(t, 1)
	}
	if f.pending == 0 {
		return yes
	}
	for _, t := range f.topics {
		if t.pending == 0 {
			continue
		}
		n := t.known.removeBelow(at.Lane, at.Seq)
		for _, l := range f.lanes {
			if l.id == at.Lane {
				break
			}
			n += t.known.removeBelow(l.id, math.MaxUint64)
		}
		f.forgetKnown(t, n)
	}
	return yes
}

// forgetKnown counts n of the known places out. The caller holds mu.
func (f *flight) forgetKnown(t *topic, n int) {
	t.pending -= n
	f.pending -= n
	if t.pending == 0 {
		t.known = nil
	}
}

// slotOverhead is what a message costs in memory beside its own bytes.
const slotOverhead = 512

// lift marks a slot as being with the sink, where the caller gives it next. It
// reports false where another chain has the topic for itself. The caller holds
// mu.
func (f *flight) lift(s *slot, partition int32, turn uint64, alone bool) bool {
	t := s.topic
	if alone {
		t.gate.in.Add(1) // the caller has shut the gate
	} else if !t.gate.enter() {
		return false
	}
	if p := t.parts[partition]; p != s.part || s.part == nil {
		s.part, s.partition, s.low = p, partition, p.next
	}
	switch {
	case s.state == slotFailed:
		t.failed--
	case s.tries == 0 && t.busy && !s.side:
		t.ready--
	}
	if s.part.sent == 0 {
		s.part.heard = time.Now()
	}
	s.part.sent++
	s.state, s.err, s.turn, s.round, s.alone = slotSent, nil, turn, t.round, alone
	f.ruling.given = true
	s.part.sends++
	s.tries++
	t.sent++
	f.sent++
	if f.inFlight != nil {
		f.inFlight(1)
	}
	return true
}

// answered is the sink's callback for every slot.
func (f *flight) answered(s *slot, offset int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, t := time.Now(), s.topic
	t.gate.leave()
	f.sent--
	t.sent--
	s.part.sent--
	s.part.heard = now
	if f.inFlight != nil {
		f.inFlight(-1)
	}
	f.ruling.heard(err)
	if err != nil {
		s.state, s.err = slotFailed, err
		t.failed++
		f.call(t)
		if f.sent == 0 {
			signal(f.wake)
		}
		return
	}
	if f.gone {
		return
	}
	there := offset == OffsetThere
	if there {
		offset = -1
		f.metrics.duplicates.Inc()
		if !s.side { // it stands anywhere from the mark at takeover on
			t.found++
			s.found = true
		}
	}
	s.offset = offset
	switch p := s.part; {
	case offset < 0: // in the log, somewhere from low on
	case offset < s.low: // the partition was made anew, and lower offsets count again
		p.next, p.floor = offset+1, 0
		if p.pin != noPin {
			p.pin = 0
		}
	default:
		p.next = max(p.next, offset+1)
	}
	if offset >= 0 {
		f.late.landed(s, offset)
	}
	if !there {
		f.total.Add(1)
		f.bytes.Add(s.size - slotOverhead)
		f.metrics.forwarded(s.size-slotOverhead, now.Sub(s.msg.Time))
	}
	f.settle(s, landed, "")
	if t.busy && t.sent == 0 {
		signal(t.wake)
	}
	// Room is told of in quarters: a wake-up for each answer would make
	// batches of one.
	if f.sent == 0 || f.full && f.roomy() {
		f.full = false
		signal(f.wake)
	}
}

// roomy reports whether a quarter of the chain's share is free. The caller holds
// mu.
func (f *flight) roomy() bool {
	slots, bytes := f.budget.share(&f.use)
	return f.use.slots <= slots*3/4 && f.use.bytes <= bytes*3/4
}

// settle marks a slot as done with and moves the watermark. The caller holds mu
// and has counted the slot out of what it was.
func (f *flight) settle(s *slot, e ending, reason string) {
	s.state = slotSettled
	f.budget.give(&f.use, 0, s.size)
	if s.late {
		f.budget.giveLate(&f.use, s.size)
	}
	at, place, l, t := s.msg.Stands(), s.msg.Place, s.lane, s.topic
	s.ending = e
	switch {
	case s.side && e == landed && !s.msg.Replay:
		f.sawAside(s)
	case e == moved:
		t.movedIn++
	}
	was := outcome{seq: at.Seq, offset: s.offset, partition: s.partition, ending: e, twin: s.twin, reason: reason}
	s.msg = message.Stored{Place: place, At: s.msg.At} // its memory is not needed any more
	if s.side {
		f.settleSide(t)
	} else {
		f.advance()
	}
	l.board.record(was, l.next)
	if place != at { // callers know it by where it was first stored
		was.seq = place.Seq
		f.board.tell(place.Lane, was)
	}
	f.version++
	t.done++
	if f.unsaved++; f.unsaved >= f.dueSize {
		signal(f.due)
	}
}

// advance drops settled slots from the head of the ring. The caller holds mu.
func (f *flight) advance() {
	n := int64(0)
	for f.ring.len() > 0 {
		h := f.ring.at(f.ring.head)
		if h.state != slotSettled {
			break
		}
		at := h.msg.Stands()
		h.lane.next = at.Seq + 1
		if h.found {
			h.topic.found--
		}
		if h.ending == moved {
			h.topic.movedIn--
			f.unpin(h.topic)
		}
		f.ring.pop(f.pool)
		n++
	}
	if n > 0 {
		f.budget.give(&f.use, n, 0)
	}
	if f.full {
		f.press(false) // the head may be a held topic's now
	}
}

// settleSide drops settled slots from the head of a topic's side batch. The
// caller holds mu.
func (f *flight) settleSide(t *topic) {
	batch := f.sides[t]
	for len(batch) > 0 && batch[0].state == slotSettled {
		at := batch[0].msg.Stands()
		batch[0].lane.next = at.Seq + 1
		batch = batch[1:]
		f.budget.give(&f.use, 1, 0)
	}
	if f.sides[t] = batch; len(batch) == 0 {
		delete(f.sides, t)
	}
}

// counters returns how many slots are with the sink, and whether anything is
// not settled or a worker is at work.
func (f *flight) counters() (sent int, open bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	open = f.ring.len() > 0
	for _, t := range f.topics {
		open = open || t.busy
	}
	return f.sent, open
}

// watermark returns the lane being drained and its first unsettled seq.
func (f *flight) watermark() (string, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ring.len() > 0 {
		l := f.ring.at(f.ring.head).lane
		return l.id, l.next
	}
	for i := len(f.lanes) - 1; i >= 0; i-- {
		if l := f.lanes[i]; !l.side {
			return l.id, l.next
		}
	}
	return "", 0
}

// owed calls tell for each partition that the sink owes an answer for, with how long
// none came.
func (f *flight) owed(now time.Time, tell func(of message.Mark, silent time.Duration)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent == 0 {
		return
	}
	for _, t := range f.topics {
		if t.sent == 0 {
			continue
		}
		for id, p := range t.parts {
			if p.sent > 0 {
				tell(message.Mark{Topic: t.name, Partition: id}, now.Sub(p.heard))
			}
		}
	}
}

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
type flight struct {
	limit      int
	limitBytes int64
	metrics    *metrics
	board      *Board
	inFlight   func(int)
	total      *atomic.Int64 // messages acknowledged, of all chains

	// wake has a token when a record failed, when room was made that somebody
	// waits for, or when the last answer came.
	wake chan struct{}
	// due has a token when enough was settled to save progress.
	due     chan struct{}
	dueSize int

	mu    sync.Mutex
	slabs [][]slot // guarded by mu, and all below; slot i is at i % limit

	head, tail   uint64 // slots [head, tail) are in use
	bytes        int64  // of slots not settled
	sent         int    // slots with the sink
	failed       int    // slots the sink gave back
	full         bool   // somebody waits for room
	parts        map[partKey]*part
	counts       map[string]int32 // partitions of each topic
	lanes        []*lane          // in order; those seen under this claim
	version      uint64           // counts changes of progress
	unsaved      int              // settled since progress was taken
	settledTotal uint64
	lastAnswer   time.Time // when an answer came, or sending began after a pause
	// known are the messages that were found in the hub at takeover and have
	// not been read yet, pending how many they are; found is how many have been
	// read and are not below the watermark yet. While there are any, no mark
	// passes the one of the takeover: a successor must find them again.
	known          places
	pending, found int
}

type partKey struct {
	topic     string
	partition int32
}

// part is a partition that the chain writes to. Guarded by flight.mu.
type part struct {
	// next is an offset that whatever is sent from now on will not stand below.
	next int64
	// floor is the mark at takeover.
	floor int64
}

// lane is one of the chain's lanes. Guarded by flight.mu.
type lane struct {
	id    string
	next  uint64 // all below are settled
	last  uint64 // the last seq read
	board *laneBoard
}

type slotState uint8

const (
	slotReady   slotState = iota // not with the sink
	slotSent                     // with the sink
	slotFailed                   // given back
	slotSettled                  // in the hub
)

// slot is one message.
type slot struct {
	msg       message.Stored
	lane      *lane
	part      *part
	partition int32
	state     slotState
	told      bool  // its being refused for good was logged
	alone     bool  // it was last sent with nothing else under way
	found     bool  // settled at takeover, place not known
	tries     int   // how often it was given to the sink
	size      int64 // in bytes
	low       int64 // no copy of it stands below
	offset    int64 // where it stands; -1 where not known
	err       error // why it failed
	done      func(int64, error)
}

const slabSize = 256

func newFlight(o Options, m *metrics, b *Board, inFlight func(int), total *atomic.Int64) *flight {
	return &flight{
		total: total,
		limit: o.MaxInFlight, limitBytes: o.MaxInFlightBytes, metrics: m, board: b, inFlight: inFlight,
		wake: make(chan struct{}, 1), due: make(chan struct{}, 1), dueSize: o.SaveMessages,
		slabs: make([][]slot, (o.MaxInFlight+slabSize-1)/slabSize),
		parts: map[partKey]*part{}, counts: map[string]int32{},
	}
}

// at returns slot i. Its memory is made when first needed, and its callback
// with it. The caller holds mu.
func (f *flight) at(i uint64) *slot {
	n := int(i % uint64(f.limit))
	slab := f.slabs[n/slabSize]
	if slab == nil {
		slab = make([]slot, slabSize)
		f.slabs[n/slabSize] = slab
		for k := range slab {
			s := &slab[k]
			s.done = func(offset int64, err error) { f.answered(s, offset, err) }
		}
	}
	return &slab[n%slabSize]
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// restore takes over what the last holder saved.
func (f *flight) restore(p message.Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for topic, n := range p.Partitions {
		f.counts[topic] = n
	}
	for _, m := range p.Marks {
		f.parts[partKey{m.Topic, m.Partition}] = &part{next: m.Offset, floor: m.Offset}
	}
	for _, l := range p.Lanes {
		f.addLane(l.Lane, max(l.Next, 1))
	}
}

// remember takes in what was found in the hub at takeover.
func (f *flight) remember(known places, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.known, f.pending = known, n
}

// lower corrects marks that were out of range.
func (f *flight) lower(lost []message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range lost {
		if p := f.parts[partKey{m.Topic, m.Partition}]; p != nil {
			p.next, p.floor = m.Offset, m.Offset
			f.version++
		}
	}
}

// missing returns marks for those of a topic's partitions that are not among
// the parts.
func (f *flight) missing(topic string, n int32) []message.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []message.Mark
	for p := range n {
		if f.parts[partKey{topic, p}] == nil {
			out = append(out, message.Mark{Topic: topic, Partition: p})
		}
	}
	return out
}

// adopt notes a topic's partition count and the ends of partitions that were
// missing, and forgets those that a topic made anew no longer has.
func (f *flight) adopt(topic string, n int32, ends []message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range ends {
		f.parts[partKey{m.Topic, m.Partition}] = &part{next: m.Offset, floor: m.Offset}
	}
	for k := range f.parts {
		if k.topic == topic && k.partition >= n {
			delete(f.parts, k)
		}
	}
	f.counts[topic] = n
	f.version++
}

// idleParts returns marks for the partitions to which nothing in use was sent.
func (f *flight) idleParts() []message.Mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	busy := make(map[*part]bool, len(f.parts))
	for i := f.head; i < f.tail; i++ {
		busy[f.at(i).part] = true
	}
	var out []message.Mark
	for k, p := range f.parts {
		if !busy[p] && f.found == 0 && f.pending == 0 {
			out = append(out, message.Mark{Topic: k.topic, Partition: k.partition, Offset: p.next})
		}
	}
	return out
}

// raise moves partitions up to their ends. Nothing may have been sent to them
// since idleParts named them.
func (f *flight) raise(ends []message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range ends {
		if p := f.parts[partKey{m.Topic, m.Partition}]; p != nil && p.next != m.Offset {
			p.next, p.floor = m.Offset, m.Offset
			f.version++
		}
	}
}

// marks returns the marks by which to read back.
func (f *flight) marks() []message.Mark {
	p, _ := f.progress()
	return p.Marks
}

// addLane notes a lane of which all below next are settled. The caller holds
// mu.
func (f *flight) addLane(id string, next uint64) *lane {
	l := &lane{id: id, next: next, last: next - 1, board: f.board.hold(id)}
	l.board.begin(next)
	f.lanes = append(f.lanes, l)
	return l
}

// laneOf finds the lane of a message, usually the newest. The caller holds mu.
func (f *flight) laneOf(id string, seq uint64) *lane {
	for i := len(f.lanes) - 1; i >= 0; i-- {
		if f.lanes[i].id == id {
			return f.lanes[i]
		}
	}
	return f.addLane(id, seq)
}

// release lets the board forget the lanes.
func (f *flight) release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.lanes {
		f.board.drop(l.board)
	}
	f.lanes = nil
}

// verdict is what became of a message given to take.
type verdict int

const (
	taken  verdict = iota // its slot is to be given to the sink
	passed                // it is in the hub already
	noRoom                // wake tells when there may be
	wait                  // records were given back: recover first
)

// take takes one message in. Its partition must be among the parts. A message
// below the watermark was settled by an earlier holder.
func (f *flight) take(m *message.Stored, partition int32) (*slot, verdict) {
	f.mu.Lock()
	defer f.mu.Unlock()
	size := int64(m.Size()) + slotOverhead
	switch {
	case f.failed > 0:
		return nil, wait
	case f.tail-f.head >= uint64(f.limit) || f.bytes > 0 && f.bytes+size > f.limitBytes:
		f.full = true
		return nil, noRoom
	}
	l := f.laneOf(m.Lane, m.Seq)
	if m.Seq <= l.last {
		return nil, passed
	}
	if m.Seq > l.last+1 {
		l.board.skip(l.last+1, m.Seq)
	}
	l.last = m.Seq
	known := f.pending > 0 && f.recognise(m.Place)
	s := f.at(f.tail)
	f.tail++
	f.bytes += size
	*s = slot{
		msg: *m, lane: l, part: f.parts[partKey{m.Topic, partition}], partition: partition,
		size: size, offset: -1, done: s.done,
	}
	if known {
		f.found++
		s.found = true
		f.settle(s)
		f.metrics.duplicates.Inc()
		return nil, passed
	}
	f.lift(s)
	return s, taken
}

// recognise reports whether the message was found in the hub at takeover. What
// was found of its lane and earlier ones and has not been read by now will never
// be: it was damaged and set aside since. The caller holds mu.
func (f *flight) recognise(p message.Place) bool {
	yes := f.known.remove(p)
	if yes {
		f.pending--
	}
	f.pending -= f.known.removeBelow(p.Lane, p.Seq)
	for _, l := range f.lanes {
		if l.id == p.Lane {
			break
		}
		f.pending -= f.known.removeBelow(l.id, math.MaxUint64)
	}
	if f.pending == 0 {
		f.known = nil
	}
	return yes
}

// slotOverhead is what a message costs in memory beside its own bytes.
const slotOverhead = 512

// lift marks a slot as being with the sink, where the caller gives it next. The
// caller holds mu.
func (f *flight) lift(s *slot) {
	if s.tries == 0 {
		s.low = s.part.next
	}
	if s.state == slotFailed {
		f.failed--
	}
	if f.sent == 0 {
		f.lastAnswer = time.Now()
	}
	s.state, s.err = slotSent, nil
	s.tries++
	f.sent++
	if f.inFlight != nil {
		f.inFlight(1)
	}
}

// answered is the sink's callback for every slot.
func (f *flight) answered(s *slot, offset int64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.sent--
	f.lastAnswer = now
	if f.inFlight != nil {
		f.inFlight(-1)
	}
	if err != nil {
		s.state, s.err = slotFailed, err
		f.failed++
		signal(f.wake)
		return
	}
	s.offset = offset
	switch p := s.part; {
	case offset < 0: // in the log, somewhere from low on
	case offset < s.low: // the partition was made anew, and lower offsets count again
		p.next, p.floor = offset+1, 0
	default:
		p.next = max(p.next, offset+1)
	}
	f.total.Add(1)
	f.metrics.forwarded(s.size-slotOverhead, now.Sub(s.msg.Time))
	f.settle(s)
	// Room is told of in quarters: a wake-up for each answer would make
	// batches of one.
	if f.sent == 0 || f.full && f.tail-f.head <= uint64(f.limit)*3/4 && f.bytes <= f.limitBytes*3/4 {
		f.full = false
		signal(f.wake)
	}
}

// settle marks a slot as in the hub and moves the watermark. The caller holds
// mu.
func (f *flight) settle(s *slot) {
	s.state = slotSettled
	f.bytes -= s.size
	place, l := s.msg.Place, s.lane
	s.msg = message.Stored{Place: place} // its memory is not needed any more
	for f.head < f.tail {
		h := f.at(f.head)
		if h.state != slotSettled {
			break
		}
		h.lane.next = h.msg.Seq + 1
		if h.found {
			f.found--
		}
		f.head++
	}
	l.board.record(landed{seq: place.Seq, offset: s.offset, partition: s.partition}, l.next)
	f.version++
	f.settledTotal++
	if f.unsaved++; f.unsaved >= f.dueSize {
		signal(f.due)
	}
}

// progress returns what may be saved now, and its version.
//
// Offsets: whatever is given to the sink after an answer with offset o stands
// above o. So a slot that was sent once stands at its offset if it is known,
// and not below the partition's next at the time of sending if it is not.
func (f *flight) progress() (message.Progress, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsaved = 0
	low := make(map[*part]int64, len(f.parts))
	for _, p := range f.parts {
		low[p] = p.next
		if f.found > 0 || f.pending > 0 {
			low[p] = min(p.next, p.floor)
		}
	}
	for i := f.head; i < f.tail; i++ {
		s := f.at(i)
		at := s.low
		if s.state == slotSettled && s.tries == 1 && s.offset >= 0 {
			at = s.offset
		}
		if s.tries > 0 {
			low[s.part] = min(low[s.part], at)
		}
	}
	p := message.Progress{Partitions: make(map[string]int32, len(f.counts))}
	for _, l := range f.lanes {
		p.Lanes = append(p.Lanes, message.LaneProgress{Lane: l.id, Next: l.next})
	}
	for k, pt := range f.parts {
		p.Marks = append(p.Marks, message.Mark{Topic: k.topic, Partition: k.partition, Offset: low[pt]})
	}
	for topic, n := range f.counts {
		p.Partitions[topic] = n
	}
	return p, f.version
}

// counters returns how many slots are with the sink, were given back, and are
// in use.
func (f *flight) counters() (sent, failed, used int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent, f.failed, int(f.tail - f.head)
}

// trouble returns the worst class and the first error among the slots that were
// given back; err is nil where there are none.
func (f *flight) trouble() (class string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	class = classRetry
	for i := f.head; i < f.tail && f.failed > 0; i++ {
		s := f.at(i)
		if s.state != slotFailed {
			continue
		}
		if err == nil {
			err = s.err
		}
		if c := classOf(s.err); c == classDead || c == classHold && class == classRetry {
			class, err = c, s.err
		}
	}
	return class, err
}

// givenBack returns the slots the sink gave back, in order.
func (f *flight) givenBack() []*slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*slot
	for i := f.head; i < f.tail; i++ {
		if s := f.at(i); s.state == slotFailed {
			out = append(out, s)
		}
	}
	return out
}

// settleFound marks a slot that was given back as in the hub after all.
func (f *flight) settleFound(s *slot, at message.Mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.state != slotFailed {
		return
	}
	f.failed--
	s.partition, s.offset = at.Partition, at.Offset
	f.metrics.duplicates.Inc()
	f.settle(s)
}

// relift marks a slot that was given back as being with the sink again, in the
// given partition.
func (f *flight) relift(s *slot, partition int32, alone bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.alone = alone
	if p := f.parts[partKey{s.msg.Topic, partition}]; p != s.part {
		s.part, s.partition, s.low = p, partition, p.next
	}
	f.lift(s)
}

// watermark returns the lane being drained and its first unsettled seq.
func (f *flight) watermark() (string, uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.head < f.tail {
		l := f.at(f.head).lane
		return l.id, l.next
	}
	if len(f.lanes) == 0 {
		return "", 0
	}
	l := f.lanes[len(f.lanes)-1]
	return l.id, l.next
}

// settledCount counts the messages settled under this claim.
func (f *flight) settledCount() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.settledTotal
}

// silence returns for how long the sink owes an answer.
func (f *flight) silence(now time.Time) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sent == 0 {
		return 0
	}
	return now.Sub(f.lastAnswer)
}

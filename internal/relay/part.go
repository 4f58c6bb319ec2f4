package relay

import (
	"sync"

	"postroad/internal/message"
)

// item is a message on its way.
type item struct {
	m      *message.Stored
	done   func(int64, error)
	repeat bool
}

// part is a stream of a topic: what was given to it and is not answered, in order.
// One batch of it is under way at a time, by a goroutine that there is only while
// there is something to send.
//
// The first error takes back all that waits, and shuts the door until the last of
// it has been answered, and to everybody who does not know of the error yet.
type part struct {
	mu      sync.Mutex
	turn    uint64 // guarded by mu, and all below: turns below are refused
	failed  bool
	inside  int // not answered yet
	queue   []item
	running bool
	last    int64 // the latest time of an answer
}

// maxStep is how far back, in microseconds, the other stamp's clock may go between
// two answers and count as standing still: gateways there do not agree to the
// millisecond. It is less than the margin that the other stamp allows when it is
// asked what it has since a time.
const maxStep = 30_000_000

// stamped is the time that is told of an answer: as a rule later than those before
// it, as offsets are.
func (p *part) stamped(at int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at <= p.last && p.last-at < maxStep {
		at = p.last + 1
	}
	p.last = at
	return at
}

// enter takes one more message in, unless the door is shut.
func (p *part) enter(turn uint64, it item) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed || turn < p.turn {
		return false
	}
	p.inside++
	p.queue = append(p.queue, it)
	return true
}

// start has what waits sent, where nobody does so already.
func (p *part) start(s *Sink, l *life) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		p.running = true
		l.runs.Go(func() { s.run(p, l) })
	}
}

// take returns the next batch: about as many bytes as there is room for, and at
// least one message. It returns nothing where the stream is to rest.
func (p *part) take(room int64, most int) []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for size := int64(0); n < len(p.queue) && n < most; n++ {
		if size += int64(p.queue[n].m.Size()) + perMessage; size > room && n > 0 {
			break
		}
	}
	batch := p.queue[:n:n]
	p.queue = p.queue[n:]
	p.running = n > 0
	if n == 0 {
		p.queue = nil
	}
	return batch
}

// perMessage is about what a message takes in a batch beside what Size counts.
const perMessage = 256

// back takes back all that waits.
func (p *part) back() []item {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.queue
	p.queue, p.running = nil, false
	return all
}

// left counts n messages out, which have been answered.
func (p *part) left(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inside -= n
	if p.inside == 0 {
		p.failed = false
	}
}

// shut refuses the stream to everybody who does not know of an error yet. It is
// called before anybody hears of it.
func (s *Sink) shut(p *part) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.inside > 0 && !p.failed {
		p.failed = true
		p.turn = s.turn.Add(1)
	}
}

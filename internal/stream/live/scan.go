package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// scanner reads one partition again for those who were away for long. One reading
// runs at a time; whoever comes meanwhile is joined into the next, which begins a
// look-back below the lowest position, so that a crowd that comes back after a
// node's death costs the hub a few readings.
type scanner struct {
	engine *Engine
	p      *partition

	mu      sync.Mutex
	waiting []*scanRequest
	busy    bool
}

// scanRequest is what one subscriber missed since from.
type scanRequest struct {
	scanner *scanner
	all     bool
	key     string
	from    int64

	done chan struct{}
	gone atomic.Bool // nobody waits any more
	// The answer, set before done is closed: records are all that was shown live of
	// the subject in [from, next), unless lost or err.
	records []*Record
	next    int64
	lost    bool
	err     error
}

func (s *scanner) ask(subject Subject, from int64) (*scanRequest, error) {
	e := s.engine
	if e.waiting.Add(1) > int64(e.opts.Recovery.Waiting) {
		e.waiting.Add(-1)
		return nil, fmt.Errorf("topic %q: %w", s.p.of.topic.name, ErrBusy)
	}
	q := &scanRequest{scanner: s, all: subject.All, key: subject.Key, from: from, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		if s.busy = e.spawn(s.work); !s.busy {
			e.waiting.Add(-1)
			return nil, fmt.Errorf("the engine has ended: %w", ErrNotReady)
		}
	}
	s.waiting = append(s.waiting, q)
	return q, nil
}

func (q *scanRequest) wait(ctx context.Context) error {
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget notes that its subscriber does not wait any more; it is called once.
func (q *scanRequest) forget() {
	q.gone.Store(true)
	q.scanner.engine.waiting.Add(-1)
}

func (q *scanRequest) lose() { q.lost = true }

func (s *scanner) work(ctx context.Context) {
	for {
		s.mu.Lock()
		s.busy = len(s.waiting) > 0
		busy := s.busy
		s.mu.Unlock()
		if !busy {
			return
		}
		// Those who come while others' readings leave no room are joined, too.
		err := s.engine.acquire(ctx)
		s.mu.Lock()
		batch := s.waiting
		s.waiting = nil
		s.mu.Unlock()
		if err == nil {
			err = s.read(ctx, batch)
			s.engine.release()
		}
		for _, q := range batch {
			q.err = err
			close(q.done)
		}
	}
}

var errEnough = errors.New("nobody waits for more")

// read answers a batch of requests with one reading, as far as the options allow.
func (s *scanner) read(ctx context.Context, batch []*scanRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.engine.opts.Recovery.Timeout)
	defer cancel()
	const tries = 3
	for try := 1; ; try++ {
		err := s.readOnce(ctx, batch)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrChanged) && !errors.Is(err, ErrNotReady):
			return fmt.Errorf("topic %q: %w: %w", s.p.of.topic.name, err, ErrNotReady)
		case !errors.Is(err, ErrGone):
			return fmt.Errorf("read partition %d of topic %q again: %w", s.p.n, s.p.of.topic.name, err)
		case try == tries:
			for _, q := range batch {
				q.lose() // retention is faster than reading
			}
			return nil
		}
	}
}

func (s *scanner) readOnce(ctx context.Context, batch []*scanRequest) error {
	p, seen := s.p, time.Now()
	bounds, err := p.of.fresh.ask(ctx)
	if err != nil {
		return err
	}
	if int(p.n) >= len(bounds) {
		return fmt.Errorf("%w: %w", ErrChanged, ErrNotReady)
	}
	p.mu.Lock()
	to := p.head
	p.mu.Unlock()
	g := s.gathering(batch, bounds[p.n].Start, to)
	if len(g.requests) == 0 {
		return nil
	}
	w := p.of.topic.window
	if p.of.flaws().noLookBack {
		w = 0
	}
	begin := max(bounds[p.n].Start, g.requests[0].from-w)
	judge := newJudge(p.of.topic.window, s.engine.opts.DedupeHorizon, p.of.flaws(), begin, bounds[p.n].Start, seen)
	if p.of.flaws().noLookBack {
		judge.sure = begin
	}
	s.engine.metrics.scans.Inc()
	for round := 1; ; round++ {
		if err := s.scan(ctx, g, judge, begin, to); err != nil {
			return err
		}
		// What came meanwhile may be more than the ring takes: then it is read, too,
		// without another look-back, until those who wait can go on from the ring.
		more, met := p.reach(to)
		if met || round == maxRounds || g.live == 0 {
			break
		}
		begin, to = to, more
	}
	if err := p.of.confirm(ctx); err != nil {
		return err
	}
	g.finish(to)
	return nil
}

// maxRounds is how often a reading goes on behind its end. Each round has less to
// read than the one before, unless the hub fills faster than it is read.
const maxRounds = 10

// reach returns the head, and whether the ring reaches back to offset.
func (p *partition) reach(offset int64) (head int64, met bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head, p.head <= offset || p.ring.from <= offset
}

func (s *scanner) scan(ctx context.Context, g *gathering, judge *judge, from, to int64) error {
	err := s.engine.deps.Log.Scan(ctx, s.p.of.topic.name, s.p.n, from, to, func(records []Record) error {
		s.engine.metrics.scanned.Add(float64(len(records)))
		for i := range records {
			g.add(&records[i], judge.decide(&records[i]))
		}
		if g.live == 0 {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// gathering is what one reading gathers for its requests.
type gathering struct {
	opts     *RecoveryOptions
	flaws    *flaws
	oldest   time.Time
	requests []*scanRequest // ascending by from
	aged     int            // requests below were looked at for age
	live     int            // requests that are not lost
	byKey    map[string]*gathered
	all      *gathered
	held     int64
}

// gathered are the records of one subject since the lowest position that is
// neither lost nor gone.
type gathered struct {
	requests []*scanRequest // ascending by from; the first ones that are lost are gone
	records  []*Record
	bytes    int64
}

// gathering sorts the requests by what is wanted; those that the reading cannot
// answer are lost at once.
func (s *scanner) gathering(batch []*scanRequest, start, to int64) *gathering {
	g := &gathering{
		opts: &s.engine.opts.Recovery, flaws: s.p.of.flaws(), byKey: map[string]*gathered{},
		oldest: time.Now().Add(-s.engine.opts.Recovery.MaxAge),
	}
	for _, q := range batch {
		q.lost = false
		switch {
		case q.gone.Load():
		case q.from < start && !g.flaws.cutStartIsFine:
			q.lose() // what it missed is gone from the hub
		case to-q.from > g.opts.MaxRecords && !g.flaws.noCaps:
			q.lose()
		default:
			g.requests = append(g.requests, q)
		}
	}
	slices.SortStableFunc(g.requests, func(a, b *scanRequest) int { return int(max(-1, min(1, a.from-b.from))) })
	g.live = len(g.requests)
	for _, q := range g.requests {
		of := g.subject(q)
		of.requests = append(of.requests, q)
	}
	return g
}

func (g *gathering) subject(q *scanRequest) *gathered {
	if q.all {
		if g.all == nil {
			g.all = &gathered{}
		}
		return g.all
	}
	of := g.byKey[q.key]
	if of == nil {
		of = &gathered{}
		g.byKey[q.key] = of
	}
	return of
}

// add takes up the next record.
func (g *gathering) add(r *Record, u ruling) {
	for g.aged < len(g.requests) && g.requests[g.aged].from <= r.Offset {
		if q := g.requests[g.aged]; r.Timestamp.Before(g.oldest) && !g.flaws.noCaps {
			g.lose(q)
		}
		g.aged++
	}
	if !u.live {
		return
	}
	var kept *Record
	for _, of := range []*gathered{g.byKey[string(r.Key)], g.all} {
		if of == nil {
			continue
		}
		g.trim(of)
		if len(of.requests) == 0 || r.Offset < of.requests[0].from {
			continue
		}
		if u.unsure {
			g.loseBelow(of, r.Offset)
			continue
		}
		if kept == nil {
			c := *r
			kept = &c
		}
		g.hold(of, kept)
	}
}

func (g *gathering) lose(q *scanRequest) {
	if !q.lost {
		q.lose()
		g.live--
	}
}

// loseBelow gives up those whose position is at or below offset.
func (g *gathering) loseBelow(of *gathered, offset int64) {
	for _, q := range of.requests {
		if q.from <= offset {
			g.lose(q)
		}
	}
	g.trim(of)
}

// trim lets go what only those who are lost wanted.
func (g *gathering) trim(of *gathered) {
	n := 0
	for n < len(of.requests) && of.requests[n].lost {
		n++
	}
	if n == 0 {
		return
	}
	of.requests = of.requests[n:]
	cut := len(of.records)
	if len(of.requests) > 0 {
		cut, _ = slices.BinarySearchFunc(of.records, of.requests[0].from, byOffset)
	}
	for i, r := range of.records[:cut] {
		of.bytes -= recordBytes(r)
		g.held -= recordBytes(r)
		of.records[i] = nil
	}
	of.records = of.records[cut:]
}

// hold keeps a record, and gives up who asks for more than is allowed: those
// furthest behind.
func (g *gathering) hold(of *gathered, r *Record) {
	of.records = append(of.records, r)
	of.bytes += recordBytes(r)
	g.held += recordBytes(r)
	for len(of.requests) > 0 && (of.bytes > g.opts.MaxBytes || g.held > g.opts.MaxHeldBytes) && !g.flaws.noCaps {
		g.lose(of.requests[0])
		g.trim(of)
	}
}

// finish answers the requests that are not lost.
func (g *gathering) finish(to int64) {
	for _, q := range g.requests {
		q.next = to
		if q.lost {
			continue
		}
		of := g.subject(q)
		at, _ := slices.BinarySearchFunc(of.records, q.from, byOffset)
		q.records = of.records[at:len(of.records):len(of.records)]
	}
}

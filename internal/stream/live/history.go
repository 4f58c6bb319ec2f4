package live

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// HistoryRequest is a piece of the past that is wanted.
type HistoryRequest struct {
	Subject Subject
	// Since is where to begin, by partition as in Request; nil for the oldest
	// record held, or the newest with Reverse. Reverse goes to what lies below the
	// last record processed there, that one left out.
	Since []Position
	// Limit is how many records are wanted at most; 0 for none, only positions;
	// below 0 for as many as the options allow.
	Limit int
	// Reverse asks for the newest first.
	Reverse bool
	// Repeats takes records whose other copy retention may have removed, where
	// Since is given, too, instead of ErrUnrecoverable: for whoever pages through
	// the past from the oldest record held, and has seen none of what is gone.
	Repeats bool
}

// History is a piece of the past.
type History struct {
	// Records in order of offset within each partition, partition after partition;
	// with Reverse newest first, where several partitions are in view by time of
	// producing.
	Records []*Record
	// Positions, by partition in view, are those of the last record looked at:
	// with them as Since the next request goes on. Those of a request with Reverse
	// are for another one only: they may be one ahead of the log.
	Positions []Position
	// Heads are how far this node has read, by partition in view.
	Heads []Position
	// More says that there may be more where Positions are.
	More bool
}

// History returns records of the past up to where this node has read, each message
// once, replays included where the window does not hold their id. It is answered
// from memory where that reaches back far enough, else by reading the hub within
// Options.Recovery: one answer has at most MaxBytes of records and reads at most
// MaxRecords offsets, look-back aside; More says that it ended there.
//
// Errors as of Subscribe, and ErrUnrecoverable where Since is of another epoch, no
// longer held, ahead of the hub, or of a topic whose records may be missing or stand
// elsewhere: compacted or foreign-partitioned. Without Since what is held is
// returned whatever the topic; a record whose other copy retention removed may then
// be a repeat.
func (e *Engine) History(ctx context.Context, r HistoryRequest) (*History, error) {
	t := e.topics[r.Subject.Topic]
	if t == nil {
		return nil, fmt.Errorf("topic %q: %w", r.Subject.Topic, ErrUnknownTopic)
	}
	st, err := t.now()
	if err != nil {
		return nil, err
	}
	view, err := st.view(r.Subject)
	if err != nil {
		return nil, err
	}
	h := &historian{state: st, request: &r, left: r.Limit, bytes: e.opts.Recovery.MaxBytes, offsets: e.opts.Recovery.MaxRecords}
	if r.Limit < 0 {
		h.left = math.MaxInt
	}
	ctx, cancel := context.WithTimeout(ctx, e.opts.Recovery.Timeout)
	defer cancel()
	if err := h.begin(ctx, view); err != nil {
		return nil, err
	}
	switch {
	case r.Limit == 0:
	case r.Reverse:
		err = h.backward(ctx)
	default:
		err = h.forward(ctx)
	}
	if err != nil {
		return nil, err
	}
	return h.answer(), nil
}

// historian answers one request for history.
type historian struct {
	state   *state
	request *HistoryRequest
	parts   []past
	records []*Record
	// What the answer may still take.
	left    int
	bytes   int64
	offsets int64
}

// past is one partition's share of an answer.
type past struct {
	p *partition
	// [from, to) is what is wanted.
	from, to int64
	head     int64
	// next is where the next answer goes on: as Position.Next.
	next int64
	more bool
	// start is where the hub's log began, -1 where it was not asked.
	start int64
	seen  time.Time // before that
}

// begin finds what is wanted of each partition.
func (h *historian) begin(ctx context.Context, view []*partition) error {
	r := h.request
	foreign := !r.Subject.All && r.Subject.Key != "" && h.state.foreign()
	if r.Since != nil && (len(r.Since) == 0 || h.state.is.Compacted || foreign || len(view) == 0) {
		return fmt.Errorf("topic %q is compacted, foreign-partitioned or absent, or no position is given: %w", h.state.topic.name, ErrUnrecoverable)
	}
	for _, p := range view {
		p.mu.Lock()
		a := past{p: p, head: p.head, to: p.head, next: p.head, start: -1}
		p.mu.Unlock()
		var err error
		switch {
		case r.Limit == 0:
		case r.Since != nil:
			err = h.since(ctx, &a, len(view))
		case r.Reverse:
			a.next = a.head + 1 // what lies below the head, none left out
		default:
			if err = h.bound(ctx, &a); err == nil {
				a.from = min(a.start, a.to)
				a.next = a.from
			}
		}
		if err != nil {
			return err
		}
		h.parts = append(h.parts, a)
	}
	return nil
}

// since takes up the position given for a partition.
func (h *historian) since(ctx context.Context, a *past, views int) error {
	at, ok := positionFor(h.request.Since, a.p, views)
	if !ok || at.Epoch != a.p.epoch || at.Next < 0 {
		return fmt.Errorf("partition %d is of another epoch: %w", a.p.n, ErrUnrecoverable)
	}
	a.from, a.next = at.Next, at.Next
	ahead := at.Next > a.head
	if h.request.Reverse {
		a.from, a.to = 0, max(0, min(at.Next-1, a.head))
		ahead = at.Next > a.head+1
	}
	if !ahead {
		return nil
	}
	bounds, err := h.state.fresh.ask(ctx)
	if err != nil {
		return err
	}
	if int(a.p.n) >= len(bounds) || at.Next > bounds[a.p.n].End {
		return fmt.Errorf("partition %d does not go that far: %w", a.p.n, ErrUnrecoverable)
	}
	return nil
}

// bound asks the hub where the partition begins, once.
func (h *historian) bound(ctx context.Context, a *past) error {
	if a.start >= 0 {
		return nil
	}
	a.seen = time.Now()
	bounds, err := h.state.fresh.ask(ctx)
	if err != nil {
		return err
	}
	if int(a.p.n) >= len(bounds) {
		return fmt.Errorf("topic %q: %w: %w", h.state.topic.name, ErrChanged, ErrNotReady)
	}
	a.start = bounds[a.p.n].Start
	return nil
}

func (h *historian) answer() *History {
	out := &History{Records: h.records}
	for i := range h.parts {
		a := &h.parts[i]
		out.Positions = append(out.Positions, Position{Epoch: a.p.epoch, Partition: a.p.n, Next: a.next})
		out.Heads = append(out.Heads, Position{Epoch: a.p.epoch, Partition: a.p.n, Next: a.head})
		out.More = out.More || a.more
	}
	return out
}

// forward takes what is wanted from the oldest on, partition after partition.
func (h *historian) forward(ctx context.Context) error {
	for i := range h.parts {
		a := &h.parts[i]
		if a.from >= a.to {
			continue
		}
		if h.left <= 0 || h.bytes <= 0 || h.offsets <= 0 {
			a.more = true
			continue
		}
		remembered, err := h.remembered(a)
		if err == nil && !remembered {
			err = h.ahead(ctx, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remembered takes a share from the ring, if that reaches back far enough.
func (h *historian) remembered(a *past) (bool, error) {
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.from < p.ring.from {
		return false, nil
	}
	for i := p.ring.since(a.from); i < p.ring.head; i++ {
		e := p.ring.at(i)
		if e.record.Offset >= a.to {
			break
		}
		if full, err := h.add(a, e.record, e.ruling); full || err != nil {
			return true, err
		}
	}
	a.next = a.to
	return true, nil
}

// add takes up the next record and reports whether the answer is full.
func (h *historian) add(a *past, r *Record, u ruling) (full bool, err error) {
	if !u.live && !u.past || !matches(h.request.Subject, r) {
		return false, nil
	}
	if u.unsure && h.request.Since != nil && !h.request.Repeats {
		return false, fmt.Errorf("offset %d may be a repeat of what is gone: %w", r.Offset, ErrUnrecoverable)
	}
	h.records = append(h.records, r)
	h.left--
	h.bytes -= recordBytes(r)
	a.next = r.Offset + 1
	full = h.left <= 0 || h.bytes <= 0
	a.more = full && a.next < a.to
	return full, nil
}

// ahead takes a share by reading the hub.
func (h *historian) ahead(ctx context.Context, a *past) error {
	if err := h.bound(ctx, a); err != nil {
		return err
	}
	if a.from < a.start {
		return h.belowStart(a)
	}
	to := min(a.to, a.from+h.offsets)
	err := h.read(ctx, a, a.from, to, func(r *Record, u ruling) (bool, error) {
		c := *r
		return h.add(a, &c, u)
	})
	switch {
	case errors.Is(err, errEnough):
		h.offsets -= a.next - a.from
		return nil
	case errors.Is(err, ErrGone):
		return fmt.Errorf("partition %d: %w: %w", a.p.n, ErrUnrecoverable, err)
	case err != nil:
		return err
	}
	h.offsets -= to - a.from
	a.next, a.more = to, to < a.to
	return nil
}

// belowStart answers for a position of which the hub holds nothing any more: it
// may be known all the same that nothing was missed.
func (h *historian) belowStart(a *past) error {
	p := a.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.from >= p.known && max(p.shownOf(h.request.Subject), p.replayed) < a.from {
		a.next = a.to
		return nil
	}
	return fmt.Errorf("partition %d begins at %d, after %d: %w", p.n, a.start, a.from, ErrUnrecoverable)
}

// read calls fn with the records of [from, to) and what is ruled of them, reading
// a look-back before them, until fn has enough or fails.
func (h *historian) read(ctx context.Context, a *past, from, to int64, fn func(*Record, ruling) (bool, error)) error {
	e := h.state.topic.engine
	if e.waiting.Add(1) > int64(e.opts.Recovery.Waiting) {
		e.waiting.Add(-1)
		return fmt.Errorf("topic %q: %w", h.state.topic.name, ErrBusy)
	}
	defer e.waiting.Add(-1)
	if err := e.acquire(ctx); err != nil {
		return err
	}
	defer e.release()
	w := h.state.topic.window
	if e.flaws.noLookBack {
		w = 0
	}
	begin := max(a.start, from-w)
	judge := newJudge(h.state.topic.window, e.opts.DedupeHorizon, &e.flaws, begin, a.start, a.seen)
	if e.flaws.noLookBack {
		judge.sure = begin
	}
	err := e.deps.Log.Scan(ctx, h.state.topic.name, a.p.n, begin, to, func(records []Record) error {
		for i := range records {
			r := &records[i]
			u := judge.decide(r)
			if r.Offset < from {
				continue
			}
			if full, err := fn(r, u); err != nil {
				return err
			} else if full {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	if changed := h.state.confirm(ctx); changed != nil {
		return changed
	}
	return err
}

package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"postroad/internal/message"
)

// topic is a topic that is served, whatever the hub makes of it.
type topic struct {
	engine   *Engine
	name     string
	window   int64
	conflate bool
	read     atomic.Bool // it was loaded once, whatever has become of it

	mu    sync.Mutex
	state *state // nil until the hub was asked. Guarded by mu.
	why   error  // why there is no state, or it is not read on. Guarded by mu.
}

// now is the state as it is, loaded; else the error says why not and matches
// ErrNotReady.
func (t *topic) now() (*state, error) {
	t.mu.Lock()
	st, why := t.state, t.why
	t.mu.Unlock()
	switch {
	case st == nil && why == nil:
		return nil, fmt.Errorf("topic %q: the hub has not answered yet: %w", t.name, ErrNotReady)
	case st == nil:
		return nil, fmt.Errorf("topic %q: %w: %w", t.name, why, ErrNotReady)
	case !st.loaded.Load() && !st.flaws().readyAtOnce:
		return nil, fmt.Errorf("topic %q is being read: %w", t.name, ErrNotReady)
	}
	return st, nil
}

func (t *topic) set(st *state, why error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.why = st, why
}

// ready says why the topic cannot be served as it is in the hub now, or nil.
func (t *topic) ready() error {
	t.mu.Lock()
	st, why := t.state, t.why
	t.mu.Unlock()
	switch {
	case st != nil:
		return st.ready(t.engine.opts.MaxLag)
	case why != nil:
		return fmt.Errorf("topic %q: %w", t.name, why)
	}
	return fmt.Errorf("topic %q: the hub has not answered yet", t.name)
}

// run reads the topic until ctx ends. Each turn is one state of it.
func (t *topic) run(ctx context.Context) {
	for fails := 0; ctx.Err() == nil; {
		st, from, err := t.open(ctx)
		if err != nil {
			fails++
			t.set(nil, err)
			t.engine.deps.Logger.Warn("topic cannot be read", "topic", t.name, "err", err)
			pause(ctx, fails)
			continue
		}
		fails = 0
		followed, changed := context.WithCancel(ctx)
		st.changed = changed
		t.set(st, nil)
		if len(from) == 0 {
			t.await(ctx)
		} else {
			t.follow(followed, st, from)
		}
		changed()
		if ctx.Err() != nil {
			return // whoever drains the node ends its subscriptions
		}
		t.engine.deps.Logger.Info("topic is read anew", "topic", t.name)
		t.set(nil, ErrChanged)
		if !st.flaws().silentChange {
			st.retire()
		}
	}
}

// open asks the hub what the topic is, and where each partition is to be read
// from: so far back that last values are found, and a look-back before that.
func (t *topic) open(ctx context.Context) (*state, []int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*boundsTimeout)
	defer cancel()
	log := t.engine.deps.Log
	is, err := log.Describe(ctx, t.name)
	if errors.Is(err, message.ErrNotFound) {
		st := &state{topic: t, absent: map[*Subscription]struct{}{}}
		st.load()
		return st, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("describe: %w", err)
	}
	seen := time.Now() // before: what is gone by then was produced by then
	bounds, err := log.Bounds(ctx, t.name)
	if err != nil {
		return nil, nil, fmt.Errorf("bounds: %w", err)
	}
	aged, err := log.OffsetsAt(ctx, t.name, time.Now().Add(-t.engine.opts.LastValues.Age))
	if err != nil {
		return nil, nil, fmt.Errorf("offsets by time: %w", err)
	}
	n := int(is.Partitions)
	if n < 1 || len(bounds) != n || len(aged) != n {
		return nil, nil, fmt.Errorf("the hub told of %d, %d and %d partitions", n, len(bounds), len(aged))
	}
	st := &state{topic: t, is: is, fresh: &asker{engine: t.engine, name: t.name}}
	st.parts = make([]*partition, n)
	st.ends = make([]int64, n)
	st.foreignBelow = make([]atomic.Int64, n)
	from := make([]int64, n)
	for i, b := range bounds {
		st.foreignBelow[i].Store(-1)
		from[i] = t.place(st, int32(i), b, aged[i], seen)
	}
	st.doubtUnread(&t.engine.opts)
	return st, from, nil
}

// place makes a partition and says where to begin reading it.
func (t *topic) place(st *state, n int32, b Bounds, aged int64, seen time.Time) int64 {
	o := &t.engine.opts
	show := min(max(aged, b.Start), b.End)
	begin := max(b.Start, show-t.window)
	if begin == b.Start {
		show = begin // all there is
	} else {
		show = begin + t.window
	}
	shares := int64(st.is.Partitions)
	p := &partition{
		of: st, n: n, epoch: Epoch(t.engine.deps.Hub, t.name, st.is, n),
		judge: newJudge(t.window, o.DedupeHorizon, st.flaws(), begin, b.Start, seen),
		next:  begin, shows: show, head: begin, known: show, shown: -1, replayed: -1,
		ring:   ring{from: show, maxRecords: o.Ring.MaxRecords, maxBytes: o.Ring.MaxBytes},
		values: newValues(int((int64(o.LastValues.MaxKeys)+shares-1)/shares), (o.LastValues.MaxBytes+shares-1)/shares),
		lag:    lag{heard: seen, end: b.End, target: b.End, since: seen},
	}
	p.scans = &scanner{engine: t.engine, p: p}
	st.parts[n], st.ends[n] = p, b.End
	return begin
}

// await waits until the hub has the topic.
func (t *topic) await(ctx context.Context) {
	for tries := 1; ; tries++ {
		pause(ctx, min(tries, 4))
		_, err := t.engine.deps.Log.Describe(ctx, t.name)
		if ctx.Err() != nil || err == nil {
			return
		}
	}
}

// follow reads a state until ctx ends, as it does with state.changed, or the topic
// is not what it was.
func (t *topic) follow(ctx context.Context, st *state, from []int64) {
	for fails := 0; ; {
		r := &reading{topic: t, state: st, ctx: ctx}
		err := r.load() // where the topic is empty there is nothing to wait for
		if err == nil {
			err = t.engine.deps.Log.Follow(ctx, t.name, from, r.take)
		}
		if ctx.Err() != nil || errors.Is(err, ErrChanged) {
			return
		}
		t.engine.deps.Logger.Warn("reading was broken off", "topic", t.name, "err", err)
		if r.confirmed {
			fails = 0
		}
		fails++
		pause(ctx, fails)
		for i, p := range st.parts {
			from[i] = p.next
		}
	}
}

// pause waits after the n-th failure in a row: up to 3 s, with full jitter.
func pause(ctx context.Context, n int) {
	most := min(100*time.Millisecond<<min(n, 10), 3*time.Second)
	select {
	case <-time.After(time.Duration(rand.Int64N(int64(most))) + time.Millisecond):
	case <-ctx.Done():
	}
}

// reading is one call of Log.Follow.
type reading struct {
	topic     *topic
	state     *state
	ctx       context.Context
	confirmed bool
}

func (r *reading) take(b *Batch) error {
	st, e := r.state, r.topic.engine
	if b.Partition < 0 || int(b.Partition) >= len(st.parts) {
		return fmt.Errorf("partition %d of %d: %w", b.Partition, len(st.parts), ErrChanged)
	}
	if !r.confirmed {
		// The topic may have been made anew between being described and followed.
		is, err := e.deps.Log.Describe(r.ctx, r.topic.name)
		if err != nil {
			return fmt.Errorf("describe: %w", err)
		}
		if is != st.is {
			return ErrChanged
		}
		r.confirmed = true
	}
	p := st.parts[b.Partition]
	if st.loaded.Load() && len(b.Records) > 0 {
		if err := r.room(p, b); err != nil {
			return err
		}
	}
	if b.From > p.next {
		e.deps.Logger.Warn("records were removed before they were read", "topic", r.topic.name, "partition", p.n, "from", p.next, "to", b.From)
		p.gap(b.From)
	}
	p.take(b)
	return r.load()
}

// room waits until there is room for records. That the hub was heard of is noted
// before: without that a node whose clients are slow would take the hub for away.
func (r *reading) room(p *partition, b *Batch) error {
	room := r.topic.engine.deps.Room
	if room == nil {
		return nil
	}
	p.mu.Lock()
	p.lag.hear(time.Now(), p.head, b.End)
	p.mu.Unlock()
	if err := room(r.ctx); err != nil {
		return fmt.Errorf("wait for room: %w", err)
	}
	return nil
}

// load notes that everything the topic held in the beginning was read.
func (r *reading) load() error {
	st := r.state
	if st.loaded.Load() {
		return nil
	}
	for i, p := range st.parts {
		if p.next < st.ends[i] {
			return nil
		}
	}
	if err := st.placeForeign(r.ctx); err != nil {
		return err
	}
	st.load()
	r.topic.engine.deps.Logger.Info("topic is read to its end", "topic", r.topic.name, "partitions", len(st.parts))
	return nil
}

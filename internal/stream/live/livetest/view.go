package livetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
)

// ErrAway is what a View answers while it is cut off.
var ErrAway = errors.New("the hub is away")

// Calls counts what was asked of a View.
type Calls struct{ Describe, Bounds, OffsetsAt, Follow, Scan int }

// View is how one reader sees a Log: a live.Log that can be cut off from it,
// slowed down, and held back.
type View struct {
	log *Log

	mu    sync.Mutex
	away  bool
	delay time.Duration
	chunk int64
	held  map[place]int64
	scan  func(topic string, partition int32, from, to int64) error
	calls Calls
}

type place struct {
	topic     string
	partition int32
}

var _ live.Log = (*View)(nil)

// NewView returns another reader's view of the log.
func (l *Log) NewView() *View {
	return &View{log: l, chunk: 500, held: map[place]int64{}}
}

func (v *View) set(fn func()) {
	v.log.change(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		fn()
	})
}

// SetAway cuts the view off from the hub, or ends that.
func (v *View) SetAway(away bool) { v.set(func() { v.away = away }) }

// SetDelay makes everything that is asked, and each piece that is followed, take
// that much longer.
func (v *View) SetDelay(d time.Duration) { v.set(func() { v.delay = d }) }

// SetChunk sets how many offsets a piece of the log has at most; 500 by default.
func (v *View) SetChunk(n int) { v.set(func() { v.chunk = int64(max(n, 1)) }) }

// Hold lets Follow go no further than the offset, though it is told of the end; a
// negative one lets it go on. Scan is not held back.
func (v *View) Hold(topic string, partition int32, offset int64) {
	v.set(func() {
		delete(v.held, place{topic, partition})
		if offset >= 0 {
			v.held[place{topic, partition}] = offset
		}
	})
}

// OnScan has fn called where a scan begins, which fails with its error; fn may
// wait. Nil ends that.
func (v *View) OnScan(fn func(topic string, partition int32, from, to int64) error) {
	v.set(func() { v.scan = fn })
}

// Calls says what was asked so far.
func (v *View) Calls() Calls {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

// begin counts a call and answers for a hub that is away, after the delay.
func (v *View) begin(ctx context.Context, count func(*Calls)) error {
	v.mu.Lock()
	count(&v.calls)
	away, delay := v.away, v.delay
	v.mu.Unlock()
	if err := wait(ctx, delay); err != nil {
		return err
	}
	if away {
		return ErrAway
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	if d > 0 {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// topic returns a topic as it is now; the caller holds the log's lock.
func (v *View) topic(name string) (*topic, error) {
	if t := v.log.topics[name]; t != nil {
		return t, nil
	}
	return nil, fmt.Errorf("topic %q: %w", name, message.ErrNotFound)
}

// Describe is live.Log's.
func (v *View) Describe(ctx context.Context, name string) (live.Topic, error) {
	if err := v.begin(ctx, func(c *Calls) { c.Describe++ }); err != nil {
		return live.Topic{}, err
	}
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	t, err := v.topic(name)
	if err != nil {
		return live.Topic{}, err
	}
	return live.Topic{Partitions: int32(len(t.partitions)), Cluster: "livetest", ID: t.id, Compacted: t.compacted}, nil
}

// Bounds is live.Log's.
func (v *View) Bounds(ctx context.Context, name string) ([]live.Bounds, error) {
	if err := v.begin(ctx, func(c *Calls) { c.Bounds++ }); err != nil {
		return nil, err
	}
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	t, err := v.topic(name)
	if err != nil {
		return nil, err
	}
	var all []live.Bounds
	for _, p := range t.partitions {
		all = append(all, live.Bounds{Start: p.start, End: max(p.start, p.end())})
	}
	return all, nil
}

// OffsetsAt is live.Log's.
func (v *View) OffsetsAt(ctx context.Context, name string, at time.Time) ([]int64, error) {
	if err := v.begin(ctx, func(c *Calls) { c.OffsetsAt++ }); err != nil {
		return nil, err
	}
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	t, err := v.topic(name)
	if err != nil {
		return nil, err
	}
	var all []int64
	for _, p := range t.partitions {
		offset := p.start
		for offset < p.end() && p.slots[offset].at.Before(at) {
			offset++
		}
		all = append(all, offset)
	}
	return all, nil
}

// Scan is live.Log's.
func (v *View) Scan(ctx context.Context, name string, partition int32, from, to int64, fn func([]live.Record) error) error {
	if err := v.begin(ctx, func(c *Calls) { c.Scan++ }); err != nil {
		return err
	}
	v.mu.Lock()
	hook := v.scan
	v.mu.Unlock()
	if hook != nil {
		if err := hook(name, partition, from, to); err != nil {
			return err
		}
	}
	for from < to {
		records, next, err := v.piece(name, partition, from, to)
		if err != nil {
			return err
		}
		if next == from {
			return nil // the end
		}
		if len(records) > 0 {
			if err := fn(records); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		from = next
	}
	return nil
}

// piece returns the next records of [from, to), and where those after them begin.
func (v *View) piece(name string, partition int32, from, to int64) ([]live.Record, int64, error) {
	v.mu.Lock()
	chunk, away := v.chunk, v.away
	v.mu.Unlock()
	v.log.mu.Lock()
	defer v.log.mu.Unlock()
	t, err := v.topic(name)
	switch {
	case away:
		return nil, 0, ErrAway
	case err != nil:
		return nil, 0, err
	case partition < 0 || int(partition) >= len(t.partitions):
		return nil, 0, fmt.Errorf("partition %d of %q: %w", partition, name, message.ErrNotFound)
	}
	p := t.partitions[partition]
	if from < p.start {
		return nil, 0, fmt.Errorf("partition %d of %q begins at %d: %w", partition, name, p.start, live.ErrGone)
	}
	next := max(from, min(to, p.end(), from+chunk))
	return p.committed(from, next), next, nil
}

func (p *partition) committed(from, to int64) []live.Record {
	var records []live.Record
	to = min(to, int64(len(p.slots)))
	for _, s := range p.slots[min(from, to):to] {
		if s.committed {
			records = append(records, s.record)
		}
	}
	return records
}

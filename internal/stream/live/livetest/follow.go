package livetest

import (
	"context"
	"time"

	"postroad/internal/stream/live"
)

// heartbeat is how often Follow says of a partition that nothing came.
const heartbeat = time.Second

// follower is one call of Follow.
type follower struct {
	view *View
	name string
	of   *topic
	next []int64
	told []time.Time // when each partition was last heard of
	fn   func(*live.Batch) error
}

// Follow is live.Log's. An offset beyond the end is of another topic: ErrChanged.
func (v *View) Follow(ctx context.Context, name string, from []int64, fn func(*live.Batch) error) error {
	v.mu.Lock()
	v.calls.Follow++
	v.mu.Unlock()
	f := &follower{view: v, name: name, next: append([]int64(nil), from...), told: make([]time.Time, len(from)), fn: fn}
	for ctx.Err() == nil {
		batches, moved, err := f.look()
		if err != nil {
			return err
		}
		if len(batches) == 0 {
			select {
			case <-moved:
			case <-time.After(heartbeat):
			case <-ctx.Done():
			}
			continue
		}
		v.mu.Lock()
		delay := v.delay
		v.mu.Unlock()
		if wait(ctx, delay) != nil {
			break
		}
		for _, b := range batches {
			if err := fn(b); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// look takes the next piece of each partition that has one or was not heard of
// for long, and what is closed when there is more.
func (f *follower) look() ([]*live.Batch, <-chan struct{}, error) {
	// Both locks at once, as a change holds them: with what was set before the change
	// and the channel from after it, the change would be slept through.
	l := f.view.log
	l.mu.Lock()
	defer l.mu.Unlock()
	f.view.mu.Lock()
	away, chunk := f.view.away, f.view.chunk
	held := map[int32]int64{}
	for at, offset := range f.view.held {
		if at.topic == f.name {
			held[at.partition] = offset
		}
	}
	f.view.mu.Unlock()
	if away {
		return nil, l.moved, nil
	}
	t := l.topics[f.name]
	if f.of == nil {
		f.of = t
	}
	if t == nil || t != f.of || len(t.partitions) != len(f.next) {
		return nil, nil, live.ErrChanged
	}
	var batches []*live.Batch
	for i, p := range t.partitions {
		if f.next[i] > int64(len(p.slots)) {
			return nil, nil, live.ErrChanged
		}
		from := max(f.next[i], p.start)
		to := min(p.end(), from+chunk)
		if at, ok := held[int32(i)]; ok {
			to = min(to, at)
		}
		to = max(from, to)
		if to == f.next[i] && time.Since(f.told[i]) < heartbeat {
			continue
		}
		batches = append(batches, &live.Batch{
			Partition: int32(i), From: from, Next: to, Records: p.committed(from, to), End: max(p.end(), p.start),
		})
		f.next[i], f.told[i] = to, time.Now()
	}
	return batches, l.moved, nil
}

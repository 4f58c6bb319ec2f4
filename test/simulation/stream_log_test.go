package simulation

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"postroad/internal/stream/live"
)

// streamLog is the hub as one stream node reads it: at its own pace, cut off at
// times.
type streamLog struct {
	s *streams

	mu   sync.Mutex
	cut  bool          // guarded by mu
	pace time.Duration // guarded by mu: between two looks at the hub
}

func (l *streamLog) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// away is an error where the node cannot ask the hub.
func (l *streamLog) away() error {
	l.mu.Lock()
	cut := l.cut
	l.mu.Unlock()
	h := l.s.w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if cut || h.away {
		return errAway
	}
	return nil
}

// ask takes the time of a question, and fails where nobody answers.
func (l *streamLog) ask(ctx context.Context) error {
	pause(ctx, l.s.w.hub.delay(5*time.Millisecond))
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.away()
}

func (l *streamLog) Describe(ctx context.Context, topic string) (live.Topic, error) {
	if err := l.ask(ctx); err != nil {
		return live.Topic{}, err
	}
	h := l.s.w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	t := live.Topic{Partitions: h.parts, Cluster: "simulated"}
	copy(t.ID[:], topic)
	return t, nil
}

func (l *streamLog) Bounds(ctx context.Context, topic string) ([]live.Bounds, error) {
	if err := l.ask(ctx); err != nil {
		return nil, err
	}
	return l.s.bounds(topic), nil
}

func (l *streamLog) OffsetsAt(ctx context.Context, topic string, at time.Time) ([]int64, error) {
	bounds, err := l.Bounds(ctx, topic)
	out := make([]int64, len(bounds))
	for p, b := range bounds {
		out[p] = b.Start
		for _, r := range l.s.records(part{topic, int32(p)}, b.Start, b.End) {
			if !l.s.live(int32(p), &r).Timestamp.Before(at) {
				break
			}
			out[p]++
		}
	}
	return out, err
}

// Follow looks at the hub again and again.
func (l *streamLog) Follow(ctx context.Context, topic string, from []int64, fn func(*live.Batch) error) error {
	next, told := slices.Clone(from), make([]time.Time, len(from))
	for {
		l.mu.Lock()
		pace := l.pace
		l.mu.Unlock()
		pause(ctx, pace)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.away() != nil {
			continue
		}
		bounds := l.s.bounds(topic)
		if len(bounds) != len(from) {
			return live.ErrChanged
		}
		for p, b := range bounds {
			at := max(next[p], b.Start)
			to := min(b.End, at+1+int64(l.s.w.hub.delay(30)))
			if to == next[p] && time.Since(told[p]) < time.Second {
				continue
			}
			batch := &live.Batch{Partition: int32(p), From: at, Next: to, End: b.End}
			for _, r := range l.s.records(part{topic, int32(p)}, at, to) {
				batch.Records = append(batch.Records, l.s.live(int32(p), &r))
				batch.Records[len(batch.Records)-1].Offset = at + int64(len(batch.Records)) - 1
			}
			next[p], told[p] = to, time.Now()
			if err := fn(batch); err != nil {
				return err
			}
		}
	}
}

func (l *streamLog) Scan(ctx context.Context, topic string, p int32, from, to int64, fn func([]live.Record) error) error {
	for at := from; at < to; {
		if err := l.ask(ctx); err != nil {
			return err
		}
		if b := l.s.bounds(topic); int(p) >= len(b) || at < b[p].Start {
			return fmt.Errorf("%w: offset %d", live.ErrGone, at)
		}
		var out []live.Record
		for i, r := range l.s.records(part{topic, p}, at, min(to, at+50)) {
			out = append(out, l.s.live(p, &r))
			out[i].Offset = at + int64(i)
		}
		if len(out) == 0 {
			return fmt.Errorf("scan %s/%d at %d: beyond the end", topic, p, at)
		}
		at += int64(len(out))
		if err := fn(out); err != nil {
			return err
		}
	}
	return nil
}

// bounds are what the hub still holds of a topic.
func (s *streams) bounds(topic string) []live.Bounds {
	h := s.w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]live.Bounds, h.parts)
	for p := range out {
		at := part{topic, int32(p)}
		out[p] = live.Bounds{Start: s.starts[at], End: int64(len(h.logs[at]))}
	}
	return out
}

// records are those of a partition in [from, to).
func (s *streams) records(p part, from, to int64) []record {
	h := s.w.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	log := h.logs[p]
	return log[min(from, int64(len(log))):min(to, int64(len(log)))]
}

// live is a record as a node reads it, without its offset.
func (s *streams) live(p int32, r *record) live.Record {
	return live.Record{
		Partition: p, Key: []byte(r.key), Value: []byte(r.value), ID: r.id, HasID: true,
		Accepted: r.accepted, Timestamp: s.w.began.Add(r.at),
	}
}

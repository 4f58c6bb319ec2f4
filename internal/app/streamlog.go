package app

import (
	"context"
	"errors"
	"time"

	"postroad/internal/kafka"
	"postroad/internal/stream/live"
)

// streamLog is the hub's log as stream nodes read it: a kafka.Feed with the types
// and errors of live.Log.
type streamLog struct{ feed *kafka.Feed }

var _ live.Log = streamLog{}

// Describe implements live.Log.
func (l streamLog) Describe(ctx context.Context, topic string) (live.Topic, error) {
	t, err := l.feed.Describe(ctx, topic)
	return live.Topic(t), logError(err)
}

// Bounds implements live.Log.
func (l streamLog) Bounds(ctx context.Context, topic string) ([]live.Bounds, error) {
	found, err := l.feed.Bounds(ctx, topic)
	if err != nil {
		return nil, logError(err)
	}
	out := make([]live.Bounds, len(found))
	for i, b := range found {
		out[i] = live.Bounds(b)
	}
	return out, nil
}

// OffsetsAt implements live.Log.
func (l streamLog) OffsetsAt(ctx context.Context, topic string, t time.Time) ([]int64, error) {
	out, err := l.feed.OffsetsAt(ctx, topic, t)
	return out, logError(err)
}

// Follow implements live.Log.
func (l streamLog) Follow(ctx context.Context, topic string, from []int64, fn func(*live.Batch) error) error {
	return logError(l.feed.Follow(ctx, topic, from, func(b *kafka.FeedBatch) error {
		return fn(&live.Batch{Partition: b.Partition, From: b.From, Next: b.Next, Records: liveRecords(b.Records), End: b.End})
	}))
}

// Scan implements live.Log.
func (l streamLog) Scan(ctx context.Context, topic string, partition int32, from, to int64, fn func([]live.Record) error) error {
	return logError(l.feed.Scan(ctx, topic, partition, from, to, func(rs []kafka.FeedRecord) error { return fn(liveRecords(rs)) }))
}

func liveRecords(rs []kafka.FeedRecord) []live.Record {
	if len(rs) == 0 {
		return nil
	}
	out := make([]live.Record, len(rs))
	for i := range rs {
		out[i] = live.Record(rs[i])
	}
	return out
}

// logError has the feed's errors match those of live.
func logError(err error) error {
	switch {
	case errors.Is(err, kafka.ErrChanged):
		return meansError{err, live.ErrChanged}
	case errors.Is(err, kafka.ErrGone):
		return meansError{err, live.ErrGone}
	}
	return err
}

// meansError is an error that matches another one too, which says the same.
type meansError struct {
	error
	means error
}

// Unwrap gives both.
func (e meansError) Unwrap() []error { return []error{e.error, e.means} }

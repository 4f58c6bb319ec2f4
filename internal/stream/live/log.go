package live

import (
	"context"
	"errors"
	"time"

	"postroad/internal/message"
)

// Log is the hub's log as a stream node reads it. Its methods are safe for
// concurrent use. Reading is read_committed: what a transaction aborted is never
// seen, and takes offsets all the same.
type Log interface {
	// Describe says what a topic is now. The error matches message.ErrNotFound
	// where the hub has no such topic.
	Describe(ctx context.Context, topic string) (Topic, error)
	// Bounds returns, by partition, the first offset that the topic still holds
	// and the end that readers of committed records see, asked of the hub now.
	Bounds(ctx context.Context, topic string) ([]Bounds, error)
	// OffsetsAt returns, by partition, the first offset whose record was produced
	// at or after t, or the partition's end.
	OffsetsAt(ctx context.Context, topic string, t time.Time) ([]int64, error)
	// Follow reads every partition from the offset given for it and calls fn with
	// what comes, in order within a partition, until ctx ends, fn fails or the
	// topic is not what it was (ErrChanged). fn is called from one goroutine at a
	// time, and at least once in two seconds for each partition that the hub
	// answers for, with no records where there were none, so that a caller knows
	// how fresh it is. While the hub is away it tries again and calls nothing.
	// An offset that the hub no longer holds is skipped to the first one held,
	// which shows as a gap between Batch.From and the last Batch.Next.
	Follow(ctx context.Context, topic string, from []int64, fn func(*Batch) error) error
	// Scan calls fn with the records of one partition in [from, to), in order.
	// The error matches ErrGone where from is no longer held.
	Scan(ctx context.Context, topic string, partition int32, from, to int64, fn func([]Record) error) error
}

var (
	// ErrChanged: the topic was made anew or has another count of partitions.
	ErrChanged = errors.New("the topic is not what it was")
	// ErrGone: the hub no longer holds what was asked for.
	ErrGone = errors.New("the hub no longer holds it")
)

// Topic is what the hub says of a topic.
type Topic struct {
	Partitions int32
	// Cluster and ID tell this hub, and this topic of that name, from another;
	// empty and zero where the hub does not say.
	Cluster string
	ID      [16]byte
	// Compacted topics drop records of the middle: nothing in them can be
	// recovered completely.
	Compacted bool
}

// Bounds of a partition: it holds offsets in [Start, End).
type Bounds struct{ Start, End int64 }

// Batch is a piece of a partition's log.
type Batch struct {
	Partition int32
	// From is where this piece begins and Next where the one after it will:
	// offsets in between that are not in Records were aborted or markers.
	From, Next int64
	// Records ascend by offset. They and what they point to are the receiver's.
	Records []Record
	// End is the partition's end for readers of committed records, as the hub
	// said with this piece.
	End int64
}

// Record is one committed record.
type Record struct {
	Partition int32
	Offset    int64
	// Key is nil where the record has none.
	Key   []byte
	Value []byte
	// ID is the dedupe id, where HasID.
	ID    message.ID
	HasID bool
	// Replay marks what a replay wrote: not shown to live subscribers, and no
	// other's duplicate.
	Replay bool
	// Accepted is when a gateway accepted the message; Kafka's timestamp where
	// the record does not say.
	Accepted time.Time
	// Timestamp is Kafka's: when the record was produced.
	Timestamp time.Time
	// Stamp accepted the message; empty where the record does not say.
	Stamp string
}

// Position is how far in a partition a subscriber has got.
type Position struct {
	// Epoch tells the partition as it is from any other: see Epoch.
	Epoch     string
	Partition int32
	// Next is the Kafka offset after the last record processed: the "offset" of
	// the Centrifugo protocol, where 0 means none.
	Next int64
}

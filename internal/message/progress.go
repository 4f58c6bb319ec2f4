package message

import "time"

// Progress is how far a chain of lanes has been forwarded, as it is kept on
// disk: enough for a successor to send only what is missing.
type Progress struct {
	// Hub identifies the hub that Marks and Partitions are of; empty for one
	// without a name. They say nothing about another. Lanes hold whichever hub
	// the messages went to.
	Hub string
	// Lanes has an entry for each lane of the chain that messages were taken
	// from, oldest first. A lane that is not named is as far as it was before:
	// nothing is concluded from its absence.
	Lanes []LaneProgress
	// Marks has an entry for each partition that was produced to: no record
	// of these lanes with a seq at or above Next stands in the partition
	// below Offset. A successor reads the partition from there to find what
	// is already in the hub.
	Marks []Mark
	// Partitions is the partition count of each topic by which keys were
	// mapped. A change is adopted only with nothing in flight.
	Partitions map[string]int32
}

// LaneProgress says that every message of the lane below Next is settled:
// in the hub, or set aside.
type LaneProgress struct {
	Lane string
	Next uint64
}

// Mark is an offset in a partition of a topic.
type Mark struct {
	Topic     string
	Partition int32
	Offset    int64
}

// Span is the offsets [From, To) of a partition.
type Span struct {
	Topic     string
	Partition int32
	From, To  int64
}

// Copy is a record of the hub's in which some gateway's message stands.
type Copy struct {
	ID ID
	// Repeat says that it is marked: another copy may exist.
	Repeat bool
	At     Mark
	// Produced is Kafka's timestamp.
	Produced time.Time
}

// Accepted is when a message was first accepted, at whichever stamp.
func (m *Message) Accepted() time.Time {
	if m.Origin != nil {
		return m.Origin.Time
	}
	return m.Time
}

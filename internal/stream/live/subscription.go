package live

// Encoder makes the bytes that subscribers are sent. Encoders are compared: two
// subscriptions with equal encoders (and equal names) share what is encoded once.
type Encoder interface {
	// Encode returns what a subscriber that calls the subject name is sent for
	// records, which are never none and ascend by offset within one partition.
	// positioned says whether the subscriber may take their offsets for its
	// position; keyed whether it needs to be told their keys, since its subject
	// holds several. It is called under the partition's lock: no blocking.
	Encode(name string, positioned, keyed bool, records []*Record) []byte
}

// Receiver takes what a subscription is delivered. Its methods are called under
// the partition's lock, in the order of offsets within a partition and at once
// for several partitions: they must not block and not call the engine.
type Receiver interface {
	// Deliver takes the next block.
	Deliver(s *Subscription, b *Block)
	// Ended says that the subscription is over, and why; nothing is delivered
	// afterwards. It is not called for Close.
	Ended(s *Subscription, why error)
}

// Block is a burst of records as the subscribers of one audience are sent it.
// Blocks are shared between subscribers and must not be changed.
type Block struct {
	// Bytes is what the encoder made of Records; nil without an encoder.
	Bytes     []byte
	Partition int32
	// Records ascend by offset.
	Records []*Record
}

// Request is a subscription that is wanted.
type Request struct {
	Subject Subject
	// Name is what the subscriber calls the subject; it is given to Encoder.
	Name string
	// Encoder makes Block.Bytes; nil where the receiver encodes by itself.
	Encoder  Encoder
	Receiver Receiver
	// Since is how far the subscriber has got, by partition, one position for a
	// subject of one partition; nil where it begins afresh.
	Since []Position
	// Begin is called once, under the locks of the partitions in view, before
	// anything is delivered: whatever it queues goes first. It must not block and
	// not call the engine.
	Begin func(*Start)
}

// Start is what a subscription begins with.
type Start struct {
	Subscription *Subscription
	// Recoverable says that the subscriber can come back with a position: its
	// subject is of one partition, of a topic that can be recovered. Whoever keeps
	// a position for each partition may come back to a subject of several, too.
	Recoverable bool
	// Positions are where the subscription begins, by partition in view; none
	// while the hub has no such topic. Where a
	// position given was ahead of this node it is echoed, and nothing at or below
	// it will be delivered.
	Positions []Position
	// Recovered says that positions were given and that Missed is all that the
	// subscriber has missed since.
	Recovered bool
	// Missed are the records between the positions given and Positions, in order
	// of offset within each partition, partition after partition.
	Missed []*Record
	// Last are the last values of the subject's keys, in order of offset within
	// each partition, where the subscriber begins afresh or was not recovered.
	Last []*Record
}

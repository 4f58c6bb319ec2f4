package kafka

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/plugin/kprom"

	"postroad/internal/message"
)

var (
	// ErrChanged: the topic was made anew or deleted, has another count of
	// partitions, ends before what was read of it, or is another cluster's.
	ErrChanged = errors.New("the topic is not what it was")
	// ErrGone: the hub no longer holds what was asked for.
	ErrGone = errors.New("the hub no longer holds it")
)

// Feed is the hub's log for who keeps a picture of whole topics: a stream node.
// It reads every partition, decides nothing about duplicates, and says how far
// each partition goes, where nothing comes too. Its methods are safe for
// concurrent use.
//
// Its methods are those of live.Log with types of this package: internal/app
// makes one of the other.
//
// What a topic is, is remembered by Describe, unless it is being followed. Whatever
// is read afterwards is of that topic: of one made anew under its name nothing is
// taken for it, where the hub has topic ids.
type Feed struct {
	opts Options
	deps Deps
	link *link
	// client asks for what is not followed. Reading that waits for what is to come
	// has clients of its own: a broker answers one connection's requests in turn,
	// and whoever waits there holds up all behind.
	client  *kgo.Client
	metrics *kprom.Metrics // nil without a Registerer
	stop    func()         // ends watching the files

	mu      sync.Mutex
	clients map[*kgo.Client]struct{} // guarded by mu: all that are open
	topics  map[string]FeedTopic     // guarded by mu: as Describe found them last
	pinned  map[string]int           // guarded by mu: how often each is being followed
	silent  map[string]bool          // guarded by mu: topics whose policy the hub does not tell
}

// FeedTopic is what the hub says of a topic.
type FeedTopic struct {
	Partitions int32
	// Cluster and ID are empty and zero where the hub does not say.
	Cluster string
	ID      [16]byte
	// Compacted: records in the middle may be gone. False where the hub does not
	// tell.
	Compacted bool
}

// FeedBounds of a partition: it holds offsets in [Start, End).
type FeedBounds struct{ Start, End int64 }

// FeedBatch is a piece of a partition's log.
type FeedBatch struct {
	Partition int32
	// From is where this piece begins and Next where the one after it will:
	// offsets in between that are not in Records were aborted, or markers.
	From, Next int64
	// Records ascend by offset. They are the receiver's, with their bytes.
	Records []FeedRecord
	// End is the partition's end for readers of committed records as the hub said
	// with this piece; never below Next.
	End int64
}

// FeedRecord is one committed record. Its fields are those of live.Record in the
// same order, so that one converts to the other.
type FeedRecord struct {
	Partition int32
	Offset    int64
	// Key is nil where the record has none.
	Key   []byte
	Value []byte
	// ID is the dedupe id, where HasID.
	ID    message.ID
	HasID bool
	// Replay marks what a replay wrote.
	Replay bool
	// Accepted is when a gateway accepted the message; Timestamp where the record
	// does not say.
	Accepted time.Time
	// Timestamp is Kafka's: when the record was produced.
	Timestamp time.Time
	// Stamp accepted the message; empty where the record does not say.
	Stamp string
}

// NewFeed makes a Feed; it connects to nothing yet: the hub may be away.
func NewFeed(opts Options, deps Deps) (*Feed, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	deps.setDefaults()
	link, err := newLink(opts, deps.Log)
	if err != nil {
		return nil, err
	}
	f := &Feed{
		opts: link.opts, deps: deps, link: link, stop: func() {},
		clients: map[*kgo.Client]struct{}{}, topics: map[string]FeedTopic{}, pinned: map[string]int{}, silent: map[string]bool{},
	}
	if f.client, err = f.open(); err != nil {
		return nil, err
	}
	if link.changes() {
		f.watchFiles()
	}
	return f, nil
}

// Close gives up all connections. It is called once nothing is under way.
func (f *Feed) Close() {
	f.stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for client := range f.clients {
		client.Close()
	}
	clear(f.clients)
}

// open makes a client, which is to be given to drop. The metrics of the first count
// for all.
func (f *Feed) open() (_ *kgo.Client, err error) {
	opts := f.link.common(f.deps.Log, nil, nil)
	switch {
	case f.deps.Registerer == nil:
	case f.metrics == nil:
		f.metrics = kprom.NewMetrics("postroad", kprom.Subsystem("kafka_feed"), kprom.Registerer(f.deps.Registerer))
		opts = append(opts, kgo.WithHooks(f.metrics))
	default:
		opts = append(opts, kgo.WithHooks(sharedHooks{f.metrics}))
	}
	defer func() {
		if r := recover(); r != nil { // kprom panics where names are taken
			err = fmt.Errorf("kafka client: %v", r)
		}
	}()
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("kafka client: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients[client] = struct{}{}
	return client, nil
}

func (f *Feed) drop(client *kgo.Client) {
	f.mu.Lock()
	delete(f.clients, client)
	f.mu.Unlock()
	client.Close()
}

// watchFiles looks at the files of the settings until stop.
func (f *Feed) watchFiles() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.link.watch(ctx, func(brokers []string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			for client := range f.clients {
				if err := client.UpdateSeedBrokers(brokers...); err != nil {
					f.deps.Log.Warn("cannot go on with other brokers", "err", err)
				}
			}
		})
	}()
	f.stop = func() { cancel(); <-done }
}

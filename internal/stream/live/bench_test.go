package live_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
)

// feed is a log that hands over the batches it is given, and nothing else.
type feed struct {
	partitions int32
	batches    chan *live.Batch
}

func (f *feed) Describe(context.Context, string) (live.Topic, error) {
	return live.Topic{Partitions: f.partitions}, nil
}

func (f *feed) Bounds(context.Context, string) ([]live.Bounds, error) {
	return make([]live.Bounds, f.partitions), nil
}

func (f *feed) OffsetsAt(context.Context, string, time.Time) ([]int64, error) {
	return make([]int64, f.partitions), nil
}

func (f *feed) Scan(context.Context, string, int32, int64, int64, func([]live.Record) error) error {
	return live.ErrGone
}

func (f *feed) Follow(ctx context.Context, _ string, from []int64, fn func(*live.Batch) error) error {
	for p := range from { // heard of
		if err := fn(&live.Batch{Partition: int32(p)}); err != nil {
			return err
		}
	}
	for {
		select {
		case b := <-f.batches:
			if err := fn(b); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// frames encodes as a WebSocket server does: a length and the value.
type frames struct{}

func (*frames) Encode(_ string, _, _ bool, records []*live.Record) []byte {
	n := 0
	for _, r := range records {
		n += 4 + len(r.Value)
	}
	b := make([]byte, 0, n)
	for _, r := range records {
		b = append(b, 0x82, 126, byte(len(r.Value)>>8), byte(len(r.Value)))
		b = append(b, r.Value...)
	}
	return b
}

// counter counts what it is delivered.
type counter struct{ blocks, records int }

func (c *counter) Deliver(_ *live.Subscription, b *live.Block) {
	c.blocks++
	c.records += len(b.Records)
}

func (c *counter) Ended(*live.Subscription, error) {}

// BenchmarkDeliver hands bursts of records to subscribers that count; one
// operation is one delivery of one record to one subscriber. The last column is
// the heap that one subscription takes.
func BenchmarkDeliver(b *testing.B) {
	for _, row := range []struct {
		name                     string
		subscribers, keys, burst int
		size                     int
	}{
		{"1000 of one subject, bursts of 100", 1000, 1, 100, 256},
		{"1000 of one subject, one by one", 1000, 1, 1, 256},
		{"10000 subjects of one each", 10_000, 10_000, 1000, 256},
		{"12500 over 1000 keys, 512 B", 12_500, 1000, 1000, 512},
	} {
		b.Run(row.name, func(b *testing.B) { benchDeliver(b, row.subscribers, row.keys, row.burst, row.size) })
	}
}

func benchDeliver(b *testing.B, subscribers, keys, burst, size int) {
	const partitions = 8
	f := &feed{partitions: partitions, batches: make(chan *live.Batch)}
	opts := live.DefaultOptions()
	opts.Topics = []live.TopicOptions{{Name: topicName}}
	e, stop := running(b, opts, f)
	ctx := b.Context()
	c, enc := &counter{}, &frames{}
	subs := make([]*live.Subscription, 0, subscribers)
	before := heap()
	for i := range subscribers {
		k := fmt.Sprint("key-", i%keys)
		s, err := e.Subscribe(ctx, live.Request{Subject: key(k), Name: "t/" + k, Encoder: enc, Receiver: c})
		if err != nil {
			b.Fatal(err)
		}
		subs = append(subs, s)
	}
	perSub := float64(heap()-before) / float64(subscribers)
	g := &generator{keys: keys, next: make([]int64, partitions), value: make([]byte, size)}
	b.ReportAllocs()
	b.ResetTimer()
	records := 0
	for c.records < b.N {
		for _, batch := range g.burst(burst) {
			f.batches <- batch
			records += len(batch.Records)
		}
		f.batches <- &live.Batch{} // the one before is done when this is taken
	}
	b.StopTimer()
	b.ReportMetric(float64(c.records)/float64(c.blocks), "records/block")
	b.ReportMetric(perSub, "B/subscription")
	b.ReportMetric(float64(records), "records")
	runtime.KeepAlive(subs)
	stop()
}

// running runs an engine, and returns what ends it.
func running(b *testing.B, opts live.Options, f *feed) (*live.Engine, func()) {
	b.Helper()
	e, err := live.New(opts, live.Deps{Log: f, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	for e.Ready() != nil {
		runtime.Gosched()
	}
	return e, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// generator makes batches as a feed does: of each partition one.
type generator struct {
	keys  int
	made  uint64
	next  []int64
	value []byte
}

func (g *generator) burst(n int) []*live.Batch {
	by := make([]*live.Batch, len(g.next))
	now := time.Now()
	for range n {
		k := fmt.Append(nil, "key-", g.made%uint64(g.keys))
		p := message.PartitionOf(k, int32(len(g.next)))
		if by[p] == nil {
			by[p] = &live.Batch{Partition: p, From: g.next[p]}
		}
		var id message.ID
		for i := range 8 {
			id[i], id[15-i] = byte(g.made>>(8*i)), byte(g.made*0x9e3779b97f4a7c15>>(8*i))
		}
		by[p].Records = append(by[p].Records, live.Record{
			Partition: p, Offset: g.next[p], Key: k, Value: g.value, ID: id, HasID: true, Accepted: now, Timestamp: now,
		})
		g.made++
		g.next[p]++
		by[p].Next, by[p].End = g.next[p], g.next[p]
	}
	var all []*live.Batch
	for _, b := range by {
		if b != nil {
			all = append(all, b)
		}
	}
	return all
}

// BenchmarkRecover brings subscribers back from the ring, of 8192 records.
func BenchmarkRecover(b *testing.B) {
	f := &feed{partitions: 1, batches: make(chan *live.Batch)}
	opts := live.DefaultOptions()
	opts.Topics = []live.TopicOptions{{Name: topicName}}
	opts.Ring.MaxBytes = 1 << 30
	e, stop := running(b, opts, f)
	ctx := b.Context()
	at, err := e.Positions(key("key-1"))
	if err != nil {
		b.Fatal(err)
	}
	g := &generator{keys: 1000, next: make([]int64, 1), value: make([]byte, 256)}
	f.batches <- g.burst(8000)[0]
	f.batches <- &live.Batch{}
	c := &counter{}
	b.ReportAllocs()
	for b.Loop() {
		s, err := e.Subscribe(ctx, live.Request{
			Subject: key("key-1"), Name: "t/key-1", Encoder: &frames{}, Receiver: c, Since: at,
			Begin: func(s *live.Start) {
				if !s.Recovered || len(s.Missed) != 8 {
					b.Fatalf("recovered %v, %d missed", s.Recovered, len(s.Missed))
				}
			},
		})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
	stop()
}

// BenchmarkHeld reports the heap that a last value, a record of the ring and an id
// of a window take, beside the bytes of keys and values. One operation is one of
// them.
func BenchmarkHeld(b *testing.B) {
	for _, held := range []string{"last value", "ring record", "window id"} {
		b.Run(held, func(b *testing.B) {
			f := &feed{partitions: 1, batches: make(chan *live.Batch)}
			opts := live.DefaultOptions()
			opts.Topics = []live.TopicOptions{{Name: topicName}}
			opts.LastValues.MaxKeys, opts.Ring.MaxRecords, opts.Window = 0, 0, 0
			g := &generator{keys: b.N, next: make([]int64, 1), value: []byte{}}
			switch held {
			case "last value":
				opts.LastValues.MaxKeys = min(b.N, 100_000_000)
			case "ring record":
				opts.Ring.MaxRecords, opts.Ring.MaxBytes, g.keys = min(b.N, 10_000_000), 1<<40, 1
			default:
				opts.Window, g.keys = min(b.N, 1<<22), 1
			}
			e, stop := running(b, opts, f)
			before := heap()
			for done := 0; done < b.N; done += 1000 {
				f.batches <- g.burst(min(1000, b.N-done))[0]
			}
			f.batches <- &live.Batch{}
			b.ReportMetric(float64(heap()-before)/float64(b.N), "B/held")
			runtime.KeepAlive(e)
			stop()
		})
	}
}

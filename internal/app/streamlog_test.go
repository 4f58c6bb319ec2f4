package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/hub"
	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// hubLog is a log to be tried, and what is done to the hub behind it.
type hubLog interface {
	live.Log
	make(topic string, partitions int32) // anew, where there is one
	raise(topic string, partitions int32)
	write(topic string, p int32, key, value string)
	abort(topic string, p int32, n int) // n records, and their marker
	truncate(topic string, p int32, start int64)
}

// memoryLog is that of tests.
type memoryLog struct{ *livetest.Log }

func (l memoryLog) make(topic string, n int32)                  { l.Make(topic, n) }
func (l memoryLog) raise(topic string, n int32)                 { l.Raise(topic, n) }
func (l memoryLog) abort(topic string, p int32, n int)          { l.Abort(topic, p, n) }
func (l memoryLog) truncate(topic string, p int32, start int64) { l.Truncate(topic, p, start) }
func (l memoryLog) write(topic string, p int32, key, value string) {
	l.Append(topic, live.Record{Partition: p, Key: []byte(key), Value: []byte(value)})
}

// kafkaLog is a feed of the embedded hub.
type kafkaLog struct {
	streamLog
	t    *testing.T
	addr string
}

func newKafkaLog(t *testing.T) kafkaLog {
	o := hub.DefaultOptions()
	o.Dir, o.Listen = "", "127.0.0.1:0"
	h, err := hub.New(o, hub.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	opts := kafka.DefaultOptions()
	opts.Brokers = []string{h.Addr()}
	feed, err := kafka.NewFeed(opts, kafka.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(feed.Close)
	return kafkaLog{streamLog{feed}, t, h.Addr()}
}

// with gives a client that knows nothing of what topics were before.
func (l kafkaLog) with(do func(ctx context.Context, client *kgo.Client) error, opts ...kgo.Opt) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), 20*time.Second)
	defer cancel()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(l.addr), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		l.t.Fatal(err)
	}
	defer client.Close()
	if err := do(ctx, client); err != nil {
		l.t.Fatal(err)
	}
}

func (l kafkaLog) make(topic string, n int32) {
	l.with(func(ctx context.Context, client *kgo.Client) error {
		adm := kadm.NewClient(client)
		if _, err := adm.DeleteTopics(ctx, topic); err != nil {
			return err
		}
		_, err := adm.CreateTopic(ctx, n, 1, nil, topic)
		return err
	})
}

func (l kafkaLog) raise(topic string, n int32) {
	l.with(func(ctx context.Context, client *kgo.Client) error {
		_, err := kadm.NewClient(client).UpdatePartitions(ctx, int(n), topic)
		return err
	})
}

func (l kafkaLog) write(topic string, p int32, key, value string) {
	l.with(func(ctx context.Context, client *kgo.Client) error {
		return client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Key: []byte(key), Value: []byte(value)}).FirstErr()
	})
}

func (l kafkaLog) abort(topic string, p int32, n int) {
	l.with(func(ctx context.Context, client *kgo.Client) error {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		for range n {
			if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Value: []byte("aborted")}).FirstErr(); err != nil {
				return err
			}
		}
		return client.EndTransaction(ctx, kgo.TryAbort)
	}, kgo.TransactionalID("aborts"))
}

func (l kafkaLog) truncate(topic string, p int32, start int64) {
	l.with(func(ctx context.Context, client *kgo.Client) error {
		o := kadm.Offsets{}
		o.AddOffset(topic, p, start, -1)
		r, err := kadm.NewClient(client).DeleteRecords(ctx, o)
		return errors.Join(err, r.Error())
	})
}

// The hub's log and that of all other tests of stream nodes are one to who reads
// them.
func TestStreamLogs(t *testing.T) {
	for name, open := range map[string]func(*testing.T) hubLog{
		"memory": func(*testing.T) hubLog { return memoryLog{livetest.NewLog()} },
		"kafka":  func(t *testing.T) hubLog { return newKafkaLog(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for what, try := range map[string]func(*testing.T, hubLog){
				"describe": tryDescribe, "bounds": tryBounds, "follow": tryFollow, "scan": tryScan, "changes": tryChanges,
			} {
				t.Run(what, func(t *testing.T) {
					t.Parallel()
					try(t, open(t))
				})
			}
		})
	}
}

func describe(t *testing.T, l live.Log, topic string) live.Topic {
	t.Helper()
	d, err := l.Describe(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func tryDescribe(t *testing.T, l hubLog) {
	if _, err := l.Describe(t.Context(), "a"); !errors.Is(err, message.ErrNotFound) {
		t.Errorf("a missing topic: %v", err)
	}
	l.make("a", 2)
	l.make("b", 3)
	a, b := describe(t, l, "a"), describe(t, l, "b")
	if a.Partitions != 2 || b.Partitions != 3 || a.Cluster == "" || a.Cluster != b.Cluster || a.ID == b.ID || a.Compacted {
		t.Errorf("%+v, %+v", a, b)
	}
	l.make("a", 2)
	if again := describe(t, l, "a"); again.ID == a.ID || again.ID == [16]byte{} {
		t.Errorf("made anew it is %+v, as before", again)
	}
}

// fill makes a topic whose partition 1 holds 2, 6 and 7 of [2, 8): what stood
// below is removed, and what between was aborted.
func fill(l hubLog, topic string) {
	l.make(topic, 2)
	for range 3 {
		l.write(topic, 1, "k", "v")
	}
	l.abort(topic, 1, 2)
	l.write(topic, 1, "k", "v")
	l.write(topic, 1, "k", "v")
	l.truncate(topic, 1, 2)
}

func tryBounds(t *testing.T, l hubLog) {
	fill(l, "a")
	if got, err := l.Bounds(t.Context(), "a"); err != nil || !slices.Equal(got, []live.Bounds{{}, {Start: 2, End: 8}}) {
		t.Errorf("%v, %v", got, err)
	}
	for at, want := range map[time.Duration]int64{-time.Hour: 2, time.Hour: 8} {
		if got, err := l.OffsetsAt(t.Context(), "a", time.Now().Add(at)); err != nil || !slices.Equal(got, []int64{0, want}) {
			t.Errorf("in %v: %v, %v; want %d", at, got, err, want)
		}
	}
}

func tryFollow(t *testing.T, l hubLog) {
	fill(l, "a")
	enough := errors.New("enough")
	for _, from := range []int64{0, 2, 5} { // 0 is not held any more
		describe(t, l, "a")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		var offsets []int64
		next, end, idle := from, int64(-1), false
		err := l.Follow(ctx, "a", []int64{0, from}, func(b *live.Batch) error {
			if b.Partition == 0 {
				idle = idle || b.From == 0 && b.Next == 0 && b.End == 0
				return nil
			}
			if b.From < next || b.Next < b.From || b.End < b.Next || from == 0 && next == 0 && b.From == 0 && b.Next > 0 {
				t.Errorf("from %d: %+v after %d", from, b, next)
			}
			next, end = b.Next, b.End
			for i := range b.Records {
				offsets = append(offsets, b.Records[i].Offset)
				if r := &b.Records[i]; string(r.Key) != "k" || string(r.Value) != "v" || r.Accepted.IsZero() || r.Partition != 1 {
					t.Errorf("%+v", r)
				}
			}
			if next == 8 && idle {
				return enough
			}
			return nil
		})
		cancel()
		want := []int64{2, 6, 7}
		if from == 5 {
			want = want[1:]
		}
		if !errors.Is(err, enough) || end != 8 || !slices.Equal(offsets, want) {
			t.Errorf("from %d: %v of %d: %v; want %v", from, offsets, end, err, want)
		}
	}
}

func tryScan(t *testing.T, l hubLog) {
	fill(l, "a")
	for _, row := range []struct {
		from, to int64
		want     []int64
		err      error
	}{
		{2, 8, []int64{2, 6, 7}, nil}, {2, 7, []int64{2, 6}, nil}, {3, 6, nil, nil}, {8, 8, nil, nil}, {1, 8, nil, live.ErrGone},
	} {
		var got []int64
		err := l.Scan(t.Context(), "a", 1, row.from, row.to, func(rs []live.Record) error {
			for i := range rs {
				got = append(got, rs[i].Offset)
			}
			return nil
		})
		if !errors.Is(err, row.err) || !slices.Equal(got, row.want) {
			t.Errorf("[%d, %d): %v, %v", row.from, row.to, got, err)
		}
	}
	enough := errors.New("enough")
	if err := l.Scan(t.Context(), "a", 1, 2, 8, func([]live.Record) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended by fn: %v", err)
	}
}

func tryChanges(t *testing.T, l hubLog) {
	for name, do := range map[string]func(topic string){
		"raised": func(topic string) { l.raise(topic, 4) },
		"anew":   func(topic string) { l.make(topic, 2) },
	} {
		fill(l, name)
		describe(t, l, name)
		done := false
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := l.Follow(ctx, name, []int64{0, 8}, func(b *live.Batch) error {
			if !done {
				done = true
				do(name)
				l.write(name, 1, "other", "other")
			} else if name == "anew" && len(b.Records) > 0 {
				t.Errorf("shown of the new topic: %+v", b)
			}
			return nil
		})
		cancel()
		if !errors.Is(err, live.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/test/kafkatest"
)

// What a real Apache Kafka does to who reads whole topics.
func TestRealKafkaFeed(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Nodes: 3, Properties: map[string]string{
		"log.retention.check.interval.ms": "500", "log.initial.task.delay.ms": "500", "file.delete.delay.ms": "100",
	}})
	r := &realFeed{c: c}
	t.Run("aborted transactions", r.aborted)
	t.Run("other topics", r.otherTopics)
	t.Run("retention under the reader", r.retention)
	t.Run("leader killed", r.killed)
}

type realFeed struct{ c *kafkatest.Cluster }

func (r *realFeed) feed(t *testing.T) *Feed {
	o := options("")
	o.Brokers = r.c.Addrs("plain")
	o.DialTimeout, o.RequestTimeout = 2*time.Second, 20*time.Second
	return newFeed(t, o, nil)
}

func (r *realFeed) writer(t *testing.T, opts ...kgo.Opt) *writer {
	return newWriter(t, r.c.Addrs("plain"), opts...)
}

func (r *realFeed) aborted(t *testing.T) {
	r.c.CreateTopic(t.Context(), "messages", 3, nil)
	p, tx := r.writer(t), r.writer(t, kgo.TransactionalID("t"))
	p.write("messages", 0, 2)                       // 0, 1
	tx.transaction("messages", 0, 3, kgo.TryAbort)  // 2, 3, 4, marker at 5
	tx.transaction("messages", 0, 2, kgo.TryCommit) // 6, 7, marker at 8
	f := r.feed(t)
	fed := startFeed(t, f, "messages", 0, 0, 0)
	fed.reads(0, 9)
	tx.transaction("messages", 0, 2, kgo.TryAbort) // 9, 10, marker at 11
	fed.reads(0, 12)
	if err := tx.client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	tx.write("messages", 0, 1) // 12, open
	p.write("messages", 0, 1)  // 13
	p.write("messages", 1, 1)
	fed.reads(1, 1)
	if b, err := f.Bounds(t.Context(), "messages"); err != nil || fed.next[0] != 12 || b[0] != (FeedBounds{0, 12}) {
		t.Errorf("read to %d, bounds %v, %v; a transaction is open since 12", fed.next[0], b, err)
	}
	if err := tx.client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	fed.reads(0, 15)
	want := []int64{0, 1, 6, 7, 13}
	if got := fed.offsets(0); !slices.Equal(got, want) {
		t.Errorf("followed %v, want %v", got, want)
	}
	if got, err := scanned(t, f, 0, 0, 15); err != nil || !slices.Equal(got, want) {
		t.Errorf("scanned %v, %v; want %v", got, err, want)
	}
	if got, err := scanned(t, f, 0, 14, 15); err != nil || len(got) > 0 {
		t.Errorf("scanned the marker at the end: %v, %v", got, err)
	}
	at, err := f.OffsetsAt(t.Context(), "messages", time.Now().Add(-time.Hour))
	if err != nil || !slices.Equal(at, []int64{0, 0, 0}) {
		t.Errorf("an hour ago: %v, %v", at, err)
	}
}

func (r *realFeed) otherTopics(t *testing.T) {
	f, p := r.feed(t), r.writer(t)
	r.c.CreateTopic(t.Context(), "raised", 2, map[string]string{"cleanup.policy": "compact"})
	d, err := f.Describe(t.Context(), "raised")
	if err != nil || d.Partitions != 2 || !d.Compacted || d.Cluster == "" || d.ID == [16]byte{} {
		t.Fatalf("%+v, %v", d, err)
	}
	p.write("raised", 1, 3)
	fed := startFeed(t, f, "raised", 0, 0)
	fed.reads(1, 3)
	if _, err := p.adm.UpdatePartitions(t.Context(), 4, "raised"); err != nil {
		t.Fatal(err)
	}
	fed.fails(ErrChanged)

	r.c.CreateTopic(t.Context(), "anew", 2, nil)
	p.write("anew", 1, 3)
	fed = startFeed(t, f, "anew", 0, 3)
	fed.reads(1, 3)
	p.remake("anew", 2)
	r.writer(t).write("anew", 1, 6)
	fed.fails(ErrChanged)
	for len(fed.batches) > 0 {
		fed.take(<-fed.batches)
	}
	if len(fed.got) > 0 {
		t.Errorf("shown of the new topic: %v", fed.got)
	}
	if err := f.Scan(t.Context(), "anew", 1, 0, 3, func([]FeedRecord) error { return errors.New("shown") }); !errors.Is(err, ErrGone) {
		t.Errorf("scan of the old topic: %v", err)
	}
}

// A reader that is slow finds what it was about to read gone, goes on where the
// topic begins now, and the gap shows.
func (r *realFeed) retention(t *testing.T) {
	r.c.CreateTopic(t.Context(), "short", 1, map[string]string{"segment.bytes": "1048576", "retention.bytes": "1048576"})
	f, p := r.feed(t), r.writer(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	const n = 400
	write := func() {
		for range n {
			p.client.Produce(t.Context(), &kgo.Record{Topic: "short", Value: make([]byte, 20<<10)}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		if err := p.client.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	write()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	next, gap, enough := int64(0), false, errors.New("enough")
	err := f.Follow(ctx, "short", []int64{0}, func(b *FeedBatch) error {
		if next == 0 {
			write()
		}
		for deadline := time.After(40 * time.Second); next == 0; {
			held, err := f.Bounds(ctx, "short")
			if err != nil || held[0].Start > n {
				next = b.Next
				return err
			}
			select {
			case <-deadline:
				return fmt.Errorf("nothing is removed: %v", held)
			case <-time.After(200 * time.Millisecond):
			}
		}
		if b.From < next {
			return fmt.Errorf("read to %d and again from %d", next, b.From)
		}
		gap = gap || b.From > next
		if next = b.Next; next == 2*n {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || !gap {
		t.Errorf("read to %d, gap %v: %v", next, gap, err)
	}
	if err := f.Scan(ctx, "short", 0, 0, 10, func([]FeedRecord) error { return nil }); !errors.Is(err, ErrGone) {
		t.Errorf("scan of what is removed: %v", err)
	}
}

// The leader of a partition is killed while it is followed and scanned: nothing is
// missing, nothing comes twice, and the other partitions go on meanwhile.
func (r *realFeed) killed(t *testing.T) {
	r.c.CreateTopic(t.Context(), "killed", 3, nil)
	f := r.feed(t)
	fed := startFeed(t, f, "killed", 0, 0, 0)
	victim := r.c.Leader(t.Context(), "killed", 1)
	var spared int32 // a partition that another leads
	for p := range int32(3) {
		if r.c.Leader(t.Context(), "killed", p) != victim {
			spared = p
		}
	}
	var written [3]atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for p := range int32(3) {
		w := r.writer(t)
		wg.Go(func() {
			for i := int64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				rec := &kgo.Record{Topic: "killed", Partition: p, Value: strconv.AppendInt(nil, i, 10)}
				if err := w.client.ProduceSync(context.Background(), rec).FirstErr(); err != nil {
					t.Errorf("write %d to partition %d: %v", i, p, err)
					return
				}
				written[p].Store(i + 1)
			}
		})
	}
	scans := make(chan error, 1)
	wg.Go(func() { scans <- r.scanWhile(f, &written[1], stop) })
	more := func(p int32) { // a hundred records more
		want := written[p].Load() + 100
		fed.until(func() bool { return fed.next[p] >= want })
	}
	more(1)
	r.c.Kill(victim)
	more(spared)
	more(1)
	r.c.StartNode(victim)
	more(1)
	close(stop)
	wg.Wait()
	if err := <-scans; err != nil {
		t.Error(err)
	}
	for p := range int32(3) {
		end := written[p].Load()
		fed.until(func() bool { return fed.next[p] >= end })
		i := int64(0)
		for _, rec := range fed.got {
			if rec.Partition != p {
				continue
			}
			if string(rec.Value) != strconv.FormatInt(i, 10) {
				t.Fatalf("partition %d: %s at %d, want %d", p, rec.Value, rec.Offset, i)
			}
			i++
		}
		if i < end {
			t.Errorf("partition %d: %d of %d", p, i, end)
		}
	}
}

// scanWhile scans what partition 1 holds again and again until stop.
func (r *realFeed) scanWhile(f *Feed, written *atomic.Int64, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
		end, i := written.Load(), int64(0)
		err := f.Scan(context.Background(), "killed", 1, 0, end, func(rs []FeedRecord) error {
			for _, rec := range rs {
				if string(rec.Value) != strconv.FormatInt(i, 10) {
					return fmt.Errorf("scanned %s at %d, want %d", rec.Value, rec.Offset, i)
				}
				i++
			}
			return nil
		})
		if err == nil && i != end {
			err = fmt.Errorf("scanned %d of %d", i, end)
		}
		if err != nil {
			return err
		}
	}
}

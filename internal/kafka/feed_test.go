package kafka

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"postroad/internal/message"
)

func newFeed(t testing.TB, o Options, log *slog.Logger) *Feed {
	t.Helper()
	f, err := NewFeed(o, Deps{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// fed is a Follow that runs.
type fed struct {
	t       testing.TB
	batches chan FeedBatch
	ended   chan error
	cancel  func()

	next map[int32]int64 // as the batches so far say
	got  []FeedRecord
	last map[int32]FeedBatch
}

// startFeed follows a topic until the end of the test.
func startFeed(t testing.TB, f *Feed, topic string, from ...int64) *fed {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &fed{
		t: t, batches: make(chan FeedBatch, 10000), ended: make(chan error, 1), cancel: cancel,
		next: map[int32]int64{}, last: map[int32]FeedBatch{},
	}
	go func() {
		r.ended <- f.Follow(ctx, topic, from, func(b *FeedBatch) error { r.batches <- *b; return nil })
		close(r.ended)
	}()
	t.Cleanup(func() { cancel(); <-r.ended })
	return r
}

// until takes batches until enough, and fails where they do not fit together.
func (r *fed) until(enough func() bool) {
	r.t.Helper()
	for deadline := time.After(40 * time.Second); !enough(); {
		select {
		case b := <-r.batches:
			r.take(b)
		case err := <-r.ended:
			r.t.Fatalf("Follow ended: %v", err)
		case <-deadline:
			r.t.Fatalf("too little in 40 s: %d records, last pieces %+v", len(r.got), r.last)
		}
	}
}

func (r *fed) take(b FeedBatch) {
	r.t.Helper()
	if next, ok := r.next[b.Partition]; ok && b.From < next {
		r.t.Fatalf("partition %d goes on at %d, and was read to %d", b.Partition, b.From, next)
	}
	at := b.From
	for i := range b.Records {
		if o := b.Records[i].Offset; o < at || o >= b.Next {
			r.t.Fatalf("offset %d in a piece from %d to %d", o, b.From, b.Next)
		}
		at = b.Records[i].Offset + 1
	}
	if b.Next < b.From || b.End < b.Next {
		r.t.Fatalf("a piece from %d to %d of %d", b.From, b.Next, b.End)
	}
	r.next[b.Partition] = b.Next
	r.last[b.Partition] = FeedBatch{Partition: b.Partition, From: b.From, Next: b.Next, End: b.End}
	r.got = append(r.got, b.Records...)
}

// reads waits until partition p is read to next, which is its end.
func (r *fed) reads(p int32, next int64) {
	r.t.Helper()
	r.until(func() bool { return r.next[p] == next && r.last[p].End == next })
}

// fails waits for the end of Follow.
func (r *fed) fails(with error) {
	r.t.Helper()
	select {
	case err := <-r.ended:
		if !errors.Is(err, with) {
			r.t.Fatalf("Follow ended: %v; want %v", err, with)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatalf("Follow has not ended in 20 s; want %v", with)
	}
}

func (r *fed) offsets(p int32) (out []int64) {
	for i := range r.got {
		if r.got[i].Partition == p {
			out = append(out, r.got[i].Offset)
		}
	}
	return out
}

// writer writes to topics as anyone does.
type writer struct {
	t      testing.TB
	addrs  []string
	client *kgo.Client
	adm    *kadm.Client
}

func newWriter(t testing.TB, addrs []string, opts ...kgo.Opt) *writer {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MetadataMinAge(50 * time.Millisecond),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return &writer{t, addrs, client, kadm.NewClient(client)}
}

// write appends n records, a batch each.
func (p *writer) write(topic string, partition int32, n int) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for range n {
		if err := p.client.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k"), Value: []byte("v")}).FirstErr(); err != nil {
			p.t.Fatal(err)
		}
	}
}

// transaction writes n records and ends the transaction as told.
func (p *writer) transaction(topic string, partition int32, n int, end kgo.TransactionEndTry) {
	p.t.Helper()
	if err := p.client.BeginTransaction(); err != nil {
		p.t.Fatal(err)
	}
	p.write(topic, partition, n)
	if err := p.client.EndTransaction(p.t.Context(), end); err != nil {
		p.t.Fatal(err)
	}
}

func (p *writer) remove(topic string, partition int32, before int64) {
	p.t.Helper()
	o := kadm.Offsets{}
	o.AddOffset(topic, partition, before, -1)
	r, err := p.adm.DeleteRecords(p.t.Context(), o)
	if err == nil {
		err = r.Error()
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *writer) remake(topic string, partitions int32) {
	p.t.Helper()
	if _, err := p.adm.DeleteTopic(p.t.Context(), topic); err != nil {
		p.t.Fatal(err)
	}
	deadline := time.After(20 * time.Second)
	for {
		_, err := p.adm.CreateTopic(p.t.Context(), partitions, -1, nil, topic)
		if err == nil {
			return
		}
		if !errors.Is(err, kerr.TopicAlreadyExists) { // a deletion takes its time
			p.t.Fatal(err)
		}
		select {
		case <-deadline:
			p.t.Fatal(err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func TestFeedDescribes(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	var log bytes.Buffer
	f := newFeed(t, options(addr), slog.New(slog.NewTextHandler(&log, nil)))
	p := newWriter(t, []string{addr})
	compact := "compact,delete"
	if _, err := p.adm.CreateTopic(t.Context(), 2, 1, map[string]*string{"cleanup.policy": &compact}, "table"); err != nil {
		t.Fatal(err)
	}
	a, err := f.Describe(t.Context(), "messages")
	if err != nil || a.Partitions != 3 || a.Cluster == "" || a.ID == [16]byte{} || a.Compacted {
		t.Errorf("%+v, %v", a, err)
	}
	b, err := f.Describe(t.Context(), "table")
	if err != nil || b.Partitions != 2 || b.Cluster != a.Cluster || b.ID == a.ID || !b.Compacted {
		t.Errorf("%+v, %v", b, err)
	}
	if _, err := f.Describe(t.Context(), "none"); !errors.Is(err, message.ErrNotFound) {
		t.Errorf("a missing topic: %v", err)
	}
	c.ControlKey(int16(kmsg.DescribeConfigs), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.DescribeConfigsResponse)
		rr := kmsg.NewDescribeConfigsResponseResource()
		rr.ErrorCode = kerr.TopicAuthorizationFailed.Code
		resp.Resources = append(resp.Resources, rr)
		return resp, nil, true
	})
	for range 3 {
		if b, err := f.Describe(t.Context(), "table"); err != nil || b.Compacted || b.Partitions != 2 {
			t.Errorf("where the policy is not told: %+v, %v", b, err)
		}
	}
	if n := strings.Count(log.String(), "does not tell whether the topic is compacted"); n != 1 {
		t.Errorf("the log says it %d times:\n%s", n, log.String())
	}
}

// A hub that does not know the question at all is no hub that is away.
func TestFeedDescribesWhereSettingsAreUnknown(t *testing.T) {
	t.Parallel()
	old := kversion.Stable()
	old.SetMaxKeyVersion(int16(kmsg.DescribeConfigs), -1)
	_, addr := startCluster(t, kfake.MaxVersions(old))
	a, err := newFeed(t, options(addr), nil).Describe(t.Context(), "messages")
	if err != nil || a.Partitions != 3 || a.Compacted {
		t.Errorf("%+v, %v", a, err)
	}
}

// While settings cannot be had for a moment a topic does not pass for one that is
// not compacted: what it lacks would be taken for complete.
func TestFeedDescribeWaitsForSettings(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	compact := "compact"
	if _, err := newWriter(t, []string{addr}).adm.CreateTopic(t.Context(), 2, 1, map[string]*string{"cleanup.policy": &compact}, "table"); err != nil {
		t.Fatal(err)
	}
	n := 0
	c.ControlKey(int16(kmsg.DescribeConfigs), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		n++
		return nil, errors.New("gone"), n < 3
	})
	if a, err := newFeed(t, options(addr), nil).Describe(t.Context(), "table"); err != nil || !a.Compacted {
		t.Errorf("%+v, %v", a, err)
	}
}

// Ends are those of committed records, and what was removed is not held.
func TestFeedBounds(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p, open := newWriter(t, []string{addr}), newWriter(t, []string{addr}, kgo.TransactionalID("open"))
	p.write("messages", 1, 5)
	p.remove("messages", 1, 2)
	if err := open.client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	open.write("messages", 1, 2)
	f := newFeed(t, options(addr), nil)
	got, err := f.Bounds(t.Context(), "messages")
	if want := []FeedBounds{{}, {2, 5}, {}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for at, want := range map[time.Time][]int64{
		time.Now().Add(-time.Hour): {0, 2, 0},
		time.Now().Add(time.Hour):  {0, 5, 0},
	} {
		if got, err := f.OffsetsAt(t.Context(), "messages", at); err != nil || !slices.Equal(got, want) {
			t.Errorf("at %v: %v, %v; want %v", at, got, err, want)
		}
	}
	if err := open.client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if got, err := f.Bounds(t.Context(), "messages"); err != nil || got[1] != (FeedBounds{2, 8}) {
		t.Errorf("behind what was aborted and its marker: %v, %v", got, err)
	}
	p.remake("messages", 3)
	if _, err := f.Bounds(t.Context(), "messages"); !errors.Is(err, ErrChanged) {
		t.Errorf("of the topic made anew: %v", err)
	}
}

// What records say gets through, in memory of their own.
func TestFeedRecords(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	keyed := stored(1)
	keyed.Key = []byte("key")
	replay := stored(2)
	replay.Replay = true
	empty := stored(3)
	empty.Key, empty.Value = []byte{}, nil
	produce(t, s, 0, keyed, replay, empty)
	newWriter(t, []string{addr}).write("messages", 1, 1)
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	r.until(func() bool { return len(r.got) == 4 })
	slices.SortFunc(r.got, func(a, b FeedRecord) int { return int(a.Partition-b.Partition)*100 + int(a.Offset-b.Offset) })
	a, b, c, d := r.got[0], r.got[1], r.got[2], r.got[3]
	switch {
	case string(a.Key) != "key" || string(a.Value) != "value 1" || a.ID != keyed.ID || !a.HasID || a.Replay || a.Stamp != "here":
		t.Errorf("%+v", a)
	case !a.Accepted.Equal(keyed.Time) || time.Since(a.Timestamp).Abs() > time.Minute:
		t.Errorf("accepted %v, produced %v", a.Accepted, a.Timestamp)
	case b.Key != nil || !b.Replay || b.ID != replay.ID:
		t.Errorf("%+v", b)
	case c.Key == nil || len(c.Key) > 0 || len(c.Value) > 0:
		t.Errorf("%+v", c)
	case d.HasID || d.Stamp != "" || !d.Accepted.Equal(d.Timestamp) || string(d.Key) != "k" || string(d.Value) != "v":
		t.Errorf("%+v", d)
	}
}

// Records stay as they are whatever becomes of the answer that they came in.
func TestFeedRecordsOwnTheirBytes(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p := newWriter(t, []string{addr})
	p.write("messages", 0, 3)
	f := fetch{topic: "messages", level: kgo.ReadCommitted(), bytes: 1 << 20, partBytes: 1 << 20, positions: []position{{0, 1}}}
	topic, err := topicOf(t.Context(), p.client, "messages")
	if err != nil {
		t.Fatal(err)
	}
	f.id = topic.TopicID
	var got piece
	err = f.send(t.Context(), p.client, topic.Partitions[0].Leader, func(rp *kmsg.FetchResponseTopicPartition) {
		got = f.pieceOf(rp, 1, map[string]string{})
		clear(rp.RecordBatches)
	})
	if err != nil || len(got.Records) != 2 || got.From != 1 || got.Next != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, r := range got.Records {
		if string(r.Key) != "k" || string(r.Value) != "v" {
			t.Errorf("%+v", r)
		}
	}
}

// Clients of a feed share their metrics; a second feed needs a registry of its own.
func TestFeedCounts(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	newWriter(t, []string{addr}).write("messages", 0, 3)
	registry := prometheus.NewRegistry()
	f, err := NewFeed(options(addr), Deps{Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if _, err := NewFeed(options(addr), Deps{Registerer: registry}); err == nil {
		t.Error("two feeds have one registry")
	}
	startFeed(t, f, "messages", 0, 0, 0).reads(0, 3)
	startFeed(t, f, "messages", 0, 0, 0).reads(0, 3)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]float64{}
	for _, m := range families {
		for _, v := range m.GetMetric() {
			names[m.GetName()] += v.GetCounter().GetValue()
		}
	}
	if names["postroad_kafka_feed_read_bytes_total"] < 100 {
		t.Errorf("%v", names)
	}
}

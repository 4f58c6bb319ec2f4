package kafka

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// What was aborted is never seen, is passed, and so are its markers; a
// transaction that is open ends what can be read.
func TestFeedFollowsTransactions(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p, tx := newWriter(t, []string{addr}), newWriter(t, []string{addr}, kgo.TransactionalID("t"))
	p.write("messages", 0, 2)                       // 0, 1
	tx.transaction("messages", 0, 3, kgo.TryAbort)  // 2, 3, 4, marker at 5
	tx.transaction("messages", 0, 2, kgo.TryCommit) // 6, 7, marker at 8
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	r.reads(0, 9)
	tx.transaction("messages", 0, 2, kgo.TryAbort) // 9, 10, marker at 11
	r.reads(0, 12)
	if err := tx.client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	tx.write("messages", 0, 1) // 12, open
	p.write("messages", 0, 1)  // 13
	p.write("messages", 1, 1)
	r.reads(1, 1)
	if r.next[0] != 12 || r.last[0].End != 12 {
		t.Errorf("read to %d of %d, though a transaction is open since 12", r.next[0], r.last[0].End)
	}
	if err := tx.client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	r.reads(0, 15)
	if got, want := r.offsets(0), []int64{0, 1, 6, 7, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("shown %v, want %v", got, want)
	}
}

// Idle partitions are told of as well, again and again, from where they are.
func TestFeedTellsOfIdlePartitions(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t, kfake.NumBrokers(3))
	newWriter(t, []string{addr}).write("messages", 2, 3)
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 3)
	told := map[int32]int{}
	r.until(func() bool {
		if len(r.last) > 0 {
			for p, b := range r.last {
				if want := []int64{0, 0, 3}[p]; b.From != want || b.Next != want || b.End != want {
					t.Fatalf("%+v", b)
				}
				told[p]++
			}
			clear(r.last)
		}
		return len(told) == 3 && told[0] > 1 && told[1] > 1 && told[2] > 1
	})
	if len(r.got) > 0 {
		t.Errorf("shown %v", r.got)
	}
}

// Partitions that fill every answer do not starve the others.
func TestFeedStarvesNoPartition(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t, kfake.SeedTopics(8, "wide"))
	p := newWriter(t, []string{addr}, kgo.ProducerBatchCompression(kgo.NoCompression()))
	big := make([]byte, 256<<10)
	for partition := range int32(8) {
		for range 20 { // five megabytes, ten answers
			p.client.Produce(t.Context(), &kgo.Record{Topic: "wide", Partition: partition, Value: big}, nil)
		}
	}
	if err := p.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := startFeed(t, newFeed(t, options(addr), nil), "wide", make([]int64, 8)...)
	r.until(func() bool { return len(r.got) == 8*20 })
	seen := map[int32]bool{}
	for i := range r.got {
		seen[r.got[i].Partition] = true
		if len(seen) == 8 {
			if i > 64 { // at worst each answer is filled by one partition
				t.Errorf("all partitions come only with record %d", i)
			}
			break
		}
	}
}

// A leader that refuses is asked again only once the hub was asked who leads now,
// and that with some time in between.
func TestFeedLooksBeforeItAsksAgain(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	newWriter(t, []string{addr}).write("messages", 1, 1)
	var refused, looks atomic.Int64
	c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		looks.Add(1)
		return nil, nil, false
	})
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if refused.Load() == 10 {
			return nil, nil, false
		}
		refused.Add(1)
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotLeaderForPartition.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	r.reads(1, 1)
	if looks.Load() < refused.Load() {
		t.Errorf("%d refusals, and the leader was looked up %d times", refused.Load(), looks.Load())
	}
}

// A partition moves while it is followed.
func TestFeedFollowsALeaderThatMoves(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t, kfake.NumBrokers(3))
	p := newWriter(t, []string{addr})
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	for i := range 6 {
		if err := c.MoveTopicPartition("messages", 1, int32(i%3)); err != nil {
			t.Fatal(err)
		}
		p.write("messages", 1, 5)
		r.reads(1, int64(5*i+5))
	}
	for i, o := range r.offsets(1) {
		if o != int64(i) {
			t.Fatalf("shown %v", r.offsets(1))
		}
	}
}

// What a broker answers that is not asked any more, or about what was read
// meanwhile, is not shown again.
func TestFeedDropsLateAnswers(t *testing.T) {
	t.Parallel()
	calls := 0
	w := &feeding{
		feed: newFeed(t, options("127.0.0.1:1"), nil), fn: func(*FeedBatch) error { calls++; return nil },
		parts: []feedPart{{next: 5, leader: 1}, {next: 5, leader: 2}}, busy: map[int32]bool{1: true, 2: true},
		brokers: map[int32]*feedBroker{1: {}, 2: {}},
	}
	late := func(broker, partition int32, from int64) int {
		calls = 0
		a := answered{broker: broker, asked: []position{{partition, from}}, pieces: []piece{{
			FeedBatch: FeedBatch{Partition: partition, From: from, Next: from + 5, Records: []FeedRecord{{Offset: from}}}, end: 20,
		}}}
		w.busy[3-broker] = true // nobody is asked here
		w.parts[partition].out = true
		if err := w.take(t.Context(), &a); err != nil {
			t.Fatal(err)
		}
		return calls
	}
	if n := late(1, 0, 0); n != 0 || w.parts[0].next != 5 {
		t.Errorf("about what was read: shown %d times, read to %d", n, w.parts[0].next)
	}
	if n := late(1, 1, 5); n != 0 || w.parts[1].next != 5 {
		t.Errorf("from who leads no more: shown %d times, read to %d", n, w.parts[1].next)
	}
	if n := late(1, 0, 5); n != 1 || w.parts[0].next != 10 {
		t.Errorf("the answer: shown %d times, read to %d", n, w.parts[0].next)
	}
}

// What becomes large in memory is asked for in smaller pieces.
func TestFeedFetchesFitMemory(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	p := newWriter(t, []string{addr}, kgo.ProducerBatchCompression(kgo.ZstdCompression()))
	for i := range 400 { // of nothing but zeroes: small in the hub
		r := &kgo.Record{Topic: "messages", Partition: 1, Value: make([]byte, 100<<10)}
		if p.client.Produce(t.Context(), r, nil); i%8 == 0 {
			if err := p.client.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	least := atomic.Int64{}
	least.Store(feedBytes)
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		least.Store(min(least.Load(), int64(r.(*kmsg.FetchRequest).MaxBytes)))
		return nil, nil, false
	})
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	r.reads(1, 400)
	p.write("messages", 1, 1)
	r.reads(1, 401)
	if n := least.Load(); n != feedBytes/2 {
		t.Errorf("asked for %d bytes at least, want half of %d", n, feedBytes)
	}
	b := feedBroker{room: feedBytes}
	for range 20 {
		b.fit(feedBytes + 1)
	}
	if b.room != feedLeast {
		t.Errorf("asks for %d bytes", b.room)
	}
	for range 20 {
		b.fit(0)
	}
	if b.room != feedBytes {
		t.Errorf("asks for %d bytes", b.room)
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

// What was removed before it was read shows as a gap, and reading goes on.
func TestFeedFollowsOverWhatIsGone(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p := newWriter(t, []string{addr})
	p.write("messages", 1, 10)
	p.remove("messages", 1, 6)
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 3, 0)
	r.reads(1, 10)
	if got := r.offsets(1); !slices.Equal(got, []int64{6, 7, 8, 9}) {
		t.Errorf("shown %v", got)
	}
}

func TestFeedFollowsNoOtherTopic(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		from int64
		do   func(p *writer)
	}{
		{"made anew", 5, func(p *writer) { p.remake("messages", 3) }},
		{"made anew and outgrown", 5, func(p *writer) {
			p.remake("messages", 3)
			newWriter(p.t, p.addrs).write("messages", 1, 8)
		}},
		{"with more partitions", 5, func(p *writer) {
			if _, err := p.adm.UpdatePartitions(p.t.Context(), 5, "messages"); err != nil {
				p.t.Fatal(err)
			}
		}},
		{"deleted", 5, func(p *writer) {
			if _, err := p.adm.DeleteTopic(p.t.Context(), "messages"); err != nil {
				p.t.Fatal(err)
			}
		}},
		{"shorter", 6, func(*writer) {}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			_, addr := startCluster(t)
			p := newWriter(t, []string{addr})
			p.write("messages", 1, 5)
			f := newFeed(t, options(addr), nil)
			before, err := f.Describe(t.Context(), "messages")
			if err != nil {
				t.Fatal(err)
			}
			early := startFeed(t, f, "messages", 0, 5, 0)
			early.reads(1, 5)
			defer f.pin("messages")() // as if it were followed to the end of the test
			row.do(p)
			if now, err := f.Describe(t.Context(), "messages"); err == nil && row.from == 5 && now == before {
				t.Error("Describe says nothing new")
			}
			if err := f.Scan(t.Context(), "messages", 1, 0, 5, func([]FeedRecord) error { return nil }); row.from == 5 && !errors.Is(err, ErrGone) {
				t.Errorf("scan of what it was, while it is followed: %v", err)
			}
			late := startFeed(t, f, "messages", 0, row.from, 0)
			late.fails(ErrChanged)
			if row.from == 5 {
				early.fails(ErrChanged)
			}
			for len(early.batches) > 0 {
				early.take(<-early.batches)
			}
			if len(early.got)+len(late.got) > 0 {
				t.Errorf("shown of another topic: %v %v", early.got, late.got)
			}
		})
	}
}

// A hub whose fetches know no topic ids would give records of the new topic for
// those of the old: the look at the topic tells.
func TestFeedTellsTopicsApartByMetadata(t *testing.T) {
	t.Parallel()
	old := kversion.Stable()
	old.SetMaxKeyVersion(int16(kmsg.Fetch), 12)
	_, addr := startCluster(t, kfake.MaxVersions(old))
	p := newWriter(t, []string{addr})
	p.write("messages", 1, 5)
	f := newFeed(t, options(addr), nil)
	if _, err := f.Describe(t.Context(), "messages"); err != nil {
		t.Fatal(err)
	}
	r := startFeed(t, f, "messages", 0, 5, 0)
	r.reads(1, 5)
	p.remake("messages", 3)
	newWriter(t, []string{addr}).write("messages", 1, 5)
	r.fails(ErrChanged)
	if err := f.Scan(t.Context(), "messages", 1, 0, 5, func([]FeedRecord) error { return errors.New("shown") }); !errors.Is(err, ErrGone) {
		t.Errorf("scan: %v", err)
	}
}

func TestFeedFollowEndsWithFn(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	newWriter(t, []string{addr}).write("messages", 0, 3)
	enough := errors.New("enough")
	calls := 0
	err := newFeed(t, options(addr), nil).Follow(t.Context(), "messages", []int64{0, 0, 0}, func(*FeedBatch) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = newFeed(t, options(addr), nil).Follow(ctx, "messages", []int64{0, 0, 0}, func(*FeedBatch) error { cancel(); return nil })
	if err != nil {
		t.Errorf("ended by its caller: %v", err)
	}
}

// The hub may be away at first, and go away meanwhile.
func TestFeedFollowsOverHubRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addr, stop := startHub(t, dir, "127.0.0.1:0")
	s := startSink(t, options(addr))
	produce(t, s, 0, stored(1))
	f := newFeed(t, options(addr), nil)
	r := startFeed(t, f, "messages", 0, 0, 0)
	r.reads(0, 1)
	stop()
	_, stop = startHub(t, dir, addr)
	produce(t, s, 0, stored(2), stored(3))
	r.reads(0, 3)
	stop()
	late := startFeed(t, newFeed(t, options(addr), nil), "messages", 1, 0, 0)
	_, stop = startHub(t, dir, addr)
	late.reads(0, 3)
	r.reads(0, 3)
	if got := late.offsets(0); !slices.Equal(got, []int64{1, 2}) {
		t.Errorf("shown %v", got)
	}
	stop()
}

// scanned are the offsets that Scan shows.
func scanned(t testing.TB, f *Feed, partition int32, from, to int64) ([]int64, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	var out []int64
	err := f.Scan(ctx, "messages", partition, from, to, func(rs []FeedRecord) error {
		for i := range rs {
			out = append(out, rs[i].Offset)
		}
		return nil
	})
	return out, err
}

func TestFeedScans(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	p, tx := newWriter(t, []string{addr}), newWriter(t, []string{addr}, kgo.TransactionalID("t"))
	p.write("messages", 1, 2)                      // 0, 1
	tx.transaction("messages", 1, 3, kgo.TryAbort) // 2, 3, 4, marker at 5
	p.write("messages", 1, 2)                      // 6, 7
	tx.transaction("messages", 1, 1, kgo.TryAbort) // 8, marker at 9
	p.remove("messages", 1, 1)
	f := newFeed(t, options(addr), nil)
	for _, row := range []struct {
		from, to int64
		want     []int64
		err      error
	}{
		{1, 10, []int64{1, 6, 7}, nil},
		{1, 1, nil, nil},
		{1, 2, []int64{1}, nil},
		{1, 7, []int64{1, 6}, nil},
		{2, 6, nil, nil}, // all aborted
		{3, 5, nil, nil},
		{8, 10, nil, nil}, // the tail is aborted
		{0, 10, nil, ErrGone},
	} {
		if got, err := scanned(t, f, 1, row.from, row.to); !errors.Is(err, row.err) || !slices.Equal(got, row.want) {
			t.Errorf("[%d, %d): %v, %v; want %v, %v", row.from, row.to, got, err, row.want, row.err)
		}
	}
	enough := errors.New("enough")
	if err := f.Scan(t.Context(), "messages", 1, 1, 10, func([]FeedRecord) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("ended by fn: %v", err)
	}
	if _, err := scanned(t, f, 7, 0, 1); !errors.Is(err, ErrGone) {
		t.Errorf("a partition that is not there: %v", err)
	}
	p.remake("messages", 3)
	newWriter(t, []string{addr}).write("messages", 1, 12)
	if got, err := scanned(t, f, 1, 1, 10); !errors.Is(err, ErrGone) || len(got) > 0 {
		t.Errorf("of a topic made anew: %v, %v", got, err)
	}
}

// Records are read to the end of the span though there are many of them, by many
// scans at once, over one connection to the broker.
func TestFeedScansManyAtOnce(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	p := newWriter(t, []string{addr})
	for range 600 {
		p.client.Produce(t.Context(), &kgo.Record{Topic: "messages", Partition: 1, Value: make([]byte, 10<<10)}, nil)
	}
	if err := p.client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	var asked sync.Map
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		asked.Store(r.(*kmsg.FetchRequest).MaxWaitMillis, true)
		return nil, nil, false
	})
	f := newFeed(t, options(addr), nil)
	var wg sync.WaitGroup
	for i := range int64(8) {
		wg.Go(func() {
			got, err := scanned(t, f, 1, i, 600-i)
			if err != nil || int64(len(got)) != 600-2*i || got[0] != i {
				t.Errorf("scan %d: %d records, %v", i, len(got), err)
			}
		})
	}
	wg.Wait()
	if _, waits := asked.Load(int32(feedWait.Milliseconds())); waits {
		t.Error("a scan has the broker wait, and so holds up the others")
	}
}

// What fails for a while is tried again; what never comes is no end.
func TestFeedScanOverTrouble(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	newWriter(t, []string{addr}).write("messages", 1, 3)
	f := newFeed(t, options(addr), nil)
	n := 0
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		switch n++; n {
		case 1, 3:
			return r.ResponseKind(), nil, true // it throttles
		case 2, 4:
			return nil, errors.New("gone"), true
		}
		return nil, nil, false
	})
	if got, err := scanned(t, f, 1, 0, 3); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
}

func TestFeedScanOfAnEmptiedTail(t *testing.T) {
	t.Parallel()
	for _, compacted := range []bool{true, false} {
		t.Run(fmt.Sprintf("compacted %v", compacted), func(t *testing.T) {
			t.Parallel()
			c, addr := startCluster(t)
			newWriter(t, []string{addr}).write("messages", 1, 10)
			f := newFeed(t, options(addr), nil)
			if _, err := f.Describe(t.Context(), "messages"); err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			topic := f.topics["messages"]
			topic.Compacted = compacted
			f.topics["messages"] = topic
			f.mu.Unlock()
			emptied(c, 10)
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			err := f.Scan(ctx, "messages", 1, 4, 10, func([]FeedRecord) error { return nil })
			if compacted != (err == nil) {
				t.Errorf("records that do not come: %v", err)
			}
		})
	}
}

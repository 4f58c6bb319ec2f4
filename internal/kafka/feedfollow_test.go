package kafka

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

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

// Whoever begins at the end is told so at once, and waits for what comes only then.
func TestFeedTellsAtOnce(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	var mu sync.Mutex
	var waits []int32
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		waits = append(waits, r.(*kmsg.FetchRequest).MaxWaitMillis)
		return nil, nil, false
	})
	r := startFeed(t, newFeed(t, options(addr), nil), "messages", 0, 0, 0)
	asked := func() []int32 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(waits)
	}
	r.until(func() bool { return len(r.last) == 3 })
	clear(r.last)
	r.until(func() bool { return len(r.last) == 3 })
	if got := asked(); len(got) < 2 || got[0] != 0 || got[1] != int32(feedWait.Milliseconds()) {
		t.Errorf("the broker was to wait for %v ms", got)
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
	addr, stop := startHub(t, dir, "")
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

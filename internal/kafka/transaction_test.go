package kafka

import (
	"context"
	"errors"
	"fmt"
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

	"postroad/internal/message"
)

func transactOptions() TransactOptions {
	return TransactOptions{
		Chain: "chain", Topic: "postroad-progress", Interval: 10 * time.Millisecond, Messages: 1000,
		Lanes: []message.LaneProgress{{Lane: lane, Next: 1}},
	}
}

func startSession(t testing.TB, s *Sink, o TransactOptions) *Session {
	t.Helper()
	x, err := s.Transact(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); x.Wait() })
	return x
}

// A second holder fences the first, knows from the record what is in the hub, and
// does not send it again; the first is told by Confirm and sends nothing more.
func TestSessionIsTakenOver(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	o := transactOptions()
	var gone atomic.Bool
	o.Confirm = func(context.Context) error {
		if gone.Load() {
			return message.ErrClaimLost
		}
		return nil
	}
	first := startSession(t, s, o)
	if first.Known() {
		t.Error("a record of a chain that was never sent")
	}
	for i, a := range produce(t, first, 1, storedTo10(1)...) {
		if a.err != nil || a.offset != int64(i) {
			t.Fatalf("answer %d: %+v", i, a)
		}
	}
	gone.Store(true)
	o.Confirm = nil
	o.From, _ = first.Record()
	second := startSession(t, s, o)
	if !second.Known() {
		t.Fatal("the record was not found")
	}
	late := stored(50)
	answered := make(chan answer, 1)
	if err := first.Produce(&late, 1, first.Turn(), func(offset int64, err error) { answered <- answer{offset, err} }); err != nil {
		t.Fatal(err)
	}
	for i, a := range produce(t, second, 1, append(storedTo10(1), stored(11))...) {
		want := int64(OffsetThere)
		if i == 10 {
			want = a.offset
		}
		if a.err != nil || a.offset != want || a.offset == -1 {
			t.Errorf("answer %d: %+v, want offset %d", i, a, want)
		}
	}
	first.Close()
	if a := next(t, answered); !errors.Is(a.err, ErrClosed) {
		t.Errorf("the fenced holder hears %+v", a)
	}
	seen := map[uint64]int{}
	for _, r := range all(t, addr, FollowOptions{}) {
		seen[r.Seq]++
	}
	if len(seen) != 11 || seen[50] != 0 || seen[1] != 1 {
		t.Errorf("the topic holds %v", seen)
	}
}

// A chain that is over leaves no record behind.
func TestSessionFinishes(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	x := startSession(t, s, transactOptions())
	produce(t, x, 0, storedTo10(1)...)
	if err := x.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, ok := x.Record(); ok {
		t.Error("there is still a record")
	}
	if startSession(t, s, transactOptions()).Known() {
		t.Error("the record is still found")
	}
}

// One partition is refused: the others of the transaction get in, in one piece,
// and a later one of the refused partition does not overtake.
func TestSessionGivesBackOnePartition(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	s := startSink(t, options(addr))
	x := startSession(t, s, transactOptions())
	c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Partitions: []int32{2}, Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
	turn := x.Turn()
	var wg sync.WaitGroup
	var mu sync.Mutex
	failed := map[int32]int{}
	for i := range 30 {
		m, p := stored(uint64(i+1)), int32(i%3)
		wg.Add(1)
		err := x.Produce(&m, p, turn, func(_ int64, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[p]++
				if Classify(err) == ClassDead {
					t.Error("dead:", err)
				}
			}
			wg.Done()
		})
		switch {
		case errors.Is(err, errTurn) && p == 2: // the first answer was here before the last message
			mu.Lock()
			failed[p]++
			mu.Unlock()
			wg.Done()
		case err != nil:
			t.Fatal(err)
		}
	}
	waitFor(t, &wg)
	mu.Lock()
	if failed[0] != 0 || failed[1] != 0 || failed[2] != 10 {
		t.Errorf("given back: %v", failed)
	}
	mu.Unlock()
	m := stored(99)
	if err := x.Produce(&m, 2, turn, func(int64, error) {}); !errors.Is(err, errTurn) {
		t.Errorf("who does not know of the error is told %v", err)
	}
	if got := all(t, addr, FollowOptions{}); len(got) != 20 {
		t.Errorf("%d records, want 20", len(got))
	}
}

// What the hub lacks or forbids is said, with what to do, and nothing is sent.
func TestTransactIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*kfake.Cluster, *Options)
		want  string
	}{
		"no transactions": {func(c *kfake.Cluster, _ *Options) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.UnsupportedVersion, Count: -1})
		}, "the hub has no transactions"},
		"not allowed": {func(c *kfake.Cluster, _ *Options) {
			c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.InitProducerID}, TopLevel: true, Err: kerr.TransactionalIDAuthorizationFailed, Count: -1})
		}, "Write and Describe on transactional ids"},
		"no topic": {func(_ *kfake.Cluster, o *Options) { o.CreateTopics = false }, "make it with cleanup.policy=compact"},
		"not compacted": {func(c *kfake.Cluster, o *Options) {
			client, err := kgo.NewClient(kgo.SeedBrokers(o.Brokers...))
			if err != nil {
				panic(err)
			}
			defer client.Close()
			if _, err := kadm.NewClient(client).CreateTopic(context.Background(), 1, 1, nil, "postroad-progress"); err != nil {
				panic(err)
			}
		}, "must be compact"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster, addr := startCluster(t)
			o := options(addr)
			c.spoil(cluster, &o)
			s := startSink(t, o)
			x, err := s.Transact(t.Context(), transactOptions())
			if err == nil {
				x.Close()
				x.Wait()
				t.Fatal("not refused")
			}
			if Classify(err) != ClassHold || !strings.Contains(err.Error(), c.want) {
				t.Errorf("class %s: %v", Classify(err), err)
			}
		})
	}
}

// An old broker does not know the request at all.
func TestTransactOnABrokerWithoutTransactions(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	c.ControlKey(int16(kmsg.ApiVersions), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := r.ResponseKind().(*kmsg.ApiVersionsResponse)
		for key := range int16(kmsg.MaxKey) {
			if key == int16(kmsg.InitProducerID) || kmsg.RequestForKey(key) == nil {
				continue
			}
			k := kmsg.NewApiVersionsResponseApiKey()
			k.ApiKey, k.MaxVersion = key, min(kmsg.RequestForKey(key).MaxVersion(), 4)
			resp.ApiKeys = append(resp.ApiKeys, k)
		}
		return resp, nil, true
	})
	s := startSink(t, options(addr))
	x, err := s.Transact(t.Context(), transactOptions())
	if err == nil {
		x.Close()
		x.Wait()
	}
	if !errors.Is(err, kerr.UnsupportedVersion) || Classify(err) != ClassHold {
		t.Errorf("class %s: %v", Classify(err), err)
	}
}

// inTransaction writes ten records to a partition in a transaction that ends as told.
func inTransaction(t testing.TB, addr string, partition int32, first uint64, end func(*kgo.Client) error) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(fmt.Sprint("other-", first)), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for _, m := range storedTo10(first) {
		hs, _ := appendHeaders(nil, nil, &m, &attributes{}, "here")
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "messages", Partition: partition, Value: m.Value, Headers: hs}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := end(client); err != nil {
		t.Fatal(err)
	}
}

func ended(how kgo.TransactionEndTry) func(*kgo.Client) error {
	return func(c *kgo.Client) error { return c.EndTransaction(context.Background(), how) }
}

// What was aborted is not in the hub: not for reading back, which would lose it,
// and not for readers, also where nothing else stands at the end.
func TestAbortedIsNotInTheHub(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	inTransaction(t, addr, 1, 101, ended(kgo.TryAbort))
	produce(t, s, 1, storedTo10(1)...)
	inTransaction(t, addr, 1, 201, ended(kgo.TryCommit))
	inTransaction(t, addr, 1, 301, ended(kgo.TryAbort))
	want := map[uint64]bool{}
	for i := range uint64(10) {
		want[1+i], want[201+i] = true, true
	}
	found := map[uint64]bool{}
	lost, err := s.ReadBack(t.Context(), []message.Mark{{Topic: "messages", Partition: 1}}, func(p message.Place, _ message.Mark) { found[p.Seq] = true })
	if err != nil || len(lost) > 0 {
		t.Fatal(lost, err)
	}
	shown := map[uint64]bool{}
	for _, r := range all(t, addr, FollowOptions{}) {
		shown[r.Seq] = true
	}
	for _, got := range []map[uint64]bool{found, shown} {
		if len(got) != len(want) || !got[1] || !got[210] || got[101] || got[310] {
			t.Errorf("found %v", got)
		}
	}
}

// What stands in an open transaction may yet be in the hub: reading back waits.
func TestReadBackAwaitsOpenTransactions(t *testing.T) {
	t.Parallel()
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	var open *kgo.Client
	inTransaction(t, addr, 1, 1, func(c *kgo.Client) error { open = c; return nil })
	found := make(chan int, 1)
	go func() {
		n := 0
		_, err := s.ReadBack(t.Context(), []message.Mark{{Topic: "messages", Partition: 1}}, func(message.Place, message.Mark) { n++ })
		if err != nil {
			n = -1
		}
		found <- n
	}()
	select {
	case n := <-found:
		t.Fatalf("found %d before the transaction ended", n)
	case <-time.After(4500 * time.Millisecond): // past idleChecks
	}
	if err := ended(kgo.TryCommit)(open); err != nil {
		t.Fatal(err)
	}
	if n := next(t, found); n != 10 {
		t.Errorf("found %d of 10", n)
	}
}

// A partition whose leader takes nothing, but refuses nothing either, is given back
// and left out for a while; the others go on.
func TestSessionGoesOnBesideASilentPartition(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	s := startSink(t, options(addr))
	x := startSession(t, s, transactOptions())
	fault := c.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Partitions: []int32{2}, Err: kerr.NotEnoughReplicas, Count: -1,
	})
	silent := make(chan answer, 1)
	m := stored(1)
	if err := x.Produce(&m, 2, x.Turn(), func(offset int64, err error) { silent <- answer{offset, err} }); err != nil {
		t.Fatal(err)
	}
	for i, a := range produce(t, x, 1, storedTo10(11)...) {
		if a.err != nil {
			t.Fatalf("answer %d beside it: %v", i, a.err)
		}
	}
	if a := next(t, silent); !errors.Is(a.err, errNoAnswer) || Classify(a.err) != ClassRetry {
		t.Fatalf("the silent partition: %+v", a)
	}
	if a := produce(t, x, 2, m)[0]; !errors.Is(a.err, errNoAnswer) && !errors.Is(a.err, errTurn) {
		t.Errorf("not left out: %+v", a)
	}
	for i, a := range produce(t, x, 1, storedTo10(21)...) {
		if a.err != nil {
			t.Fatalf("answer %d after it: %v", i, a.err)
		}
	}
	fault.Remove()
	limit := time.After(30 * time.Second)
	for produce(t, x, 2, m)[0].err != nil {
		select {
		case <-limit:
			t.Fatal("the partition is never tried again")
		case <-time.After(50 * time.Millisecond):
		}
	}
	if got := all(t, addr, FollowOptions{}); len(got) != 21 {
		t.Errorf("%d records, want 21", len(got))
	}
}

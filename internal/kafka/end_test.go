package kafka

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// storedTo10 makes ten messages from seq first on.
func storedTo10(first uint64) (out []message.Stored) {
	for i := range uint64(10) {
		out = append(out, stored(first+i))
	}
	return out
}

// A leader that does not answer is not the end of what it holds, though another
// broker, or the same one, answers pings.
func TestReadBackOfASilentLeader(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 1, storedTo10(1)...)
	c.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		return nil, errors.New("gone"), true
	})
	found := 0
	_, err := s.ReadBack(t.Context(), []message.Mark{{Topic: "messages", Partition: 1}}, func(message.Place, message.Mark) { found++ })
	if err == nil || Classify(err) != ClassRetry {
		t.Errorf("found %d of 10, error %v; want one of class retry", found, err)
	}
}

func TestFollowUntilEndOfASilentLeader(t *testing.T) {
	t.Parallel()
	c, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 1, storedTo10(1)...)
	var asked atomic.Bool // the leader was asked for the end, and was silent
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if asked.Load() {
			return nil, nil, false
		}
		if r.(*kmsg.FetchRequest).MaxWaitMillis == 0 {
			asked.Store(true)
		}
		return nil, errors.New("gone"), true
	})
	if got := all(t, addr, FollowOptions{}); len(got) != 10 {
		t.Errorf("shown %d of 10", len(got))
	}
}

// emptied makes the cluster answer fetches as where compaction has removed all
// records, with the given end.
func emptied(c *kfake.Cluster, end int64) {
	c.ControlKey(int16(kmsg.Fetch), func(r kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		req := r.(*kmsg.FetchRequest)
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		for _, t := range req.Topics {
			rt := kmsg.NewFetchResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewFetchResponseTopicPartition()
				rp.Partition, rp.HighWatermark, rp.LastStableOffset = p.Partition, end, end
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		<-time.After(20 * time.Millisecond)
		return resp, nil, true
	})
}

// A log that ends in nothing readable is read to its end all the same.
func TestEndsInNothingReadable(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		end  int64
		want error
	}{{"empty", 10, nil}, {"shorter", 9, errShort}} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, addr := startCluster(t)
			s := startSink(t, options(addr))
			produce(t, s, 1, storedTo10(1)...)
			emptied(c, row.end)
			found := 0
			lost, err := s.ReadBack(t.Context(), []message.Mark{{Topic: "messages", Partition: 1}}, func(message.Place, message.Mark) { found++ })
			if !errors.Is(err, row.want) || found+len(lost) > 0 {
				t.Errorf("found %d, lost %v, error %v; want %v", found, lost, err, row.want)
			}
			if row.want != nil {
				return
			}
			if got := all(t, addr, FollowOptions{}); len(got) > 0 {
				t.Errorf("shown %v", seqs(got))
			}
		})
	}
}

// A partition whose last records were aborted ends in a marker that shows
// nothing.
func TestFollowUntilEndBehindAborted(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 1, stored(1), stored(2))
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.TransactionalID("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "messages", Partition: 1, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	if err := client.EndTransaction(t.Context(), kgo.TryAbort); err != nil {
		t.Fatal(err)
	}
	if got := seqs(all(t, addr, FollowOptions{})); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("shown %v", got)
	}
	part := partitionKey{"messages", 1}
	for _, row := range []struct {
		sp   span
		want bool
	}{{span{0, 6}, false}, {span{2, 5}, true}, {span{6, 6}, true}} {
		done, err := s.opts.passed(t.Context(), client, part, row.sp, kgo.ReadCommitted())
		if err != nil || done != row.want {
			t.Errorf("nothing readable in %+v: %v, %v; want %v", row.sp, done, err, row.want)
		}
	}
	if done, err := s.opts.passed(t.Context(), client, part, span{2, 5}, kgo.ReadUncommitted()); err != nil || done {
		t.Errorf("uncommitted, nothing readable: %v, %v", done, err)
	}
}

// A topic that was deleted and made anew is followed from its beginning, also
// where it has outgrown the old position.
func TestFollowTopicMadeAnew(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 1, storedTo10(1)[:5]...)
	got, ready := follow(t, options(addr), FollowOptions{Topic: "messages"})
	next(t, ready)
	for range 5 {
		next(t, got)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	if _, err := adm.DeleteTopic(t.Context(), "messages"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), 3, 1, nil, "messages"); err != nil {
		t.Fatal(err)
	}
	anew := storedTo10(100)
	anew[9] = stored(1) // shown of the old topic, and not yet of this one
	produce(t, startSink(t, options(addr)), 1, anew...)
	for i, m := range anew {
		if r := next(t, got); r.Seq != m.Seq || r.Offset != int64(i) {
			t.Fatalf("shown seq %d at offset %d, want %d at %d", r.Seq, r.Offset, m.Seq, i)
		}
	}
}

// Without topic ids nothing tells that a topic is another.
func TestMeet(t *testing.T) {
	none, a, b := [16]byte{}, [16]byte{1}, [16]byte{2}
	for _, row := range []struct {
		ids  [][16]byte
		kept bool
	}{
		{[][16]byte{none, none}, true},
		{[][16]byte{none, a}, true},
		{[][16]byte{a, none, a}, true},
		{[][16]byte{a, b}, false},
		{[][16]byte{a, none, b}, false},
	} {
		r, err := NewReader(options("127.0.0.1:1"), Deps{})
		if err != nil {
			t.Fatal(err)
		}
		f := &follower{opts: r.opts, deps: r.deps, parts: map[int32]*followed{0: {}}}
		for _, id := range row.ids {
			f.meet(id)
		}
		if kept := len(f.parts) == 1; kept != row.kept {
			t.Errorf("ids %v: kept %v", row.ids, kept)
		}
	}
}

// From Reset on a partition refuses the turns of before, though the callbacks
// of what was taken back have not come yet.
func TestResetKeepsOrder(t *testing.T) {
	_, addr := startCluster(t)
	o := options(addr)
	o.Linger = time.Second // so that Reset finds the records unsent
	s := startSink(t, o)
	turn := s.Turn()
	other, one, two := stored(10), stored(1), stored(2)
	held, release := make(chan struct{}), make(chan struct{})
	err := s.Produce(&other, 0, turn, func(int64, error) { close(held); <-release })
	if err != nil {
		t.Fatal(err)
	}
	first := make(chan error, 1)
	if err := s.Produce(&one, 1, turn, func(_ int64, err error) { first <- err }); err != nil {
		t.Fatal(err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	next(t, held)
	again := make(chan error, 1)
	if err := s.Produce(&two, 1, turn, func(_ int64, err error) { again <- err }); !errors.Is(err, errTurn) {
		t.Errorf("with record 1 not answered, the next of its partition: %v; want it refused", err)
	}
	close(release)
	if err := next(t, first); !errors.Is(err, ErrClosed) {
		t.Errorf("record 1: %v, want ErrClosed", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Produce(&two, 1, s.Turn(), func(_ int64, err error) { again <- err }); err != nil {
		t.Fatal("with a new turn:", err)
	}
	select {
	case err := <-again:
		if err != nil {
			t.Error("with a new turn:", err)
		}
	case <-ctx.Done():
		t.Error("no answer")
	}
}

package forward_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// What waited in the client while the hub did not take it is late when the hub
// takes it: it is taken back before, and looked for.
func TestLateInTheClient(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %v", exactly), func(t *testing.T) {
			cluster, addr := startCluster(t)
			m := msg(laneA, 1)
			put(t, addr, foreign{m: twinOf(&m, true), produced: time.Now()})
			cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: -1})
			run := newLateRun(t, addr)
			run.exactly, run.options.LateAfter = exactly, time.Second
			f, out := run.drain(t, m)
			if !out[0].Duplicate || f.Status().DuplicateTotal != 1 {
				t.Errorf("outcome %+v", out[0])
			}
		})
	}
}

// What waited in a side lane while its topic was held is late when it is sent.
func TestLateInSideLanes(t *testing.T) {
	cluster, addr := startCluster(t)
	want := msgs(laneA, 1, 100)
	var records []foreign
	for i := range want[:50] {
		records = append(records, foreign{m: twinOf(&want[i], true), produced: time.Now()})
	}
	put(t, addr, records...)
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Err: kerr.TopicAuthorizationFailed, Count: -1})
	o := testOptions()
	o.HoldAfter, o.LateAfter = 0, time.Second
	st := newStore("late")
	st.append(want...)
	sink := newSink(t, addr)
	f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: sink, Twins: sink})
	st.await(t, "moved", func(s *store) bool { return len(s.moved) == 100 })
	poll(t, "the copies", func() bool { return f.Status().DuplicateTotal == 50 })
	fault.Remove()
	st.await(t, "the others", (*store).settled)
	poll(t, "no topic held", func() bool { return f.Status().ForwardedTotal >= 50 })
	stop()
	if err := judge(want, raw(t, addr, "messages")); err != nil {
		t.Error(err)
	}
}

// An error of the hub while it is read keeps what is late waiting, and nothing is
// sent that was not looked for.
func TestLateOverErrors(t *testing.T) {
	cluster, addr := startCluster(t)
	want := aged(laneA, 1, 200, time.Hour)
	var records []foreign
	for i := range want[:100] {
		records = append(records, foreign{m: twinOf(&want[i], true), produced: time.Now().Add(-50 * time.Minute)})
	}
	put(t, addr, records...)
	for _, key := range []kmsg.Key{kmsg.Fetch, kmsg.ListOffsets} {
		cluster.Fault(kfake.Fault{Keys: []kmsg.Key{key}, Topic: "messages", Err: kerr.UnknownServerError, Count: 5})
	}
	f, out := newLateRun(t, addr).drain(t, want...)
	for i, o := range out {
		if o.Duplicate != (i < 100) {
			t.Errorf("message %d: %+v", i, o)
		}
	}
	if n := f.Status().DuplicateTotal; n != 100 {
		t.Errorf("%d duplicates", n)
	}
	if err := judge(want, raw(t, addr, "messages")); err != nil {
		t.Error(err)
	}
}

// meddler has something happen each time that the ends of partitions are asked for.
type meddler struct {
	*kafka.Sink
	n  atomic.Int64
	do func(n int64)
}

func (s *meddler) Ends(ctx context.Context, of []message.Mark) ([]message.Mark, error) {
	s.do(s.n.Add(1))
	return s.Sink.Ends(ctx, of)
}

// A copy that another stamp sends while the backlog is sent is found, too, unless
// it stands within a quarter of the look-back of the end.
func TestLateFollowsTheHub(t *testing.T) {
	_, addr := startCluster(t)
	o := kafkaOptions(addr)
	o.Window = 64
	sink, err := kafka.NewSink(o, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	want := aged(laneA, 1, 300, time.Hour)
	for i := range want {
		want[i].Key = []byte("one partition")
	}
	twin := twinOf(&want[299], true)
	once := sync.OnceFunc(func() {
		records := []foreign{{m: twin, produced: time.Now()}}
		for _, m := range msgs(laneB, 1000, 1100) {
			m.Key = want[0].Key
			records = append(records, foreign{m: m, produced: time.Now()})
		}
		put(t, addr, records...)
	})
	st := newStore("late")
	st.append(want...)
	st.end()
	log := &meddler{Sink: sink, do: func(n int64) {
		if n == 6 {
			once()
		}
	}}
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: log, Twins: sink})
	st.await(t, "released", func(s *store) bool { return s.released == 1 })
	stop()
	if out := f.Board().Await(t.Context(), want[299].Place, 1); !out[0].Duplicate {
		t.Errorf("outcome %+v after %d looks at the ends, want it left out", out[0], log.n.Load())
	}
	if err := judge(want, raw(t, addr, "messages")); err != nil {
		t.Error(err)
	}
}

func counterOf(t testing.TB, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// What the process has sent itself is not read, but known: of two chains of one
// stamp each has a copy, and one is sent.
func TestLateKnowsItsOwn(t *testing.T) {
	_, addr := startCluster(t)
	o := kafkaOptions(addr)
	o.Window = 64
	sink, err := kafka.NewSink(o, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := newStore("first"), newStore("second")
	want := aged(laneA, 1, 2000, time.Hour)
	first.append(want...)
	reg := prometheus.NewRegistry()
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(first, second), Sink: sink, Twins: sink, Registerer: reg})
	first.await(t, "the first chain", (*store).settled)
	var twins []message.Stored
	for i := range want {
		twins = append(twins, twinOf(&want[i], true))
	}
	second.append(twins...)
	second.await(t, "the second chain", (*store).settled)
	stop()
	if s := f.Status(); s.DuplicateTotal != 2000 || s.ForwardedTotal != 2000 {
		t.Errorf("%d left out, %d forwarded", s.DuplicateTotal, s.ForwardedTotal)
	}
	if n := counterOf(t, reg, "postroad_forward_late_read_records_total"); n > 200 {
		t.Errorf("%v records were read of those that it has sent itself", n)
	}
	if n := counterOf(t, reg, "postroad_forward_late_duplicates_total"); n != 2000 {
		t.Errorf("the metric says %v", n)
	}
}

// A topic that was deleted is made again for what is late, as for all else.
func TestLateInATopicThatIsGone(t *testing.T) {
	_, addr := startCluster(t)
	st := newStore("late")
	st.append(aged(laneA, 1, 50, time.Hour)...)
	sink := newSink(t, addr)
	_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: sink, Twins: sink})
	st.await(t, "the first messages", (*store).settled)
	unmake(t, addr, "messages")
	want := aged(laneA, 51, 100, time.Hour)
	st.append(want...)
	st.await(t, "the others", (*store).settled)
	stop()
	if err := judge(want, raw(t, addr, "messages")); err != nil {
		t.Error(err)
	}
}

// A topic that was deleted and made anew: what stood in the old one is no twin.
func TestLateInATopicMadeAnew(t *testing.T) {
	_, addr := startCluster(t)
	sink := newSink(t, addr)
	st := newStore("late")
	first := aged(laneA, 1, 50, time.Hour)
	for i := range first {
		first[i].Key = []byte("k")
	}
	st.append(first...)
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: sink, Twins: sink})
	st.await(t, "the first messages", (*store).settled)
	remake(t, addr, "messages")
	again := aged(laneB, 1, 1, time.Hour)[0]
	again.ID, again.Key, again.Repeat = first[0].ID, first[0].Key, true
	st.append(again)
	st.await(t, "the copy", (*store).settled)
	stop()
	if s := f.Status(); s.DuplicateTotal != 0 {
		t.Errorf("%d were left out because of a topic that is gone", s.DuplicateTotal)
	}
	if got := raw(t, addr, "messages"); len(got) != 1 || got[0].ID != again.ID {
		t.Errorf("the new topic has %d records", len(got))
	}
}

// A replay is not shown to who follows, so it stands for no message: not where
// another stamp has sent it, and not where another chain of this forwarder has.
func TestLateBesideAReplayOfItsOwn(t *testing.T) {
	_, addr := startCluster(t)
	sink := newSink(t, addr)
	first, second := newStore("first"), newStore("second")
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(first, second), Sink: sink, Twins: sink})
	want := aged(laneA, 1, 2, time.Hour)
	for i := range want {
		want[i].Key = []byte("one partition")
	}
	first.append(want[0]) // the partition is watched from here on
	first.await(t, "the first message", (*store).settled)
	replay := want[1]
	replay.Replay = true
	first.append(replay)
	first.await(t, "the replay", (*store).settled)
	copied := twinOf(&want[1], true)
	second.append(copied)
	second.await(t, "the copy", (*store).settled)
	stop()
	if n := f.Status().DuplicateTotal; n != 0 {
		t.Errorf("%d were left out because of a replay", n)
	}
	if got := raw(t, addr, "messages"); len(got) != 3 || got[2].Lane != copied.Lane {
		t.Errorf("the topic has %d records, want the message, the replay and the copy", len(got))
	}
}

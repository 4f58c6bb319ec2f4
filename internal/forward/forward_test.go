package forward_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/forward"
	"postroad/internal/hub"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// startHub runs a hub until stop or the end of the test.
func startHub(t testing.TB, dir, listen string) (addr string, stop func()) {
	t.Helper()
	o := hub.DefaultOptions()
	o.Dir, o.Listen, o.Partitions = dir, listen, 3
	h, err := hub.New(o, hub.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("hub:", err)
		}
	})
	t.Cleanup(stop)
	return h.Addr(), stop
}

func startCluster(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, string) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "messages", "other")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

func kafkaOptions(addr string) kafka.Options {
	o := kafka.DefaultOptions()
	o.Brokers = []string{addr}
	o.DialTimeout = time.Second
	o.RequestTimeout = 2 * time.Second
	return o
}

func newSink(t testing.TB, addr string) *kafka.Sink {
	t.Helper()
	s, err := kafka.NewSink(kafkaOptions(addr), kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func testOptions() forward.Options {
	o := forward.DefaultOptions()
	o.SaveInterval = 100 * time.Millisecond
	o.ProbeTimeout = time.Second
	o.ProbeInterval = 50 * time.Millisecond
	o.HoldInterval = 50 * time.Millisecond
	o.DrainTimeout = 20 * time.Second
	o.TakeoverWait = 50 * time.Millisecond
	return o
}

// run runs a forwarder until stop or the end of the test.
func run(t testing.TB, o forward.Options, d forward.Deps) (f *forward.Forwarder, stop func()) {
	t.Helper()
	f, err := forward.New(o, d)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
	t.Cleanup(stop)
	return f, stop
}

// shown reads a topic as readers do, with a look-back of w.
func shown(t testing.TB, addr, topic string, w int) []kafka.Record {
	t.Helper()
	o := kafkaOptions(addr)
	o.Window = w
	r, err := kafka.NewReader(o, kafka.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	awaitMarkers(t, addr, topic)
	var got []kafka.Record
	err = r.Follow(ctx, kafka.FollowOptions{Topic: topic, UntilEnd: true}, func(r kafka.Record) error {
		got = append(got, r)
		return nil
	})
	if err != nil || ctx.Err() != nil {
		t.Fatal("Follow:", err, ctx.Err())
	}
	return got
}

// awaitMarkers waits until readers of committed records may read all of a topic. A
// hub answers that a transaction is committed before its markers stand in every
// partition: a reader that asked for the ends at once would miss its records.
func awaitMarkers(t testing.TB, addr, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	poll(t, "the markers of the last transaction", func() bool {
		committed, err := adm.ListCommittedOffsets(t.Context(), topic)
		if err != nil {
			return false
		}
		ends, err := adm.ListEndOffsets(t.Context(), topic)
		whole := err == nil
		ends.Each(func(end kadm.ListedOffset) {
			c, ok := committed.Lookup(topic, end.Partition)
			whole = whole && ok && c.Err == nil && end.Err == nil && c.Offset == end.Offset
		})
		return whole
	})
}

// judge compares what readers see with what was stored: each message exactly
// once, by its bytes, and in order within a key.
func judge(want []message.Stored, got []kafka.Record) error {
	times := map[string]int{}
	last := map[string]uint64{}
	for _, r := range got {
		times[string(r.Value)]++
		if r.Key != nil {
			key := r.Topic + r.Lane + string(r.Key)
			if r.Seq < last[key] && times[string(r.Value)] == 1 {
				return fmt.Errorf("%s after seq %d of key %q", r.Value, last[key], r.Key)
			}
			last[key] = r.Seq
		}
	}
	for _, m := range want {
		if n := times[string(m.Value)]; n != 1 {
			return fmt.Errorf("message %q is shown %d times", m.Value, n)
		}
	}
	return nil
}

// poll waits until cond holds.
func poll(t testing.TB, what string, cond func() bool) {
	t.Helper()
	limit := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not in 30 s", what)
		}
	}
}

// logged is a log that can be looked at.
type logged struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestDrainsAndReleases(t *testing.T) {
	_, addr := startCluster(t)
	st := newStore("a")
	want := append(msgs(laneA, 1, 3000), msgs(laneB, 1, 2000)...)
	want[17].Topic, want[18].Topic = "other", "other"
	want = slices.Delete(want, 40, 45) // damage that the queue set aside
	st.append(want...)
	st.end()
	reg := prometheus.NewRegistry()
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr), Registerer: reg})
	st.await(t, "released", func(s *store) bool { return s.released == 1 })
	if !st.settled() {
		t.Errorf("released with progress %+v", st.progress)
	}
	if err := judge(want, append(shown(t, addr, "messages", 100), shown(t, addr, "other", 100)...)); err != nil {
		t.Error(err)
	}
	s := f.Status()
	if s.ForwardedTotal != int64(len(want)) || s.Breaker.State != "closed" || s.LastError != "" {
		t.Errorf("status %+v", s)
	}
	got := f.Board().Await(t.Context(), message.Place{Lane: laneB, Seq: 1999}, 2)
	for _, o := range got {
		if o.State != message.StateForwarded || !o.Located {
			t.Errorf("outcome %+v, want forwarded and located", o)
		}
	}
	stop()
	if n, err := reg.Gather(); err != nil || len(n) == 0 {
		t.Errorf("%d metrics, %v", len(n), err)
	}
}

// The hub goes away and comes back: the breaker opens and closes, nothing is
// lost or doubled, and what is read from the queue meanwhile stays bounded.
func TestBreakerOverHubRestart(t *testing.T) {
	dir := t.TempDir()
	addr, stopHub := startHub(t, dir, "127.0.0.1:0")
	st := newStore("live")
	st.append(msgs(laneA, 1, 100)...)
	log := &logged{}
	o := testOptions()
	o.MaxInFlight = 500
	f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr), Log: log.logger()})
	st.await(t, "first messages", (*store).settled)
	stopHub()
	st.append(msgs(laneA, 101, 5000)...)
	poll(t, "breaker open", func() bool { return f.Status().Breaker.State == "open" })
	poll(t, "cause and next try", func() bool {
		b := f.Status().Breaker
		return b.Cause != "" && !b.NextTry.IsZero() && !b.Since.IsZero()
	})
	startHub(t, dir, addr)
	st.await(t, "all messages", (*store).settled)
	poll(t, "breaker closed", func() bool { return f.Status().Breaker.State == "closed" })
	stop()
	if err := judge(msgs(laneA, 1, 5000), shown(t, addr, "messages", 10000)); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"breaker open", "breaker closed"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
}

// Stopping while the hub is away gives everything back to the queue and does
// not wait.
func TestStopWhileHubIsAway(t *testing.T) {
	addr, stopHub := startHub(t, t.TempDir(), "127.0.0.1:0")
	st := newStore("live")
	st.append(msgs(laneA, 1, 10)...)
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr)})
	st.await(t, "first messages", (*store).settled)
	stopHub()
	st.append(msgs(laneA, 11, 300)...)
	poll(t, "breaker open", func() bool { return f.Status().Breaker.State == "open" })
	stop()
	if st.released != 1 || st.settled() {
		t.Errorf("released %d times, settled %v", st.released, st.settled())
	}
}

// What the hub refuses until somebody changes something holds the chain, says
// why, and goes on by itself afterwards: once, in order.
func TestHold(t *testing.T) {
	cluster, addr := startCluster(t)
	fault := cluster.Fault(kfake.Fault{
		Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Err: kerr.TopicAuthorizationFailed, Count: -1,
	})
	held, free := newStore("held"), newStore("free")
	held.append(msgs(laneA, 1, 3000)...)
	other := msgs(laneB, 1, 300)
	for i := range other {
		other[i].Topic = "other"
	}
	free.append(other...)
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(held, free), Sink: newSink(t, addr)})
	poll(t, "held with a reason", func() bool {
		for _, c := range f.Status().Chains {
			if c.State == "held" && strings.Contains(c.Error, "TOPIC_AUTHORIZATION_FAILED") {
				return true
			}
		}
		return false
	})
	free.await(t, "the other chain", (*store).settled)
	if s := f.Status().Breaker.State; s != "closed" {
		t.Errorf("breaker %s because one topic is refused", s)
	}
	fault.Remove()
	held.await(t, "the held chain", (*store).settled)
	stop()
	if err := judge(msgs(laneA, 1, 3000), shown(t, addr, "messages", 100)); err != nil {
		t.Error(err)
	}
}

// A message that the hub will never take becomes a dead letter with the hub's
// reason, alone: its neighbours get through, in order, and the chain goes on.
func TestDead(t *testing.T) {
	_, addr := startCluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "20000"}))
	st := newStore("a")
	want := msgs(laneA, 1, 200)
	want[50].Value = make([]byte, 100000)
	st.append(want...)
	log := &logged{}
	o := kafkaOptions(addr)
	o.BatchMaxBytes = 200000
	sink, err := kafka.NewSink(o, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	fo := testOptions()
	fo.DeadLetterTopic = "dead-letters"
	f, stop := run(t, fo, forward.Deps{Source: sourceOf(st), Sink: sink, Log: log.logger()})
	st.await(t, "settled", (*store).settled)
	stop()
	if len(st.buried) != 1 || st.buried[0].Seq != 51 || !strings.Contains(st.buried[0].Reason, "MESSAGE_TOO_LARGE") ||
		!strings.Contains(st.buried[0].Reason, "dead") {
		t.Fatalf("dead letters %+v", st.buried)
	}
	if !strings.Contains(log.String(), "lane="+laneA+" seq=51") {
		t.Error("the log does not name the message")
	}
	if n := f.Status().DeadTotal; n != 1 {
		t.Errorf("the status counts %d dead", n)
	}
	o51, ok := f.Board().Outcome(message.Place{Lane: laneA, Seq: 51})
	if !ok || o51.State != message.StateDead || o51.Reason != st.buried[0].Reason {
		t.Errorf("the board says %+v, %v", o51, ok)
	}
	if err := judge(slices.Delete(slices.Clone(want), 50, 51), shown(t, addr, "messages", 1000)); err != nil {
		t.Error(err)
	}
}

// A topic that is missing and may not be made holds the chain until it is
// there.
func TestMissingTopic(t *testing.T) {
	cluster, addr := startCluster(t)
	o := kafkaOptions(addr)
	o.CreateTopics = false
	sink, err := kafka.NewSink(o, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	st := newStore("a")
	m := msg(laneA, 1)
	m.Topic = "later"
	st.append(m)
	f, _ := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: sink})
	poll(t, "held", func() bool { c := f.Status().Chains; return len(c) == 1 && c[0].State == "held" })
	if err := cluster.CreateTopic("later", 3, nil); err != nil {
		t.Fatal(err)
	}
	st.await(t, "sent", (*store).settled)
}

// Progress that cannot be saved stops nothing and loses nothing.
func TestSaveFails(t *testing.T) {
	_, addr := startCluster(t)
	st := newStore("a")
	st.append(msgs(laneA, 1, 100)...)
	f, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr)})
	st.await(t, "saved", (*store).settled)
	st.change(func() { st.saveErr = errDead })
	st.append(msgs(laneA, 101, 200)...)
	poll(t, "forwarded all the same", func() bool { return f.Status().ForwardedTotal == 200 })
	poll(t, "the status says so", func() bool { return strings.Contains(f.Status().LastError, errDead.Error()) })
	if next := st.progress.Lanes[0].Next; next != 101 {
		t.Errorf("progress at %d", next)
	}
	st.change(func() { st.saveErr = nil })
	st.await(t, "saved later", (*store).settled)
	stop()
}

// Before anything is sent to a partition its end must be saved.
func TestNothingIsSentBeforeMarksAreSaved(t *testing.T) {
	cluster, addr := startCluster(t)
	st := newStore("a")
	st.saveErr = errDead
	st.append(msgs(laneA, 1, 100)...)
	produces := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Observe: true, Count: -1})
	f, _ := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr)})
	poll(t, "saving failed", func() bool { return strings.Contains(f.Status().LastError, errDead.Error()) })
	if produces.Hits() != 0 {
		t.Fatal("sent before the marks were saved")
	}
	st.change(func() { st.saveErr = nil })
	st.await(t, "sent", (*store).settled)
	if produces.Hits() == 0 {
		t.Fatal("the check sees no produce")
	}
}

// A hub that takes connections and answers nothing is away, too: silence leads
// to probes, and those open the breaker.
func TestBlackHole(t *testing.T) {
	cluster, addr := startCluster(t)
	var silent atomic.Bool
	cluster.ControlKey(-1, func(kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return nil, nil, silent.Load()
	})
	st := newStore("live")
	st.append(msgs(laneA, 1, 100)...)
	o := testOptions()
	o.ProbeTimeout = 200 * time.Millisecond
	ko := kafkaOptions(addr)
	ko.RequestTimeout = time.Second
	sink, err := kafka.NewSink(ko, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: sink})
	st.await(t, "first messages", (*store).settled)
	silent.Store(true)
	st.append(msgs(laneA, 101, 500)...)
	poll(t, "breaker open", func() bool { return f.Status().Breaker.State == "open" })
	silent.Store(false)
	st.await(t, "all messages", (*store).settled)
	stop()
	if err := judge(msgs(laneA, 1, 500), shown(t, addr, "messages", 10000)); err != nil {
		t.Error(err)
	}
}

// Messages that the client has held for too long are taken back and sent
// afresh, so that their time of producing is that of the hub's return: DESIGN
// 6, hand-off.
func TestRefresh(t *testing.T) {
	dir := t.TempDir()
	addr, stopHub := startHub(t, dir, "127.0.0.1:0")
	st := newStore("live")
	st.append(msgs(laneA, 1, 10)...)
	o := testOptions()
	o.RefreshAfter = time.Second
	sink := &resets{Sink: newSink(t, addr), reset: make(chan struct{}, 100)}
	f, stop := run(t, o, forward.Deps{Source: sourceOf(st), Sink: sink})
	st.await(t, "first messages", (*store).settled)
	stopHub()
	st.append(msgs(laneA, 11, 300)...)
	select {
	case <-sink.reset:
	case <-time.After(30 * time.Second):
		t.Fatal("no reset in 30 s")
	}
	poll(t, "taken back", func() bool { c := f.Status().Chains; return len(c) == 1 && c[0].InFlight == 0 })
	back := time.Now().Truncate(time.Millisecond)
	startHub(t, dir, addr)
	st.await(t, "all messages", (*store).settled)
	stop()
	got := shown(t, addr, "messages", 10000)
	if err := judge(msgs(laneA, 1, 300), got); err != nil {
		t.Error(err)
	}
	for _, r := range got {
		if r.Seq > 10 && r.Timestamp.Before(back) {
			t.Fatalf("seq %d has the time %v of before the hub's return %v", r.Seq, r.Timestamp, back)
		}
	}
}

// resets tells of each Reset.
type resets struct {
	*kafka.Sink
	reset chan struct{}
}

func (r *resets) Reset() error {
	err := r.Sink.Reset()
	r.reset <- struct{}{}
	return err
}

// An old chain that cannot get on does not hold up the live one, and a chain
// more than are drained at once waits for its turn.
func TestChainsAreIndependent(t *testing.T) {
	cluster, addr := startCluster(t)
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "other", Err: kerr.PolicyViolation, Count: -1})
	var stores []*store
	for i := range 3 {
		st := newStore(fmt.Sprint("old", i))
		m := msg(laneA, uint64(i+1))
		m.Topic = "other"
		st.append(m)
		st.end()
		stores = append(stores, st)
	}
	live := newStore("live")
	live.append(msgs(laneB, 1, 10)...)
	o := testOptions()
	o.MaxChains = 2
	f, _ := run(t, o, forward.Deps{Source: sourceOf(live, stores[0], stores[1], stores[2]), Sink: newSink(t, addr)})
	live.await(t, "live", (*store).settled)
	poll(t, "two at once", func() bool { return len(f.Status().Chains) == 2 })
	fault.Remove()
	for _, st := range stores {
		st.await(t, st.id, func(s *store) bool { return s.released == 1 && s.settled() })
	}
}

package forward_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

func admin(t testing.TB, addr string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// counter is the present value of a counter.
func counter(t testing.TB, reg *prometheus.Registry, name string) float64 {
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
	t.Fatal("no metric", name)
	return 0
}

// A topic that is deleted, and made anew by somebody or by us, is sent to again
// without a restart: all that was accepted afterwards is in the new one, once.
func TestTopicMadeAnewHeals(t *testing.T) {
	for _, tc := range []struct {
		name    string
		byUs    bool
		under   bool // messages are under way all the time
		replays bool
	}{
		{name: "by somebody"}, {name: "by us", byUs: true}, {name: "by somebody, under load", under: true}, {name: "replayed", byUs: true, replays: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, addr := startCluster(t)
			adm, st, reg := admin(t, addr), newStore("a"), prometheus.NewRegistry()
			st.append(msgs(laneA, 1, 200)...)
			st.append(ofTopics(msgs(laneA, 201, 240), "other")...)
			run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr), Registerer: reg})
			st.await(t, "sent", (*store).settled)
			next := uint64(241)
			load := func() {
				st.append(msgs(laneA, next, next+9)...)
				next += 10
			}
			if tc.under {
				load()
			}
			if _, err := adm.DeleteTopic(t.Context(), "messages"); err != nil {
				t.Fatal(err)
			}
			if tc.under {
				load()
			}
			if !tc.byUs {
				if _, err := adm.CreateTopic(t.Context(), 2, 1, nil, "messages"); err != nil {
					t.Fatal(err)
				}
			}
			after := msgs(laneA, next, next+99)
			for i := range after {
				after[i].Replay = tc.replays
			}
			st.append(after...)
			st.await(t, "sent to the new topic", (*store).settled)
			if err := judge(after, shown(t, addr, "messages", 0)); err != nil {
				t.Error(err)
			}
			if n := len(shown(t, addr, "other", 0)); n != 40 {
				t.Errorf("the other topic holds %d of 40", n)
			}
			if counter(t, reg, "postroad_forward_marks_lost_total") < 1 {
				t.Error("marks of the deleted topic are not counted")
			}
		})
	}
}

// asked is a sink that notes from where it was asked to read back.
type asked struct {
	*kafka.Sink
	mu    sync.Mutex
	marks []message.Mark // guarded by mu
}

func (a *asked) ReadBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {
	a.mu.Lock()
	a.marks = append(a.marks, from...)
	a.mu.Unlock()
	return a.Sink.ReadBack(ctx, from, found)
}

func namedSink(t testing.TB, addr, name string, generation int) *asked {
	t.Helper()
	o := kafkaOptions(addr)
	o.Name, o.Generation = name, generation
	s, err := kafka.NewSink(o, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	return &asked{Sink: s}
}

// What was saved of one hub is not looked for by its offsets in another, nor
// when it comes back after another; of the same one it is.
func TestMarksAreOfOneHub(t *testing.T) {
	_, addr := startCluster(t)
	_, other := startCluster(t)
	st := newStore("a")
	for i, tc := range []struct {
		addr, name string
		generation int
		reads      bool
	}{
		{addr, "a", 0, false},
		{addr, "a", 0, true},
		{other, "b", 0, false},
		{other, "b", 0, true},
		{other, "b", 1, false},
		{addr, "a", 0, false},
		{addr, "", 0, false}, // the name taken away is another hub, too
		{addr, "", 0, true},
	} {
		sink := namedSink(t, tc.addr, tc.name, tc.generation)
		seq := uint64(i)*10 + 1
		st.append(msgs(laneA, seq, seq+9)...)
		_, stop := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: sink})
		st.await(t, "sent", (*store).settled)
		stop()
		if got := len(sink.marks) > 0; got != tc.reads {
			t.Errorf("run %d, hub %q of generation %d: read back: %v", i, tc.name, tc.generation, got)
		}
		if got := sink.Identity(); st.progress.Hub != got {
			t.Errorf("run %d: saved for hub %q, which is %q", i, st.progress.Hub, got)
		}
		if len(st.progress.Marks) == 0 || len(st.progress.Partitions) != 1 {
			t.Errorf("run %d: saved %+v", i, st.progress)
		}
	}
	if n := len(shown(t, addr, "messages", 0)) + len(shown(t, other, "messages", 0)); n != 80 {
		t.Errorf("the hubs hold %d of 80 messages", n)
	}
}

type ownError struct{ classed }

func (ownError) Own() bool { return true }

type paused struct {
	*scripted
	bad func() error
}

func (p paused) Probe(context.Context) error { return p.bad() }

// A process that may not send now says so, and not that the hub is away.
func TestOwnFaultIsNotTheHubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		fault := error(ownError{classed("retry")})
		sink := paused{&scripted{answer: func(*message.Stored, int) error { return nil }}, func() error {
			mu.Lock()
			defer mu.Unlock()
			return fault
		}}
		var log logged
		f, stop := run(t, forward.DefaultOptions(), forward.Deps{Source: sourceOf(newStore("a")), Sink: sink, Log: log.logger()})
		defer stop()
		<-time.After(10 * time.Second)
		if b := f.Status().Breaker; b.State != "open" || !b.Own {
			t.Errorf("%+v", b)
		}
		if text := log.String(); strings.Contains(text, "hub is away") || !strings.Contains(text, "this process may not send now") {
			t.Error(text)
		}
		mu.Lock()
		fault = nil
		mu.Unlock()
		<-time.After(10 * time.Second)
		if text := log.String(); strings.Contains(text, "hub is back") || !strings.Contains(text, "this process may send again") {
			t.Error(text)
		}
		mu.Lock()
		fault = errors.New("dial")
		mu.Unlock()
		<-time.After(time.Minute)
		if b := f.Status().Breaker; b.State != "open" || b.Own {
			t.Errorf("away: %+v", b)
		}
		mu.Lock()
		fault = nil
		mu.Unlock()
		<-time.After(10 * time.Second)
		if b := f.Status().Breaker; b.State != "closed" || b.Own {
			t.Errorf("over: %+v", b)
		}
	})
}

// A right that is given back is used without a restart: the client keeps a
// refusal of its producer id, and is replaced.
func TestGrantedProducerIDHeals(t *testing.T) {
	cluster, addr := startCluster(t)
	var granted atomic.Bool
	cluster.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		if granted.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return resp, nil, true
	})
	st := newStore("a")
	st.append(msgs(laneA, 1, 100)...)
	st.append(ofTopics(msgs(laneA, 101, 150), "other")...)
	f, _ := run(t, testOptions(), forward.Deps{Source: sourceOf(st), Sink: newSink(t, addr)})
	poll(t, "open", func() bool { return f.Status().Breaker.State == "open" })
	granted.Store(true)
	st.await(t, "sent", (*store).settled)
	if err := judge(msgs(laneA, 1, 100), shown(t, addr, "messages", 0)); err != nil {
		t.Error(err)
	}
	if n := len(shown(t, addr, "other", 0)); n != 50 {
		t.Errorf("the other topic holds %d of 50", n)
	}
}

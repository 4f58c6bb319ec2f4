package forward_test

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
)

// foreign is a record that another stamp has sent.
type foreign struct {
	m        message.Stored
	produced time.Time
	replay   bool
}

// put puts records into the partitions to which their messages belong, and returns
// where they stand.
func put(t testing.TB, addr string, records ...foreign) []message.Mark {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	out := make([]*kgo.Record, len(records))
	for i, f := range records {
		r := &kgo.Record{Topic: f.m.Topic, Partition: kafka.Partition(&f.m.Message, 3), Key: f.m.Key, Value: f.m.Value, Timestamp: f.produced}
		add := func(name, value string) {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		add(kafka.HeaderID, f.m.ID.String())
		add(kafka.HeaderLane, f.m.Lane)
		add(kafka.HeaderSeq, strconv.FormatUint(f.m.Seq, 10))
		add(kafka.HeaderTime, f.m.Time.UTC().Format(time.RFC3339Nano))
		if f.m.Repeat {
			add(kafka.HeaderRepeat, "1")
		}
		if f.replay {
			add(kafka.HeaderReplay, "1")
		}
		out[i] = r
	}
	results := client.ProduceSync(t.Context(), out...)
	if err := results.FirstErr(); err != nil {
		t.Fatal(err)
	}
	marks := make([]message.Mark, len(records))
	for i, r := range out {
		marks[i] = message.Mark{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
	}
	return marks
}

// aged makes messages of a lane that were accepted some time ago.
func aged(lane string, from, to uint64, age time.Duration) []message.Stored {
	out := msgs(lane, from, to)
	for i := range out {
		out[i].Time = time.Now().UTC().Add(-age)
	}
	return out
}

// twinOf is the same request, stored at another stamp.
func twinOf(m *message.Stored, repeat bool) message.Stored {
	c := *m
	c.Place = message.Place{Lane: laneB, Seq: m.Seq}
	c.Repeat = repeat
	return c
}

// lateRun drains a chain to its end beside the sink's log.
type lateRun struct {
	options forward.Options
	kafka   kafka.Options
	sink    *kafka.Sink
	log     forward.Log // nil for the sink
	exactly bool
}

func newLateRun(t testing.TB, addr string) *lateRun {
	t.Helper()
	r := &lateRun{options: testOptions(), kafka: kafkaOptions(addr)}
	return r
}

func (r *lateRun) start(t testing.TB, st ...*store) (f *forward.Forwarder, stop func()) {
	t.Helper()
	return r.startOn(t, sourceOf(st...))
}

func (r *lateRun) startOn(t testing.TB, src forward.Source) (f *forward.Forwarder, stop func()) {
	t.Helper()
	sink, err := kafka.NewSink(r.kafka, kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	d := forward.Deps{Source: src, Sink: sink, Twins: sink}
	if r.log != nil {
		d.Twins = r.log
	}
	r.sink = sink
	if r.exactly {
		r.options.Delivery, r.options.CommitInterval = forward.DeliveryExactlyOnce, 20*time.Millisecond
		d.Transactor = &transactor{sink: sink}
	}
	return run(t, r.options, d)
}

// drain sends all of a chain and returns what became of each.
func (r *lateRun) drain(t testing.TB, want ...message.Stored) (*forward.Forwarder, []message.Outcome) {
	t.Helper()
	st := newStore("late")
	st.append(want...)
	st.end()
	f, stop := r.start(t, st)
	st.await(t, "released", func(s *store) bool { return s.released == 1 })
	if !st.settled() {
		t.Errorf("released with progress %+v", st.progress)
	}
	stop()
	out := f.Board().Await(context.Background(), want[0].Place, len(want))
	return f, out
}

// raw reads every record of a topic.
func raw(t testing.TB, addr, topic string) []kafka.Record { return shown(t, addr, topic, 0) }

func headerOf(r kafka.Record, name string) string {
	i := slices.IndexFunc(r.Headers, func(h message.Header) bool { return h.Name == name })
	if i < 0 {
		return ""
	}
	return string(r.Headers[i].Value)
}

// A message that was accepted long ago is left out if another stamp's copy is
// there and either is marked; and in no other case.
func TestLateTwins(t *testing.T) {
	now := time.Now()
	hour := func(n int) time.Time { return now.Add(time.Duration(n) * time.Hour) }
	for name, c := range map[string]struct {
		ours, theirs bool // marked
		age          time.Duration
		produced     time.Time
		replay       bool // theirs
		replayed     bool // ours
		sent         bool
	}{
		"theirs is marked":                  {theirs: true, age: 2 * time.Hour, produced: hour(-2)},
		"ours is marked":                    {ours: true, age: 2 * time.Hour, produced: hour(-2)},
		"both are":                          {ours: true, theirs: true, age: 2 * time.Hour, produced: hour(-2)},
		"theirs was late, too":              {ours: true, age: 20 * time.Hour, produced: hour(-1)},
		"a clock that is four minutes slow": {theirs: true, age: 2 * time.Hour, produced: hour(-2).Add(-4 * time.Minute)},
		"none is marked":                    {age: 2 * time.Hour, produced: hour(-2), sent: true},
		"long before ours was accepted":     {theirs: true, age: time.Hour, produced: hour(-2), sent: true},
		"theirs was a replay":               {theirs: true, age: 2 * time.Hour, produced: hour(-2), replay: true, sent: true},
		"ours is a replay":                  {theirs: true, age: 2 * time.Hour, produced: hour(-2), replayed: true, sent: true},
		"ours is not late":                  {theirs: true, age: time.Second, produced: now, sent: true},
	} {
		for _, exactly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, exactly once %v", name, exactly), func(t *testing.T) {
				_, addr := startCluster(t)
				m := aged(laneA, 1, 1, c.age)[0]
				m.Repeat, m.Replay = c.ours, c.replayed
				twin := twinOf(&m, c.theirs)
				filler := foreign{m: msg(laneB, 50), produced: now.Add(-100 * time.Hour)}
				filler.m.Key = m.Key // the same partition: something older is left there
				at := put(t, addr, filler, foreign{twin, c.produced, c.replay})[1]
				run := newLateRun(t, addr)
				run.exactly = exactly
				f, out := run.drain(t, m)
				records, s := raw(t, addr, "messages"), f.Status()
				if c.sent {
					if len(records) != 3 || out[0].Duplicate || s.DuplicateTotal != 0 {
						t.Errorf("%d records, outcome %+v, %d duplicates; want it sent", len(records), out[0], s.DuplicateTotal)
					}
					return
				}
				want := message.Outcome{State: message.StateForwarded, Located: true, Duplicate: true, Partition: at.Partition, Offset: at.Offset}
				if len(records) != 2 || out[0] != want || s.DuplicateTotal != 1 || s.ForwardedTotal != 0 {
					t.Errorf("%d records, outcome %+v, status %+v; want it left out as %+v", len(records), out[0], s, want)
				}
			})
		}
	}
}

// Where retention may have removed the other copy, the record says so; where it
// cannot have, it does not.
func TestLateIsSaidWhereTheHubForgot(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		left time.Duration // before now: when the oldest record that is left was produced; 0 for none
		want string
	}{
		"older ones are there":  {left: 4 * time.Hour, want: ""},
		"the time is gone":      {left: time.Hour, want: "1"},
		"nothing is left there": {want: "1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, addr := startCluster(t)
			m := aged(laneA, 1, 1, 2*time.Hour)[0]
			partition := kafka.Partition(&m.Message, 3)
			gone := foreign{m: msg(laneB, 50), produced: now.Add(-100 * time.Hour)}
			gone.m.Key = m.Key
			records := []foreign{gone}
			if c.left > 0 {
				kept := foreign{m: msg(laneB, 51), produced: now.Add(-c.left)}
				kept.m.Key = m.Key
				records = append(records, kept)
			}
			put(t, addr, records...)
			removeBelow(t, addr, "messages", partition, 1)
			f, out := newLateRun(t, addr).drain(t, m)
			if out[0].Duplicate {
				t.Fatalf("outcome %+v", out[0])
			}
			got := raw(t, addr, "messages")
			last := got[len(got)-1]
			unsure := int64(len(c.want))
			if last.ID != m.ID || headerOf(last, kafka.HeaderLate) != c.want || f.Status().LateTotal != unsure {
				t.Errorf("%s %q, %d in the status; want %q", kafka.HeaderLate, headerOf(last, kafka.HeaderLate), f.Status().LateTotal, c.want)
			}
		})
	}
}

// removeBelow has a partition forget its oldest records, as retention does.
func removeBelow(t testing.TB, addr, topic string, partition int32, offset int64) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, offset, -1)
	responses, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// remake deletes a topic and makes it again.
func remake(t testing.TB, addr, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm := kadm.NewClient(client)
	unmake(t, addr, topic)
	poll(t, "the topic again", func() bool {
		r, err := adm.CreateTopics(t.Context(), 3, 1, nil, topic)
		return err == nil && r.Error() == nil
	})
}

// unmake deletes a topic.
func unmake(t testing.TB, addr, topic string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).DeleteTopics(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
}

package kafka

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

func TestProduceAndFollow(t *testing.T) {
	addr, _ := startHub(t, t.TempDir(), "")
	s := startSink(t, options(addr))
	ctx := t.Context()
	if n, err := s.Partitions(ctx, "messages"); err != nil || n != 3 {
		t.Fatalf("Partitions = %d, %v; want 3", n, err)
	}
	m := stored(7)
	m.Key, m.Repeat, m.TraceParent = []byte("k"), true, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	m.Headers = []message.Header{{Name: "ce_type", Value: []byte("t")}, {Name: "postroad-id", Value: []byte("forged")}}
	before := time.Now()
	for i, a := range produce(t, s, 1, m, stored(8)) {
		if a.err != nil || a.offset != int64(i) {
			t.Fatalf("record %d: offset %d, %v", i, a.offset, a.err)
		}
	}
	got := all(t, addr, FollowOptions{})
	if len(got) != 2 {
		t.Fatalf("read %d records, want 2", len(got))
	}
	r := got[0]
	if r.ID != m.ID || !r.HasID || r.Lane != lane || r.Seq != 7 || r.Stamp != "here" || !r.Accepted.Equal(m.Time) ||
		string(r.Key) != "k" || string(r.Value) != "value 7" || r.Partition != 1 {
		t.Errorf("record %+v does not say what was sent", r)
	}
	if r.Timestamp.Before(before.Truncate(time.Millisecond)) {
		t.Errorf("timestamp %v is not the time of producing", r.Timestamp)
	}
	if got[1].Key != nil {
		t.Errorf("key %q, want none", got[1].Key)
	}
	want := map[string]string{
		"ce_id": m.ID.String(), "ce_source": "urn:postroad:topic:messages", "ce_specversion": "1.0",
		"ce_type": "t", "postroad-id": m.ID.String(), "postroad-lane": lane, "postroad-seq": "7", "postroad-stamp": "here",
		"postroad-time": "2023-11-14T22:13:20.000007Z", "postroad-repeat": "1", "traceparent": m.TraceParent,
	}
	for _, h := range r.Headers {
		if want[h.Name] != string(h.Value) {
			t.Errorf("header %s = %q, want %q", h.Name, h.Value, want[h.Name])
		}
		delete(want, h.Name)
	}
	if len(want) > 0 {
		t.Errorf("headers missing: %v", want)
	}
}

func TestRelayedKeepsOrigin(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	m := stored(1)
	m.Origin = &message.Origin{
		Stamp: "far", Place: message.Place{Lane: "01J0000000000000000000000A", Seq: 99},
		Time: time.Unix(1600000000, 0).UTC(),
	}
	produce(t, s, 0, m)
	r := all(t, addr, FollowOptions{})[0]
	if r.Stamp != "far" || r.Lane != m.Origin.Place.Lane || r.Seq != 99 || !r.Accepted.Equal(m.Origin.Time) {
		t.Errorf("a relayed message lost its origin: %+v", r)
	}
	var found []message.Place
	_, err := s.ReadBack(t.Context(), []message.Mark{{Topic: "messages"}}, func(p message.Place, _ message.Mark) { found = append(found, p) })
	if err != nil || !slices.Equal(found, []message.Place{m.Place}) {
		t.Errorf("read back %v, %v; want the place at the stamp that sent it", found, err)
	}
}

func TestCreateTopic(t *testing.T) {
	_, addr := startCluster(t)
	o := options(addr)
	s := startSink(t, o)
	if n, err := s.Partitions(t.Context(), "fresh"); err != nil || n != 3 {
		t.Fatalf("Partitions = %d, %v; want the topic made with 3", n, err)
	}
	o.CreateTopics = false
	_, err := startSink(t, o).Partitions(t.Context(), "other")
	if Classify(err) != ClassHold || !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Fatalf("a missing topic that may not be made: %v, want class hold", err)
	}
}

// An error in the middle must not let later messages overtake: DESIGN 6.
func TestOrderOverErrors(t *testing.T) {
	cluster, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 0, stored(1))
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1})
	var msgs []message.Stored
	for seq := uint64(2); seq <= 2000; seq++ {
		msgs = append(msgs, stored(seq))
	}
	left := msgs
	for round := 0; len(left) > 0; round++ {
		if round > 50 {
			t.Fatal("does not settle")
		}
		answers := produce(t, s, 0, left...)
		var again []message.Stored
		for i, a := range answers {
			if a.err != nil {
				again = append(again, left[i])
			}
		}
		left = again
	}
	if fault.Hits() != 1 {
		t.Fatalf("the fault hit %d times", fault.Hits())
	}
	got := seqs(all(t, addr, FollowOptions{}))
	if len(got) != 2000 || !slices.IsSorted(got) {
		t.Fatalf("%d messages, in order: %v", len(got), slices.IsSorted(got))
	}
}

// Neither Reset nor Close waits for a hub that is away, and every callback is
// called.
func TestCloseDoesNotWait(t *testing.T) {
	addr, stop := startHub(t, "", "")
	s := startSink(t, options(addr))
	produce(t, s, 0, stored(1))
	stop()
	for _, row := range []struct {
		name   string
		giveUp func()
	}{{"Reset", func() { s.Reset() }}, {"Close", s.Close}} {
		name, giveUp := row.name, row.giveUp
		var wg sync.WaitGroup
		m := stored(2)
		var got error
		wg.Add(1)
		if err := s.Produce(&m, 0, s.Turn(), func(_ int64, err error) { got = err; wg.Done() }); err != nil {
			t.Fatal(err)
		}
		giveUp()
		waitFor(t, &wg)
		if !errors.Is(got, ErrClosed) || Classify(got) != ClassRetry {
			t.Errorf("%s: %v, want ErrClosed of class retry", name, got)
		}
	}
	if a := produce(t, s, 0, stored(3)); !errors.Is(a[0].err, ErrClosed) {
		t.Errorf("after Close: %v", a[0].err)
	}
}

func TestReadBack(t *testing.T) {
	cluster, addr := startCluster(t)
	s := startSink(t, options(addr))
	var msgs []message.Stored
	for seq := uint64(1); seq <= 30; seq++ {
		msgs = append(msgs, stored(seq))
	}
	produce(t, s, 0, msgs...)
	produce(t, s, 2, stored(31))
	mark := func(p int32, o int64) message.Mark { return message.Mark{Topic: "messages", Partition: p, Offset: o} }
	back := func(marks ...message.Mark) (seqs []uint64, lost []message.Mark) {
		t.Helper()
		lost, err := s.ReadBack(t.Context(), marks, func(p message.Place, at message.Mark) {
			if p.Lane != lane || at.Topic != "messages" {
				t.Errorf("found %v at %v", p, at)
			}
			seqs = append(seqs, p.Seq)
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(seqs)
		return seqs, lost
	}
	if got, lost := back(mark(0, 28), mark(1, 0), mark(2, 0)); !slices.Equal(got, []uint64{29, 30, 31}) || len(lost) != 0 {
		t.Errorf("read back %v, lost %v", got, lost)
	}
	if got, lost := back(mark(0, 30), mark(2, 1)); len(got) != 0 || len(lost) != 0 {
		t.Errorf("read back from the ends: %v, lost %v", got, lost)
	}
	if err := cluster.DeleteRecords("messages", 0, 29); err != nil {
		t.Fatal(err)
	}
	if got, lost := back(mark(0, 3)); !slices.Equal(got, []uint64{30}) || !slices.Equal(lost, []message.Mark{mark(0, 29)}) {
		t.Errorf("from behind the log start: %v, lost %v; want 30 and one", got, lost)
	}
	if got, lost := back(mark(2, 500)); !slices.Equal(got, []uint64{31}) || !slices.Equal(lost, []message.Mark{mark(2, 0)}) {
		t.Errorf("from beyond the end: %v, lost %v; want the whole partition and one", got, lost)
	}
	if got, lost := back(message.Mark{Topic: "gone", Partition: 0, Offset: 3}); len(got) != 0 || len(lost) != 1 {
		t.Errorf("a topic that is gone: %v, lost %v", got, lost)
	}
	ends, err := s.Ends(t.Context(), []message.Mark{mark(2, 0), mark(0, 0)})
	if err != nil || !slices.Equal(ends, []message.Mark{mark(2, 1), mark(0, 30)}) {
		t.Errorf("Ends = %v, %v", ends, err)
	}
}

func TestProbeAndHealth(t *testing.T) {
	dir := t.TempDir()
	addr, stop := startHub(t, dir, "")
	s := startSink(t, options(addr))
	reports := make(chan error, 100)
	s.Watch(func(err error) {
		select {
		case reports <- err:
		default:
		}
	})
	next := func(bad bool) {
		t.Helper()
		for {
			select {
			case err := <-reports:
				if (err != nil) == bad {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("no report with failure=%v", bad)
			}
		}
	}
	probe := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return s.Probe(ctx)
	}
	if err := probe(); err != nil {
		t.Fatal(err)
	}
	next(false)
	stop()
	if err := probe(); Classify(err) != ClassRetry || err == nil {
		t.Fatalf("probe of an absent hub: %v", err)
	}
	next(true)
	startHub(t, dir, addr)
	if err := probe(); err != nil {
		t.Fatal("the hub is back:", err)
	}
}

func TestClassTable(t *testing.T) {
	seen := map[int16]Class{}
	for _, row := range errorTable() {
		for _, e := range row.errs {
			if c, twice := seen[e.Code]; twice {
				t.Errorf("%s stands in the table as %s and %s", e.Message, c, row.class)
			}
			seen[e.Code] = row.class
		}
	}
	for code := int16(-1); code < 500; code++ {
		var ke *kerr.Error
		if err := kerr.ErrorForCode(code); errors.As(err, &ke) && ke.Code == code && code != -1 {
			if _, ok := seen[code]; !ok {
				t.Errorf("%s (%d) has no class", ke.Message, code)
			}
		}
	}
	rows := map[error]Class{
		kerr.MessageTooLarge: ClassDead, kerr.TopicAuthorizationFailed: ClassHold, kerr.NotEnoughReplicas: ClassRetry,
		errors.New("dial"): ClassRetry, &kerr.Error{Code: 9999}: ClassHold, classified("x", kerr.InvalidRecord): ClassDead,
	}
	for err, want := range rows {
		if got := Classify(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
	for _, row := range errorTable() {
		if row.wide && row.class != ClassHold {
			t.Errorf("%s is hub-wide and not of class hold", row.errs[0].Message)
		}
		if row.why == "" || row.act == "" {
			t.Errorf("%s is not argued", row.errs[0].Message)
		}
	}
	var w interface{ HubWide() bool }
	for err, want := range map[error]bool{
		classified("x", kerr.ClusterAuthorizationFailed): true, classified("x", kerr.TopicAuthorizationFailed): false,
		classified("x", errors.New("dial")): false,
	} {
		if !errors.As(err, &w) || w.HubWide() != want {
			t.Errorf("%v: hub-wide is not %v", err, want)
		}
	}
	var c interface{ Class() string }
	if err := classified("x", kerr.InvalidRecord); !errors.As(err, &c) || c.Class() != "dead" {
		t.Error("the class is not found by its method")
	}
}

func TestValidate(t *testing.T) {
	if err := DefaultOptions().Validate(); err != nil {
		t.Fatal("defaults:", err)
	}
	err := Options{Brokers: []string{"nohost", "h:1"}, Dialect: "x", Compression: "y", Linger: -1, Window: -1}.Validate()
	for _, field := range []string{
		"brokers[0]:", "dialect:", "client_id:", "partitions:", "replication:", "compression:", "linger:",
		"batch_max_bytes:", "dial_timeout:", "request_timeout:", "window:",
	} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no problem told of %s in %v", field, err)
		}
	}
}

// An absent hub is told of, but not many times a second.
func TestQuietLogger(t *testing.T) {
	var b strings.Builder
	l := newQuietLogger(slog.New(slog.NewTextHandler(&b, nil)), nil)
	for range 100 {
		l.Log(kgo.LogLevelWarn, "unable to open connection", "err", "refused")
		l.Log(kgo.LogLevelInfo, "metadata update triggered")
	}
	l.Log(kgo.LogLevelError, "something else")
	if n := strings.Count(b.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, b.String())
	}
}

// Metrics of the client are there, and a second Sink on the same registry is an
// error, not a panic.
func TestMetrics(t *testing.T) {
	_, addr := startCluster(t)
	reg := prometheus.NewRegistry()
	deps := Deps{Stamp: "here", Registerer: reg}
	s, err := NewSink(options(addr), deps)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	produce(t, s, 0, stored(1))
	if err := s.Reset(); err != nil {
		t.Fatal("Reset with metrics:", err)
	}
	produce(t, s, 0, stored(2))
	got, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(got, func(f *dto.MetricFamily) bool { return f.GetName() == "postroad_kafka_sink_connects_total" }) {
		t.Errorf("metrics: %v", err)
	}
	if other, err := NewSink(options(addr), deps); err == nil {
		other.Close()
		t.Error("two sinks share a registry")
	}
}

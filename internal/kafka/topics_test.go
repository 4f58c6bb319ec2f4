package kafka

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// update rewrites what is made from the code.
var update = flag.Bool("update", false, "rewrite docs/reference/hub-errors.md")

func TestErrorsReferenceIsCurrent(t *testing.T) {
	const page = "../../docs/reference/hub-errors.md"
	var b bytes.Buffer
	if err := writeErrors(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(page, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	kept, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(kept, b.Bytes()) {
		t.Errorf("%s is stale, run go generate ./internal/kafka (%v)", page, err)
	}
}

func TestAllowedTopics(t *testing.T) {
	for _, tc := range []struct {
		allow    string // separated by spaces
		yes, not string
	}{
		{"", "messages a.b __own", ""},
		{"messages", "messages", "message messages2 Messages"},
		{"cars.* lamps", "cars.red cars. lamps", "cars xcars.red lamps.a"},
		{"*", "a a.b a-b_c", "__consumer_offsets"},
		{"[a-c]?", "a1 cz", "d1 a a12"},
	} {
		o := TopicsOptions{Allow: strings.Fields(tc.allow)}
		if errs := o.problems(); len(errs) > 0 {
			t.Errorf("%q: %v", tc.allow, errs)
		}
		for _, topic := range strings.Fields(tc.yes) {
			if !o.Allows(topic) {
				t.Errorf("%q does not allow %s", tc.allow, topic)
			}
		}
		for _, topic := range strings.Fields(tc.not) {
			if o.Allows(topic) {
				t.Errorf("%q allows %s", tc.allow, topic)
			}
		}
	}
	for _, bad := range []string{"", "[a", "a b", "a/b", "Straße", "__own", "__*", "a,b"} {
		if errs := (TopicsOptions{Allow: []string{"fine", bad}}).problems(); len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), "topics.allow[1]: ") {
			t.Errorf("%q: %v", bad, errs)
		}
	}
}

func TestIdentity(t *testing.T) {
	for _, tc := range []struct {
		name       string
		generation int
		want       string
	}{
		{"", 0, ""}, {"", 1, "#1"}, {"central", 0, "central#0"}, {"central", 2, "central#2"},
	} {
		o := DefaultOptions()
		o.Name, o.Generation = tc.name, tc.generation
		if got := o.Identity(); got != tc.want || o.Validate() != nil {
			t.Errorf("%q, %d: %q, want %q (%v)", tc.name, tc.generation, got, tc.want, o.Validate())
		}
	}
	for _, bad := range []string{"a#1", "a b", strings.Repeat("a", 65), ".."} {
		o := DefaultOptions()
		o.Name = bad
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "name: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	o := DefaultOptions()
	o.Generation = -1
	if err := o.Validate(); err == nil || !strings.Contains(err.Error(), "generation: -1: ") {
		t.Error(err)
	}
}

// A topic that is not there is a hold that says who can make it.
func TestMissingTopicSaysWhoCanMakeIt(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Options)
		answer int16 // of the hub to the wish for a topic; 0 leaves it to the hub
		want   string
		class  Class
	}{
		{"not allowed", func(o *Options) { o.Topics.Allow = []string{"others.*"} }, 0, "hub.topics.allow does not list the topic", ClassHold},
		{"not to be made", func(o *Options) { o.CreateTopics = false }, 0, "hub.create_topics is false", ClassHold},
		{"Event Hubs", func(o *Options) { o.Dialect = dialectEventHubs }, 0, "in the Azure portal or by ARM", ClassHold},
		{"no right", func(*Options) {}, kerr.TopicAuthorizationFailed.Code, "grants the user Create", ClassHold},
		{"too few brokers", func(o *Options) { o.Replication = 3 }, kerr.InvalidReplicationFactor.Code, "hub.replication 3", ClassHold},
		{"partitions", func(o *Options) { o.Partitions = 9 }, kerr.InvalidPartitions.Code, "hub.partitions 9", ClassHold},
		{"policy", func(*Options) {}, kerr.PolicyViolation.Code, "its policy refuses", ClassHold},
		{"no such call", func(*Options) {}, kerr.InvalidRequest.Code, "does not let clients make one", ClassHold},
		{"passes", func(*Options) {}, kerr.NotController.Code, "NOT_CONTROLLER", ClassRetry},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, addr := startCluster(t)
			if tc.answer != 0 {
				c.ControlKey(int16(kmsg.CreateTopics), func(req kmsg.Request) (kmsg.Response, error, bool) {
					c.KeepControl()
					resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
					rt := kmsg.NewCreateTopicsResponseTopic()
					rt.Topic, rt.ErrorCode = "lamps", tc.answer
					resp.Topics = append(resp.Topics, rt)
					return resp, nil, true
				})
			}
			s := startSink(t, options(addr))
			tc.change(&s.opts)
			_, err := s.Partitions(t.Context(), "lamps")
			if err == nil || !strings.Contains(err.Error(), tc.want) || Classify(err) != tc.class {
				t.Fatalf("%v (class %s), want %q of class %s", err, Classify(err), tc.want, tc.class)
			}
			if strings.Contains(err.Error(), "lamps") {
				t.Errorf("the topic is named: %v", err)
			}
		})
	}
}

func admin(t *testing.T, addr string) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func remake(t *testing.T, adm *kadm.Client, topic string, partitions int32) {
	t.Helper()
	if _, err := adm.DeleteTopic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
}

func stale(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.StaleClient()
}

// A topic that was deleted and made anew is sent to again after a Reset, which
// looking it up asks for, whether or not anything was sent meanwhile.
func TestTopicMadeAnew(t *testing.T) {
	for _, tc := range []struct {
		name      string
		meanwhile bool
	}{{"idle", false}, {"under way", true}} {
		t.Run(tc.name, func(t *testing.T) {
			_, addr := startCluster(t)
			s, adm := startSink(t, options(addr)), admin(t, addr)
			if n, err := s.Partitions(t.Context(), "messages"); n != 3 || err != nil {
				t.Fatal(n, err)
			}
			for _, a := range produce(t, s, 0, stored(1), stored(2)) {
				if a.err != nil {
					t.Fatal(a.err)
				}
			}
			remake(t, adm, "messages", 2)
			if tc.meanwhile {
				a := produce(t, s, 0, stored(3))[0]
				if a.err == nil || Classify(a.err) != ClassRetry {
					t.Fatalf("the client takes the new topic for the old one, or holds: %v", a.err)
				}
			}
			if _, err := s.Partitions(t.Context(), "messages"); !stale(err) || Classify(err) != ClassRetry {
				t.Fatalf("the topic was made anew: %v", err)
			}
			if _, err := s.Partitions(t.Context(), "messages"); !stale(err) {
				t.Fatalf("the client was not replaced: %v", err)
			}
			if err := s.Reset(); err != nil {
				t.Fatal(err)
			}
			if n, err := s.Partitions(t.Context(), "messages"); n != 2 || err != nil {
				t.Fatal(n, err)
			}
			for _, a := range produce(t, s, 0, stored(3), stored(4)) {
				if a.err != nil {
					t.Fatal("after the reset:", a.err)
				}
			}
			if got := seqs(all(t, addr, FollowOptions{})); len(got) != 2 || got[0] != 3 || got[1] != 4 {
				t.Errorf("the new topic holds %v", got)
			}
		})
	}
}

// Without the Reset the client refuses the topic for ever: what the test above
// mends is not mended by time.
func TestTopicMadeAnewNeedsReset(t *testing.T) {
	_, addr := startCluster(t)
	s, adm := startSink(t, options(addr)), admin(t, addr)
	produce(t, s, 0, stored(1))
	remake(t, adm, "messages", 3)
	for range 3 {
		if a := produce(t, s, 0, stored(2))[0]; a.err == nil {
			t.Fatal("it heals by itself: Reset is not needed any more")
		}
	}
}

// New partitions are used as soon as they are looked up, and not when the client
// happens to look for them itself.
func TestNewPartitionsAreUsedAtOnce(t *testing.T) {
	_, addr := startCluster(t)
	s, adm := startSink(t, options(addr)), admin(t, addr)
	if n, err := s.Partitions(t.Context(), "messages"); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	produce(t, s, 0, stored(1))
	if _, err := adm.UpdatePartitions(t.Context(), 8, "messages"); err != nil {
		t.Fatal(err)
	}
	if n, err := s.Partitions(t.Context(), "messages"); n != 8 || err != nil {
		t.Fatal(n, err)
	}
	deadline := time.After(10 * time.Second)
	for {
		a := produce(t, s, 7, stored(2))[0]
		if a.err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatal("not in 10 s:", a.err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A process that may not write says so of itself, and does not blame the hub.
func TestProbeOfOneWhoMayNotWrite(t *testing.T) {
	_, addr := startCluster(t)
	overdue := errors.New("heartbeat overdue")
	s, err := NewSink(options(addr), Deps{Stamp: "here", MayWrite: func() error { return overdue }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Probe(t.Context())
	var e *Error
	if !errors.Is(err, overdue) || !errors.As(err, &e) || !e.Own() || e.HubWide() {
		t.Errorf("%v", err)
	}
	overdue = nil
	if err := s.Probe(t.Context()); err != nil {
		t.Error(err)
	}
}

// Throttling counts for a minute, by the second.
func TestThrottleIsCounted(t *testing.T) {
	var a answers
	now := time.Unix(1_800_000_000, 0)
	a.throttled(now, 2*time.Second)
	a.throttled(now.Add(500*time.Millisecond), time.Second)
	a.throttled(now.Add(30*time.Second), 4*time.Second)
	for _, tc := range []struct {
		after, want time.Duration
	}{{30 * time.Second, 7 * time.Second}, {59 * time.Second, 7 * time.Second}, {60 * time.Second, 4 * time.Second}, {90 * time.Second, 0}, {time.Hour, 0}} {
		got := a.state(now.Add(tc.after))
		if got.Throttled != tc.want || !got.ThrottledAt.Equal(now.Add(30*time.Second)) {
			t.Errorf("after %v: %v at %v, want %v", tc.after, got.Throttled, got.ThrottledAt, tc.want)
		}
	}
	a.throttled(now.Add(2*time.Hour), time.Second)
	if got := a.state(now.Add(2 * time.Hour)); got.Throttled != time.Second {
		t.Errorf("after a long pause: %v", got.Throttled)
	}
}

// What the hub says of throttling arrives.
func TestThrottleIsHeard(t *testing.T) {
	c, addr := startCluster(t)
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = req.GetVersion()
		resp.ThrottleMillis = 250
		for _, t := range req.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition = p.Partition
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	reg := prometheus.NewRegistry()
	s, err := NewSink(options(addr), Deps{Stamp: "here", Registerer: reg})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Answers(); !got.Last.IsZero() || got.Throttled != 0 {
		t.Fatalf("before anything was sent: %+v", got)
	}
	if a := produce(t, s, 0, stored(1))[0]; a.err != nil {
		t.Fatal(a.err)
	}
	if got := s.Answers(); got.Throttled != 250*time.Millisecond || got.ThrottledAt.IsZero() || got.Last.IsZero() {
		t.Errorf("%+v", got)
	}
	families, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool {
		return f.GetName() == "postroad_kafka_sink_throttled_seconds_total" && f.GetMetric()[0].GetCounter().GetValue() == 0.25
	}) {
		t.Errorf("the metric does not tell of it (%v)", err)
	}
}

// What the hub refused once, a producer id, the client keeps refusing; after a
// Reset it asks again.
func TestProducerIDRefusedOnce(t *testing.T) {
	c, addr := startCluster(t)
	var granted atomic.Bool
	c.ControlKey(int16(kmsg.InitProducerID), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if granted.Load() {
			return nil, nil, false
		}
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ErrorCode = kerr.ClusterAuthorizationFailed.Code
		return resp, nil, true
	})
	s := startSink(t, options(addr))
	if _, err := s.Partitions(t.Context(), "messages"); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if a := produce(t, s, 0, stored(1))[0]; !errors.As(a.err, &e) || !e.HubWide() || e.class != ClassHold {
		t.Fatal(a.err)
	}
	granted.Store(true)
	if a := produce(t, s, 0, stored(1))[0]; a.err == nil {
		t.Fatal("it heals by itself: Reset is not needed any more")
	}
	if _, err := s.Partitions(t.Context(), "messages"); !stale(err) || !errors.As(err, &e) || e.Remade() {
		t.Fatalf("the client was refused a producer id: %v", err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Partitions(t.Context(), "messages"); err != nil {
		t.Fatal(err)
	}
	if a := produce(t, s, 0, stored(1))[0]; a.err != nil {
		t.Error(a.err)
	}
}

// A hub that has lost the producer for good (as Event Hubs may) is not tried for
// ever with new epochs of it: the records come back, and a new client is wanted.
func TestProducerLostForGood(t *testing.T) {
	c, addr := startCluster(t)
	var lost atomic.Int64 // id of the producer, plus 1
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		r := req.(*kmsg.ProduceRequest)
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(r.Topics[0].Partitions[0].Records); err != nil {
			t.Error(err)
		}
		lost.CompareAndSwap(0, batch.ProducerID+1)
		if batch.ProducerID+1 != lost.Load() {
			return nil, nil, false
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.Version = r.Version
		for _, t := range r.Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode, rp.BaseOffset = p.Partition, kerr.InvalidProducerIDMapping.Code, -1
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	s := startSink(t, options(addr))
	if a := produce(t, s, 0, stored(1), stored(2))[0]; a.err == nil || Classify(a.err) != ClassRetry {
		t.Fatal(a.err)
	}
	if _, err := s.Partitions(t.Context(), "messages"); !stale(err) {
		t.Fatal(err)
	}
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	for _, a := range produce(t, s, 0, stored(1), stored(2)) {
		if a.err != nil {
			t.Error(a.err)
		}
	}
	if got := seqs(all(t, addr, FollowOptions{})); len(got) != 2 {
		t.Errorf("the topic holds %v", got)
	}
}

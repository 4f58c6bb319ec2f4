package kafka

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// limitTopic sets the topic's max.message.bytes.
func limitTopic(t testing.TB, addr, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	resps, err := kadm.NewClient(client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "max.message.bytes", Value: &value}}, "messages")
	if err == nil {
		_, err = resps.On("messages", func(r *kadm.AlterConfigsResponse) error { return r.Err })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// refusals counts the batches that a cluster will find too large.
func refusals(c *kfake.Cluster, limit int) *atomic.Int64 {
	var n atomic.Int64
	c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		for _, topic := range req.(*kmsg.ProduceRequest).Topics {
			for _, p := range topic.Partitions {
				if len(p.Records) > limit {
					n.Add(1)
				}
			}
		}
		return nil, nil, false
	})
	return &n
}

// unreadable has the hub keep the settings of topics to itself.
func unreadable(c *kfake.Cluster) {
	c.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		for _, r := range req.(*kmsg.DescribeConfigsRequest).Resources {
			resp.Resources = append(resp.Resources, kmsg.DescribeConfigsResponseResource{
				ErrorCode: kerr.TopicAuthorizationFailed.Code, ResourceType: r.ResourceType, ResourceName: r.ResourceName,
			})
		}
		return resp, nil, true
	})
}

// backlog is messages of some 200 bytes in the hub.
func backlog(from, to uint64) (msgs []message.Stored) {
	for seq := from; seq <= to; seq++ {
		msgs = append(msgs, stored(seq))
	}
	return msgs
}

// insist sends, in order, until the hub has everything, looking the topic up before
// each try as the forwarder does, and returns how many tries were in vain.
func insist(t *testing.T, s *Sink, msgs []message.Stored) (vain int) {
	t.Helper()
	for ; ; vain++ {
		if vain > 20 {
			t.Fatal("does not settle")
		}
		if _, err := s.Partitions(t.Context(), "messages"); err != nil {
			t.Fatal(err)
		}
		var left []message.Stored
		for i, a := range produce(t, s, 0, msgs...) {
			if a.err != nil {
				left = append(left, msgs[i])
			}
		}
		if msgs = left; len(msgs) == 0 {
			return vain
		}
	}
}

// inOrder fails unless the topic holds 1 to last, each once and in order.
func inOrder(t *testing.T, addr string, last uint64) {
	t.Helper()
	if got := seqs(all(t, addr, FollowOptions{})); uint64(len(got)) != last || !slices.IsSorted(got) {
		t.Errorf("%d messages in the topic, in order: %v; want %d", len(got), slices.IsSorted(got), last)
	}
}

// A backlog for a topic that takes less than hub.batch_max_bytes goes out in batches
// that it takes.
func TestBatchesFitTheTopic(t *testing.T) {
	const limit = 16384
	cluster, addr := startCluster(t)
	limitTopic(t, addr, "16384")
	refused := refusals(cluster, limit)
	s, err := NewSink(options(addr), Deps{Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if vain := insist(t, s, backlog(1, 3000)); vain > 0 || refused.Load() > 0 {
		t.Errorf("%d tries in vain and %d batches refused, want none", vain, refused.Load())
	}
	// A topic that takes less from now on says so after the first refusal.
	limitTopic(t, addr, "4096")
	if vain := insist(t, s, backlog(3001, 6000)); vain != 1 {
		t.Errorf("%d tries in vain, want one", vain)
	}
	// Resetting does not forget it.
	if err := s.Reset(); err != nil {
		t.Fatal(err)
	}
	if vain := insist(t, s, backlog(6001, 7000)); vain > 0 {
		t.Errorf("%d tries in vain after a reset, want none", vain)
	}
	inOrder(t, addr, 7000)
}

// Where this user may not see the limit, refusals halve the batches until they fit.
// The twin, which does not learn, has one try after another refused.
func TestBatchesLearnFromRefusals(t *testing.T) {
	for _, learns := range []bool{true, false} {
		cluster, addr := startCluster(t)
		limitTopic(t, addr, "16384")
		unreadable(cluster)
		refused := refusals(cluster, 16384)
		s := startSink(t, options(addr))
		msgs, vain := backlog(1, 4000), 0
		for ; len(msgs) > 0 && vain < 12; vain++ {
			if _, err := s.Partitions(t.Context(), "messages"); err != nil {
				t.Fatal(err)
			}
			if !learns {
				s.limits = newLimits(s.limits.most)
			}
			var left []message.Stored
			for i, a := range produce(t, s, 0, msgs...) {
				if a.err != nil {
					left = append(left, msgs[i])
				}
			}
			msgs = left
		}
		if settled := len(msgs) == 0; settled != learns {
			t.Errorf("learns %v: %d messages are left after %d tries, %d batches refused", learns, len(msgs), vain, refused.Load())
		}
		if learns {
			inOrder(t, addr, 4000)
		}
	}
}

// A message above the topic's limit is the hub's to judge, after compression; alone
// it is taken, or refused for good, and its neighbours fit.
func TestMessageAboveTheTopicsLimit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := make([]byte, 40_000)
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for _, exact := range []bool{false, true} {
		_, addr := startCluster(t)
		limitTopic(t, addr, "16384")
		o := options(addr)
		o.Compression = "gzip"
		s := startSink(t, o)
		if _, err := s.Partitions(t.Context(), "messages"); err != nil {
			t.Fatal(err)
		}
		send := func(m ...message.Stored) []answer { return produce(t, s, 0, m...) }
		if exact {
			x := startSession(t, s, transactOptions())
			send = func(m ...message.Stored) []answer { return produce(t, x, 0, m...) }
		}
		soft, hard := stored(2), stored(3)
		soft.Value, hard.Value = bytes.Repeat([]byte("x"), 40_000), random
		for _, row := range []struct {
			m    message.Stored
			dead bool
		}{{stored(1), false}, {soft, false}, {hard, true}, {stored(4), false}} {
			a := send(row.m)[0]
			if dead := a.err != nil && Classify(a.err) == ClassDead; dead != row.dead || !dead && a.err != nil {
				t.Errorf("exact %v: message %d of %d bytes: %v; want dead: %v", exact, row.m.Seq, len(row.m.Value), a.err, row.dead)
			}
		}
		for i, a := range send(backlog(5, 2000)...) {
			if a.err != nil {
				t.Fatalf("exact %v: message %d behind it: %v", exact, i+5, a.err)
			}
		}
	}
}

// A session's batches fit, too.
func TestSessionsBatchesFitTheTopic(t *testing.T) {
	for _, readable := range []bool{true, false} {
		cluster, addr := startCluster(t)
		limitTopic(t, addr, "16384")
		if !readable {
			unreadable(cluster)
		}
		s := startSink(t, options(addr))
		o := transactOptions()
		o.Messages = 5000
		x := startSession(t, s, o)
		msgs, vain := backlog(1, 3000), 0
		for ; len(msgs) > 0; vain++ {
			if vain > 20 {
				t.Fatal("does not settle")
			}
			if _, err := s.Partitions(t.Context(), "messages"); err != nil {
				t.Fatal(err)
			}
			var left []message.Stored
			for i, a := range produce(t, x, 0, msgs...) {
				if a.err != nil {
					left = append(left, msgs[i])
				}
			}
			msgs = left
		}
		if readable && vain > 1 || vain > 12 {
			t.Errorf("readable %v: it took %d tries", readable, vain)
		}
		inOrder(t, addr, 3000)
	}
}

func TestWantedLimits(t *testing.T) {
	l := newLimits(1000012)
	if n := l.wanted("t", 300); n != 1000012 {
		t.Errorf("a topic of which nothing is known: %d", n)
	}
	l.read("t", 20_000)
	for _, row := range []struct {
		size int
		want int32
	}{{300, 20_000}, {20_000, 20_000}, {20_001, 31250}, {40_000, 62500}, {600_000, 1000012}, {5_000_000, 1000012}} {
		if n := l.wanted("t", row.size); n != row.want {
			t.Errorf("%d bytes: %d, want %d", row.size, n, row.want)
		}
	}
	l.refused("t", 1000012, 40_000) // not of what is told now
	l.refused("t", 20_000, 18_000)
	l.refused("t", 20_000, 18_000) // another partition's, of the same
	if n := l.wanted("t", 300); n != 9000 {
		t.Errorf("refused at 18000: %d", n)
	}
	l.read("t", 20_000) // which explains nothing
	if n := l.wanted("t", 300); n != 9000 {
		t.Errorf("read again: %d", n)
	}
	l.read("t", 100)
	if n := l.wanted("t", 300); n != leastBatch {
		t.Errorf("a limit below what a client can do: %d", n)
	}
}

// Whatever changes, a Sink does not gather clients without end.
func TestProducersAreBounded(t *testing.T) {
	_, addr := startCluster(t)
	s := startSink(t, options(addr))
	for i := range uint64(2 * maxProducers) {
		s.limits.read("messages", int32(10_000+i))
		a := make(chan error, 1)
		m := stored(i + 1)
		if err := s.Produce(&m, 0, s.Turn(), func(_ int64, err error) { a <- err }); err != nil {
			if _, err := s.Partitions(t.Context(), "messages"); err == nil {
				t.Fatal("there are too many, and the Sink does not ask to be reset")
			}
			return
		}
		if err := <-a; err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("%d clients", len(s.producers))
}

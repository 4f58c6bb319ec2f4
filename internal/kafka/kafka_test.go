package kafka

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"postroad/internal/hub"
	"postroad/internal/loopback"
	"postroad/internal/message"
)

func TestMain(m *testing.M) {
	if dir := childHubDir(); dir != "" {
		runChildHub(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const lane = "01HZZZZZZZZZZZZZZZZZZZZZZZ"

// startHub runs a hub until stop or the end of the test, where listen says or at an
// address that another can take after it.
func startHub(t testing.TB, dir, listen string) (addr string, stop func()) {
	t.Helper()
	if listen == "" {
		var err error
		if listen, err = loopback.Address(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
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
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "messages")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, c.ListenAddrs()[0]
}

func options(addr string) Options {
	o := DefaultOptions()
	o.Brokers = []string{addr}
	o.Partitions = 3
	o.DialTimeout = time.Second
	o.RequestTimeout = 2 * time.Second
	return o
}

func startSink(t testing.TB, o Options) *Sink {
	t.Helper()
	s, err := NewSink(o, Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func stored(seq uint64) message.Stored {
	return message.Stored{
		Place: message.Place{Lane: lane, Seq: seq},
		Message: message.Message{
			ID: message.DeriveID("tester", "messages", fmt.Sprint(seq), message.Hash{}, 0), Topic: "messages",
			Value: []byte(fmt.Sprintf("value %d", seq)), Time: time.Unix(1700000000, int64(seq)*1000).UTC(),
		},
	}
}

type answer struct {
	offset int64
	err    error
}

// sends is a Sink or a Session.
type sends interface {
	Turn() uint64
	Produce(m *message.Stored, partition int32, turn uint64, done func(offset int64, err error)) error
}

// produce sends messages to one partition and returns their answers in order.
func produce(t testing.TB, s sends, partition int32, msgs ...message.Stored) []answer {
	t.Helper()
	out := make([]answer, len(msgs))
	var wg sync.WaitGroup
	turn := s.Turn()
	for i := range msgs {
		wg.Add(1)
		err := s.Produce(&msgs[i], partition, turn, func(offset int64, err error) {
			out[i] = answer{offset, err}
			wg.Done()
		})
		if err != nil {
			out[i] = answer{-1, err}
			wg.Done()
		}
	}
	waitFor(t, &wg)
	return out
}

func waitFor(t testing.TB, wg *sync.WaitGroup) {
	t.Helper()
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("no answer in 20 s")
	}
}

// all reads a topic to its end.
func all(t testing.TB, addr string, o FollowOptions) []Record {
	t.Helper()
	r, err := NewReader(options(addr), Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if o.Topic == "" {
		o.Topic = "messages"
	}
	o.UntilEnd = true
	var got []Record
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := r.Follow(ctx, o, func(rec Record) error { got = append(got, rec); return nil }); err != nil {
		t.Fatal("Follow:", err)
	}
	if ctx.Err() != nil {
		t.Fatal("Follow did not end")
	}
	return got
}

func seqs(recs []Record) []uint64 {
	var out []uint64
	for _, r := range recs {
		out = append(out, r.Seq)
	}
	return out
}

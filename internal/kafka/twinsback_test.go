package kafka

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"postroad/internal/message"
)

// sentTo gives a message to a partition and returns where its answer comes.
func sentTo(t *testing.T, s *Sink, partition int32, seq uint64) <-chan answer {
	t.Helper()
	m, out := stored(seq), make(chan answer, 1)
	if err := s.Produce(&m, partition, s.Turn(), func(offset int64, err error) { out <- answer{offset, err} }); err != nil {
		t.Fatal(err)
	}
	return out
}

// What is under way to a partition that does not take it is given back. The first
// time all that its client has is; then it has one of its own, and the others are
// left alone.
func TestWithdraw(t *testing.T) {
	cluster, addr := startCluster(t)
	s := startSink(t, options(addr))
	produce(t, s, 0, stored(1))
	bad := []message.Mark{{Topic: "messages", Partition: 1}}
	fault := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Partitions: []int32{1}, Err: kerr.NotEnoughReplicas, Count: -1})
	slow := cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Partitions: []int32{0}, Err: kerr.NotEnoughReplicas, Count: -1})
	for round := range uint64(3) {
		shut, other := sentTo(t, s, 1, 10+round), sentTo(t, s, 0, 20+round)
		before := s.Turn()
		if err := s.Withdraw(bad); err != nil {
			t.Fatal(err)
		}
		if a := next(t, shut); !errors.Is(a.err, ErrClosed) || Classify(a.err) != ClassRetry {
			t.Errorf("round %d: withdrawn with %+v", round, a)
		}
		m := stored(30)
		if err := s.Produce(&m, 1, before, func(int64, error) {}); err == nil {
			t.Errorf("round %d: what is given with the turn of before overtakes", round)
		}
		if round == 0 {
			if a := next(t, other); !errors.Is(a.err, ErrClosed) {
				t.Errorf("the other partition, of the same client: %+v", a)
			}
			continue
		}
		slow.Remove()
		if a := next(t, other); a.err != nil {
			t.Errorf("round %d: the other partition: %+v", round, a)
		}
		slow = cluster.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Topic: "messages", Partitions: []int32{0}, Err: kerr.NotEnoughReplicas, Count: -1})
	}
	slow.Remove()
	fault.Remove()
	for partition := range int32(3) {
		if a := next(t, sentTo(t, s, partition, 40)); a.err != nil {
			t.Errorf("partition %d afterwards: %+v", partition, a)
		}
	}
	if n := len(s.producers); n != 2 {
		t.Errorf("%d clients, want two", n)
	}
	s.Close()
	if err := s.Withdraw(bad); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

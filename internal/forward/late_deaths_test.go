package forward_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/internal/message"
	"postroad/test/kafkatest"
)

// lateDeaths drains a late backlog, a fifth of which another stamp has sent, by
// forwarders that are killed at random points. Nothing of that fifth is sent, by
// whichever of them, and all the rest is.
func lateDeaths(t *testing.T, addr, topic string, deaths int, exactly bool) {
	t.Helper()
	seed := uint64(time.Now().UnixNano()) % 1e9
	rng := rand.New(rand.NewPCG(seed, 7))
	t.Logf("seed %d", seed)
	want := aged(laneA, 1, 2000, time.Hour)
	twin := map[message.ID]bool{}
	var records []foreign
	for i := range want {
		want[i].Topic = topic
		want[i].Repeat = rng.IntN(2) == 0
		if rng.IntN(5) == 0 {
			twin[want[i].ID] = true
			records = append(records, foreign{m: twinOf(&want[i], !want[i].Repeat || rng.IntN(2) == 0), produced: time.Now().Add(-30 * time.Minute)})
		}
	}
	put(t, addr, records...)
	st := newStore("late")
	st.append(want...)
	for life := 0; life <= deaths; life++ {
		run := newLateRun(t, addr)
		run.exactly, run.kafka.Window, run.options.MaxInFlight = exactly, 200, 300
		st.mu.Lock()
		c := &claimed{s: st, start: clone(st.progress)}
		st.mu.Unlock()
		src := &source{chains: make(chan *claimed, 1)}
		src.chains <- c
		f, stop := run.startOn(t, src)
		if life < deaths {
			until := f.Status().ForwardedTotal + int64(rng.IntN(2*len(want)/(deaths+1)))
			poll(t, "some progress", func() bool {
				s := f.Status()
				return s.ForwardedTotal+s.DuplicateTotal >= until || st.isSettled()
			})
			c.kill()
			run.sink.Close()
			stop()
			continue
		}
		st.await(t, "the rest", (*store).settled)
		stop()
	}
	judgeDeaths(t, want, twin, raw(t, addr, topic), exactly)
}

func (s *store) isSettled() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settled()
}

func judgeDeaths(t *testing.T, want []message.Stored, twin map[message.ID]bool, got []kafka.Record, exactly bool) {
	t.Helper()
	ours, theirs := map[message.ID]int{}, map[message.ID]int{}
	for _, r := range got {
		if r.Lane == laneA {
			ours[r.ID]++
		} else {
			theirs[r.ID]++
		}
	}
	for i := range want {
		id, n := want[i].ID, ours[want[i].ID]
		switch {
		case twin[id] && (n != 0 || theirs[id] != 1):
			t.Errorf("%s was sent %d times although another stamp's copy was there", want[i].Value, n)
		case !twin[id] && (n == 0 || exactly && n > 1):
			t.Errorf("%s was sent %d times", want[i].Value, n)
		}
	}
}

func TestLateOverDeaths(t *testing.T) {
	for _, exactly := range []bool{false, true} {
		t.Run(fmt.Sprintf("exactly once %v", exactly), func(t *testing.T) {
			_, addr := startCluster(t)
			lateDeaths(t, addr, "messages", 4, exactly)
		})
	}
}

// The same on real Kafka, which looks times up by its own index.
func TestLateOnRealKafka(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"num.partitions": "3"}})
	addr := c.Addrs("plain")[0]
	for topic, exactly := range map[string]bool{"late-default": false, "late-exactly": true} {
		t.Run(topic, func(t *testing.T) {
			sink := newSink(t, addr)
			defer sink.Close()
			poll(t, "the topic", func() bool {
				n, err := sink.Partitions(t.Context(), topic)
				return err == nil && n == 3
			})
			lateDeaths(t, addr, topic, 2, exactly)
		})
	}
}

var _ forward.Log = (*kafka.Sink)(nil)

//go:build proof

package forward_test

import (
	"sync"
	"testing"
	"time"

	"postroad/internal/forward"
	"postroad/internal/kafka"
	"postroad/test/kafkatest"
)

// TestProofModel is the model of a hub that misbehaves, of holders that die and of
// others that are taken for dead.
func TestProofModel(t *testing.T) { manyModels(t, 10000) }

// TestProofReturnAfterReset tries each case of TestReturnAfterReset many times: what
// goes first is up to chance.
func TestProofReturnAfterReset(t *testing.T) { returnAfterReset(t, 30) }

func TestProofExactlyOnceOnRealKafka(t *testing.T) { realTakeovers(t, 50) }

// Each broker is killed and started again in turn under load: the leaders of what
// is written, and the coordinator of the transactions.
func TestProofExactlyOnceOverBrokerKills(t *testing.T) {
	c := kafkatest.Start(t, kafkatest.Options{Properties: map[string]string{"num.partitions": "3"}})
	sink, err := kafka.NewSink(func() kafka.Options {
		o := kafkaOptions("")
		o.Brokers, o.RequestTimeout = c.Addrs("plain"), 5*time.Second
		return o
	}(), kafka.Deps{Stamp: "here"})
	if err != nil {
		t.Fatal(err)
	}
	st := newStore("a")
	st.patience = 2 * time.Minute
	_, stop := run(t, exactOptions(), forward.Deps{Source: sourceOf(st), Sink: sink, Transactor: &transactor{sink: sink}})
	st.append(msgs(laneA, 1, 100)...)
	st.await(t, "the first", (*store).settled)
	done, more := make(chan struct{}), uint64(101)
	var load sync.WaitGroup
	load.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				st.append(msgs(laneA, more, more+9)...)
				more += 10
			case <-done:
				return
			}
		}
	})
	for node := range 3 {
		c.Kill(node)
		<-time.After(3 * time.Second)
		c.StartNode(node)
	}
	close(done)
	load.Wait()
	st.await(t, "all of it", (*store).settled)
	stop()
	t.Logf("%d messages", more-1)
	if err := judge(msgs(laneA, 1, more-1), shown(t, c.Addrs("plain")[0], "messages", 0)); err != nil {
		t.Error(err)
	}
}

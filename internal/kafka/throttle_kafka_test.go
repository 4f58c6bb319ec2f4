package kafka

import (
	"context"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"postroad/internal/message"
	"postroad/test/kafkatest"
)

// A real hub slows a client down that is over its quota. The client obeys, all
// arrives, and for how long it waited is told.
func TestRealKafkaThrottles(t *testing.T) {
	cluster := kafkatest.Start(t, kafkatest.Options{Nodes: 1})
	o := options("")
	o.Brokers, o.Replication, o.BatchMaxBytes = cluster.Addrs("plain"), 1, 64<<10
	o.RequestTimeout = 20 * time.Second
	id := "postroad"
	if _, err := cluster.Admin().AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &id}},
		Ops:    []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: 40 << 10}},
	}}); err != nil {
		t.Fatal(err)
	}
	s := startSink(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if n, err := s.Partitions(ctx, "messages"); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	deadline := time.After(60 * time.Second)
	sent := uint64(0)
	for s.Answers().Throttled == 0 {
		batch := make([]message.Stored, 20)
		for i := range batch {
			sent++
			batch[i] = stored(sent)
			batch[i].Value = make([]byte, 10<<10)
		}
		for _, a := range produce(t, s, 0, batch...) {
			if a.err != nil {
				t.Fatal(a.err)
			}
		}
		select {
		case <-deadline:
			t.Fatalf("%d messages, and no word of a quota", sent)
		default:
		}
	}
	if a := s.Answers(); a.ThrottledAt.IsZero() || a.Last.IsZero() {
		t.Errorf("%+v", a)
	}
	ends, err := cluster.Admin().ListEndOffsets(ctx, "messages")
	if err != nil {
		t.Fatal(err)
	}
	if end, ok := ends.Lookup("messages", 0); !ok || end.Offset != int64(sent) {
		t.Errorf("the topic holds %d of %d", end.Offset, sent)
	}
}

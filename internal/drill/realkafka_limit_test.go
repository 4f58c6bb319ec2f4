package drill

import (
	"testing"
	"time"
)

// smallTopic lets a backlog gather for a topic that takes far less in a batch than
// the stamp would send, and waits until it is drained under load.
func smallTopic(t *testing.T, sets ...string) {
	d := onRealKafka(t, map[string]string{"max.message.bytes": "16384"})
	d.start(sets...)
	d.under(func() {
		d.forwards("before")
		d.kafka.Kill(0, 1, 2)
		d.backlog("Kafka is away", func(n int64) bool { return n >= 3000 })
		d.kafka.StartNode(0, 1, 2)
		back := time.Now()
		d.forwards("Kafka is back")
		began := time.Now()
		d.backlog("Kafka is back", func(n int64) bool { return n < enough })
		t.Logf("forwarding again %.1f s after Kafka was back, drained %.1f s after that", began.Sub(back).Seconds(), time.Since(began).Seconds())
	}, d.load)
	d.keeps(d.judge(d.ledger, d.topic))
}

// A topic whose own limit is below hub.batch_max_bytes keeps pace with a backlog:
// batches are made as large as it takes them, and not refused and then sent one
// message at a time.
func TestRealKafkaSmallTopic(t *testing.T) {
	smallTopic(t)
}

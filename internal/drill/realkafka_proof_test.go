//go:build proof

package drill

import (
	"testing"
	"time"

	"postroad/test/binary"
)

// TestProofRealKafkaAway is F3 on real Kafka, all of its brokers killed at once.
// The limits are the promise's own.
func TestProofRealKafkaAway(t *testing.T) {
	inTime(t, allAway(t, 10*time.Minute))
}

// TestProofRealKafkaAwayTakenBack is the same where what the client had was taken
// back long before Kafka's return.
func TestProofRealKafkaAwayTakenBack(t *testing.T) {
	inTime(t, allAway(t, 30*time.Second, "forward.refresh_after=5s", "forward.takeover_wait=3s"))
}

// TestProofRealKafkaAwayTakenBackLate is the same where it was taken back shortly
// before.
func TestProofRealKafkaAwayTakenBackLate(t *testing.T) {
	inTime(t, allAway(t, 30*time.Second, "forward.refresh_after=29s"))
}

func inTime(t *testing.T, seen away) {
	const limit = 5 * time.Second
	if seen.opened > limit || seen.closed > limit {
		t.Errorf("breaker open after %v, and closed %v after the return: want at most %v each", seen.opened, seen.closed, limit)
	}
}

// TestProofRealKafkaTakeovers kills fifty forwarders.
func TestProofRealKafkaTakeovers(t *testing.T) {
	takeovers(t, 50)
}

// TestProofRealKafkaPartitionsRaised waits until a process that goes on running
// knows of partitions that a topic got.
func TestProofRealKafkaPartitionsRaised(t *testing.T) {
	partitionsRaised(t, true)
}

// TestProofRealKafkaTakeoversUnread is the sabotaged twin: forwarders that do not
// look for what the one before has sent send it again. It must be found in the
// topic itself, though readers do not see it.
func TestProofRealKafkaTakeoversUnread(t *testing.T) {
	unread := binary.Sabotaged(t, "internal/forward/takeover.go", map[string]string{
		"func (f *Forwarder) readBack(ctx context.Context, from []message.Mark, found func(message.Place, message.Mark)) ([]message.Mark, error) {": "\tif f != nil {\n\t\treturn nil, nil\n\t}",
	})
	if v := takeoversOf(t, unread, 10); v.Twice.Count == 0 {
		t.Error("what was sent is sent again, and stands in the topic once")
	}
}

// TestProofRealKafkaTakeoversExact is the same in exactly-once delivery, where
// each message must stand in the topic itself once.
func TestProofRealKafkaTakeoversExact(t *testing.T) {
	if v := takeovers(t, 50, exactly); v.Twice.Count > 0 {
		t.Errorf("%d messages stand in the topic more than once", v.Twice.Count)
	}
}

// TestProofRealKafkaBrokersHang stops each broker in turn where it is, without
// any connection being closed, until what it led goes on elsewhere.
func TestProofRealKafkaBrokersHang(t *testing.T) {
	d := onRealKafka(t, nil)
	d.start()
	d.under(func() {
		for node := range d.kafka.Nodes() {
			d.forwards("before")
			leads := d.kafka.Leader(d.ctx, d.topic, 0) == node
			d.kafka.Pause(node)
			d.acknowledges("a broker hangs")
			again := d.forwards("a broker hangs")
			d.backlog("a broker hangs", func(n int64) bool { return n < enough })
			d.kafka.Resume(node)
			d.kafka.WaitInSync(d.ctx, d.topic)
			t.Logf("broker %d hangs (leads partition 0: %v): %d more forwarded after %.1f s", node, leads, enough, again.Seconds())
		}
		d.forwards("in the end")
	}, d.load)
	d.keeps(d.judge(d.ledger, d.topic))
}

// TestProofRealKafkaSmallTopicExact drains a backlog for a topic with small batches
// in exactly-once delivery.
func TestProofRealKafkaSmallTopicExact(t *testing.T) {
	smallTopic(t, exactly)
}

//go:build proof

package drill

import (
	"testing"
	"time"
)

// TestProofRealKafkaAway is F3 on real Kafka, all of its brokers killed at once.
// The limits are the promise's own.
func TestProofRealKafkaAway(t *testing.T) {
	const limit = 5 * time.Second
	if seen := allAway(t, 10*time.Minute); seen.opened > limit || seen.closed > limit {
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

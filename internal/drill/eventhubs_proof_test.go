//go:build proof

package drill

import (
	"testing"
	"time"

	"postroad/test/eventhubstest"
)

// TestProofEventHubsAway is F3 on the double of Event Hubs. The limits are the
// promise's own.
func TestProofEventHubsAway(t *testing.T) {
	const limit = 5 * time.Second
	if seen := eventHubsAway(t, 10*time.Minute); seen.opened > limit || seen.closed > limit {
		t.Errorf("breaker open after %v, and closed %v after the return: want at most %v each", seen.opened, seen.closed, limit)
	}
}

// TestProofEventHubsDrain is F1's shape: a large backlog that arrives whole, in
// order and once.
func TestProofEventHubsDrain(t *testing.T) { eventHubsDrain(t, 200_000) }

// TestProofEventHubsTakeovers kills fifty forwarders, in either delivery.
func TestProofEventHubsTakeovers(t *testing.T) {
	eventHubsTakeovers(t, 50, eventhubstest.Options{})
	o := eventhubstest.Options{Premium: true, Compacted: []string{progressTopic}}
	if in := eventHubsTakeovers(t, 50, o, exactly); in.Twice.Count > 0 {
		t.Errorf("%d messages stand in the topic more than once", in.Twice.Count)
	}
}

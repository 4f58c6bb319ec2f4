//go:build proof

package sdk

import "testing"

// TestProofSDKsRecoverRealKafka is TestSDKsRecover with a real Kafka behind.
func TestProofSDKsRecoverRealKafka(t *testing.T) {
	c := kafka.Use(t)
	c.CreateTopic(t.Context(), topic, 2, nil)
	recoverAll(t, newWorld(t, c.Addrs("plain")[0]))
}

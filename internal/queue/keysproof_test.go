//go:build proof

package queue

import "testing"

// TestProofKeys is the model of idempotency keys over many processes' lives.
func TestProofKeys(t *testing.T) {
	t.Setenv("POSTROAD_PROOF", "1")
	TestKeysAgainstModel(t)
}

//go:build proof

package queue

import "testing"

// TestProofKeys is the model of idempotency keys over many processes' lives.
func TestProofKeys(t *testing.T) {
	manyKeyModels(t, 1000)
}

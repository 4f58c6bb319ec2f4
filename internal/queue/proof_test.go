//go:build proof

package queue_test

import "testing"

// TestProofEveryFault tries every fault at every operation, which takes minutes.
func TestProofEveryFault(t *testing.T) { everyFault(t, 1) }

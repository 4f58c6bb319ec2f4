//go:build proof

package queue_test

import "testing"

// TestProofEveryFault tries every fault at every operation, which takes minutes.
func TestProofEveryFault(t *testing.T) { everyFault(t, 1) }

// TestProofModel does random things to many queues.
func TestProofModel(t *testing.T) { manyModels(t, 5000) }

//go:build proof

package queue_test

import "testing"

// TestProofEveryFault tries every fault at every operation, which takes a
// quarter of an hour for each script.
func TestProofEveryFault(t *testing.T) { everyFault(t, scripts[0], 1) }

// TestProofEveryFaultAfterAKill is the same, on what a killed process has left.
func TestProofEveryFaultAfterAKill(t *testing.T) { everyFault(t, scripts[1], 1) }

// TestProofModel does random things to many queues.
func TestProofModel(t *testing.T) { manyModels(t, 5000) }

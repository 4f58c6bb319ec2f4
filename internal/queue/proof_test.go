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

// TestProofFull fills the disk at every operation of a takeover.
func TestProofFull(t *testing.T) {
	fullAtEvery(t, 1)
}

// TestProofSides does random things to many queues with topics that are held and
// messages that are refused, and TestProofEveryFaultAside tries every fault at
// every operation of that.
func TestProofSides(t *testing.T) { manySideModels(t, 1000) }

func TestProofEveryFaultAside(t *testing.T) { everyFaultAside(t, 1) }

// TestProofShare has several processes on two hosts of a share go through every
// kind of trouble, many seeds of each.
func TestProofShare(t *testing.T) {
	*shareSeeds = 25
	t.Run("troubles", TestShareTroubles)
	t.Run("lost replies", TestShareLostReplies)
	t.Run("failures", TestShareFailures)
	t.Run("retention", TestShareRetention)
}

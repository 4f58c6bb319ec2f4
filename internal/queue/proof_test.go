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

// TestProofFull… fill the disk at every operation of a takeover: on disks that say
// so at once, or at the sync, and with the power cut then.
func TestProofFull(t *testing.T)        { fullAtEvery(t, 0, 1, fullModes[0]) }
func TestProofFullCut(t *testing.T)     { fullAtEvery(t, 0, 1, fullModes[1]) }
func TestProofFullLate(t *testing.T)    { fullAtEvery(t, 0, 1, fullModes[2]) }
func TestProofFullLateCut(t *testing.T) { fullAtEvery(t, 0, 1, fullModes[3]) }

// TestProofSides does random things to many queues with topics that are held and
// messages that are refused, and TestProofEveryFaultAside tries every fault at
// every operation of that.
func TestProofSides(t *testing.T) { manySideModels(t, 1000) }

func TestProofEveryFaultAside(t *testing.T) { everyFaultAside(t, 1) }

// TestProofShare… have several processes on two hosts of a share go through every
// kind of trouble, many seeds of each.
func TestProofShareTroubles(t *testing.T)    { manyShares(t, TestShareTroubles) }
func TestProofShareLostReplies(t *testing.T) { manyShares(t, TestShareLostReplies) }
func TestProofShareFailures(t *testing.T)    { manyShares(t, TestShareFailures) }
func TestProofShareRetention(t *testing.T)   { manyShares(t, TestShareRetention) }

func manyShares(t *testing.T, test func(*testing.T)) {
	t.Helper()
	defer func(n uint64) { *shareSeeds = n }(*shareSeeds)
	*shareSeeds = 12
	test(t)
}

//go:build proof

package simulation

import "testing"

// TestProofSimulationStream plays thousands of seeds with stream nodes.
func TestProofSimulationStream(t *testing.T) { manyStreams(t, 1000) }

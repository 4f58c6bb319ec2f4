//go:build proof

package simulation

import "testing"

// TestProofSimulationStream plays a thousand seeds with stream nodes.
func TestProofSimulationStream(t *testing.T) { manyStreams(t, 1000) }

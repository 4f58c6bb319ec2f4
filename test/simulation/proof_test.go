//go:build proof

package simulation

import "testing"

// TestProofSimulation and TestProofSimulationAgain play a thousand seeds each, new
// ones every time: as many as end within the hour.
func TestProofSimulation(t *testing.T)      { many(t, 1000) }
func TestProofSimulationAgain(t *testing.T) { many(t, 1000) }

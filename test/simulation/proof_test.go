//go:build proof

package simulation

import "testing"

// TestProofLateTwins has stamps cut off beyond W while answers are lost.
func TestProofLateTwins(t *testing.T) { lateTwins(t, 1000) }

func TestProofLateTwinsOfOnePartition(t *testing.T) { lateTwinsOf(t, 300, oneCutOff) }

// TestProofSimulation and TestProofSimulationAgain play a thousand seeds each, new
// ones every time: as many as end within the hour.
func TestProofSimulation(t *testing.T)      { many(t, 1000) }
func TestProofSimulationAgain(t *testing.T) { many(t, 1000) }

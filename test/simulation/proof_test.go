//go:build proof

package simulation

import "testing"

// TestProofSimulation plays thousands of seeds.
func TestProofSimulation(t *testing.T) { many(t, 2000) }

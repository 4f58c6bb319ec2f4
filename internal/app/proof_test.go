//go:build proof

package app

import "testing"

// TestProofRepeats asks for every repeat after a crash at every operation.
func TestProofRepeats(t *testing.T) {
	repeatAfterCrashes(t, 1)
}

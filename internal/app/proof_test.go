//go:build proof

package app

import "testing"

// TestProofRepeats asks for every repeat after a crash at every operation.
func TestProofRepeats(t *testing.T) {
	t.Setenv("POSTROAD_PROOF", "1")
	TestRepeatsAfterACrash(t)
}

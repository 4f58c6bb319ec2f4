//go:build proof

package live_test

import "testing"

// TestProofStreamModel does random things to many hubs, nodes and clients.
func TestProofStreamModel(t *testing.T) { manyModels(t, 5000) }

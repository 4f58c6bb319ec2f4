//go:build proof

package app_test

import "testing"

// TestProofDoorReloadsUnderLoad reloads a hundred times.
func TestProofDoorReloadsUnderLoad(t *testing.T) { reloadUnderLoad(t, 100) }

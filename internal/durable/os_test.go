package durable_test

import (
	"testing"

	"postroad/internal/durable"
	"postroad/internal/durable/fstest"
)

func TestOSConformance(t *testing.T) {
	fstest.Test(t, func(t *testing.T) (durable.FS, string) { return durable.OS{}, t.TempDir() })
}

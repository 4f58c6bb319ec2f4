package faults

import (
	"os"
	"testing"

	"postroad/test/binary"
)

// built is the binary under test.
var built binary.Built

func TestMain(m *testing.M) { os.Exit(built.Run(m)) }

func postroad(t *testing.T) string { return built.Path(t) }

func seed(t testing.TB) uint64 { return binary.Seed(t) }

package vehicles

import (
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newRand() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

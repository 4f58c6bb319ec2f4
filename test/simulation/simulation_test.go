package simulation

import (
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seeds are those of a run: that of POSTROAD_SIMULATION_SEED alone, to look at
// one again, or n from a new one on.
func seeds(t *testing.T, n uint64) (first, count uint64) {
	if seed, err := strconv.ParseUint(os.Getenv("POSTROAD_SIMULATION_SEED"), 10, 64); err == nil {
		first = seed
		if more, err := strconv.ParseUint(os.Getenv("POSTROAD_SIMULATION_COUNT"), 10, 64); err == nil {
			return first, more
		}
		return first, 1
	}
	first = uint64(time.Now().UnixNano()) % 1e9
	t.Logf("seeds %d to %d", first, first+n-1)
	return first, n
}

// many plays seeds, and fails with the log of the first that goes wrong.
func many(t *testing.T, n uint64) {
	first, n := seeds(t, n)
	var sum counts
	for seed := first; seed < first+n; seed++ {
		v := simulate(t, seed, sabotage{})
		sum.add(v.counts)
		if v.err != nil {
			t.Logf("%s", v.log)
			t.Fatalf("POSTROAD_SIMULATION_SEED=%d: %v", seed, v.err)
		}
	}
	t.Logf("%d seeds: %v", n, sum)
}

// Nothing that was acknowledged is lost, nothing is shown twice, and the order of
// a key is kept, whatever happens.
func TestSimulation(t *testing.T) { many(t, 3) }

package bench

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

func TestFigure(t *testing.T) {
	for _, tc := range []struct {
		rounds []float64
		want   Figure
	}{
		{nil, Figure{}},
		{[]float64{3}, Figure{3, 3, 3}},
		{[]float64{3, 1}, Figure{2, 1, 3}},
		{[]float64{5, 1, 3}, Figure{3, 1, 5}},
		{[]float64{4, 1, 3, 2}, Figure{2.5, 1, 4}},
	} {
		rounds := slices.Clone(tc.rounds)
		if got := figureOf(rounds); got != tc.want || !slices.Equal(rounds, tc.rounds) {
			t.Errorf("%v: %+v, want %+v; rounds now %v", tc.rounds, got, tc.want, rounds)
		}
	}
}

func TestLatency(t *testing.T) {
	var samples []time.Duration
	for i := range 200 {
		samples = append(samples, time.Duration(i+1)*time.Millisecond)
	}
	rand.Shuffle(len(samples), func(i, j int) { samples[i], samples[j] = samples[j], samples[i] })
	if got, want := latencyOf(samples), (Latency{Samples: 200, P50: 100, P99: 198, Max: 200}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got, want := latencyOf([]time.Duration{time.Second}), (Latency{1, 1000, 1000, 1000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := latencyOf(nil); got != (Latency{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

// The percentile is the smallest sample that at least that share of all do not
// exceed.
func TestPercentileByItsDefinition(t *testing.T) {
	for n := 1; n <= 50; n++ {
		var sorted []time.Duration
		for i := range n {
			sorted = append(sorted, time.Duration(i/2)) // some alike
		}
		for _, percent := range []int{1, 25, 50, 90, 99, 100} {
			got := percentile(sorted, float64(percent)/100)
			share := func(d time.Duration) int {
				return slices.IndexFunc(append(slices.Clone(sorted), 1<<40), func(x time.Duration) bool { return x > d })
			}
			if 100*share(got) < percent*n || got > 0 && 100*share(got-1) >= percent*n {
				t.Errorf("%d samples, %d %%: %d", n, percent, got)
			}
		}
	}
}

func TestPerSecond(t *testing.T) {
	for _, tc := range []struct {
		done    int64
		d       time.Duration
		callers int64
		took    time.Duration
		want    float64
	}{
		{100, 2 * time.Second, 4, 3 * time.Second, 50},
		{1, time.Second, 4, 3 * time.Second, 1},
		{0, time.Second, 6, 3 * time.Second, 2},
	} {
		if got := perSecond(tc.done, tc.d, tc.callers, tc.took); got != tc.want {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestSummariseTakesSharesRoundForRound(t *testing.T) {
	got := summarise([]contender{{name: "floor"}, {name: "x", syncs: new(atomic.Int64)}}, []measured{
		{rates: []float64{100, 10, 0}}, {rates: []float64{50, 8, 1}, syncs: []float64{3, 1, 2}},
	}, 1000)
	want := []Contender{
		{"floor", Figure{10_000, 0, 100_000}, Figure{1, 0, 1}, nil, []float64{100_000, 10_000, 0}},
		{"x", Figure{8000, 1000, 50_000}, Figure{0.5, 0, 0.8}, &Figure{2, 1, 3}, []float64{50_000, 8000, 1000}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

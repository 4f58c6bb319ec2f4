package bench

import (
	"math"
	"slices"
	"time"
)

// Figure is a measured quantity over several rounds.
type Figure struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// figureOf summarises rounds; of none all is zero.
func figureOf(rounds []float64) Figure {
	if len(rounds) == 0 {
		return Figure{}
	}
	s := slices.Sorted(slices.Values(rounds))
	mid := s[len(s)/2]
	if len(s)%2 == 0 {
		mid = (s[len(s)/2-1] + mid) / 2
	}
	return Figure{Median: mid, Min: s[0], Max: s[len(s)-1]}
}

// Latency is a distribution of durations. It marshals as milliseconds.
type Latency struct {
	Samples int          `json:"samples"`
	P50     Milliseconds `json:"p50_ms"`
	P99     Milliseconds `json:"p99_ms"`
	Max     Milliseconds `json:"max_ms"`
}

// Milliseconds is a duration as a number.
type Milliseconds float64

func milliseconds(d time.Duration) Milliseconds {
	return Milliseconds(float64(d) / float64(time.Millisecond))
}

// latencyOf summarises durations; the order of samples is changed.
func latencyOf(samples []time.Duration) Latency {
	if len(samples) == 0 {
		return Latency{}
	}
	slices.Sort(samples)
	return Latency{
		Samples: len(samples),
		P50:     milliseconds(percentile(samples, 0.50)),
		P99:     milliseconds(percentile(samples, 0.99)),
		Max:     milliseconds(samples[len(samples)-1]),
	}
}

// percentile returns the smallest sample that at least the share p of all
// samples do not exceed (the nearest-rank method). sorted is not empty.
func percentile(sorted []time.Duration, p float64) time.Duration {
	// The product of share and count may come out a hair above a whole number.
	rank := int(math.Ceil(p*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

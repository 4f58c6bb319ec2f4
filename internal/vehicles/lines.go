package vehicles

import (
	"math/rand/v2"
	"strconv"
)

// Kinds of vehicles.
const (
	tram = "tram"
	bus  = "bus"
	van  = "van"
)

// tramStations are where the tram lines go, as parts of the town's width and
// height; the last is a ring.
var tramStations = [...][]point{
	{{0.01, 0.2}, {0.47, 0.45}, {0.99, 0.78}},
	{{0.01, 0.78}, {0.47, 0.45}, {0.99, 0.2}},
	{{0.47, 0.01}, {0.47, 0.45}, {0.47, 0.99}},
	{{0.19, 0.01}, {0.19, 0.45}, {0.75, 0.45}, {0.75, 0.99}},
	{{0.19, 0.18}, {0.75, 0.18}, {0.75, 0.8}, {0.19, 0.8}, {0.19, 0.18}},
}

const (
	busLines     = 12
	firstBusLine = 20
)

// plan makes the lines: trams by the avenues, buses from edge to edge through
// the quarters.
func (t *town) plan(rng *rand.Rand) []line {
	var lines []line
	tracks := func(w way) float64 {
		if w.avenue {
			return 0.35 * w.length
		}
		return w.length
	}
	for i, places := range tramStations {
		var stations []int
		for _, p := range places {
			stations = append(stations, t.nearest(point{p.x * t.width, p.y * t.height}))
		}
		ring := stations[0] == stations[len(stations)-1]
		lines = append(lines, line{tram, strconv.Itoa(i + 1), ring, withoutTurns(t.through(stations, tracks))})
	}
	for i := range busLines {
		taste := make(map[float64]float64) // a line prefers some streets, by their length
		cost := func(w way) float64 {
			if taste[w.length] == 0 {
				taste[w.length] = 0.7 + 0.6*rng.Float64()
			}
			return w.length * taste[w.length]
		}
		var points []point
		for length := 0.0; length < 0.6*t.width; {
			from, via, to := rng.IntN(len(t.nodes)), rng.IntN(len(t.nodes)), rng.IntN(len(t.nodes))
			points = withoutTurns(t.through([]int{from, via, to}, cost))
			length = points[0].minus(points[len(points)-1]).length()
		}
		lines = append(lines, line{bus, strconv.Itoa(firstBusLine + i), false, points})
	}
	return lines
}

// withoutTurns leaves out pieces that are driven and at once driven back.
func withoutTurns(points []point) []point {
	var kept []point
	for _, p := range points {
		if n := len(kept); n > 1 && kept[n-2] == p {
			kept = kept[:n-1]
			continue
		}
		kept = append(kept, p)
	}
	return kept
}

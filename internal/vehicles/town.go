package vehicles

import (
	"math"
	"math/rand/v2"
	"slices"
)

// The plan before it is bent: streets from west to east (rows) and from north to
// south (columns), some of them avenues, some columns with a bridge.
const (
	columns, rows = 18, 12
	townSeed      = 1748 // the year it was founded, so to speak
	riverWidth    = 95.0
	bank          = 40.0 // metres that are kept free on either side of the river
)

func avenueColumn(c int) bool { return c == 3 || c == 8 || c == 13 }

func avenueRow(r int) bool { return r == 2 || r == 5 || r == 9 }

func bridge(c int) bool { return avenueColumn(c) || c == 5 || c == 11 || c == 16 }

// town is streets and what lies between them. It is the same each time.
type town struct {
	width, height float64
	nodes         []node
	river         []point
	parks         [][]point
	lines         []line
}

// node is a junction. Its ways lead to other junctions.
type node struct {
	point
	column, row int
	ways        []way
}

type way struct {
	to     int
	length float64
	avenue bool
}

// line is served by trams or buses, from its first point to its last and back;
// a ring is driven round.
type line struct {
	kind, name string
	ring       bool
	points     []point
}

func newTown() *town {
	rng := rand.New(rand.NewPCG(townSeed, townSeed))
	t := &town{}
	xs, ys := spaced(rng, columns, 215, 365), spaced(rng, rows, 205, 330)
	const margin = 130
	t.width, t.height = xs[columns-1]+2*margin, ys[rows-1]+2*margin
	t.river = riverOf(t.width, t.height)
	grid := t.lay(xs, ys, margin)
	t.parks = [][]point{t.block(grid, 9, 6, 11, 8), t.block(grid, 4, 2, 5, 3), t.block(grid, 14, 3, 15, 4)}
	t.connect(grid)
	t.lines = t.plan(rng)
	return t
}

// spaced returns n ascending positions from 0, at random distances.
func spaced(rng *rand.Rand, n int, least, most float64) []float64 {
	at := make([]float64, n)
	for i := 1; i < n; i++ {
		at[i] = at[i-1] + least + rng.Float64()*(most-least)
	}
	return at
}

// riverOf comes in from the south-west and leaves to the north-east.
func riverOf(width, height float64) []point {
	var points []point
	for i := range 85 { // beyond the town on both sides
		f := float64(i-14) / 56
		points = append(points, point{f * width, height * (0.7 - 0.42*f + 0.07*math.Sin(2.2*math.Pi*f))})
	}
	return points
}

// below is how far a point lies south of the middle of the river, in metres.
func (t *town) below(p point) float64 {
	i := 1
	for i < len(t.river)-1 && t.river[i].x < p.x {
		i++
	}
	a, b := t.river[i-1], t.river[i]
	return p.y - (a.y + (b.y-a.y)*(p.x-a.x)/(b.x-a.x))
}

// lay makes the junctions. It bends the plan a little, keeps them off the river,
// and leaves out the corners, where the town has not grown to yet, and the inside
// of the large park. It returns the index of each, or -1.
func (t *town) lay(xs, ys []float64, margin float64) [columns][rows]int {
	var grid [columns][rows]int
	for c := range columns {
		for r := range rows {
			grid[c][r] = -1
			x, y := xs[c], ys[r]
			u := math.Abs(2*x/xs[columns-1] - 1)
			v := math.Abs(2*y/ys[rows-1] - 1)
			if math.Pow(u, 4)+math.Pow(v, 4) > 1.35 || c == 10 && r == 7 {
				continue
			}
			p := point{
				margin + x + 55*math.Sin(y/820+0.6) + 18*math.Sin(y/290),
				margin + y + 60*math.Sin(x/1150) + 16*math.Sin(x/370+1),
			}
			if d := t.below(p); math.Abs(d) < riverWidth/2+bank {
				p.y += math.Copysign(riverWidth/2+bank, d) - d
			}
			grid[c][r] = len(t.nodes)
			t.nodes = append(t.nodes, node{point: p, column: c, row: r})
		}
	}
	return grid
}

// connect joins neighbours, over the river only where there is a bridge.
func (t *town) connect(grid [columns][rows]int) {
	join := func(a, b int, avenue, crosses bool) {
		if a < 0 || b < 0 || !crosses && (t.below(t.nodes[a].point) < 0) != (t.below(t.nodes[b].point) < 0) {
			return
		}
		length := t.nodes[a].minus(t.nodes[b].point).length()
		t.nodes[a].ways = append(t.nodes[a].ways, way{b, length, avenue})
		t.nodes[b].ways = append(t.nodes[b].ways, way{a, length, avenue})
	}
	for c := range columns {
		for r := range rows {
			if c+1 < columns {
				join(grid[c][r], grid[c+1][r], avenueRow(r), avenueRow(r))
			}
			if r+1 < rows {
				join(grid[c][r], grid[c][r+1], avenueColumn(c), bridge(c))
			}
		}
	}
}

// block is the outline of what lies between two columns and two rows, by those of
// its junctions that are there.
func (t *town) block(grid [columns][rows]int, west, north, east, south int) []point {
	var round []point
	add := func(c, r int) {
		if i := grid[c][r]; i >= 0 {
			round = append(round, t.nodes[i].point)
		}
	}
	for c := west; c < east; c++ {
		add(c, north)
	}
	for r := north; r < south; r++ {
		add(east, r)
	}
	for c := east; c > west; c-- {
		add(c, south)
	}
	for r := south; r > north; r-- {
		add(west, r)
	}
	return round
}

// nearest is the junction closest to a place.
func (t *town) nearest(p point) int {
	best := 0
	for i, n := range t.nodes {
		if n.minus(p).length() < t.nodes[best].minus(p).length() {
			best = i
		}
	}
	return best
}

// shortest is the way from one junction to another, both included, by Dijkstra's
// rule; cost is what a piece of it costs.
func (t *town) shortest(from, to int, cost func(way) float64) []int {
	dist, before := make([]float64, len(t.nodes)), make([]int, len(t.nodes))
	done := make([]bool, len(t.nodes))
	for i := range dist {
		dist[i], before[i] = math.Inf(1), -1
	}
	dist[from] = 0
	for !done[to] {
		n := -1
		for i := range dist {
			if !done[i] && (n < 0 || dist[i] < dist[n]) {
				n = i
			}
		}
		done[n] = true
		for _, w := range t.nodes[n].ways {
			if d := dist[n] + cost(w); d < dist[w.to] {
				dist[w.to], before[w.to] = d, n
			}
		}
	}
	var ids []int
	for n := to; n >= 0; n = before[n] {
		ids = append(ids, n)
	}
	slices.Reverse(ids)
	return ids
}

// through is the way that passes several junctions in turn.
func (t *town) through(stations []int, cost func(way) float64) []point {
	points := []point{t.nodes[stations[0]].point}
	for i := 1; i < len(stations); i++ {
		for _, n := range t.shortest(stations[i-1], stations[i], cost)[1:] {
			points = append(points, t.nodes[n].point)
		}
	}
	return points
}

package vehicles

import (
	"math"
	"sort"
)

// point is a place in the town: metres to the east and to the south of its
// north-west corner, as on a screen.
type point struct{ x, y float64 }

func (p point) minus(q point) point { return point{p.x - q.x, p.y - q.y} }

func (p point) plus(q point) point { return point{p.x + q.x, p.y + q.y} }

func (p point) times(f float64) point { return point{p.x * f, p.y * f} }

func (p point) length() float64 { return math.Hypot(p.x, p.y) }

// heading is the direction of a vector in degrees from north, clockwise, in
// [0, 360).
func (p point) heading() float64 {
	h := math.Atan2(p.x, -p.y) * 180 / math.Pi
	if h < 0 {
		h += 360
	}
	return h
}

// path is a way of straight pieces, with the distance from its beginning at each
// point in metres. It has two points at least, none of them twice in a row.
type path struct {
	points []point
	at     []float64
}

func newPath(points []point) path {
	p := path{points: points, at: make([]float64, len(points))}
	for i := 1; i < len(points); i++ {
		p.at[i] = p.at[i-1] + points[i].minus(points[i-1]).length()
	}
	return p
}

func (p path) length() float64 { return p.at[len(p.at)-1] }

// place is the point at a distance from the beginning; beyond the ends it is the
// end.
func (p path) place(s float64) point {
	if s <= 0 {
		return p.points[0]
	}
	i := sort.SearchFloat64s(p.at, s)
	if i == len(p.at) {
		return p.points[i-1]
	}
	from, to := p.points[i-1], p.points[i]
	return from.plus(to.minus(from).times((s - p.at[i-1]) / (p.at[i] - p.at[i-1])))
}

// turn is by how many degrees the way bends at its inner point i, 0 to 180.
func (p path) turn(i int) float64 {
	before := p.points[i].minus(p.points[i-1]).heading()
	after := p.points[i+1].minus(p.points[i]).heading()
	d := math.Abs(after - before)
	return min(d, 360-d)
}

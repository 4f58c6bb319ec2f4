package vehicles

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// step is the grain of movement. What happens follows from the seed and from how
// many steps were made, not from when.
const step = 200 * time.Millisecond

// How they drive, in metres and seconds.
const (
	acceleration = 1.1
	braking      = 1.3
	lookAhead    = 130.0 // more than it takes to stop from the highest speed
	halfLength   = 8.0   // rounds corners: a vehicle is between its two ends
	laneOffset   = 4.0   // from the middle of the street, to the right
	stopSpacing  = 390.0
	arrived      = 0.5 // this close to a stop is at it
)

// mark is a place on a way where a vehicle may not be faster than speed, or where
// it stands for a while.
type mark struct {
	at, speed float64
	stop      bool    // it stands here always
	light     bool    // it stands here when the light is red
	red       bool    // decided when it was last passed
	least     float64 // time it stands, in seconds, with as much again by chance
}

// vehicle drives along its way. It is owned by one goroutine.
type vehicle struct {
	id, line string
	cruise   float64
	town     *town
	rng      *rand.Rand

	way   path
	loop  bool // begins anew at its end; else another way is chosen there
	marks []mark
	next  int     // index of the mark ahead
	s     float64 // how far along the way
	speed float64
	wait  float64 // how long it stands yet
	at    point
	turn  float64 // heading

	due   time.Time // when it tells next where it is
	moved bool      // it moved when it last told
}

// newVehicle puts a vehicle of a line somewhere on it.
func newVehicle(id string, l line, t *town, rng *rand.Rand) *vehicle {
	speeds := map[string]float64{tram: 13.5, bus: 11, van: 12.5} // metres a second
	v := &vehicle{id: id, line: l.name, cruise: speeds[l.kind] * (0.88 + 0.2*rng.Float64()), town: t, rng: rng}
	if l.kind == van {
		v.s = -1
		v.depart(rng.IntN(len(t.nodes)))
	} else {
		v.serve(l)
	}
	v.s = rng.Float64() * v.way.length()
	v.next, _ = slices.BinarySearchFunc(v.marks, v.s, func(m mark, s float64) int { return cmp.Compare(m.at, s) })
	v.place()
	return v
}

// serve makes the way of a line: there and back, or round.
func (v *vehicle) serve(l line) {
	points := slices.Clone(l.points)
	if !l.ring {
		for i := len(l.points) - 2; i >= 0; i-- {
			points = append(points, l.points[i])
		}
	}
	v.way, v.loop = newPath(points), true
	v.marks = v.marksOf(v.way)
	length := v.way.length()
	stops := []mark{{at: length, stop: true, least: 25}}
	if !l.ring {
		stops = append(stops, mark{at: length / 2, stop: true, least: 25})
	}
	for s := stopSpacing; s < length-stopSpacing/2; s += stopSpacing {
		if math.Abs(s-length/2) > stopSpacing/2 {
			stops = append(stops, mark{at: s, stop: true, least: 9})
		}
	}
	v.marks = inOrder(append(v.marks, stops...))
}

// depart begins a van's way to a customer.
func (v *vehicle) depart(from int) {
	to := from
	for to == from {
		to = v.rng.IntN(len(v.town.nodes))
	}
	v.way = newPath(v.town.through([]int{from, to}, func(w way) float64 {
		if w.avenue {
			return 0.8 * w.length
		}
		return w.length
	}))
	v.marks = inOrder(append(v.marksOf(v.way), mark{at: v.way.length(), stop: true, least: 20}))
	v.s, v.next = 0, 0
}

// marksOf are the corners of a way, which are driven slowly, and the lights at
// some of its junctions.
func (v *vehicle) marksOf(p path) []mark {
	var marks []mark
	for i := 1; i < len(p.points)-1; i++ {
		switch turn := p.turn(i); {
		case turn > 150: // the end of a line, which is a stop
		case turn > 50:
			marks = append(marks, mark{at: p.at[i], speed: 4})
		case turn > 20:
			marks = append(marks, mark{at: p.at[i], speed: 8})
		default:
			if i%3 == 0 {
				marks = append(marks, mark{at: p.at[i] - 2*halfLength, light: true, red: v.rng.Float64() < 0.3, speed: v.cruise, least: 6})
			}
		}
	}
	return marks
}

func inOrder(marks []mark) []mark {
	slices.SortFunc(marks, func(a, b mark) int { return cmp.Compare(a.at, b.at) })
	return marks
}

// advance drives for one step.
func (v *vehicle) advance() {
	dt := step.Seconds()
	if v.wait > 0 {
		v.wait -= dt
		return
	}
	limit := min(v.cruise, v.speed+acceleration*dt)
	for i, round := v.next, 0.0; ; i++ {
		if i == len(v.marks) {
			if !v.loop {
				break
			}
			i, round = 0, round+v.way.length()
		}
		m := v.marks[i]
		d := m.at + round - v.s
		if d > lookAhead {
			break
		}
		most := m.speed
		if m.stop || m.red {
			most = 0
		}
		limit = min(limit, math.Sqrt(most*most+2*braking*max(0, d-arrived/2)))
	}
	v.speed = max(limit, 0.2) // so that it arrives
	v.s += v.speed * dt
	v.pass()
	v.place()
}

// pass does what the marks behind say.
func (v *vehicle) pass() {
	for v.wait <= 0 {
		m := &v.marks[v.next]
		stands := m.stop || m.red
		if v.s < m.at-arrived || !stands && v.s < m.at {
			return
		}
		if stands {
			v.s, v.speed = m.at, 0
			v.wait = m.least * (1 + v.rng.Float64())
		}
		m.red = m.light && v.rng.Float64() < 0.3
		v.next++
		if v.next < len(v.marks) {
			continue
		}
		if v.loop {
			v.s, v.next = max(0, v.s-v.way.length()), 0
			continue
		}
		v.depart(v.town.nearest(v.way.points[len(v.way.points)-1]))
	}
}

// place finds where the vehicle is seen: between its two ends, so that it rounds
// corners, and on the right of the street.
func (v *vehicle) place() {
	back, front := v.along(v.s-halfLength), v.along(v.s+halfLength)
	if d := front.minus(back); d.length() > halfLength {
		v.turn = d.heading()
	}
	sin, cos := math.Sincos(v.turn * math.Pi / 180)
	v.at = back.plus(front).times(0.5).plus(point{cos, sin}.times(laneOffset))
}

// along is a place on the way, which goes on at its beginning where it is a loop.
func (v *vehicle) along(s float64) point {
	if v.loop {
		s = math.Mod(s+v.way.length(), v.way.length())
	}
	return v.way.place(s)
}

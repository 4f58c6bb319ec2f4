package vehicles

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Position is what a vehicle tells, as it stands in a message's value.
type Position struct {
	// ID is the vehicle's, such as tram-7, and the message's key.
	ID string `json:"id"`
	// Line is the line it serves; of vans "courier".
	Line string `json:"line"`
	// X and Y are metres east and south of the town's north-west corner.
	X float64 `json:"x"`
	Y float64 `json:"y"`
	// Heading is in degrees from north, clockwise.
	Heading float64 `json:"heading"`
	// Speed is in metres a second.
	Speed float64 `json:"speed"`
	// At is when it was there, in milliseconds of Unix time.
	At int64 `json:"at"`
}

// newFleet makes n vehicles: a fifth trams, half buses, the rest vans, spread
// over the lines of their kind.
func newFleet(t *town, n int, seed uint64) []*vehicle {
	byKind := map[string][]line{van: {{kind: van, name: "courier"}}}
	for _, l := range t.lines {
		byKind[l.kind] = append(byKind[l.kind], l)
	}
	made := make(map[string]int)
	fleet := make([]*vehicle, n)
	for i := range fleet {
		kind := [...]string{bus, tram, van, bus, van, bus, tram, bus, van, bus}[i%10]
		lines := byKind[kind]
		l := lines[made[kind]%len(lines)]
		made[kind]++
		fleet[i] = newVehicle(fmt.Sprintf("%s-%d", kind, made[kind]), l, t, rand.New(rand.NewPCG(seed, uint64(i))))
	}
	return fleet
}

// crew is the vehicles of one stream of requests; one goroutine owns it.
type crew struct {
	vehicles []*vehicle
	moving   time.Duration // between two positions of a vehicle that moves
	standing time.Duration // of one that stands
	now      time.Time     // up to when they have driven
}

// longestDrive bounds what is driven at once after a long wait, such as of a
// machine that slept.
const longestDrive = 10 * time.Minute

// newCrew spreads what the vehicles tell over the time between two positions.
func newCrew(vehicles []*vehicle, o Options, now time.Time) *crew {
	c := &crew{vehicles: vehicles, moving: o.Interval, standing: o.StandingInterval, now: now}
	for i, v := range vehicles {
		v.due = now.Add(o.Interval * time.Duration(i) / time.Duration(len(vehicles)))
	}
	return c
}

// drive moves all vehicles up to a time and returns the positions that are due
// then: of those that move each interval, of those that stand less often, and of
// each that has just come to a stand.
func (c *crew) drive(to time.Time) []Position {
	if to.Sub(c.now) > longestDrive {
		c.now = to.Add(-longestDrive)
	}
	for ; to.Sub(c.now) >= step; c.now = c.now.Add(step) {
		for _, v := range c.vehicles {
			v.advance()
		}
	}
	var due []Position
	for _, v := range c.vehicles {
		moves := v.wait <= 0
		stopped := v.moved && !moves
		if to.Before(v.due) && !stopped {
			continue
		}
		every := c.moving
		if !moves {
			every = c.standing
		}
		v.moved = moves
		v.due = v.due.Add(every)
		if !v.due.After(to) || stopped { // the door was away, or it tells early
			v.due = to.Add(every)
		}
		due = append(due, v.position(to))
	}
	return due
}

func (v *vehicle) position(at time.Time) Position {
	speed := v.speed
	if v.wait > 0 {
		speed = 0
	}
	return Position{
		ID: v.id, Line: v.line, X: tenths(v.at.x), Y: tenths(v.at.y),
		Heading: math.Mod(math.Round(v.turn), 360), Speed: tenths(speed), At: at.UnixMilli(),
	}
}

func tenths(f float64) float64 { return math.Round(f*10) / 10 }

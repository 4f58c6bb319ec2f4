package vehicles

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func options(n int) Options {
	o := DefaultOptions()
	o.Count = n
	return o
}

// halfHour drives a fleet for half an hour and returns what it told.
func halfHour(t *testing.T, n int, seed uint64) []Position {
	t.Helper()
	start := time.UnixMilli(1_700_000_000_000)
	c := newCrew(newFleet(newTown(), n, seed), options(n), start)
	var told []Position
	for at := start; at.Before(start.Add(30 * time.Minute)); at = at.Add(gather) {
		told = append(told, c.drive(at)...)
	}
	return told
}

// TestFleetIsTheSameForASeed: what happens follows from the seed.
func TestFleetIsTheSameForASeed(t *testing.T) {
	a, b, other := halfHour(t, 10, 7), halfHour(t, 10, 7), halfHour(t, 10, 8)
	if !slices.Equal(a, b) {
		t.Error("the same seed drove two ways")
	}
	if slices.Equal(a, other) {
		t.Error("two seeds drove the same way")
	}
}

// TestVehiclesDriveLikeVehicles: on the streets, no faster than they may and than
// they say, in the direction they look, with stops and turns.
func TestVehiclesDriveLikeVehicles(t *testing.T) {
	town := newTown()
	byID := make(map[string][]Position)
	for _, p := range halfHour(t, 30, 1) {
		byID[p.ID] = append(byID[p.ID], p)
	}
	if len(byID) != 30 {
		t.Fatalf("%d vehicles told, want 30", len(byID))
	}
	for id, told := range byID {
		stood, turned, far := 0, 0.0, 0.0
		for i, p := range told {
			if d := offStreet(town, point{p.X, p.Y}); d > 12 {
				t.Fatalf("%s is %.0f m off the street at %+v", id, d, p)
			}
			if p.Speed < 0 || p.Speed > 16 || p.Heading < 0 || p.Heading >= 360 {
				t.Fatalf("%s: %+v", id, p)
			}
			if p.Speed == 0 {
				stood++
			}
			if i == 0 {
				continue
			}
			last := told[i-1]
			moved := point{p.X, p.Y}.minus(point{last.X, last.Y})
			seconds := float64(p.At-last.At) / 1000
			// On the spot, at the end of a line, it changes sides of the street.
			if moved.length() > 16*seconds+2*laneOffset+1 {
				t.Fatalf("%s moved %.0f m in %.1f s", id, moved.length(), seconds)
			}
			far += moved.length()
			turn := math.Abs(p.Heading - last.Heading)
			turned += min(turn, 360-turn)
			if moved.length() > 12 && last.Heading == p.Heading && p.Speed > 5 {
				off := math.Abs(moved.heading() - p.Heading)
				if min(off, 360-off) > 25 {
					t.Fatalf("%s looks to %.0f and drives to %.0f", id, p.Heading, moved.heading())
				}
			}
		}
		if stood < 3 || turned < 180 || far < 2000 {
			t.Errorf("%s stood %d times, turned %.0f degrees, drove %.0f m in half an hour", id, stood, turned, far)
		}
	}
}

// offStreet is how far a place is from the nearest street, in metres.
func offStreet(t *town, p point) float64 {
	best := math.Inf(1)
	for _, n := range t.nodes {
		for _, w := range n.ways {
			d := t.nodes[w.to].minus(n.point)
			r := p.minus(n.point)
			f := min(1, max(0, (r.x*d.x+r.y*d.y)/(d.length()*d.length())))
			best = min(best, r.minus(d.times(f)).length())
		}
	}
	return best
}

// TestHowOftenTheyTell: one that moves each interval, one that stands less often,
// one that comes to a stand at once, and the newest position after a long wait.
func TestHowOftenTheyTell(t *testing.T) {
	o := options(40)
	start := time.UnixMilli(1_700_000_000_000)
	c := newCrew(newFleet(newTown(), 40, 3), o, start)
	last := make(map[string]Position)
	var told []Position
	for at := start; at.Before(start.Add(10 * time.Minute)); at = at.Add(gather) {
		for _, p := range c.drive(at) {
			told = append(told, p)
			before, seen := last[p.ID]
			last[p.ID] = p
			if !seen {
				continue
			}
			every := time.Duration(p.At-before.At) * time.Millisecond
			if every > o.StandingInterval || before.Speed > 0 && every > o.Interval || every < gather {
				t.Fatalf("%s told after %v: %+v, %+v", p.ID, every, before, p)
			}
		}
	}
	if n := len(told); n < 40*120 || n > 40*600*12/10 {
		t.Errorf("%d positions in ten minutes", n)
	}
	later := c.now.Add(3 * time.Hour)
	if due := c.drive(later); len(due) != 40 || due[0].At != later.UnixMilli() {
		t.Errorf("after a long wait %d positions", len(due))
	}
	if again := c.drive(later.Add(gather)); len(again) > 20 {
		t.Errorf("what was missed is made up for: %d positions", len(again))
	}
}

// TestLongSleep: a machine that slept for hours drives ten minutes, not all of it.
func TestLongSleep(t *testing.T) {
	after := func(d time.Duration) []Position {
		start := time.UnixMilli(1_700_000_000_000)
		told := newCrew(newFleet(newTown(), 10, 3), options(10), start).drive(start.Add(d))
		for i := range told {
			told[i].At = 0
		}
		return told
	}
	if a, b := after(longestDrive), after(5*time.Hour); len(a) != 10 || !slices.Equal(a, b) {
		t.Errorf("after ten minutes %v, after five hours %v", a, b)
	}
}

// TestBraking: nothing that drives stops on the spot, not even at a red light.
func TestBraking(t *testing.T) {
	for _, v := range newFleet(newTown(), 30, 5) {
		for range 3000 {
			before := v.speed
			v.advance()
			if lost := (before - v.speed) / step.Seconds(); lost > 4 && before > 2 {
				t.Fatalf("%s brakes by %.1f m/s² from %.1f m/s", v.id, lost, before)
			}
		}
	}
}

func TestFleetHasAllKinds(t *testing.T) {
	kinds, ids := make(map[string]int), make(map[string]bool)
	for _, v := range newFleet(newTown(), 300, 1) {
		kind, _, _ := strings.Cut(v.id, "-")
		kinds[kind]++
		ids[v.id] = true
	}
	if len(ids) != 300 || kinds[tram] != 60 || kinds[bus] != 150 || kinds[van] != 90 {
		t.Errorf("%d ids, %v", len(ids), kinds)
	}
}

package vehicles

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

var update = flag.Bool("update", false, "write the town that the page draws anew")

// townFile is the town as the page draws it.
type townFile struct {
	Width   int         `json:"width"`
	Height  int         `json:"height"`
	River   drawnRiver  `json:"river"`
	Parks   [][][2]int  `json:"parks"`
	Streets []drawnWay  `json:"streets"`
	Lines   []drawnLine `json:"lines"`
	Places  []named     `json:"places"`
}

type drawnRiver struct {
	Width  int      `json:"width"`
	Points [][2]int `json:"points"`
}

type drawnWay struct {
	Avenue bool     `json:"avenue"`
	Points [][2]int `json:"points"`
}

type drawnLine struct {
	Kind   string   `json:"kind"`
	Name   string   `json:"name"`
	Points [][2]int `json:"points"`
	Stops  [][2]int `json:"stops"`
}

type named struct {
	Name string `json:"name"`
	X    int    `json:"x"`
	Y    int    `json:"y"`
}

func drawn(points ...point) [][2]int {
	var list [][2]int
	for _, p := range points {
		list = append(list, [2]int{int(math.Round(p.x)), int(math.Round(p.y))})
	}
	return list
}

// streets joins the pieces of each row and column of the plan to ways as long as
// they go.
func (t *town) streets() []drawnWay {
	var list []drawnWay
	piece := func(n *node, w way) bool { return t.nodes[w.to].row == n.row }
	for _, alongRow := range []bool{true, false} {
		used := make(map[[2]int]bool)
		for i := range t.nodes {
			avenue := avenueRow(t.nodes[i].row)
			if !alongRow {
				avenue = avenueColumn(t.nodes[i].column)
			}
			points := []point{t.nodes[i].point}
			for at, more := i, true; more; {
				more = false
				for _, w := range t.nodes[at].ways {
					to := t.nodes[w.to]
					ahead := to.column > t.nodes[at].column || to.row > t.nodes[at].row
					if piece(&t.nodes[at], w) == alongRow && ahead && !used[[2]int{at, w.to}] {
						used[[2]int{at, w.to}] = true
						points, at, more = append(points, to.point), w.to, true
						break
					}
				}
			}
			if len(points) > 1 {
				list = append(list, drawnWay{avenue, drawn(points...)})
			}
		}
	}
	return list
}

func drawTown(t *town) townFile {
	f := townFile{
		Width: int(math.Round(t.width)), Height: int(math.Round(t.height)),
		River:   drawnRiver{int(riverWidth), drawn(t.river...)},
		Streets: t.streets(),
	}
	for _, p := range t.parks {
		f.Parks = append(f.Parks, drawn(p...))
	}
	for _, l := range t.lines {
		v := newVehicle("x-1", l, t, newRand())
		d := drawnLine{Kind: l.kind, Name: l.name, Points: drawn(l.points...)}
		end := v.way.length()
		if !l.ring {
			end /= 2
		}
		d.Stops = drawn(v.way.place(0))
		for _, m := range v.marks {
			if m.stop && m.at <= end {
				d.Stops = append(d.Stops, drawn(v.way.place(m.at))...)
			}
		}
		f.Lines = append(f.Lines, d)
	}
	for name, p := range map[string]point{
		"Old Town": {0.47, 0.385}, "Northgate": {0.3, 0.11}, "Tanners' Field": {0.1, 0.33}, "Harbour": {0.12, 0.57},
		"Mill Quarter": {0.27, 0.86}, "Abbey Park": {0.585, 0.665}, "Weavers' Row": {0.66, 0.86}, "Eastfield": {0.9, 0.6},
		"Castle Hill": {0.68, 0.13}, "Orchards": {0.9, 0.33}, "Lime Kilns": {0.4, 0.68},
	} {
		f.Places = append(f.Places, named{name, int(p.x * t.width), int(p.y * t.height)})
	}
	slices.SortFunc(f.Places, func(a, b named) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return f
}

// TestTownFile: the page draws the town that the vehicles drive in.
func TestTownFile(t *testing.T) {
	file := filepath.Join("..", "..", "web", "demo", "town.json")
	want, err := json.Marshal(drawTown(newTown()))
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not the town (%v): go test ./internal/vehicles -run TestTownFile -update", file, err)
	}
}

// reachable tells which junctions can be reached from one.
func (t *town) reachable(from int) []bool {
	reached := make([]bool, len(t.nodes))
	reached[from] = true
	for next := []int{from}; len(next) > 0; {
		n := next[len(next)-1]
		next = next[:len(next)-1]
		for _, w := range t.nodes[n].ways {
			if !reached[w.to] {
				reached[w.to] = true
				next = append(next, w.to)
			}
		}
	}
	return reached
}

// TestTown: every junction is reached from every other, no street but a bridge
// crosses the river, and no line is short or turns on the spot.
func TestTown(t *testing.T) {
	town := newTown()
	if len(town.nodes) < 150 || len(town.lines) != len(tramStations)+busLines {
		t.Fatalf("%d junctions, %d lines", len(town.nodes), len(town.lines))
	}
	for i, n := range town.nodes {
		if slices.Contains(town.reachable(i), false) {
			t.Fatalf("from junction %d not all others are reached", i)
		}
		if d := math.Abs(town.below(n.point)); d < riverWidth/2 {
			t.Errorf("junction %d is in the river, %.0f m from its middle", i, d)
		}
		if n.x < 0 || n.y < 0 || n.x > town.width || n.y > town.height {
			t.Errorf("junction %d is outside: %+v", i, n.point)
		}
		for _, w := range n.ways {
			to := town.nodes[w.to]
			crosses := (town.below(n.point) < 0) != (town.below(to.point) < 0)
			bridged := n.column == to.column && bridge(n.column) || n.row == to.row && avenueRow(n.row)
			if crosses && !bridged {
				t.Errorf("from junction %d a street leads through the river", i)
			}
			if math.Abs(w.length-n.minus(to.point).length()) > 1e-9 || w.length < 60 || w.length > 900 {
				t.Errorf("from junction %d a street of %.0f m", i, w.length)
			}
		}
	}
	for _, l := range town.lines {
		p := newPath(l.points)
		if p.length() < 0.7*town.height {
			t.Errorf("line %s is %.0f m long", l.name, p.length())
		}
		for i := 1; i < len(l.points)-1; i++ {
			if p.turn(i) > 150 {
				t.Errorf("line %s turns on the spot at point %d", l.name, i)
			}
		}
		if l.ring != (l.points[0] == l.points[len(l.points)-1]) {
			t.Errorf("line %s: ring %v", l.name, l.ring)
		}
	}
}

func TestPath(t *testing.T) {
	p := newPath([]point{{0, 0}, {100, 0}, {100, 50}})
	for s, want := range map[float64]point{-5: {0, 0}, 0: {0, 0}, 25: {25, 0}, 100: {100, 0}, 130: {100, 30}, 150: {100, 50}, 900: {100, 50}} {
		if got := p.place(s); got.minus(want).length() > 1e-9 {
			t.Errorf("at %v: %+v, want %+v", s, got, want)
		}
	}
	if p.length() != 150 || p.turn(1) != 90 {
		t.Errorf("length %v, turn %v", p.length(), p.turn(1))
	}
	for want, v := range map[float64]point{0: {0, -1}, 90: {1, 0}, 180: {0, 1}, 270: {-1, 0}} {
		if got := v.heading(); math.Abs(got-want) > 1e-9 {
			t.Errorf("heading of %+v is %v, want %v", v, got, want)
		}
	}
}

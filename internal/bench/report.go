package bench

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// IngestReport is what Ingest measured.
type IngestReport struct {
	Machine Machine       `json:"machine"`
	Options IngestOptions `json:"options"`
	// Visible is one message at a time on an idle system.
	Visible Visible `json:"visible"`
	// Singles are messages one by one, for each number of connections; the
	// floor is the no-op handler.
	Singles []Comparison `json:"singles"`
	// Batches are NDJSON batches; the floor is appending the same values.
	Batches Comparison `json:"batches"`
	// Storage are records below HTTP; the floor is a log without a format.
	Storage []Comparison `json:"storage"`
}

// Visible is how long one message takes on an idle system.
type Visible struct {
	// Sync is one small write and fdatasync by itself.
	Sync Latency `json:"sync"`
	// Answer is from POST to the answer, Visible from POST to a reader of the
	// hub.
	Answer  Latency `json:"answer"`
	Visible Latency `json:"visible"`
}

// Comparison is several contenders measured in turn; the first is the floor.
type Comparison struct {
	Connections int         `json:"connections"`
	Unit        string      `json:"unit"`
	Contenders  []Contender `json:"contenders"`
}

// Contender is what one of them reached.
type Contender struct {
	Name string `json:"name"`
	Rate Figure `json:"rate"`
	// Share is of the floor's rate in the same round.
	Share Figure `json:"share"`
	// Syncs is how many syncs of the disk there were a second; nil where
	// nobody counted.
	Syncs *Figure `json:"syncs,omitempty"`
	// Rounds are the rates of all rounds in their order.
	Rounds []float64 `json:"rounds"`
}

// find returns a contender; false where it did not take part.
func (c Comparison) find(name string) (Contender, bool) {
	for _, x := range c.Contenders {
		if x.Name == name {
			return x, true
		}
	}
	return Contender{}, false
}

// Goal is a target with what was measured for it.
type Goal struct {
	Name     string  `json:"name"`
	Target   float64 `json:"target"`
	Measured float64 `json:"measured"`
	// AtLeast says that more is better; otherwise less is.
	AtLeast bool   `json:"at_least"`
	Unit    string `json:"unit"`
	Reached bool   `json:"reached"`
}

func atLeast(name string, target, measured float64, unit string) Goal {
	return Goal{name, target, measured, true, unit, measured >= target}
}

func atMost(name string, target, measured float64, unit string) Goal {
	return Goal{name, target, measured, false, unit, measured <= target}
}

// singleTargets are those of Q1 by the number of connections.
var singleTargets = map[int]float64{64: 0.60, 256: 0.70}

// The targets of Q2, Q3 and Q6.
const (
	awayTarget         = 0.95
	batchTarget        = 0.5
	batchHope          = 250_000
	visibleP50TargetMS = 5
	visibleP99TargetMS = 25
)

// Goals compares the report with the targets.
func (r *IngestReport) Goals() []Goal {
	var goals []Goal
	for _, c := range r.Singles {
		full, _ := c.find(nameFull)
		away, _ := c.find(nameAway)
		if target, ok := singleTargets[c.Connections]; ok {
			goals = append(goals,
				atLeast(fmt.Sprintf("Q1 at %d connections: share of the no-op handler", c.Connections), target, full.Share.Median, ""),
				atLeast(fmt.Sprintf("Q2 at %d connections: with the hub unreachable, share of Q1", c.Connections), awayTarget, ratio(away.Rounds, full.Rounds).Median, ""))
		}
	}
	if full, ok := r.Batches.find(nameFull); ok {
		goals = append(goals,
			atLeast("Q3: share of raw appends", batchTarget, full.Share.Median, ""),
			atLeast("Q3, hoped for", batchHope, full.Rate.Median, "messages/s"))
	}
	if v := r.Visible; v.Visible.Samples > 0 {
		goals = append(goals,
			atMost("Q6, median: POST to reader above one sync", visibleP50TargetMS, float64(v.Visible.P50-v.Sync.P50), "ms"),
			atMost("Q6, 99 %: POST to reader above one sync", visibleP99TargetMS, float64(v.Visible.P99-v.Sync.P99), "ms"))
	}
	return goals
}

// Write prints the report as Markdown tables, which read well on a terminal,
// too.
func (r *IngestReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	p.f("%d rounds of %v each, contenders in turn; median (least–most).\n\n", r.Options.Rounds, r.Options.Duration)
	if v := r.Visible; v.Visible.Samples > 0 {
		p.f("One message at a time on an idle system, %d of them:\n\n", v.Visible.Samples)
		p.table([]string{"", "p50 ms", "p99 ms", "most ms"}, [][]string{
			latencyRow("one write of 512 B and fdatasync", v.Sync),
			latencyRow("POST to answer", v.Answer),
			latencyRow("POST to a reader of the hub", v.Visible),
		})
	}
	for _, c := range r.Singles {
		p.f("Single messages of %d B over %d connections:\n\n", valueBytes, c.Connections)
		p.comparison(c)
	}
	if len(r.Batches.Contenders) > 0 {
		p.f("NDJSON batches of %d × %d B over %d connections:\n\n", batchMessages, valueBytes, r.Batches.Connections)
		p.comparison(r.Batches)
	}
	for _, c := range r.Storage {
		p.f("Records of %d B from %d writers, below HTTP:\n\n", valueBytes, c.Connections)
		p.comparison(c)
	}
	p.goals(r.Goals())
	return p.err
}

// printer writes text and keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) machine(m Machine) {
	p.f("%s, %s, %d cores", m.Version, m.Kernel, m.Cores)
	if m.CPU != "" {
		p.f(" (%s)", m.CPU)
	}
	p.f(", %.0f GiB, %s; load before the run %.2f.\n", float64(m.Memory)/(1<<30), m.FileSystem, m.Load)
}

// table writes a Markdown table with its columns aligned.
func (p *printer) table(head []string, rows [][]string) {
	if p.err != nil {
		return
	}
	t := tabwriter.NewWriter(p.w, 0, 0, 1, ' ', 0)
	line := func(cells []string) { fmt.Fprintf(t, "| %s\t|\n", strings.Join(cells, "\t| ")) }
	line(head)
	rule := make([]string, len(head))
	for i := range rule {
		rule[i] = "---"
	}
	line(rule)
	for _, r := range rows {
		line(r)
	}
	p.err = t.Flush()
	p.f("\n")
}

func (p *printer) comparison(c Comparison) {
	var rows [][]string
	for _, x := range c.Contenders {
		syncs := "–"
		if x.Syncs != nil {
			syncs = spread(*x.Syncs, "%.0f")
		}
		rows = append(rows, []string{x.Name, spread(x.Rate, "%.0f"), spread(x.Share, "%.3f"), syncs})
	}
	p.table([]string{"", c.Unit, "share of the floor", "syncs/s"}, rows)
}

func (p *printer) goals(goals []Goal) {
	var rows [][]string
	for _, g := range goals {
		sign, verdict := "≥", "reached"
		if !g.AtLeast {
			sign = "≤"
		}
		if !g.Reached {
			verdict = "MISSED"
		}
		rows = append(rows, []string{g.Name, strings.TrimSpace(fmt.Sprintf("%s %s %s", sign, number(g.Target), g.Unit)), number(g.Measured), verdict})
	}
	p.table([]string{"target", "wanted", "measured", ""}, rows)
}

func latencyRow(name string, l Latency) []string {
	return []string{name, fmt.Sprintf("%.2f", l.P50), fmt.Sprintf("%.2f", l.P99), fmt.Sprintf("%.2f", l.Max)}
}

func spread(f Figure, format string) string {
	return fmt.Sprintf(format+" ("+format+"–"+format+")", f.Median, f.Min, f.Max)
}

// number writes large numbers whole and small ones with two digits.
func number(x float64) string {
	if x >= 1000 {
		return fmt.Sprintf("%.0f", x)
	}
	return fmt.Sprintf("%.2f", x)
}

package bench

import (
	"fmt"
	"io"
)

// StreamReport is what Stream measured.
type StreamReport struct {
	Machine Machine       `json:"machine"`
	Options StreamOptions `json:"options"`
	// Idle is memory per idle connection, ours first.
	Idle []IdleFigures `json:"idle"`
	// Flows are processor seconds per million messages delivered.
	Flows []FlowFigures `json:"flows"`
	// Latency is from POST to subscriber: of each round, and the median of the
	// rounds' figures.
	Latency *StreamLatency `json:"latency,omitempty"`
	// Full and Peak are the resident memory of a full node in MiB, after messages
	// flowed and at its highest.
	Full *Figure `json:"full_mib,omitempty"`
	Peak *Figure `json:"peak_mib,omitempty"`
}

// IdleMemory is KB for each connection.
type IdleMemory struct {
	// InUse is of heap and stacks after a collection; Resident is of the process.
	InUse, Resident float64
}

// IdleFigures are those of one contender, in KB.
type IdleFigures struct {
	Name     string `json:"name"`
	InUse    Figure `json:"in_use_kb"`
	Resident Figure `json:"resident_kb"`
}

// FlowFigures are those of one flow.
type FlowFigures struct {
	Name   string     `json:"name"`
	Target float64    `json:"target"`
	Costs  []FlowCost `json:"costs"`
}

// FlowCost is that of one contender, ours first.
type FlowCost struct {
	Name string `json:"name"`
	Cost Figure `json:"cpu_s_per_million"`
	// Times is the cost as a multiple of ours in the same round.
	Times Figure `json:"times"`
}

// StreamLatency is over all rounds.
type StreamLatency struct {
	P50, P99, Max Figure
	Samples       int
}

// conclude makes the report of what was measured.
func (r *streamRun) conclude() {
	for _, name := range r.contenders() {
		var inUse, resident []float64
		for _, m := range r.idle[name] {
			inUse, resident = append(inUse, m.InUse), append(resident, m.Resident)
		}
		if len(inUse) > 0 {
			r.report.Idle = append(r.report.Idle, IdleFigures{name, figureOf(inUse), figureOf(resident)})
		}
	}
	if r.opts.wants(streamFanout) {
		for _, f := range r.opts.flows() {
			r.report.Flows = append(r.report.Flows, r.flowFigures(f))
		}
	}
	if len(r.latency) > 0 {
		l := &StreamLatency{}
		var p50, p99, most []float64
		for _, x := range r.latency {
			p50, p99, most = append(p50, float64(x.P50)), append(p99, float64(x.P99)), append(most, float64(x.Max))
			l.Samples += x.Samples
		}
		l.P50, l.P99, l.Max = figureOf(p50), figureOf(p99), figureOf(most)
		r.report.Latency = l
	}
	if len(r.full) > 0 {
		full, peak := figureOf(r.full), figureOf(r.peak)
		r.report.Full, r.report.Peak = &full, &peak
	}
}

func (r *streamRun) flowFigures(f flow) FlowFigures {
	figures := FlowFigures{Name: f.name, Target: f.target}
	ours := r.rounds[flowOf{nameNode, f.name}]
	for _, name := range r.contenders() {
		rounds := r.rounds[flowOf{name, f.name}]
		figures.Costs = append(figures.Costs, FlowCost{name, figureOf(rounds), ratio(rounds, ours)})
	}
	return figures
}

// The targets of S1, S3 and S5.
const (
	idleTargetKB        = 6
	streamP50TargetMS   = 8
	streamP99TargetMS   = 40
	residentTargetMiB   = 128
	unitCost, unitLimit = "CPU-s per million", "MiB"
)

// Goals compares the report with the targets.
func (r *StreamReport) Goals() []Goal {
	var goals []Goal
	if len(r.Idle) > 0 {
		goals = append(goals, atMost("S1: heap and stacks per idle connection, without TLS", idleTargetKB, r.Idle[0].InUse.Median, "KB"))
	}
	for _, f := range r.Flows {
		goals = append(goals, atMost("S2: "+f.Name, f.Target, f.Costs[0].Cost.Median, unitCost))
	}
	if l := r.Latency; l != nil {
		goals = append(goals,
			atMost("S3, median: POST to subscriber", streamP50TargetMS, l.P50.Median, "ms"),
			atMost("S3, 99 %: POST to subscriber", streamP99TargetMS, l.P99.Median, "ms"))
	}
	if r.Full != nil {
		goals = append(goals, atMost("S5: resident with "+fmt.Sprint(r.Options.Clients)+" connections", residentTargetMiB, r.Full.Median, unitLimit))
	}
	return goals
}

// Write prints the report as Markdown tables.
func (r *StreamReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	p.f("%d rounds, messages flow for %v each time; contenders in turn; median (least–most). What is measured is a process on a core of its own;"+
		" clients and, for our node, the hub have the others. Our node reads the hub and speaks its whole protocol; engines of others are given messages by a connection and do what their line says.\n\n",
		r.Options.Rounds, r.Options.Duration)
	if r.Options.Clients != targetClients {
		p.f("With %d clients in place of %d, all numbers of clients and keys below are so much smaller.\n\n", r.Options.Clients, targetClients)
	}
	if len(r.Idle) > 0 {
		var rows [][]string
		for _, x := range r.Idle {
			rows = append(rows, []string{x.Name, spread(x.InUse, "%.1f"), spread(x.Resident, "%.1f")})
		}
		p.table([]string{fmt.Sprintf("%d idle connections", r.Options.Clients), "heap and stacks, KB each", "resident, KB each"}, rows)
	}
	for _, f := range r.Flows {
		var rows [][]string
		for _, c := range f.Costs {
			rows = append(rows, []string{c.Name, spread(c.Cost, "%.2f"), spread(c.Times, "%.2f")})
		}
		p.table([]string{f.Name, "CPU-s per million deliveries", "times ours"}, rows)
	}
	if l := r.Latency; l != nil {
		p.f("%d messages/s posted to a stamp, %d subscribers, all on the same cores:\n\n", latencyRate, r.Options.scaled(1000))
		p.table([]string{"", "p50 ms", "p99 ms", "most ms"}, [][]string{
			{"POST to subscriber", spread(l.P50, "%.2f"), spread(l.P99, "%.2f"), spread(l.Max, "%.2f")},
		})
	}
	if r.Full != nil {
		p.table([]string{fmt.Sprintf("%d connections, %d keys, 8 partitions", r.Options.Clients, r.Options.scaled(1000)), "MiB"}, [][]string{
			{"resident while messages flow", spread(*r.Full, "%.0f")},
			{"resident at the peak", spread(*r.Peak, "%.0f")},
		})
	}
	p.goals(r.Goals())
	return p.err
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postroad/internal/drill"
)

// DoorFault is what a proxy let its clients see when something happened to one of
// two origins.
type DoorFault struct {
	Front     string `json:"front"`
	Fault     string `json:"fault"`
	BodyBytes int    `json:"body_bytes"`
	// Rounds are the drills, one after the other.
	Rounds []drill.DoorReport `json:"rounds"`
}

// sum adds up something of all rounds.
func (f DoorFault) sum(of func(drill.DoorReport) int) int {
	n := 0
	for _, r := range f.Rounds {
		n += of(r)
	}
	return n
}

// figure is something of each round.
func (f DoorFault) figure(of func(drill.DoorReport) float64) Figure {
	var all []float64
	for _, r := range f.Rounds {
		all = append(all, of(r))
	}
	return figureOf(all)
}

// share is that of the first origin in a second, from the end of the fault on.
func (f DoorFault) share(second int) Figure {
	const steps = int(time.Second / (250 * time.Millisecond)) // as drill counts them
	return f.figure(func(r drill.DoorReport) float64 {
		of := r.Shares[min(second*steps, len(r.Shares)):min((second+1)*steps, len(r.Shares))]
		total := 0.0
		for _, s := range of {
			total += s
		}
		return total / float64(max(1, len(of)))
	})
}

// doorFaults are those of D2, by their names in drill.
func doorFaults() []string { return []string{"kill", "stop"} }

// faultBodies are the sizes of bodies that D2 speaks of.
func faultBodies() []int { return []int{100, 256 << 10} }

// faults lets things happen to an origin behind Postroad's door, round for round
// with both sizes of bodies, and behind every other proxy once, with small ones.
func (r *doorRun) faults(ctx context.Context, dir string) error {
	for _, body := range faultBodies() {
		for _, fault := range doorFaults() {
			for _, front := range drill.Fronts() {
				rounds := r.opts.FaultRounds
				if front != frontDoor {
					rounds = 1
				}
				if front != frontDoor && body > faultBodies()[0] {
					continue
				}
				err := r.suffer(ctx, dir, DoorFault{Front: front, Fault: fault, BodyBytes: body}, rounds)
				switch {
				case errors.Is(err, drill.ErrNotInstalled):
					r.deps.Progress("%v", err)
				case err != nil && (front == frontDoor || ctx.Err() != nil):
					return err
				case err != nil: // what others do under faults must not end the measurement
					r.report.Trouble = append(r.report.Trouble, fmt.Sprintf("%s, %s: %.300v", front, fault, err))
				}
			}
		}
	}
	return nil
}

// suffer does one drill so many times.
func (r *doorRun) suffer(ctx context.Context, dir string, f DoorFault, rounds int) error {
	for i := range rounds {
		sub := filepath.Join(dir, fmt.Sprintf("%s-%s-%d-%d", f.Front, f.Fault, f.BodyBytes, i))
		if err := os.Mkdir(sub, 0o755); err != nil {
			return fmt.Errorf("directory of a drill: %w", err)
		}
		o := drill.DefaultDoorOptions()
		o.Front, o.Fault, o.BodyBytes, o.Seed = f.Front, f.Fault, f.BodyBytes, uint64(i+1)
		o.Lead, o.Length, o.Tail = r.opts.Lead, r.opts.Length, r.opts.Tail
		o.Binary = drill.Binary{Path: r.opts.Binary, Dir: sub, Plain: true}
		o.Backend = drill.Binary{Path: r.opts.Binary, Dir: sub, Plain: true, Prefix: []string{"bench"}}
		report, err := drill.Door(ctx, o)
		if err = errors.Join(err, os.RemoveAll(sub)); err != nil {
			return err
		}
		r.deps.Progress("%s %v", report.Row(), report.Kinds)
		f.Rounds = append(f.Rounds, report)
	}
	r.report.Faults = append(r.report.Faults, f)
	return nil
}

// The targets of D2 and D3.
const (
	slowestTarget   = 0.5
	leftOutTarget   = 1
	rampBeginTarget = 0.25
	rampEndTarget   = 0.1
)

// faultGoals compares what Postroad's door did with the targets.
func (r *DoorReport) faultGoals() []Goal {
	var goals []Goal
	for _, f := range r.Faults {
		if f.Front != frontDoor || len(f.Rounds) == 0 {
			continue
		}
		name := fmt.Sprintf("%s, %s: ", faultTitle(f.Fault), bodyTitle(f.BodyBytes))
		count := func(what string, of func(drill.DoorReport) int) {
			goals = append(goals, atMost("D2, "+name+what, 0, float64(f.sum(of)), ""))
		}
		count("requests that failed", func(r drill.DoorReport) int { return r.Failed })
		count("failed but executed", func(r drill.DoorReport) int { return r.Audit.FailedExecuted.Count })
		count("seen twice, or acknowledged and lost", func(r drill.DoorReport) int { return r.Audit.SeenTwice.Count + r.Audit.Lost.Count })
		goals = append(goals,
			atMost("D2, "+name+"slowest request of all rounds", slowestTarget, f.figure(slowest).Max, "s"),
			atMost("D3, "+name+"most times left out for one fault", leftOutTarget, f.figure(func(r drill.DoorReport) float64 { return float64(r.LeftOut) }).Max, ""))
		if last := f.seconds() - 1; last > 0 {
			goals = append(goals,
				atMost("D3, "+name+"share of the first second after the fault", rampBeginTarget, f.share(0).Median, ""),
				atLeast(fmt.Sprintf("D3, %sshare of second %d", name, last+1), rampEndTarget, f.share(last).Median, ""))
		}
	}
	return goals
}

func slowest(r drill.DoorReport) float64 { return r.Slowest.Seconds() }

// seconds is how many whole seconds after the fault were looked at.
func (f DoorFault) seconds() int {
	n := 0
	for _, r := range f.Rounds {
		n = max(n, len(r.Shares)/4)
	}
	return n
}

func faultTitle(fault string) string {
	return map[string]string{"kill": "killed", "stop": "stopped"}[fault]
}

func bodyTitle(bytes int) string {
	if bytes >= 1<<10 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d B", bytes)
}

// writeFaults prints what was seen under faults.
func (r *DoorReport) writeFaults(p *printer) {
	if len(r.Faults) == 0 {
		return
	}
	d := drill.DefaultDoorOptions()
	p.f("One of two origins killed or stopped for %v and back, under %d requests a second, three of four POSTs, each sent once, %v of work each; counts are of all rounds, times median (least–most):\n\n", r.Options.Length, d.Rate, d.Work)
	var rows [][]string
	for _, f := range r.Faults {
		count := func(of func(drill.DoorReport) int) string { return fmt.Sprint(f.sum(of)) }
		rows = append(rows, []string{
			frontTitle(f.Front), faultTitle(f.Fault), bodyTitle(f.BodyBytes), fmt.Sprint(len(f.Rounds)),
			count(func(r drill.DoorReport) int { return r.Failed }) + " of " + count(func(r drill.DoorReport) int { return r.Requests }),
			spread(f.figure(slowest), "%.2f"), spread(f.figure(func(r drill.DoorReport) float64 { return r.P99.Seconds() }), "%.2f"),
			count(func(r drill.DoorReport) int { return r.Audit.FailedExecuted.Count }),
			count(func(r drill.DoorReport) int { return r.Audit.ExecutedTwice.Count }),
			count(func(r drill.DoorReport) int { return r.Audit.SeenTwice.Count }),
			count(func(r drill.DoorReport) int { return r.Audit.Lost.Count }),
		})
	}
	p.table([]string{"", "first origin", "body", "rounds", "failed", "slowest, s", "99 %, s", "failed but executed", "executed twice", "seen twice", "lost"}, rows)
	r.writeReturn(p)
	for _, t := range r.Trouble {
		p.f("Not measured: %s\n\n", strings.ReplaceAll(t, "\n", " "))
	}
}

// writeReturn prints how an origin came back behind Postroad's door.
func (r *DoorReport) writeReturn(p *printer) {
	var rows [][]string
	seconds := 0
	for _, f := range r.Faults {
		if f.Front == frontDoor {
			seconds = max(seconds, f.seconds())
		}
	}
	head := []string{"share of the requests, % by seconds after", "body", "times left out", "failed after it"}
	for s := range seconds {
		head = append(head, fmt.Sprint(s+1))
	}
	for _, f := range r.Faults {
		if f.Front != frontDoor {
			continue
		}
		row := []string{
			faultTitle(f.Fault), bodyTitle(f.BodyBytes),
			spread(f.figure(func(r drill.DoorReport) float64 { return float64(r.LeftOut) }), "%.0f"),
			fmt.Sprint(f.sum(func(r drill.DoorReport) int { return r.FailedAfter })),
		}
		for s := range seconds {
			of := f.share(s)
			row = append(row, spread(Figure{100 * of.Median, 100 * of.Min, 100 * of.Max}, "%.0f"))
		}
		rows = append(rows, row)
	}
	if len(rows) > 0 {
		p.f("How the first origin came back behind Postroad's door:\n\n")
		p.table(head, rows)
	}
}

package bench

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/drill"
)

// One fault behind the door, with real processes and as short as it gets: the
// figures are there, and what was written is gone.
func TestDoorFault(t *testing.T) {
	o := DefaultDoorOptions()
	o.Binary, o.Lead, o.Length, o.Tail = buildPostroad(t), 100*time.Millisecond, 300*time.Millisecond, 500*time.Millisecond
	r := &doorRun{opts: o, deps: Deps{Progress: t.Logf}, report: &DoorReport{Options: o}}
	if err := r.suffer(t.Context(), t.TempDir(), DoorFault{Front: frontDoor, Fault: "kill", BodyBytes: 100}, 1); err != nil {
		t.Fatal(err)
	}
	f := r.report.Faults[0]
	if len(f.Rounds) != 1 || f.Rounds[0].Requests == 0 || f.Rounds[0].Audit.Acknowledged == 0 || len(f.Rounds[0].Shares) == 0 {
		t.Fatalf("%+v", f)
	}
	var text bytes.Buffer
	if err := r.report.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| Postroad front door | killed ", "D2, killed, 100 B: slowest request", "D3, killed, 100 B: most times left out"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.suffer(ctx, t.TempDir(), DoorFault{Front: frontDoor, Fault: "kill"}, 1); err == nil {
		t.Error("a drill that was given up is a measurement")
	}
}

// Each target of D2 and D3 is missed by a report that misses it alone, and other
// proxies have none.
func TestDoorFaultGoals(t *testing.T) {
	fair := func() drill.DoorReport {
		shares := make([]float64, 20) // nothing in the first second, then ever more
		for i := range shares {
			shares[i] = max(0, float64(i-4)/40)
		}
		return drill.DoorReport{Requests: 100, Slowest: 400 * time.Millisecond, LeftOut: 1, Shares: shares}
	}
	for name, spoil := range map[string]func(*drill.DoorReport){
		"":                      func(*drill.DoorReport) {},
		"requests that failed":  func(r *drill.DoorReport) { r.Failed = 1 },
		"failed but executed":   func(r *drill.DoorReport) { r.Audit.FailedExecuted.Count = 1 },
		"seen twice":            func(r *drill.DoorReport) { r.Audit.SeenTwice.Count = 1 },
		"acknowledged and lost": func(r *drill.DoorReport) { r.Audit.Lost.Count = 1 },
		"slowest request":       func(r *drill.DoorReport) { r.Slowest = 600 * time.Millisecond },
		"times left out":        func(r *drill.DoorReport) { r.LeftOut = 2 },
		"first second":          func(r *drill.DoorReport) { r.Shares = slices.Repeat([]float64{0.5}, 20) },
		"share of second 5":     func(r *drill.DoorReport) { r.Shares = make([]float64, 20) },
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := fair()
			spoil(&spoiled)
			rounds := []drill.DoorReport{spoiled}
			if !strings.Contains(name, "second") { // one round of three is enough
				rounds = append(rounds, fair(), fair())
			}
			r := &DoorReport{Faults: []DoorFault{
				{Front: frontDoor, Fault: "kill", BodyBytes: 256 << 10, Rounds: rounds},
				{Front: "caddy", Fault: "kill", BodyBytes: 100, Rounds: []drill.DoorReport{{Failed: 7}}},
			}}
			goals := r.Goals()
			if len(goals) != 7 {
				t.Errorf("%d targets", len(goals))
			}
			for _, g := range goals {
				if missed := name != "" && strings.Contains(g.Name, name); g.Reached == missed {
					t.Errorf("%s: reached is %v: %+v", g.Name, g.Reached, g)
				}
			}
		})
	}
}

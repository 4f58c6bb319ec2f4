//go:build proof

package drill

import (
	"testing"
	"time"

	"postroad/test/binary"
)

// TestProofStreamChaos is the drill at its full size.
func TestProofStreamChaos(t *testing.T) {
	o := streamed(t)
	o.Clients, o.Faults, o.Rest = 2000, 60, 4*time.Second
	o.Keys, o.Pace = 64, 200*time.Millisecond
	checkStream(t, o)
}

// TestProofStreamSpread is S4: a node of three is killed that serves a third of
// 5,000 clients. The limit is the promise's own.
func TestProofStreamSpread(t *testing.T) {
	o := streamed(t)
	o.Clients, o.Rest = 5000, 5*time.Second
	o.Keys, o.Pace = 64, 500*time.Millisecond
	report, err := Spread(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Fatalf("the promise is broken; the hub: %s", report.Hub)
	}
	if limit := 10 * time.Second; report.Complete > limit || report.Back > limit {
		t.Errorf("back after %v and complete after %v, want at most %v", report.Back, report.Complete, limit)
	}
	if report.Cut < o.Clients/5 {
		t.Errorf("only %d of %d clients were at the node", report.Cut, o.Clients)
	}
}

// TestProofStreamSoak is ten minutes of clients that come and go.
func TestProofStreamSoak(t *testing.T) {
	o := streamed(t)
	o.Nodes, o.Clients, o.Rest = 1, 500, 2*time.Second
	o.Topic = topic + " window=1024"
	o.Keys, o.Pace = 32, 200*time.Millisecond
	report, err := Soak(t.Context(), o, 2*time.Minute, 10*time.Minute)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	// What is left over is the noise of pools and timers, not what grows with
	// connections: there were thousands.
	if more := report.After.Goroutines - report.Before.Goroutines; more > 10 {
		t.Errorf("%.0f goroutines more than before", more)
	}
	if more := report.After.Files - report.Before.Files; more > 10 {
		t.Errorf("%.0f descriptors more than before", more)
	}
	if more := report.After.Live - report.Before.Live; more > 2<<20 {
		t.Errorf("%.1f MiB more than before", more/(1<<20))
	}
	if report.Connections < 10*o.Clients {
		t.Errorf("only %d connections were made", report.Connections)
	}
}

// TestProofStreamSabotaged runs the drill with nodes that are wrong in one way,
// which it must find.
func TestProofStreamSabotaged(t *testing.T) {
	for _, twin := range []struct {
		name, file string
		after      map[string]string
		found      func(StreamVerdict) int
	}{
		{
			"no dedupe", "internal/stream/live/judge.go",
			map[string]string{"func (j *judge) decide(r *Record) ruling {": "\tr.HasID = false"},
			func(v StreamVerdict) int { return v.Twice.Count },
		},
		{
			"nothing is recovered, and nobody is told", "internal/stream/live/catchup.go",
			map[string]string{"func (c *catchUp) meet() bool {": "\tif len(c.pieces) > 0 {\n\t\treturn true\n\t}"},
			func(v StreamVerdict) int { return v.Missed.Count },
		},
	} {
		t.Run(twin.name, func(t *testing.T) {
			o := streamed(t)
			o.Node = binary.Sabotaged(t, twin.file, twin.after)
			report, err := Watch(t.Context(), o)
			t.Log(report)
			if err != nil {
				t.Fatal(err)
			}
			if twin.found(report.Verdict) == 0 {
				t.Error("nobody noticed")
			}
		})
	}
}

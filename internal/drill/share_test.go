package drill

import (
	"testing"
	"time"
)

// shared are the options of a short run: three gateways and three forwarders
// that take each other for dead after 2.6 s.
func shared(t *testing.T) ShareOptions {
	t.Helper()
	return ShareOptions{
		Binary: postroad(t), Dir: keptDir(t), Gateways: 3, Forwarders: 3, Kills: 12, Pauses: 4,
		TTL: 2 * time.Second, Heartbeat: 400 * time.Millisecond, Margin: 600 * time.Millisecond,
		Connections: 18, Pace: 10 * time.Millisecond, Seed: seed(t), Logf: t.Logf,
	}
}

// Real processes on one directory: whatever is killed, or paused past its death
// and wakes, every acknowledged message is at a reader once, in order.
func TestShare(t *testing.T) {
	o := shared(t)
	if testing.Short() {
		o.Kills, o.Pauses = 4, 1
	}
	checkShare(t, o)
}

func checkShare(t *testing.T, o ShareOptions) {
	t.Helper()
	report, err := Share(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Verdict.OK() {
		t.Fatal("the promise is broken")
	}
	if kills := report.Killed["gateway"] + report.Killed["forward"]; kills < o.Kills || report.Paused < o.Pauses {
		t.Errorf("%d kills and %d pauses, want %d and %d", kills, report.Paused, o.Kills, o.Pauses)
	}
}

// The lanes of a process that ended are drained by another.
func TestTakeover(t *testing.T) {
	o := shared(t)
	o.Kills, o.Pauses = 2, 1
	checkTakeover(t, o)
}

func checkTakeover(t *testing.T, o ShareOptions) TakeoverReport {
	t.Helper()
	report, err := Takeover(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Verdict.OK() {
		t.Fatal("the promise is broken")
	}
	return report
}

package drill

import (
	"testing"
	"time"
)

// smallRing makes what a node keeps of a topic small, so that clients that come
// back need the hub's log.
const smallRing = "ring: {max_records: 200}"

func streamed(t *testing.T) StreamOptions {
	t.Helper()
	return StreamOptions{
		Binary: postroad(t), Dir: keptDir(t), Nodes: 3, Clients: 200, Faults: 5, Rest: time.Second,
		Keys: 24, Pace: 100 * time.Millisecond, Topic: topic, Settings: []string{smallRing}, Seed: seed(t), Logf: t.Logf,
	}
}

// Clients of all protocols, and nodes that are killed, asked to end and added:
// every acknowledged message is at each client of its subject once, in order,
// and nobody is told that something is missing.
func TestStream(t *testing.T) {
	checkStream(t, streamed(t))
}

func checkStream(t *testing.T, o StreamOptions) {
	t.Helper()
	report, err := Watch(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Fatalf("the promise is broken; the hub: %s", report.Hub)
	}
	if report.Killed == 0 || report.Drained == 0 || report.Added == 0 || report.Cuts == 0 || report.Backs < o.Clients/2 || report.Copies == 0 || report.Hub.Hidden == 0 {
		t.Errorf("too little has happened to prove anything: %s", report)
	}
}

//go:build proof

package drill

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// doorProofOptions are those of D2, in their full length.
func doorProofOptions(t *testing.T, front, fault string) DoorOptions {
	t.Helper()
	o := doorOptions(t, front, fault)
	d := DefaultDoorOptions()
	o.Rate, o.Lead, o.Length, o.Tail = d.Rate, d.Lead, d.Length, d.Tail
	return o
}

// table collects the rows of reports.
type table struct{ rows []string }

func (d *table) add(r DoorReport) { d.rows = append(d.rows, r.Row()) }

func (d *table) print(t *testing.T) {
	t.Helper()
	t.Log("\n" + DoorHead() + "\n" + strings.Join(d.rows, "\n"))
}

// TestProofDoorFaults is D2 and D3: every fault through Postroad's door and through
// every other proxy, with small bodies and, where a body can be cut, with large
// ones.
func TestProofDoorFaults(t *testing.T) {
	var all table
	defer func() { all.print(t) }()
	for _, fault := range doorFaults() {
		for _, body := range []int{100, 256 << 10} {
			if body > 100 && !fault.wired && fault.name != "kill" && fault.name != "stop" {
				continue
			}
			for _, front := range Fronts() {
				t.Run(fmt.Sprintf("%s/%d/%s", fault.name, body, front), func(t *testing.T) {
					o := doorProofOptions(t, front, fault.name)
					o.BodyBytes = body
					if front != doorFront {
						all.add(runDoor(t, o))
						return
					}
					report := checkDoor(t, o)
					all.add(report)
					checkCalm(t, report)
				})
			}
		}
	}
}

// checkCalm holds Postroad's door to what takes some seconds to show: where all
// origins are slow it soon stops asking a second one, an origin that comes back
// after a single fault is not left out again, none is for what is not its own, and
// all is well some seconds after any fault.
func checkCalm(t *testing.T, r DoorReport) {
	t.Helper()
	if r.FailedLate > 0 {
		t.Errorf("%d requests failed long after the fault", r.FailedLate)
	}
	switch r.Fault {
	case "both-slow", "stall", "stall-proxy":
		if r.Audit.ExecutedTwice.Count > r.During/4 {
			t.Errorf("%d executed twice while %d requests were sent: a storm of hedges", r.Audit.ExecutedTwice.Count, r.During)
		}
	case "kill", "stop":
		if r.LeftOut != 1 {
			t.Errorf("the origin was left out %d times for one fault: %q", r.LeftOut, r.Changes)
		}
	}
	switch r.Fault {
	case "stall", "stall-proxy", "reload":
		if r.LeftOut > 0 {
			t.Errorf("the origin was left out for what is not its own: %q", r.Changes)
		}
	}
}

// TestProofDoorStamps is D2 with stamps as origins and a reader of the hub as
// judge.
func TestProofDoorStamps(t *testing.T) {
	var all table
	defer func() { all.print(t) }()
	for _, fault := range doorFaults() {
		if fault.told {
			continue
		}
		for _, front := range Fronts() {
			t.Run(fault.name+"/"+front, func(t *testing.T) {
				o := doorProofOptions(t, front, fault.name)
				o.Gateways = true
				if front == doorFront {
					all.add(checkDoor(t, o))
					return
				}
				all.add(runDoor(t, o))
			})
		}
	}
}

// TestProofDoorFlapping has an origin come and go for a minute.
func TestProofDoorFlapping(t *testing.T) {
	o := doorProofOptions(t, doorFront, "flap")
	o.Length = time.Minute
	checkDoor(t, o)
}

// TestProofDoorMoves moves 5,000 WebSockets.
func TestProofDoorMoves(t *testing.T) {
	moveSockets(t, 5000, 250, 10*time.Minute)
}

// TestProofDoorManyConnections opens 60,000 WebSockets to one origin, over the
// range of ports that Linux comes with, from several addresses and to several: by
// one door where a process may have 120,500 files, else by as many doors as it
// takes.
func TestProofDoorManyConnections(t *testing.T) {
	binary, inside := inOwnNetwork(t)
	if !inside {
		return
	}
	const clients, ports = 60_000, 28_232
	for name, c := range map[string]crowded{
		"source addresses": {ports: ports, clients: clients, sources: 3, addresses: 1},
		"origin addresses": {ports: ports, clients: clients, addresses: 3},
	} {
		t.Run(name, func(t *testing.T) {
			whole := crewOf(c, filesAllowed(t))
			whole.fill(t, binary)
		})
	}
}

package drill

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// backendEnv makes the test binary a Backend.
const backendEnv = "DRILL_TEST_BACKEND"

// backendMain is a Backend as a process of its own, or some clients, which takes
// its arguments as the commands of the binary do.
func backendMain(args []string) int {
	if args[0] == socketsCommand {
		return socketsMain(args[1:])
	}
	fs := flag.NewFlagSet("backend", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "where to listen")
	record := fs.String("record", "", "file of what was executed")
	ready := fs.String("addresses-file", "", "file to say in where it listens")
	work := fs.Duration("work", 0, "how long a request takes")
	shared := fs.Bool("shared", false, "listen where others do")
	if err := fs.Parse(args[1:]); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var control func(string, string, syscall.RawConn) error
	if *shared {
		control = option(unix.SOL_SOCKET, unix.SO_REUSEPORT)
	}
	if err := RunBackend(ctx, *listen, *record, *ready, Behaviour{Work: *work}, control); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// backendCommand runs Backends.
func backendCommand(dir string) Binary {
	return Binary{Path: os.Args[0], Dir: dir, Through: []string{"env", backendEnv + "=1"}}
}

// doorOptions are those of a short drill.
func doorOptions(t *testing.T, front, fault string) DoorOptions {
	t.Helper()
	o := DefaultDoorOptions()
	o.Front, o.Fault, o.Seed, o.Logf = front, fault, seed(t), t.Logf
	dir := keptDir(t)
	o.Binary = Binary{Path: postroad(t), Dir: dir}
	o.Backend = backendCommand(dir)
	o.Rate, o.Lead, o.Length, o.Tail = 100, 300*time.Millisecond, 1200*time.Millisecond, 700*time.Millisecond
	return o
}

// runDoor does a drill. A program that is not installed skips it, which CI takes
// for a failure.
func runDoor(t *testing.T, o DoorOptions) DoorReport {
	t.Helper()
	report, err := Door(t.Context(), o)
	if errors.Is(err, ErrNotInstalled) {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// Every fault, short, through Postroad's door: nothing lost, nothing seen twice,
// nobody told that what was executed is not; and where no fault excuses it, not
// one request that failed.
func TestDoorFaults(t *testing.T) {
	for _, fault := range doorFaults() {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			o := doorOptions(t, doorFront, fault.name)
			if fault.wired {
				o.BodyBytes = 256 << 10
			}
			checkDoor(t, o)
		})
	}
}

// The sabotaged twin: a door that neither repeats nor asks a second origin does not
// keep from its clients that an origin is killed or stopped, and the drill says so.
func TestDoorFaultsSabotaged(t *testing.T) {
	for _, fault := range []string{"kill", "stop"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			o := doorOptions(t, doorFront, fault)
			o.Settings = []string{"  hedge: {enabled: false}", "  repeat: {share: 0, burst: 0}"}
			o.Work = 400 * time.Millisecond // twenty requests are with the origin
			report := runDoor(t, o)
			if fault == "kill" && report.Audit.FailedExecuted.Count == 0 {
				t.Error("an origin died with requests that nobody repeated, and none of them failed")
			}
			if fault == "stop" && report.Slowest < o.Length/2 {
				t.Errorf("an origin stood still for %v, nobody else was asked, and the slowest request took %v", o.Length, report.Slowest)
			}
		})
	}
}

// The same with stamps as origins, and a reader of the hub as judge.
func TestDoorStamps(t *testing.T) {
	for _, fault := range []string{"kill", "stop", "half-open"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			o := doorOptions(t, doorFront, fault)
			o.Gateways = true
			checkDoor(t, o)
		})
	}
}

// checkDoor does a drill with Postroad's door and holds it to its promises.
func checkDoor(t *testing.T, o DoorOptions) DoorReport {
	t.Helper()
	fault, err := faultNamed(o.Fault)
	if err != nil {
		t.Fatal(err)
	}
	report := runDoor(t, o)
	if !report.Audit.OK() {
		t.Error("the promise is broken")
	}
	// A door that is asked to end finishes what it has begun; who finds nobody there
	// was not heard.
	if o.Fault == "restart" && report.Audit.FailedExecuted.Count > 0 {
		t.Errorf("%d requests were executed and not answered, though the door was asked to end", report.Audit.FailedExecuted.Count)
	}
	if !fault.excused && (report.Failed > 0 || report.Audit.FailedExecuted.Count > 0) {
		t.Errorf("%d requests failed, %d of them were executed", report.Failed, report.Audit.FailedExecuted.Count)
	}
	return report
}

// Programs of others go through the same rig. What they lose is theirs; that the
// drill hits and its audit holds is looked at. One that repeats POSTs without a key
// is the audit's sabotaged twin: what it executes twice must be found seen twice.
func TestDoorPeers(t *testing.T) {
	for _, front := range []string{"haproxy", "nginx-retry", "caddy"} {
		t.Run(front, func(t *testing.T) {
			t.Parallel()
			o := doorOptions(t, front, "stop")
			o.Keyless = true
			report := runDoor(t, o)
			a := report.Audit
			if a.Lost.Count > 0 || a.Foreign.Count > 0 {
				t.Error("the drill itself is wrong")
			}
			if a.SeenTwice.Count != a.ExecutedTwice.Count {
				t.Error("a reader is not shown what is executed twice without a key")
			}
			if front == "nginx-retry" && a.SeenTwice.Count == 0 {
				t.Error("POSTs were repeated without a key, and none is seen twice")
			}
		})
	}
}

// WebSockets leave an origin that is drained, come back once it is released, and
// none of them ends otherwise.
func TestDoorMoves(t *testing.T) { moveSockets(t, 100, 50, 2*testLimit) }

// moveSockets moves clients at a rate of so many a second.
func moveSockets(t *testing.T, clients, rate int, limit time.Duration) {
	t.Helper()
	dir := keptDir(t)
	report, err := Move(t.Context(), MoveOptions{
		Binary: Binary{Path: postroad(t), Dir: dir}, Backend: backendCommand(dir),
		// What a busy machine does late is no failure: it would be one more change.
		Settings: []string{fmt.Sprintf("  streams: {move_rate: %d}", rate), "  dial_timeout: 20s", "  probe: {timeout: 20s}"},
		Clients:  clients, Limit: limit, Logf: t.Logf,
	})
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if report.Unasked > 0 && report.LeftOut == 0 {
		t.Errorf("%d connections ended though nothing changed", report.Unasked)
	}
	for _, m := range []Moved{report.Away, report.Back} {
		if wrong := m.Wrong(clients); wrong != "" {
			t.Error(wrong)
		}
	}
}

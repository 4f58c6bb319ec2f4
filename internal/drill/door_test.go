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
)

// backendEnv makes the test binary a Backend.
const backendEnv = "DRILL_TEST_BACKEND"

// backendMain is a Backend as a process of its own, which takes its arguments as
// the commands of the binary do.
func backendMain(args []string) int {
	fs := flag.NewFlagSet("backend", flag.ContinueOnError)
	listen := fs.String("listen", "127.0.0.1:0", "where to listen")
	record := fs.String("record", "", "file of what was executed")
	ready := fs.String("addresses-file", "", "file to say in where it listens")
	work := fs.Duration("work", 0, "how long a request takes")
	if err := fs.Parse(args[1:]); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := RunBackend(ctx, *listen, *record, *ready, Behaviour{Work: *work}); err != nil {
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
	o.Rate, o.Lead, o.Length, o.Tail = 100, 500*time.Millisecond, 1500*time.Millisecond, time.Second
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

// Programs of others go through the same rig. What they lose is theirs; that the
// drill hits and its audit holds is looked at.
func TestDoorPeers(t *testing.T) {
	for _, front := range Fronts()[1:] {
		t.Run(front, func(t *testing.T) {
			report := runDoor(t, doorOptions(t, front, "stop"))
			if report.Audit.Lost.Count > 0 || report.Audit.Foreign.Count > 0 {
				t.Error("the drill itself is wrong")
			}
		})
	}
}

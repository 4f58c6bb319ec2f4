package drill

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The promise itself: the real binary is killed under load, and every
// acknowledged message is at a reader exactly once.
func TestKill(t *testing.T) {
	o := DefaultKillOptions()
	o.Binary, o.Dir, o.Seed, o.Logf = postroad(t), t.TempDir(), seed(t), t.Logf
	if testing.Short() {
		o.Kills, o.Between = 3, 0
	}
	report, err := Kill(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Verdict.OK() || report.Hits < o.Kills || report.Between < o.Between {
		t.Fatal("the promise is broken")
	}
	keepOneOut(t, o)
}

// keepOneOut judges the same topic again with one record kept from the judge,
// which must be found: so the verdict before was not given blindly.
func keepOneOut(t *testing.T, o KillOptions) {
	t.Helper()
	ledger := NewLedger()
	b := Binary{Path: o.Binary, Dir: t.TempDir()}
	p, err := b.Start(t.Context(), DevArgs(filepath.Join(b.Dir, "data"))...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	load := NewLoad(ledger, LoadOptions{Topic: topic, Connections: 8, ValueBytes: 64, Patience: testLimit, Seed: o.Seed})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- load.Run(ctx, targets(p.Addresses)...) }()
	err = Until(ctx, testLimit, "some are acknowledged", func() (bool, error) { return load.Acknowledged() > 200, nil })
	cancel()
	if err := errors.Join(err, <-done, p.WaitDrained(t.Context(), testLimit)); err != nil {
		t.Fatal(err)
	}
	whole, sabotaged, n := ledger.Judge(), ledger.Judge(), 0
	err = b.Tail(t.Context(), p.Addresses.Hub, topic, func(r Record) error {
		whole.Saw(r)
		if n++; n != 100 {
			sabotaged.Saw(r)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if v := whole.Verdict(); !v.OK() {
		t.Errorf("with all records: %s", v)
	}
	if v := sabotaged.Verdict(); v.OK() || v.Lost.Count != 1 {
		t.Errorf("with one record kept out: %s", v)
	}
}

// The hub is killed instead: the breaker follows it, the stamp goes on
// accepting, and the same is judged.
func TestKillHub(t *testing.T) {
	o := HubOptions{Binary: postroad(t), Dir: t.TempDir(), Kills: 3, Connections: 16, Seed: seed(t), Logf: t.Logf}
	if testing.Short() {
		o.Kills = 1
	}
	report, err := KillHub(t.Context(), o)
	t.Log(report)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Verdict.OK() || len(report.Kills) != o.Kills {
		t.Fatal("the promise is broken")
	}
}

// A process that ends by itself is not mistaken for one that was killed, and
// one that cannot start says why.
func TestProcessThatEndsByItself(t *testing.T) {
	b := Binary{Path: postroad(t), Dir: t.TempDir()}
	file := filepath.Join(b.Dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := b.Start(t.Context(), DevArgs(filepath.Join(file, "data"))...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(err.Error(), "not a directory") {
		t.Fatalf("start on a file: %v", err)
	}
	p, err := b.Start(t.Context(), DevArgs(filepath.Join(b.Dir, "data"))...)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(p.cmd.Process.Pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Ended()
	if err := p.Kill(); err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Errorf("kill: %v", err)
	}
	if f, err := p.Flight(); err != nil || !f.Closed || f.Posts != 0 {
		t.Errorf("flight: %+v, %v", f, err)
	}
}

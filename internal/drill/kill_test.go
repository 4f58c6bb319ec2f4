package drill

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The promise itself: the real binary is killed under load, and every
// acknowledged message is at a reader exactly once. The drill's own sabotaged
// twin is in it: a second judge from whom one record is kept.
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
	if report.Early > 0 {
		t.Error("the status said that all was in the hub when it was not")
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
	if report.Early > 0 {
		t.Error("the status said that all was in the hub when it was not")
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

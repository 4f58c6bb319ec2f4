package bench

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestBacklog(t *testing.T) {
	o := BacklogOptions{Binary: buildPostroad(t), Dir: t.TempDir(), Rounds: 1, Messages: 2050, Bytes: 128, Connections: 2}
	r, err := Backlog(t.Context(), o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	payload := float64(2050 * 128)
	if r.Messages != 2050 || r.DiskBytes.Median < payload || r.DiskShare.Median != r.DiskBytes.Median/payload || r.Accept.Median <= 0 || r.Drain.Median < 0 {
		t.Errorf("%+v", r)
	}
	for _, m := range []MemoryFigures{r.Accepting, r.Restarted, r.Draining} {
		if m.Resident.Median < 1<<20 || m.Peak.Median < m.Resident.Median/2 {
			t.Errorf("memory: %+v", m)
		}
	}
	if r.Killed.Median <= 0 || r.Stopped.Median <= 0 {
		t.Errorf("first accepts: %+v, %+v", r.Killed, r.Stopped)
	}
	checkReport(t, r, o.Dir, "2050 messages of 128 B", "draining", "Q4", "Q5")
}

func TestBacklogReport(t *testing.T) {
	const mib = 1 << 20
	rounds := []backlogRound{
		{disk: 1200, accept: 3, killed: 5, stopped: 2, accepting: memory{mib, 2 * mib}, draining: memory{mib, 200 * mib}},
		{disk: 1100, accept: 1, killed: 4, stopped: 9, accepting: memory{3 * mib, 4 * mib}, draining: memory{mib, 2 * mib}},
	}
	r := backlogReport(Machine{}, BacklogOptions{}, load{messages: 10, bytes: 100}, rounds)
	if want := (Figure{1.15, 1.1, 1.2}); r.DiskShare != want {
		t.Errorf("share of the disk %v, want %v", r.DiskShare, want)
	}
	if r.Accepting.Peak != (Figure{3 * mib, 2 * mib, 4 * mib}) || r.Accepting.Resident != (Figure{2 * mib, mib, 3 * mib}) || r.Stopped != (Figure{5.5, 2, 9}) {
		t.Errorf("%+v", r)
	}
	var missed []string
	for _, g := range r.Goals() {
		if !g.Reached {
			missed = append(missed, g.Name)
		}
	}
	// One round with too much memory is a miss, whatever the others took.
	if len(missed) != 1 || !strings.Contains(missed[0], "draining") {
		t.Errorf("missed: %q", missed)
	}
}

func TestFitting(t *testing.T) {
	for _, tc := range []struct {
		wanted, size int
		free         int64
		want         int
	}{
		{100, 1024, 1 << 40, 100},
		{1 << 30, 1024, diskReserve + 3072*50, 50},
		{100, 1024, diskReserve - 1, 0},
		{100, 1024, 0, 0},
	} {
		if got := fitting(tc.wanted, tc.size, tc.free); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

func TestBacklogOptions(t *testing.T) {
	err := BacklogOptions{}.Validate()
	for _, want := range []string{"binary, dir:", "rounds:", "messages:", "bytes:", "connections:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	o := DefaultBacklogOptions()
	o.Binary, o.Dir = filepath.Join(t.TempDir(), "none"), t.TempDir()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := Backlog(t.Context(), o, Deps{}); err == nil {
		t.Error("a binary that is not there was measured")
	}
}

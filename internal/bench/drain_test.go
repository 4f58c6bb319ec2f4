package bench

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A backlog drained and measured by real processes, as small as it gets: the
// figures are there, and the share is that of the two rates.
func TestDrain(t *testing.T) {
	o := DrainOptions{Binary: buildPostroad(t), Dir: t.TempDir(), Rounds: 1, Messages: 3001, Bytes: 64, Peers: thisBinary(t, "plain").path}
	r, err := Drain(t.Context(), o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if r.First.Median <= 0 || r.All.Median < r.First.Median || r.Drain.Median < 0 || r.Bare == nil || r.BareClock.Median != 3001.0/2 || r.RecordBytes != 100 {
		t.Errorf("%+v", r)
	}
	if r.Bare.Median > 0 && r.Share.Median != r.Drain.Median/r.Bare.Median {
		t.Errorf("share %v of %v to %v", r.Share, r.Drain, r.Bare)
	}
	checkReport(t, r, o.Dir, "3001 messages of 64 B", "a bare producer", "F1")
}

// checkReport looks at what every report has in common.
func checkReport(t *testing.T, r interface{ Goals() []Goal }, dir string, wants ...string) {
	t.Helper()
	var text bytes.Buffer
	var err error
	switch r := r.(type) {
	case *DrainReport:
		err = r.Write(&text)
	case *BacklogReport:
		err = r.Write(&text)
	}
	if err != nil || len(r.Goals()) == 0 {
		t.Errorf("%v, goals %+v", err, r.Goals())
	}
	for _, want := range wants {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDrainReport(t *testing.T) {
	rounds := []drainRound{
		{first: 10, all: 100, drain: 80, bare: 100, bareClock: 90, recordBytes: 7},
		{first: 30, all: 300, drain: 50, bare: 200, bareClock: 190, recordBytes: 7},
		{first: 20, all: 200, drain: 90, bare: 100, bareClock: 110, recordBytes: 7},
	}
	r := drainReport(Machine{}, DrainOptions{Peers: "p"}, rounds)
	want := &DrainReport{
		Options: DrainOptions{Peers: "p"}, First: Figure{20, 10, 30}, All: Figure{200, 100, 300}, Drain: Figure{80, 50, 90},
		Bare: &Figure{100, 100, 200}, BareClock: &Figure{110, 90, 190}, Share: &Figure{0.8, 0.25, 0.9}, RecordBytes: 7,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, want %+v", r, want)
	}
	if goals := r.Goals(); len(goals) != 1 || goals[0].Reached || goals[0].Measured != 0.8 {
		t.Errorf("goals: %+v", goals)
	}
	alone := drainReport(Machine{}, DrainOptions{}, rounds)
	if alone.Share != nil || alone.Bare != nil || len(alone.Goals()) != 0 {
		t.Errorf("without peers: %+v", alone)
	}
}

func TestDrainOptions(t *testing.T) {
	err := DrainOptions{}.Validate()
	for _, want := range []string{"binary, dir:", "rounds:", "messages:", "bytes:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	o := DefaultDrainOptions()
	o.Binary, o.Dir = filepath.Join(t.TempDir(), "none"), t.TempDir()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	if _, err := Drain(t.Context(), o, Deps{}); err == nil {
		t.Error("a binary that is not there was measured")
	}
}

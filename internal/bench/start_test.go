package bench

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buildPostroad builds the binary whose processes are measured.
func buildPostroad(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "postroad")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", binary, "postroad/cmd/postroad")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build postroad: %v\n%s", err, out)
	}
	return binary
}

func TestStart(t *testing.T) {
	o := StartOptions{Binary: buildPostroad(t), Dir: t.TempDir(), Rounds: 1, Messages: 1500}
	r, err := Start(t.Context(), o, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Starts) != 3 || r.BinaryBytes < 1<<20 || len(r.Goals()) != 4 {
		t.Errorf("%+v", r)
	}
	for _, s := range r.Starts {
		if s.Listening.Median <= 0 || s.Answered.Median < s.Listening.Median || s.Shown.Median < s.Listening.Median {
			t.Errorf("%+v", s)
		}
	}
	var text bytes.Buffer
	if err := r.Write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{dataFresh, dataStopped, dataKilled, "P1", "1500 messages"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in the report:\n%s", want, text.String())
		}
	}
	if left, err := filepath.Glob(filepath.Join(o.Dir, "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartOptions(t *testing.T) {
	err := StartOptions{}.Validate()
	for _, want := range []string{"binary, dir:", "rounds:", "messages:"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	o := DefaultStartOptions()
	o.Binary, o.Dir = filepath.Join(t.TempDir(), "none"), "."
	if _, err := Start(t.Context(), o, Deps{}); err == nil {
		t.Error("a binary that is not there was started")
	}
}

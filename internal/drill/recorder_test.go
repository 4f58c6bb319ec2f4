package drill

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// recordingEnv makes the test binary a process that records and never ends.
const recordingEnv = "DRILL_TEST_RECORDING"

func recordForEver(path string) {
	r, err := NewRecorder(path)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for range 7 {
		r.RequestStarted()
	}
	r.GroupsSynced(4)
	r.Synced()
	r.Synced()
	r.Answered(202, true)
	r.Answered(503, false)
	for range 3 {
		r.ProduceStarted()
	}
	r.ProduceDone()
	fmt.Println("recorded")
	select {}
}

// The counters are there after SIGKILL, which no code of the process survives.
func TestRecorderSurvivesKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flight")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), recordingEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "recorded\n" {
		t.Errorf("the process said %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended by itself")
	}
	got, err := ReadFlight(path)
	want := Flight{PID: cmd.Process.Pid, Posts: 5, SyncedUnanswered: 3, Produces: 2, Answered: 2, Groups: 4}
	if err != nil || got != want {
		t.Errorf("read %+v, %v; want %+v", got, err, want)
	}
}

// An answer of unknown outcome makes the count of what is between sync and
// answer a lower bound, never too high.
func TestUnknownOutcomesAreNotCountedAsSynced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "flight")
	r, err := NewRecorder(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r.RequestStarted()
	}
	r.Answered(504, false) // gave up waiting, and then it was synced
	r.GroupsSynced(1)
	if f, err := ReadFlight(path); err != nil || f.SyncedUnanswered != 0 || f.Posts != 2 || f.Closed {
		t.Errorf("%+v, %v", f, err)
	}
	r.GroupsSynced(1)
	r.Synced()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if f, err := ReadFlight(path); err != nil || f.SyncedUnanswered != 1 || !f.Closed {
		t.Errorf("%+v, %v", f, err)
	}
	// A new process begins anew, in the same file.
	if _, err := NewRecorder(path); err != nil {
		t.Fatal(err)
	}
	if f, err := ReadFlight(path); err != nil || f != (Flight{PID: os.Getpid()}) {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestNilRecorderDoesNothing(t *testing.T) {
	var r *Recorder
	r.RequestStarted()
	r.Answered(202, true)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestForeignFileIsNoFlight(t *testing.T) {
	for _, page := range [][]byte{nil, []byte("x"), make([]byte, recorderSize), append([]byte(recorderMagic), 1)} {
		if _, err := parseFlight(page); !errors.Is(err, ErrRecorder) {
			t.Errorf("%d bytes: %v", len(page), err)
		}
	}
}

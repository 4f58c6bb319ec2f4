package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"postroad": func() { os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the command line as its users do. Beside testscript's own
// commands, scripts have
//
//	code N ARGS...   run postroad and expect exit code N
//	gateway FILE     start a fake gateway that answers as FILE says; see fakeGateway
//	admin FILE       start an admin listener whose status is FILE; see startAdmin
//	hub FILE         start a hub that holds the messages of FILE; see startHub
//	queuedir DIR     make a queue directory with one of everything; see copyQueue
//	flip FILE N      change a byte of a file
//	node FILE        wait for the stream node that writes its addresses to FILE
//	read FILE URL N  write (N lines of) what is at URL to FILE
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("POSTROAD_URL", "http://127.0.0.1:1")
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     expectCode,
			"gateway":  startGateway,
			"admin":    startAdmin,
			"hub":      startHub,
			"queuedir": copyQueue,
			"flip":     flipByte,
			"node":     awaitNode,
			"read":     readURL,
		},
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("UPDATE_SCRIPTS") != "",
	})
}

func expectCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: code N args...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("postroad", args[1:]...)
	got := 0
	var ee *exec.ExitError
	if errors.As(err, &ee) {
		got = ee.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// failingWriter is an output that is gone.
type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errors.New("gone") }

func TestExitCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, exitOK},
		{errors.New("anything"), exitFailed},
		{fmt.Errorf("act: %w", usagef("wrong")), exitUsage},
		{fmt.Errorf("act: %w", &lossError{"2 messages are gone"}), exitLoss},
	} {
		if got := exitCode(tc.err); got != tc.want {
			t.Errorf("exit code of %v: %d, want %d", tc.err, got, tc.want)
		}
	}
}

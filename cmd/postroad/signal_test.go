package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The first signal lets a command end by itself, with exit code 0 where
// nothing is left undone.
func TestFirstSignalDrains(t *testing.T) {
	addr, stop, err := runHub()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	if err := produce(addr, `{"id":1,"value":"shown"}`); err != nil {
		t.Fatal(err)
	}
	shown, code := make(chanWriter, 8), make(chan int, 1)
	var errs bytes.Buffer
	go func() {
		code <- run(context.Background(), []string{"tail", "--hub", addr, "--from", "beginning"}, nil, shown, &errs)
	}()
	if line := <-shown; !strings.Contains(line, "shown") {
		t.Errorf("shown %q", line)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != exitOK || errs.Len() > 0 {
		t.Errorf("exit code %d: %s", got, errs.String())
	}
}

// A request under way when the first signal comes is waited for, and the
// second signal does not wait.
func TestSecondSignalKills(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the connection goes unnoticed
		once.Do(func() { close(asked) })
		<-r.Context().Done()
	}))
	defer server.Close()
	cmd := exec.Command(exe)
	cmd.Args = []string{"postroad", "send", "--url", server.URL, "x"}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	<-asked
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case err := <-ended:
			var ee *exec.ExitError
			if !errors.As(err, &ee) {
				t.Fatalf("ended with %v", err)
			}
			if ws, ok := ee.Sys().(syscall.WaitStatus); !ok || !ws.Signaled() || ws.Signal() != syscall.SIGINT {
				t.Errorf("ended with %v, want it killed by the signal", err)
			}
			return
		case <-again.C: // until one arrives after the first was seen
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
}

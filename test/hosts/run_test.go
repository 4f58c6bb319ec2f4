package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/loopback"
)

// process is a program that runs, with what it has written.
type process struct {
	what string
	cmd  *exec.Cmd
	done chan struct{} // closed once it has ended, and err says how
	err  error

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

// Write keeps what the program writes.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// start runs a program without anything of the environment, which is how units and
// containers are started. It is killed at the end of the test where it still runs.
func start(t *testing.T, what string, args ...string) *process {
	t.Helper()
	p := &process{what: what, cmd: exec.Command(args[0], args[1:]...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr, p.cmd.Env = p, p, []string{"PATH=" + os.Getenv("PATH")}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.err = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-p.done
		if t.Failed() {
			t.Logf("%s wrote:\n%s", what, p.text())
		}
	})
	return p
}

func (p *process) tell(t *testing.T, signal os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Errorf("%s: %v", p.what, err)
	}
}

// ends waits until a process that was told to stop has, in order. After that time
// systemd and Docker would kill it.
func (p *process) ends(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case <-p.done:
		if p.err != nil {
			t.Errorf("%s: told to stop it ended with %v", p.what, p.err)
		}
	case <-time.After(within):
		t.Errorf("%s has not stopped within %v and would be killed", p.what, within)
	}
}

// await calls until nothing is wrong any more, or whoever is asked has ended.
func await(t *testing.T, p *process, what string, ask func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-p.done:
			t.Fatalf("%s: %s has ended, %v: %v", what, p.what, p.err, err)
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-again.C:
		}
	}
}

// plain keeps no connections, which would be goroutines that are left.
var plain = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}

// answer is what a URL answers; err where the status is another one.
func answer(ctx context.Context, method, url, body string, status int) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := plain.Do(req)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return "", err
	}
	if res.StatusCode != status {
		return "", fmt.Errorf("%s %s: %s: %s", method, url, res.Status, b)
	}
	return string(b), nil
}

// ready waits until a process says so on its admin listener.
func ready(t *testing.T, p *process, admin string) {
	t.Helper()
	await(t, p, "ready", func(ctx context.Context) error {
		_, err := answer(ctx, http.MethodGet, "http://"+admin+"/readyz", "", http.StatusOK)
		return err
	})
}

// accepted posts a message until it is taken.
func accepted(t *testing.T, p *process, at, text string) {
	t.Helper()
	await(t, p, "a message", func(ctx context.Context) error {
		_, err := answer(ctx, http.MethodPost, "http://"+at+"/v1/topics/messages/messages?key=a", text, http.StatusAccepted)
		return err
	})
}

// addresses are ones that nobody listens at.
func addresses(t *testing.T, n int) []string {
	t.Helper()
	ports, err := loopback.Ports(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	found := make([]string, n)
	for i, p := range ports {
		found[i] = fmt.Sprintf("127.0.0.1:%d", p)
	}
	return found
}

// hub is the embedded one, and has the topic that the settings name.
func hub(t *testing.T) string {
	t.Helper()
	address := addresses(t, 1)[0]
	p := start(t, "hub", built.Path(t), "hub", "--listen", address, "--data", t.TempDir())
	await(t, p, "hub", func(context.Context) error {
		if !strings.Contains(p.text(), "hub "+address) {
			return errors.New("it has not said where it listens")
		}
		return nil
	})
	return address
}

//go:build proof

package keepalived

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// station is a machine with its door and its keepalived, each of which may be down.
type station struct {
	*machine
	door, keeper *process
}

func newStation(t *testing.T, name, address, peer string, priority int) *station {
	t.Helper()
	return &station{machine: newMachine(t, name, address, peer, priority)}
}

// startDoor starts the machine's door with the file that is shipped, whose stamps
// are the one of the test.
func (m *station) startDoor(t *testing.T) {
	t.Helper()
	m.door = start(t, "door of "+m.name, "ip", "netns", "exec", m.name, os.Getenv(insideEnv), "door", "--config", filepath.Join(deploy, "door.yaml"),
		"--set", "door.origins[0].url=http://"+stamp+":8081", "--set", "door.origins[1].url=http://"+stamp+":8081", "--set", "door.origins[0].stream=", "--set", "door.origins[1].stream=")
}

func (m *station) startKeeper(t *testing.T) {
	t.Helper()
	file := func(name string) string { return filepath.Join(m.dir, name) }
	m.keeper = start(t, "keepalived of "+m.name, "ip", "netns", "exec", m.name, "keepalived", "--dont-fork", "--log-console", "--vrrp",
		"--use-file", m.conf, "--pid", file("pid"), "--vrrp_pid", file("vrrp"))
}

// has says whether the address is the machine's.
func (m *station) has(t *testing.T) bool {
	t.Helper()
	return strings.Contains(ip(t, "-n", m.name, "-brief", "addr", "show", "eth0"), " "+shared+"/")
}

// process is a program that runs, with what it has written.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer // guarded by mu
}

func start(t *testing.T, what, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", what, p.text())
		}
	})
	return p
}

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

// kill ends the program and its children as a power cut would.
func (p *process) kill() {
	if p == nil {
		return
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// end asks the program to end.
func (p *process) end() { _ = p.cmd.Process.Signal(syscall.SIGTERM) }

// await waits for a condition, a generous time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// answers says whether a URL answers 200.
func answers(url string) bool {
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(url)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

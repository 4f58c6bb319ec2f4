package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

// child is a process of this program.
type child struct {
	cmd  *exec.Cmd
	file string // its addresses
	done chan error

	mu  sync.Mutex
	out bytes.Buffer // guarded by mu
}

func (c *child) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.Write(b)
}

func (c *child) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out.String()
}

// startChild starts a command in a process of its own; it is killed with the test.
func startChild(t *testing.T, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe), file: filepath.Join(t.TempDir(), "addresses.json"), done: make(chan error, 1)}
	c.cmd.Args = append([]string{"postroad"}, append(args, "--addresses-file", c.file)...)
	c.cmd.Stdout, c.cmd.Stderr = c, c
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		<-c.done
		if t.Failed() {
			t.Logf("postroad %s wrote:\n%s", strings.Join(args, " "), c.text())
		}
	})
	return c
}

// addresses are where a child listens, once it does.
type addresses struct {
	Admin, Door string
	Gateways    map[string]string
}

func (c *child) addresses(t *testing.T) addresses {
	t.Helper()
	var a addresses
	eventually(t, "addresses of "+strings.Join(c.cmd.Args, " "), func() error {
		b, err := os.ReadFile(c.file)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &a)
	})
	return a
}

func (c *child) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end waits for the process to end by itself.
func (c *child) end(t *testing.T) {
	t.Helper()
	select {
	case err := <-c.done:
		c.done <- err
		if err != nil {
			t.Errorf("ended: %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
}

func eventually(t *testing.T, what string, try func() error) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); ; <-tick.C {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %s: %v", what, err)
		}
	}
}

// startGatewayProcess starts a gateway, which needs no hub.
func startGatewayProcess(t *testing.T, name string) (*child, string) {
	t.Helper()
	c := startChild(t, "gateway", "--set", "stamp.name="+name, "--set", "http.listen=127.0.0.1:0", "--set", "admin.listen=127.0.0.1:0",
		"--set", "queue.dir="+t.TempDir(), "--set", "queue.unsafe_file_system=true", "--set", "hub.brokers=127.0.0.1:1")
	return c, c.addresses(t).Gateways[name]
}

// doorFile is a file of settings over origins by name and URL, in the order of
// their priority.
func doorFile(origins ...string) string {
	var b strings.Builder
	b.WriteString("http: {listen: '127.0.0.1:0'}\nadmin: {listen: '127.0.0.1:0'}\ndoor:\n  health: {restore: {ramp: 0s}}\n  origins:\n")
	for i := 0; i+1 < len(origins); i += 2 {
		fmt.Fprintf(&b, "    - {name: %s, url: '%s', priority: %d}\n", origins[i], origins[i+1], i/2+1)
	}
	return b.String()
}

func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// postThrough sends a message, each time over a new connection, and returns the
// origin that took it.
func postThrough(door, value string) (origin string, err error) {
	req, err := http.NewRequest(http.MethodPost, door+"/v1/topics/messages/messages", strings.NewReader(value))
	if err != nil {
		return "", err
	}
	c := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode/100 != 2 {
		return "", fmt.Errorf("answered %s: %s", res.Status, body)
	}
	return res.Header.Get("Postroad-Origin"), nil
}

// sentOver sends one message after the other until stop is called, which returns
// how many were accepted and the first that was not.
func sentOver(door string) (stop func() (int, error)) {
	quit, result := make(chan struct{}), make(chan error, 1)
	n := 0
	go func() {
		for {
			select {
			case <-quit:
				result <- nil
				return
			default:
			}
			if _, err := postThrough(door, "load"); err != nil {
				result <- fmt.Errorf("message %d: %w", n, err)
				return
			}
			n++
		}
	}()
	return func() (int, error) {
		close(quit)
		err := <-result
		return n, err
	}
}

// ctl runs an order and returns what it prints.
func ctl(t *testing.T, admin string, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	args = append(append([]string{"door", "ctl"}, args...), "--admin", admin)
	if code := run(context.Background(), args, nil, &out, &errs); code != exitOK {
		t.Fatalf("postroad %s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}

// goesTo waits until messages go to an origin; none may fail on the way.
func goesTo(t *testing.T, door, want string) {
	t.Helper()
	eventually(t, "messages to go to "+want, func() error {
		origin, err := postThrough(door, "x")
		if err != nil {
			t.Fatal(err)
		}
		if origin != want {
			return fmt.Errorf("went to %s", origin)
		}
		return nil
	})
}

// A front door over two gateways, each a process: orders, new settings by file and
// by signal, bad settings, a gateway that dies, all while messages are sent, of
// which none is refused.
func TestDoorOverTwoGateways(t *testing.T) {
	onpremProcess, onprem := startGatewayProcess(t, "onprem")
	_, cloud := startGatewayProcess(t, "cloud")
	file := filepath.Join(t.TempDir(), "door.yaml")
	replaceFile(t, file, doorFile("onprem", onprem, "cloud", cloud))
	d := startChild(t, "door", "--config", file)
	a := d.addresses(t)
	eventually(t, "the door to be ready", func() error { return read(io.Discard, a.Admin+"/readyz", -1) })
	goesTo(t, a.Door, "onprem")
	stop := sentOver(a.Door)

	if got := ctl(t, a.Admin, "drain", "onprem"); got != "gateways/onprem: draining\n" {
		t.Errorf("drain: %q", got)
	}
	goesTo(t, a.Door, "cloud")
	if got := ctl(t, a.Admin, "release", "gateways/onprem"); !strings.HasPrefix(got, "gateways/onprem: ") || strings.Contains(got, "draining") {
		t.Errorf("release: %q", got)
	}
	goesTo(t, a.Door, "onprem")
	if got := ctl(t, a.Admin, "weight", "onprem", "0"); !strings.Contains(got, "at 0 %") {
		t.Errorf("weight: %q", got)
	}
	goesTo(t, a.Door, "cloud")
	ctl(t, a.Admin, "weight", "onprem", "100")
	goesTo(t, a.Door, "onprem")
	if got := ctl(t, a.Admin, "hold", "onprem"); got != "gateways/onprem: held\n" {
		t.Errorf("hold: %q", got)
	}
	goesTo(t, a.Door, "cloud")
	ctl(t, a.Admin, "release", "onprem")

	replaceFile(t, file, doorFile("cloud", cloud, "onprem", onprem)) // found by itself
	goesTo(t, a.Door, "cloud")
	replaceFile(t, file, "door: {origins: [{name: a b, url: 'ftp://x', weigh: 1}]}\nhttp: {listen: 8080}\n")
	d.signal(t, syscall.SIGHUP)
	eventually(t, "every problem in the log", func() error {
		for _, want := range []string{`door.origins[0].name`, `door.origins[0].url`, `did you mean weight?`, `http.listen`, "the old ones stay"} {
			if !strings.Contains(d.text(), want) {
				return fmt.Errorf("no %q", want)
			}
		}
		return nil
	})
	goesTo(t, a.Door, "cloud")
	replaceFile(t, file, doorFile("onprem", onprem, "cloud", cloud))
	d.signal(t, syscall.SIGHUP)
	goesTo(t, a.Door, "onprem")

	if err := onpremProcess.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	goesTo(t, a.Door, "cloud")
	if n, err := stop(); err != nil || n == 0 {
		t.Errorf("after %d messages: %v", n, err)
	}
	checkShown(t, a.Admin)
	d.signal(t, syscall.SIGTERM)
	d.end(t)
}

// checkShown looks at what ctl shows of the door whose onprem is dead.
func checkShown(t *testing.T, admin string) {
	t.Helper()
	eventually(t, "the dead one to be shown", func() error {
		if s := ctl(t, admin, "show"); !strings.Contains(s, "gateways  REDUCED  1 of 2 origins take requests") || !strings.Contains(s, "onprem") {
			return errors.New(s)
		}
		return nil
	})
	var state doorState
	if err := json.Unmarshal([]byte(ctl(t, admin, "show", "--json")), &state); err != nil || len(state.Groups) != 1 || len(state.Groups[0].Origins) != 2 {
		t.Errorf("show --json: %v %+v", err, state)
	}
	events := ctl(t, admin, "events", "--limit", "1000")
	for _, want := range []string{"gateways/onprem  healthy -> draining", "gateways/onprem  order: hold", "reload"} {
		if !strings.Contains(events, want) {
			t.Errorf("no %q in the events\n%s", want, events)
		}
	}
	if n := strings.Count(ctl(t, admin, "events", "-n", "2"), "\n"); n != 2 {
		t.Errorf("%d events of 2", n)
	}
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"door", "ctl", "drain", "nobody", "--admin", admin}, nil, &out, &errs); code != exitUsage ||
		!strings.Contains(errs.String(), `"nobody": no such origin; there are gateways/onprem, gateways/cloud`) {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

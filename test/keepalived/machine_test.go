package keepalived

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Addresses of the network of the test: the one that moves, the stamp and the
// client.
const (
	shared = "192.0.2.10"
	stamp  = "192.0.2.21"
)

// insideEnv tells a process of this test that it has namespaces of its own, and
// where the binary under test is.
const insideEnv = "KEEPALIVED_BINARY"

// inOwnNetwork runs the test again, in a process whose network and mounts are
// nobody else's, and reports whether this is that process. Real root is needed where
// keepalived is to run its check, whose rights it sets.
func inOwnNetwork(t *testing.T, root bool) bool {
	t.Helper()
	if os.Getenv(insideEnv) != "" {
		return true
	}
	needs(t, "keepalived", "curl", "ip")
	const own = unix.CLONE_NEWNET | unix.CLONE_NEWNS
	out, err := again(t, own)
	if errors.Is(err, syscall.EPERM) && !root {
		out, err = again(t, own|unix.CLONE_NEWUSER)
	}
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		missing(t, fmt.Sprintf("NO ADDRESS WAS MOVED: root is needed for networks in which keepalived runs: %v", err))
	}
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return false
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin") // not in everybody's
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			missing(t, "NO ADDRESS WAS MOVED: "+p+" is not installed")
		}
	}
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

func again(t *testing.T, flags uintptr) ([]byte, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), insideEnv+"="+built.Path(t))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd.CombinedOutput()
}

func ip(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// network makes a switch, to which machines are added; the test's own process is on
// it as client and stamp. There is no way out of it.
func network(t *testing.T) {
	t.Helper()
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := unix.Mount("none", "/run", "tmpfs", 0, "size=16m"); err != nil { // ip and keepalived write there
		t.Fatalf("mount a tmpfs: %v", err)
	}
	ip(t, "link", "set", "lo", "up")
	ip(t, "link", "add", "switch", "type", "bridge")
	ip(t, "link", "set", "switch", "up")
	ip(t, "addr", "add", stamp+"/24", "dev", "switch")
	if routes := ip(t, "route", "show", "default"); routes != "" {
		t.Fatalf("there is a way out: %s", routes)
	}
}

// machine is a namespace with the configuration of its keepalived.
type machine struct {
	name, address string
	dir, conf     string
}

func newMachine(t *testing.T, name, address, peer string, priority int) *machine {
	t.Helper()
	m := &machine{name: name, address: address, dir: t.TempDir()}
	ip(t, "netns", "add", name)
	ip(t, "link", "add", "to-"+name, "type", "veth", "peer", "name", "eth0", "netns", name)
	ip(t, "link", "set", "to-"+name, "master", "switch", "up")
	for _, dev := range []string{"lo", "eth0"} {
		ip(t, "-n", name, "link", "set", dev, "up")
	}
	ip(t, "-n", name, "addr", "add", address+"/24", "dev", "eth0")
	m.conf = filepath.Join(m.dir, "keepalived.conf")
	check, err := filepath.Abs(filepath.Join(deploy, "check-door"))
	if err != nil {
		t.Fatal(err)
	}
	writeConf(t, m.conf, map[string]string{
		"OWN": address, "PEER": peer, "PRIORITY": fmt.Sprint(priority), "CHECK_USER": "root", "CHECK": check + " http://127.0.0.1:9600/readyz http://127.0.0.1:8080/healthz",
	})
	return m
}

// writeConf is the configuration as shipped, but for definitions at its top.
func writeConf(t *testing.T, path string, definitions map[string]string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, "keepalived.conf"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for name, value := range definitions {
		found := false
		for i, line := range lines {
			if strings.HasPrefix(line, "$"+name+"=") {
				lines[i], found = "$"+name+"="+value, true
			}
		}
		if !found {
			t.Fatalf("the configuration does not define $%s", name)
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

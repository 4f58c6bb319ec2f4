package drill

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// insideEnv tells a process of this test that it has a network of its own, and
// where the binary under test is.
const insideEnv = "DRILL_TEST_NETWORK"

// inOwnNetwork runs the test again, in a process whose network nobody else sees
// and that leads nowhere, and reports whether this is that process.
func inOwnNetwork(t *testing.T) (binary string, inside bool) {
	t.Helper()
	if path := os.Getenv(insideEnv); path != "" {
		loopbackUp(t)
		return path, true
	}
	path := postroad(t)
	out, err := againInside(t, path, unix.CLONE_NEWUSER|unix.CLONE_NEWNET)
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		out, err = againInside(t, path, unix.CLONE_NEWNET) // as root it goes without
	}
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		missing := fmt.Sprintf("NO NAMESPACES: root, or user namespaces, are needed for a network of its own: %v", err)
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	t.Logf("in a network of its own:\n%s", out)
	if err != nil {
		t.Error(err)
	}
	return "", false
}

func againInside(t *testing.T, binary string, flags uintptr) ([]byte, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=20m")
	cmd.Env = append(os.Environ(), insideEnv+"="+binary)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if flags&unix.CLONE_NEWUSER != 0 {
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return cmd.CombinedOutput()
}

// loopbackUp switches on the one interface that a new network has.
func loopbackUp(t *testing.T) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	req.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req); err != nil {
		t.Fatalf("switch on the loopback interface: %v", err)
	}
}

// crowded is a world with so few ports that connections run out of them.
type crowded struct {
	// ports is how many there are for each source address, clients how many
	// WebSockets are opened, sources and addresses how many addresses the door
	// connects from and to.
	ports, clients, sources, addresses int
}

// loopbacks are n addresses of the loopback interface.
func loopbacks(network, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("127.%d.0.%d", network, i+1)
	}
	return list
}

// limitPorts makes the system choose ports among n.
func limitPorts(t *testing.T, n int) {
	t.Helper()
	const first = 20000
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", first, first+n-1), 0); err != nil {
		t.Fatalf("limit the ports: %v", err)
	}
}

// crowd starts a door before one origin and gives it clients.
func (c crowded) crowd(t *testing.T, binary string) (*Sockets, *Front, *Process) {
	t.Helper()
	dir := t.TempDir()
	backends := backendCommand(dir)
	p := c.origin(t, &backends)
	f := c.door(t, &Binary{Path: binary, Dir: dir})
	limitPorts(t, c.ports) // none of which are listened at
	s, err := NewSockets(SocketsOptions{URL: f.URL(), Clients: c.clients, Sources: c.from(c.clients), Control: latePort})
	if err != nil {
		t.Fatal(err)
	}
	return s, f, p
}

// crowdedAddress is every address of the origin.
const crowdedAddress = "0.0.0.0:9000"

// origin starts a process of the one origin, which may have several.
func (c crowded) origin(t *testing.T, backends *Binary) *Process {
	t.Helper()
	p, err := backends.Start(t.Context(), "backend", "--listen", crowdedAddress, "--record", filepath.Join(backends.Dir, "record"), "--shared")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		select {
		case <-p.Ended(): // the test has ended it
		default:
			stopped(t, p.Stop)
		}
	})
	return p
}

// door starts a door before the origin.
func (c crowded) door(t *testing.T, binary *Binary) *Front {
	t.Helper()
	var urls []string
	for _, a := range loopbacks(2, c.addresses) {
		urls = append(urls, fmt.Sprintf("%q", "http://"+a+":9000"))
	}
	sources := ""
	if c.sources > 0 {
		sources = "source_addresses: [" + strings.Join(loopbacks(3, c.sources), ", ") + "]"
	}
	f, err := NewFront(t.Context(), binary, doorFront, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.kind.config = func(f *Front) string { return crowdConfig(f, urls, sources) }
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopped(t, f.Stop) })
	return f
}

// from are addresses enough for so many clients of one door.
func (c crowded) from(clients int) []string { return loopbacks(1, clients/(c.ports/2)+1) }

// latePort has the system choose a port when it knows the other end. Ports that
// are chosen before belong to nobody else, wherever that connects to.
func latePort(network, address string, c syscall.RawConn) error {
	return option(unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT)(network, address, c)
}

// option switches an option of a socket on.
func option(level, name int) func(network, address string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if ctl := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, name, 1) }); ctl != nil {
			return ctl
		}
		return err
	}
}

func stopped(t *testing.T, stop func() error) {
	t.Helper()
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// crowdConfig has one origin with several addresses.
func crowdConfig(f *Front, urls []string, sources string) string {
	return fmt.Sprintf(`http: {listen: %q, clients: {connections: 0, connections_per_address: 0}}
admin: {listen: %q}
door:
  groups:
    streams:
      origins:
        - {name: first, urls: [%s], %s}
  routes:
    - {paths: ["/"], group: streams, kind: stream}
`, f.address, f.admin, strings.Join(urls, ", "), sources)
}

// One address of the door's and one of the origin's have one range of ports
// between them, and no more connections than that. That is the door's want and no
// fault of the origin's: it stays healthy, and who is connected stays so. (The same
// look does see an origin that fails.)
func TestDoorRunsOutOfPorts(t *testing.T) {
	binary, inside := inOwnNetwork(t)
	if !inside {
		return
	}
	c := crowded{ports: 300, clients: 500, addresses: 1}
	s, front, origin := c.crowd(t, binary)
	stop := running(t, s)
	defer stop()
	connected := 0
	err := Until(t.Context(), testLimit, "the ports are used up, and were for a while", func() (bool, error) {
		failed, _ := s.Failed()
		connected = s.At()["first"]
		return failed >= 10*c.clients && connected > c.ports/2, nil
	})
	if _, last := s.Failed(); err != nil || connected > c.ports {
		t.Errorf("%d connected over %d ports: %v; %v, %v", connected, c.ports, s.At(), err, last)
	}
	if ended := s.Ended(time.Time{}); len(ended) > 0 {
		t.Errorf("%d connections that were made have ended", len(ended))
	}
	if out := leftOut(t, front); len(out) > 0 {
		t.Errorf("the origin was left out for want of ports: %v", out)
	}
	t.Logf("%d of %d WebSockets over %d ports", connected, c.clients, c.ports)
	if err := origin.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := Until(t.Context(), testLimit, "the origin is left out", func() (bool, error) { return len(leftOut(t, front)) > 0, nil }); err != nil {
		t.Errorf("an origin that is killed: %v", err)
	}
	if len(s.Ended(time.Time{})) == 0 {
		t.Error("no connection has ended with the origin")
	}
}

// leftOut are the times when a door isolated the origin.
func leftOut(t *testing.T, front *Front) []doorChange {
	t.Helper()
	changes, err := front.changesOf(t.Context(), originNames[0])
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(changes, func(c doorChange) bool { return c.To != suspect })
}

// Several addresses, of the door's or of the origin's, have a range each.
func TestDoorManyConnections(t *testing.T) {
	binary, inside := inOwnNetwork(t)
	if !inside {
		return
	}
	for name, c := range map[string]crowded{
		"source addresses": {ports: 300, clients: 700, sources: 3, addresses: 1},
		"origin addresses": {ports: 300, clients: 700, addresses: 3},
	} {
		t.Run(name, func(t *testing.T) { c.fill(t, binary) })
	}
}

// fill connects all clients.
func (c crowded) fill(t *testing.T, binary string) {
	s, _, _ := c.crowd(t, binary)
	stop := running(t, s)
	defer stop()
	if err := s.WaitAll(t.Context(), 4*testLimit, at("first")); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d WebSockets to one origin over ranges of %d ports; %v", c.clients, c.ports, s.At())
}

// running lets clients connect until stop is called.
func running(t *testing.T, s *Sockets) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

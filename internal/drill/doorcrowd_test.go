package drill

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// socketsCommand makes the test binary the clients of a door. One process may not
// have as many open files as a crowd needs.
const socketsCommand = "sockets"

// socketsState is what clients in a process of their own say of themselves.
type socketsState struct {
	At            map[string]int
	Failed, Ended int
	Last          string
}

// socketsMain runs clients until it is asked to end, and writes how they are to a
// file, over and over.
func socketsMain(args []string) int {
	fs := flag.NewFlagSet(socketsCommand, flag.ContinueOnError)
	url := fs.String("url", "", "the door")
	clients := fs.Int("clients", 0, "how many")
	sources := fs.String("sources", "", "addresses to come from, with commas")
	state := fs.String("state", "", "file to write their state to")
	ready := fs.String("addresses-file", "", "file to make once they run")
	if err := fs.Parse(args); err != nil {
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s, err := NewSockets(SocketsOptions{URL: *url, Clients: *clients, Sources: strings.Split(*sources, ","), Control: latePort, Dials: 8})
	if err == nil {
		err = replaceFile(*ready, []byte("{}"))
	}
	if err == nil {
		err = s.tell(ctx, *state)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// replaceFile writes a file so that who reads it finds all of it.
func replaceFile(name string, text []byte) error {
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}

// tell runs clients and writes how they are.
func (s *Sockets) tell(ctx context.Context, file string) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx)
	}()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		failed, last := s.Failed()
		text, err := json.Marshal(socketsState{s.At(), failed, len(s.Ended(time.Time{})), fmt.Sprint(last)})
		if err == nil {
			err = replaceFile(file, text)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			<-done
			return nil
		case <-tick.C:
		}
	}
}

// crew is a crowd in several processes: doors, processes of the one origin, and
// of clients, none of which has more files than it may open.
type crew struct {
	crowded
	doors, perDoor int
	origins        int
	states         []string
}

// crewOf divides a crowd by the files that a process may have: a door needs two
// for each client, everybody else one.
func crewOf(c crowded, files int) crew {
	const spare = 500
	most := files - spare
	doors := (2*c.clients + most - 1) / most
	return crew{
		crowded: c, doors: doors, perDoor: (c.clients + doors - 1) / doors,
		origins: 1 + c.clients/(most*3/4), // the system spreads them by chance
	}
}

// fill connects all clients.
func (c *crew) fill(t *testing.T, binary string) {
	dir := t.TempDir()
	backends := backendCommand(dir)
	for range c.origins {
		c.origin(t, &backends)
	}
	var doors []*Front
	for i := range c.doors {
		sub := Binary{Path: binary, Dir: filepath.Join(dir, fmt.Sprintf("door-%d", i))}
		if err := os.Mkdir(sub.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		doors = append(doors, c.door(t, &sub))
	}
	limitPorts(t, c.ports) // none of which are listened at
	left := c.clients
	for _, f := range doors {
		n := min(c.perDoor, left)
		left -= n
		state := filepath.Join(f.dir, "state")
		c.states = append(c.states, state)
		p, err := backends.Start(t.Context(), socketsCommand, "--url", f.URL(), "--clients", fmt.Sprint(n), "--sources", strings.Join(c.from(n), ","), "--state", state)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stopped(t, p.Stop) })
	}
	t.Logf("%d clients, %d doors, the origin in %d processes", c.clients, len(c.states), c.origins)
	var all socketsState
	err := Until(t.Context(), 20*testLimit, fmt.Sprintf("%d clients are connected", c.clients), func() (done bool, err error) {
		all, err = c.state()
		return all.At["first"] == c.clients, err
	})
	if err != nil || all.Ended > 0 {
		t.Fatalf("%v: %+v", err, all)
	}
	t.Logf("%d WebSockets to one origin over ranges of %d ports, %d attempts failed on the way", all.At["first"], c.ports, all.Failed)
}

// state adds up what the clients say.
func (c *crew) state() (all socketsState, err error) {
	all.At = make(map[string]int)
	for _, file := range c.states {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // not yet
		}
		var one socketsState
		if err == nil {
			err = json.Unmarshal(text, &one)
		}
		if err != nil {
			return all, err
		}
		for origin, n := range one.At {
			all.At[origin] += n
		}
		all.Failed, all.Ended = all.Failed+one.Failed, all.Ended+one.Ended
		if one.Failed > 0 {
			all.Last = one.Last
		}
	}
	return all, nil
}

// A crowd that is spread over processes is whole, and no process has more files
// than it may.
func TestCrewOf(t *testing.T) {
	for _, c := range []struct{ clients, files, doors int }{
		{60_000, 20_000, 7}, {60_000, 1 << 20, 1}, {60_000, 120_500, 1}, {60_000, 120_499, 2}, {100, 1024, 1}, {1000, 1024, 4},
	} {
		got := crewOf(crowded{clients: c.clients}, c.files)
		if got.doors != c.doors || got.doors*got.perDoor < c.clients || 2*got.perDoor > c.files-500+2 || got.origins*(c.files-500) < c.clients {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// A crowd in several processes, small, over few ports.
func TestDoorManyConnectionsOfManyProcesses(t *testing.T) {
	binary, inside := inOwnNetwork(t)
	if !inside {
		return
	}
	c := crewOf(crowded{ports: 300, clients: 700, sources: 3, addresses: 1}, 1024)
	c.fill(t, binary)
}

// filesAllowed is how many files a process may have.
func filesAllowed(t *testing.T) int {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Max, 1<<30))
}

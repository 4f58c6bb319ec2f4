//go:build proof

package keepalived

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// sender sends one message after the other to the shared address, each until it is
// accepted, as docs/clients.md says.
type sender struct {
	mu       sync.Mutex
	accepted int           // guarded by mu, as all below
	failed   int           // attempts
	longest  time.Duration // from the first attempt of a message to its acceptance
	why      map[string]int
}

func (s *sender) run(ctx context.Context) {
	c := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for n := 0; ctx.Err() == nil; n++ {
		start := time.Now()
		for {
			err := sendOnce(c, n)
			s.mu.Lock()
			if err == nil {
				s.accepted++
				s.longest = max(s.longest, time.Since(start))
				s.mu.Unlock()
				break
			}
			s.failed++
			s.why[err.Error()]++
			s.mu.Unlock()
			if time.Since(start) > time.Minute {
				return
			}
			<-time.After(50 * time.Millisecond)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func sendOnce(c *http.Client, n int) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+shared+":8080/v1/topics/messages/messages?key=k", strings.NewReader(strconv.Itoa(n)))
	if err != nil {
		return err
	}
	req.Header.Set("Idempotency-Key", fmt.Sprintf("message-%d", n))
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("answered %d", res.StatusCode)
	}
	return nil
}

// took returns what was measured since it was asked last.
func (s *sender) took() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf("%d accepted so far, %d attempts failed, one message took %v at most %v", s.accepted, s.failed, s.longest.Round(time.Millisecond), s.why)
	s.failed, s.longest, s.why = 0, 0, map[string]int{}
	return text
}

func (s *sender) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// The one address moves from door to door, as doors and machines fail or are
// stopped, and everything that was accepted is kept once.
func TestProofAddressMoves(t *testing.T) {
	if !inOwnNetwork(t, true) {
		return
	}
	network(t)
	admin := startStamp(t)
	one := newStation(t, "one", "192.0.2.11", "192.0.2.12", 110)
	two := newStation(t, "two", "192.0.2.12", "192.0.2.11", 100)
	for _, m := range []*station{one, two} {
		m.startDoor(t)
		await(t, "the door of "+m.name, func() bool { return answers("http://" + m.address + ":8080/healthz") })
		m.startKeeper(t)
	}
	await(t, "one machine to have the address", func() bool { return one.has(t) != two.has(t) })
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	s, ended := &sender{why: map[string]int{}}, make(chan struct{})
	go func() { defer close(ended); s.run(ctx) }()
	goesOn := func(what string, has *station) {
		t.Helper()
		await(t, "the address to be at "+has.name, func() bool { return has.has(t) })
		before := s.count()
		await(t, "messages to be accepted, "+what, func() bool { return s.count() > before+20 })
		t.Logf("%s: %s", what, s.took())
	}
	was, other := one, two
	if two.has(t) {
		was, other = two, one
	}
	goesOn("both well", was)

	was.door.kill()
	goesOn("a door was killed", other)
	was.startDoor(t)
	await(t, "the machine to be well again", func() bool { return strings.Count(was.keeper.text(), "Entering BACKUP STATE") == 2 })
	if was.has(t) || !other.has(t) {
		t.Error("the address went back by itself")
	}

	ip(t, "link", "set", "to-"+other.name, "down")
	other.keeper.kill()
	other.door.kill()
	goesOn("a machine died", was)
	ip(t, "-n", other.name, "addr", "del", shared+"/24", "dev", "eth0") // as when it starts again
	ip(t, "link", "set", "to-"+other.name, "up")
	other.startDoor(t)
	await(t, "its door", func() bool { return answers("http://" + other.address + ":8080/healthz") })
	other.startKeeper(t)
	await(t, "it to be the second", func() bool { return strings.Contains(other.keeper.text(), "Entering BACKUP STATE") })
	goesOn("it came back", was)

	was.door.end()
	goesOn("a door was stopped in order", other)
	<-was.door.done
	stop()
	<-ended
	if kept := waiting(t, admin); kept != s.count() {
		t.Errorf("the stamp has %d messages, accepted were %d", kept, s.count())
	}
}

// startStamp starts a gateway, whose queue keeps what it accepts, and returns its
// admin listener.
func startStamp(t *testing.T) (admin string) {
	t.Helper()
	addresses := filepath.Join(t.TempDir(), "addresses.json")
	start(t, "gateway", os.Getenv(insideEnv), "gateway", "--addresses-file", addresses, "--set", "stamp.name=onprem",
		"--set", "http.listen="+stamp+":8081", "--set", "admin.listen=127.0.0.1:0", "--set", "queue.dir="+t.TempDir(),
		"--set", "queue.unsafe_file_system=true", "--set", "hub.brokers=127.0.0.1:1")
	var a struct{ Admin string }
	await(t, "the gateway", func() bool {
		b, err := os.ReadFile(addresses)
		return err == nil && json.Unmarshal(b, &a) == nil && answers("http://"+stamp+":8081/healthz")
	})
	return a.Admin
}

// waiting is how many messages the gateway keeps.
func waiting(t *testing.T, admin string) int {
	t.Helper()
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Get(admin + "/admin/v1/status")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var r struct {
		Stamps []struct {
			Queue struct {
				Unforwarded int `json:"unforwarded_messages"`
			}
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil || len(r.Stamps) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	return r.Stamps[0].Queue.Unforwarded
}

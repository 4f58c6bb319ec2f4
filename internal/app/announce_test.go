package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/app"
	"postroad/internal/door"
)

// shownOrigin is an origin as a door shows it.
type shownOrigin struct {
	Name    string
	State   string
	Percent int
	Said    struct {
		Weight           *int
		Drain, Throttled bool
		Maintenance      bool
		Fill             float64
	}
}

// seenBy asks a door how it sees an origin.
func seenBy(t *testing.T, p *doorProcess, origin string) shownOrigin {
	t.Helper()
	code, body := get(t, p.Admin+"/door")
	var s struct {
		Groups []struct{ Origins []shownOrigin }
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusOK {
		t.Fatalf("GET /door: %d %s: %v", code, body, err)
	}
	for _, g := range s.Groups {
		for _, o := range g.Origins {
			if o.Name == origin {
				return o
			}
		}
	}
	t.Fatalf("no origin %s in %s", origin, body)
	return shownOrigin{}
}

// doorBefore is a door that asks a stamp ten times a second how it is.
func doorBefore(t *testing.T, gateway string) *doorProcess {
	t.Helper()
	settings := doorSettings(door.Origin{Name: "onprem", URL: gateway})
	settings.Door.Probe.Interval, settings.Door.Probe.Timeout = 100*time.Millisecond, 10*time.Second
	p := startDoorProcess(t, settings)
	t.Cleanup(func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// fillUp posts messages of 10,000 bytes until one is refused, n at the most.
func fillUp(t *testing.T, gateway string, n int) (refused bool) {
	t.Helper()
	for i := range n {
		res, err := http.Post(fmt.Sprintf("%s/v1/topics/t/messages?key=%d", gateway, i), "text/plain", strings.NewReader(strings.Repeat("x", 10_000)))
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != http.StatusAccepted {
			return true
		}
	}
	return false
}

// A stamp whose hub is away, whose queue fills, and that is stopped says so, and the
// door before it shows it.
func TestADoorShowsWhatAStampAnnounces(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	settings.Queue.SegmentBytes, settings.Queue.QuotaBytes = 64<<10, 1<<20
	settings.Queue.ReserveBytes, settings.Queue.BallastBytes = 0, 0
	settings.Gateway.Announce.Weight = 40
	settings.HTTP.DrainDelay = 5 * time.Second
	stamp := startHalf(t, app.RunStamp, settings)
	gateway := stamp.Gateways["onprem"]
	p := doorBefore(t, gateway)
	await(t, "its weight", func() bool {
		o := seenBy(t, p, "onprem")
		return o.Said.Weight != nil && *o.Said.Weight == 40 && o.Percent == 40 && o.State == "healthy"
	})
	if fillUp(t, gateway, 40) {
		t.Fatal("refused too early")
	}
	await(t, "a queue that is half full", func() bool {
		fill := seenBy(t, p, "onprem").Said.Fill
		return fill > 0.4 && fill < 0.9
	})
	await(t, "a hub that is away", func() bool { return seenBy(t, p, "onprem").Said.Throttled })
	if !fillUp(t, gateway, 200) {
		t.Fatal("a queue of a mebibyte took two")
	}
	await(t, "a queue that is full", func() bool {
		o := seenBy(t, p, "onprem")
		return o.Said.Fill == 1 && o.State != "healthy"
	})
	stopped := make(chan error, 1)
	go func() { stopped <- stamp.stop() }()
	await(t, "that it stops", func() bool {
		o := seenBy(t, p, "onprem")
		return o.Said.Drain && o.State == "draining"
	})
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// One that is well announces nothing but how full it is, a gateway alone too; and one
// in maintenance is left alone.
func TestADoorLeavesAStampInMaintenance(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	for _, maintenance := range []bool{false, true} {
		settings.Gateway.Announce.Maintenance = maintenance
		g := startHalf(t, app.RunGateway, settings)
		p := doorBefore(t, g.Gateways["onprem"])
		want := map[bool]string{false: "healthy", true: "maintenance"}[maintenance]
		await(t, "state "+want, func() bool {
			o := seenBy(t, p, "onprem")
			return o.State == want && o.Said.Maintenance == maintenance
		})
		if o := seenBy(t, p, "onprem"); o.Said.Drain || o.Said.Throttled || o.Said.Weight != nil || o.Said.Fill > 0.9 {
			t.Errorf("it says %+v", o.Said)
		}
		g.end(t)
	}
}

package app_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"postroad/internal/app"
	"postroad/internal/config"
	"postroad/internal/door"
)

// safeLog is a log that tests read while it is written.
type safeLog struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *safeLog) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

// doorProcess is a running "postroad door" over origins that answer with their
// names.
type doorProcess struct {
	app.Addresses
	log  *safeLog
	next atomic.Pointer[config.Door] // what is read at the next word of ask
	bad  atomic.Pointer[error]
	ask  chan struct{}
	stop func() error
}

func startDoorProcess(t *testing.T, settings config.Door) *doorProcess {
	t.Helper()
	p := &doorProcess{log: &safeLog{}, ask: make(chan struct{})}
	p.next.Store(&settings)
	p.Addresses, p.stop = started(t, func(ctx context.Context, d app.Deps) error {
		d.Log = slog.New(slog.NewTextHandler(p.log, nil))
		return app.RunDoor(ctx, settings, app.DoorSource{Ask: p.ask, Load: func() (config.Door, error) {
			if err := p.bad.Load(); err != nil {
				return config.Door{}, *err
			}
			return *p.next.Load(), nil
		}}, d)
	})
	return p
}

// doorSettings are those of a door on free ports.
func doorSettings(origins ...door.Origin) config.Door {
	s := config.DefaultDoor()
	s.HTTP.Listen, s.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s.Door.Origins = origins
	s.Door.Policy.Health.Restore.Ramp = 0
	return s
}

func namedOrigin(t *testing.T, name string) door.Origin {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, name)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return door.Origin{Name: name, URL: s.URL}
}

// knock posts and returns the body of the answer.
func knock(c *http.Client, url string) (string, error) {
	res, err := c.Post(url+"/v1/topics/t/messages", "text/plain", strings.NewReader("x"))
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("answered %s: %s", res.Status, b)
	}
	return strings.TrimSpace(string(b)), nil
}

// reloadUnderLoad changes priorities, limits and rules so many times while clients
// send; none may see an error.
func reloadUnderLoad(t *testing.T, reloads int) {
	t.Helper()
	a, b := namedOrigin(t, "a"), namedOrigin(t, "b")
	a.Priority, b.Priority = 1, 2
	settings := doorSettings(a, b)
	p := startDoorProcess(t, settings)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	const clients = 4
	var served atomic.Int64
	failed := make(chan error, clients)
	for i := range clients {
		go func() {
			tr := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer tr.CloseIdleConnections()
			c := &http.Client{Transport: tr, Timeout: time.Minute}
			for ctx.Err() == nil {
				if _, err := knock(c, p.Door); err != nil {
					failed <- err
					return
				}
				served.Add(1)
			}
			failed <- nil
		}()
	}
	for i := range reloads {
		next := settings
		x, y := a, b
		if i%2 == 0 {
			x.Priority, y.Priority = 2, 1
		}
		next.Door.Origins = []door.Origin{x, y}
		next.Door.Limits.Streams = 1000 + i
		next.Door.Carry.MaxIdle = 100 + i%3 // a carrier of its own now and then
		next.HTTP.Clients.Connections = 1000 + i
		p.next.Store(&next)
		p.ask <- struct{}{}
		before := served.Load()
		await(t, "requests after a reload", func() bool { return served.Load() > before+clients || len(failed) > 0 })
	}
	stop()
	for range clients {
		if err := <-failed; err != nil {
			t.Errorf("a client failed: %v", err)
		}
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if p.log.has("refused") {
		t.Error("settings were refused")
	}
}

func TestDoorReloadsUnderLoad(t *testing.T) { reloadUnderLoad(t, 10) }

// What cannot be used changes nothing, and the log says all that is wrong; what
// needs a new start is named.
func TestDoorRefusesBadSettings(t *testing.T) {
	a, b := namedOrigin(t, "a"), namedOrigin(t, "b")
	settings := doorSettings(a)
	p := startDoorProcess(t, settings)
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	stays := func(want string) {
		t.Helper()
		if got, err := knock(c, p.Door); err != nil || got != want {
			t.Fatalf("answer %q, %v, want %s", got, err, want)
		}
	}
	stays("a")
	var bad error = &config.Error{Problems: []config.Problem{{Path: "door.x", Rule: "first rule"}, {Path: "door.y", Rule: "second rule"}}}
	p.bad.Store(&bad)
	p.ask <- struct{}{}
	await(t, "both problems", func() bool { return p.log.has("first rule") && p.log.has("second rule") })
	stays("a")
	bad = errors.New("no such file")
	p.bad.Store(&bad)
	p.ask <- struct{}{}
	await(t, "the problem", func() bool { return p.log.has("no such file") })
	p.bad.Store(nil)

	missing := doorSettings(b) // good by itself, but for a file that is not there
	missing.Door.Origins[0].URL = strings.Replace(b.URL, "http:", "https:", 1)
	missing.Door.Origins[0].TLS.CAFile = t.TempDir() + "/none.pem"
	missing.HTTP.Clients.Connections = 1
	p.next.Store(&missing)
	p.ask <- struct{}{}
	await(t, "the file that is missing", func() bool { return p.log.has("none.pem") })
	held, err := http.Get(p.Door + "/healthz") // the limit of one connection was taken back
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	held.Body.Close()
	stays("a")

	other := doorSettings(b)
	other.HTTP.IdleTimeout, other.HTTP.DrainDelay, other.Log.Level = time.Hour, time.Second, "debug"
	p.next.Store(&other)
	p.ask <- struct{}{}
	await(t, "what needs a start", func() bool { return p.log.has(`settings="[http.drain_delay http.idle_timeout log]"`) })
	stays("b")
	if _, body := get(t, p.Admin+"/metrics"); !strings.Contains(body, `postroad_door_settings_reads_total{result="refused"} 3`) ||
		!strings.Contains(body, `postroad_door_settings_reads_total{result="used"} 1`) {
		t.Error("reads of settings are not counted")
	}
	if err := p.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// gone tells errors of a listener that has closed: what it had not accepted yet is
// reset.
func gone(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
}

// A door that is told to stop is not ready, says so, goes on serving for drain_delay, and
// ends what is under way.
func TestDoorDrains(t *testing.T) {
	settings := doorSettings(namedOrigin(t, "a"))
	settings.HTTP.DrainDelay = 300 * time.Millisecond
	p := startDoorProcess(t, settings)
	if code, body := get(t, p.Admin+"/readyz"); code != http.StatusOK && !strings.Contains(body, "not looked at") {
		t.Errorf("readyz: %d %s", code, body)
	}
	http.DefaultClient.CloseIdleConnections()
	ended := make(chan error, 1)
	go func() { ended <- p.stop() }()
	await(t, "it to be not ready", func() bool { return p.log.has("draining, still accepting") })
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	if res, err := c.Get(p.Door + "/healthz"); err == nil { // or it has stopped already
		if res.Body.Close(); res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("while it drains /healthz answers %s", res.Status)
		}
	} else if !gone(err) {
		t.Error(err)
	}
	if got, err := knock(c, p.Door); err != nil && !gone(err) || err == nil && got != "a" {
		t.Errorf("while it drains: %q, %v", got, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
}

package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postroad/internal/app"
	"postroad/internal/config"
	"postroad/internal/hub"
)

// half is a running process of a stamp, in this one.
type half struct {
	app.Addresses
	said *bytes.Buffer
	stop func() error
}

type runner func(context.Context, config.Stamp, app.Deps) error

// halfSettings are those of a stamp on free ports, the same for all its
// processes, as in one file.
func halfSettings(dir, hub string) config.Stamp {
	s := config.DefaultStamp()
	s.Stamp.Name = "onprem"
	s.HTTP.Listen, s.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s.Queue.Dir = filepath.ToSlash(dir)
	s.Queue.UnsafeFileSystem = true // the test's directory may be in memory
	s.Hub.Brokers = []string{hub}
	return s
}

func startHalf(t *testing.T, run runner, settings config.Stamp) half {
	t.Helper()
	said := new(bytes.Buffer)
	addresses, stop := started(t, func(ctx context.Context, d app.Deps) error {
		d.Stdout = said
		return run(ctx, settings, d)
	})
	return half{addresses, said, stop}
}

func startTestHub(t *testing.T) (addr string, stop func()) {
	t.Helper()
	o := hub.DefaultOptions()
	o.Listen, o.Dir = "127.0.0.1:0", t.TempDir()
	h, err := hub.New(o, hub.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	return h.Addr(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// halfStatus is what the tests read of a half's status.
type halfStatus struct {
	Part      string
	Gateway   string
	Accepting bool
	Forward   *struct {
		Total int `json:"forwarded_total"`
	}
	Hub   *struct{ Brokers []string }
	Queue struct {
		Unforwarded int `json:"unforwarded_messages"`
	}
}

func (h half) status(t *testing.T) halfStatus {
	t.Helper()
	code, body := get(t, h.Admin+"/admin/v1/status")
	var r struct{ Stamps []halfStatus }
	if err := json.Unmarshal([]byte(body), &r); err != nil || code != http.StatusOK || len(r.Stamps) != 1 {
		t.Fatalf("status: %d %s %v", code, body, err)
	}
	return r.Stamps[0]
}

func (h half) end(t *testing.T) {
	t.Helper()
	if err := h.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

// postWaiting posts one message with Prefer: wait and returns the status and
// the receipt.
func postWaiting(t *testing.T, gateway, value string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, gateway+"/v1/topics/messages/messages?key=k", strings.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	req.Header.Set("Prefer", "wait=20")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ IDs []string }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.IDs) != 1 {
		t.Fatalf("post: %d %+v %v", resp.StatusCode, answer, err)
	}
	return resp.StatusCode, answer.IDs[0]
}

// A gateway alone accepts without a hub, answers Prefer: wait with 202, shows
// no console and says what it is; a forwarder alone then drains what it left,
// without a gateway's listener.
func TestHalvesRunOneAfterTheOther(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	g := startHalf(t, app.RunGateway, settings)
	code, receipt := postWaiting(t, g.Gateways["onprem"], "x")
	if code != http.StatusAccepted {
		t.Errorf("Prefer: wait at a gateway alone: %d, want 202", code)
	}
	if code, body := get(t, g.Gateways["onprem"]+"/v1/messages/"+receipt); code != http.StatusOK || !strings.Contains(body, `"state":"queued"`) {
		t.Errorf("receipt: %d %s", code, body)
	}
	if s := g.status(t); s.Part != "gateway" || s.Gateway == "" || !s.Accepting || s.Forward != nil || s.Hub != nil || s.Queue.Unforwarded != 1 {
		t.Errorf("status of the gateway: %+v", s)
	}
	if code, _ := get(t, g.Admin+"/console/"); code != http.StatusNotFound {
		t.Errorf("console at a gateway alone: %d", code)
	}
	if code, body := get(t, g.Admin+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz of the gateway: %d %s", code, body)
	}
	if _, body := get(t, g.Admin+"/metrics"); !strings.Contains(body, "postroad_gateway_") || strings.Contains(body, "postroad_forward_") {
		t.Error("metrics of a gateway alone are not a gateway's")
	}
	g.end(t)
	if !strings.HasPrefix(g.said.String(), "gateway of stamp onprem: http://127.0.0.1:") {
		t.Errorf("said %q", g.said)
	}

	addr, stopHub := startTestHub(t)
	defer stopHub()
	settings.Hub.Brokers = []string{addr}
	f := startHalf(t, app.RunForward, settings)
	await(t, "the message in the hub", func() bool { return len(values(t, addr)) == 1 })
	await(t, "the forwarder to know it", func() bool {
		s := f.status(t)
		return s.Part == "forward" && s.Gateway == "" && s.Accepting && s.Forward != nil && s.Forward.Total == 1 && s.Queue.Unforwarded == 0
	})
	if len(f.Gateways) != 0 {
		t.Errorf("a forwarder alone listens: %v", f.Gateways)
	}
	if code, body := get(t, f.Admin+"/readyz"); code != http.StatusOK {
		t.Errorf("readyz of the forwarder: %d %s", code, body)
	}
	if _, body := get(t, f.Admin+"/metrics"); strings.Contains(body, "postroad_gateway_") || !strings.Contains(body, "postroad_forward_") {
		t.Error("metrics of a forwarder alone are not a forwarder's")
	}
	f.end(t)
	if !strings.HasPrefix(f.said.String(), "forwarder of stamp onprem: admin http://127.0.0.1:") {
		t.Errorf("said %q", f.said)
	}

	g = startHalf(t, app.RunGateway, settings)
	await(t, "saved progress to say that it is forwarded", func() bool {
		code, body := get(t, g.Gateways["onprem"]+"/v1/messages/"+receipt)
		return code == http.StatusOK && strings.Contains(body, `"state":"forwarded"`)
	})
	g.end(t)
}

// Two gateways and a forwarder at the same time on one directory: what either
// accepts is forwarded, and each gateway learns of it, for its own messages and
// the other's, once progress is saved.
func TestHalvesShareADirectory(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	addr, stopHub := startTestHub(t)
	defer stopHub()
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), addr)
	settings.Forward.SaveInterval = 100 * time.Millisecond
	f := startHalf(t, app.RunForward, settings)
	one, two := startHalf(t, app.RunGateway, settings), startHalf(t, app.RunGateway, settings)
	_, first := postWaiting(t, one.Gateways["onprem"], "from one")
	_, second := postWaiting(t, two.Gateways["onprem"], "from two")
	await(t, "both messages in the hub", func() bool { return len(values(t, addr)) == 2 })
	for _, g := range []half{one, two} {
		for _, receipt := range []string{first, second} {
			await(t, "a gateway to know that it is forwarded", func() bool {
				code, body := get(t, g.Gateways["onprem"]+"/v1/messages/"+receipt)
				return code == http.StatusOK && strings.Contains(body, `"state":"forwarded"`)
			})
		}
	}
	for _, h := range []half{one, two, f} {
		await(t, "nothing to wait", func() bool { return h.status(t).Queue.Unforwarded == 0 })
	}
	one.end(t)
	f.end(t)
	two.end(t)
}

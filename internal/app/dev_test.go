package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/app"
	"postroad/internal/kafka"
)

func TestMain(m *testing.M) {
	// The SDK's own: a client that is closed while a command waits for its answer
	// leaves a goroutine until the answer is overdue.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/centrifugal/centrifuge-go.(*Client).sendAsync.func1"))
}

// dev is a running "postroad dev".
type dev struct {
	app.Addresses
	stop func() error
}

func devOptions(dir string) app.DevOptions {
	const free = "127.0.0.1:0"
	return app.DevOptions{Dir: dir, Door: free, Onprem: free, Cloud: free, Hub: free, Admin: free, StreamOnprem: free, StreamCloud: free}
}

func startDev(t *testing.T, o app.DevOptions) dev {
	t.Helper()
	addresses, stop := started(t, func(ctx context.Context, d app.Deps) error { return app.RunDev(ctx, o, d) })
	return dev{addresses, stop}
}

// started runs something of the app until it is stopped, which returns its
// error, and waits for the addresses at which it listens.
func started(t *testing.T, run func(context.Context, app.Deps) error) (addresses app.Addresses, stop func() error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "addresses.json")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, app.Deps{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler), AddressesFile: file})
	}()
	await(t, "the addresses", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		default:
		}
		b, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(b, &addresses) == nil
	})
	return addresses, func() error { cancel(); return <-ended }
}

// await waits for a condition, at most a generous time.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited too long for %s", what)
		}
	}
}

func post(t *testing.T, url, body string) (int, map[string]any) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// values reads what the topic holds, each message once.
func values(t *testing.T, hub string) []string {
	t.Helper()
	o := kafka.DefaultOptions()
	o.Brokers = []string{hub}
	r, err := kafka.NewReader(o, kafka.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := r.Follow(t.Context(), kafka.FollowOptions{Topic: "messages", From: kafka.FromBeginning(), UntilEnd: true}, func(r kafka.Record) error {
		all = append(all, string(r.Value))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestMessageGoesFromDoorToReaderAndSurvivesARestart(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	dir := filepath.Join(t.TempDir(), "data")
	d := startDev(t, devOptions(dir))
	for i, url := range []string{d.Door, d.Gateways["onprem"], d.Gateways["cloud"]} {
		status, answer := post(t, url+"/ServiceAPI/message", fmt.Sprintf(`{"senderId":"tram","value":"v%d"}`, i))
		if status != http.StatusOK || answer["success"] != true {
			t.Fatalf("post to %s: %d %v", url, status, answer)
		}
	}
	await(t, "three messages in the hub", func() bool { return len(values(t, d.Hub)) == 3 })
	if err := d.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	d = startDev(t, devOptions(dir))
	if got := values(t, d.Hub); len(got) != 3 {
		t.Errorf("after a restart: %q", got)
	}
	if err := d.stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
}

func TestReceiptTellsPartitionAndOffset(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	d := startDev(t, devOptions(t.TempDir()))
	status, receipt := postWaiting(t, d.Door, "x")
	if status != http.StatusOK {
		t.Fatalf("post: %d %s", status, receipt)
	}
	_, found := get(t, d.Door+"/v1/messages/"+receipt)
	var where map[string]any
	if err := json.Unmarshal([]byte(found), &where); err != nil {
		t.Fatal(err)
	}
	if where["state"] != "forwarded" || where["offset"] == nil || where["partition"] == nil {
		t.Errorf("receipt: %v", where)
	}
	if err := d.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestStatusCountsWhatWaits(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	d := startDev(t, devOptions(t.TempDir()))
	post(t, d.Door+"/ServiceAPI/message", `{"senderId":"a","value":"b"}`)
	await(t, "nothing to wait any more", func() bool {
		resp, err := http.Get(d.Admin + "/admin/v1/status")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var r struct {
			Stamps []struct {
				Accepting bool
				Queue     struct {
					Unforwarded int `json:"unforwarded_messages"`
				}
				Forward struct {
					Total   int `json:"forwarded_total"`
					Breaker struct{ State string }
				}
			}
		}
		if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || len(r.Stamps) != 2 || !r.Stamps[0].Accepting || r.Stamps[0].Forward.Breaker.State != "closed" {
			t.Fatalf("status: %+v, %v", r, err)
		}
		return r.Stamps[0].Queue.Unforwarded == 0 && r.Stamps[0].Forward.Total == 1
	})
	if err := d.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestPortInUseIsClearAndLeavesNothingBehind(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, move := range []func(*app.DevOptions, string){
		func(o *app.DevOptions, a string) { o.Door = a },
		func(o *app.DevOptions, a string) { o.Onprem = a },
		func(o *app.DevOptions, a string) { o.Cloud = a },
		func(o *app.DevOptions, a string) { o.Hub = a },
		func(o *app.DevOptions, a string) { o.Admin = a },
		func(o *app.DevOptions, a string) { o.StreamOnprem = a },
		func(o *app.DevOptions, a string) { o.StreamCloud = a },
	} {
		dir := t.TempDir()
		o := devOptions(dir)
		move(&o, taken.Addr().String())
		err := app.RunDev(t.Context(), o, app.Deps{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
			t.Errorf("%+v: %v", o, err)
		}
		d := startDev(t, devOptions(dir)) // the directory is free again
		if err := d.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
}

func TestDataDirectoryInUseIsClear(t *testing.T) {
	dir := t.TempDir()
	d := startDev(t, devOptions(dir))
	var out bytes.Buffer
	err := app.RunDev(t.Context(), devOptions(dir), app.Deps{Stdout: &out, Log: slog.New(slog.DiscardHandler)})
	if err == nil || errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), dir) || out.Len() > 0 {
		t.Errorf("second process: %v, %q", err, out.String())
	}
	if err := d.stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
}

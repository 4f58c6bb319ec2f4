package app_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/app"
)

// stopDelay is drain_delay where tests look at what goes on within it.
const stopDelay = 3 * time.Second

// kept is a connection that its owner keeps until he is told not to, as balancers
// and pools of connections do. He never repeats a request.
type kept struct {
	net.Conn
	read *bufio.Reader
}

func keep(t *testing.T, url string) kept {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return kept{c, bufio.NewReader(c)}
}

// answer reads one answer; leave says that it is the last of this connection.
func (k kept) answer() (status int, leave bool, err error) {
	resp, err := http.ReadResponse(k.read, nil)
	if err != nil {
		return 0, false, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, resp.Close, err
}

func (k kept) ask(request string) (leave bool, err error) {
	if _, err := io.WriteString(k, request); err != nil {
		return false, err
	}
	status, leave, err := k.answer()
	if err == nil && status >= 300 {
		err = fmt.Errorf("answered %d", status)
	}
	return leave, err
}

// stoppable is a process that takes requests.
type stoppable struct {
	url, admin string
	stop       func() error
	request    string
}

const (
	postMessage = "POST /v1/topics/messages/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
	askLast     = "GET /v1/topics/messages/last?key=k HTTP/1.1\r\nHost: x\r\n\r\n"
)

func stoppables() map[string]func(*testing.T) stoppable {
	return map[string]func(*testing.T) stoppable{
		"gateway": func(t *testing.T) stoppable {
			settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
			settings.HTTP.DrainDelay = stopDelay
			g := startHalf(t, app.RunGateway, settings)
			return stoppable{g.Gateways["onprem"], g.Admin, g.stop, postMessage}
		},
		"stream node": func(t *testing.T) stoppable {
			addr, stopHub := startTestHub(t)
			t.Cleanup(stopHub)
			settings := streamSettings(t, "n", addr)
			settings.HTTP.DrainDelay = stopDelay
			n := startStream(t, settings)
			return stoppable{n.url, n.admin, n.stop, askLast}
		},
		"door": func(t *testing.T) stoppable {
			settings := doorSettings(namedOrigin(t, "a"))
			settings.HTTP.DrainDelay = stopDelay
			p := startDoorProcess(t, settings)
			return stoppable{p.Door, p.Admin, p.stop, postMessage}
		},
	}
}

// Within drain_delay a process that was told to stop takes requests and is ready for
// Kubernetes, asks balancers to leave by its health, and all clients by its answers,
// whose connections then are gone before it closes any.
func TestAStopFailsNoRequest(t *testing.T) {
	for name, begin := range stoppables() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := begin(t)
			apart := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
			look := func(url string) int {
				res, err := apart.Get(url)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res.StatusCode
			}
			await(t, "it to be ready", func() bool { return look(s.admin+"/readyz") == http.StatusOK })
			idle := keep(t, s.url)
			if leave, err := idle.ask(s.request); leave || err != nil {
				t.Fatalf("before the stop: leave %v, %v", leave, err)
			}
			var loops sync.WaitGroup
			for range 3 {
				k := keep(t, s.url)
				loops.Go(func() {
					for {
						leave, err := k.ask(s.request)
						if err != nil {
							t.Errorf("a client that keeps its connection: %v", err)
						}
						if leave || err != nil {
							k.Close()
							return
						}
					}
				})
			}
			ended := make(chan error, 1)
			go func() { ended <- s.stop() }()
			await(t, "balancers to be told", func() bool { return look(s.url+"/healthz") == http.StatusServiceUnavailable })
			if status := look(s.admin + "/readyz"); status != http.StatusOK {
				t.Errorf("readyz says %d while requests are taken", status)
			}
			if leave, err := idle.ask(s.request); !leave || err != nil {
				t.Errorf("a client that was idle: leave %v, %v", leave, err)
			}
			loops.Wait()
			select {
			case err := <-ended:
				t.Errorf("it had ended before the clients had left: %v", err)
			default:
				if err := <-ended; err != nil {
					t.Errorf("stop: %v", err)
				}
			}
		})
	}
}

// A request that the gateway has begun to read is stored, though the rest of it comes
// when nothing else is taken any more; then the process is not ready.
func TestARequestUnderWayIsStored(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	settings := halfSettings(filepath.Join(t.TempDir(), "queue"), "127.0.0.1:1")
	settings.HTTP.DrainDelay = 10 * time.Millisecond
	g := startHalf(t, app.RunGateway, settings)
	k := keep(t, g.Gateways["onprem"])
	_, _ = io.WriteString(k, "POST /v1/topics/messages/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if line, err := k.read.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		t.Fatalf("%q, %v", line, err)
	}
	if line, err := k.read.ReadString('\n'); err != nil || line != "\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := io.WriteString(k, "wh"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.stop() }()
	await(t, "it to take nothing more", func() bool {
		status, body := get(t, g.Admin+"/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "draining")
	})
	if _, err := io.WriteString(k, "ole"); err != nil {
		t.Fatal(err)
	}
	if status, leave, err := k.answer(); status != http.StatusAccepted || !leave || err != nil {
		t.Errorf("answered %d, leave %v, %v", status, leave, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
}

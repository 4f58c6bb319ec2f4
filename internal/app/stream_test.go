package app_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"postroad/internal/app"
	"postroad/internal/auth"
	"postroad/internal/config"
	"postroad/internal/hub"
	"postroad/internal/loopback"
	"postroad/internal/stream/live"
)

// streamSettings are those of a stream node on free ports that everybody may read.
func streamSettings(t *testing.T, name, hub string) config.Stream {
	t.Helper()
	any, err := auth.ParsePattern("*/*")
	if err != nil {
		t.Fatal(err)
	}
	s := config.DefaultStream()
	s.Node.Name = name
	s.HTTP.Listen, s.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	s.Hub.Brokers = []string{hub}
	s.Stream.Live.Topics = []live.TopicOptions{{Name: "messages"}}
	s.Auth.Anonymous = auth.AnonymousOptions{Enabled: true, Read: []auth.Pattern{any}, Publish: []auth.Pattern{any}}
	return s
}

// streamNode is a running node.
type streamNode struct {
	url, admin string
	stop       func() error
}

func startStream(t *testing.T, s config.Stream) streamNode {
	t.Helper()
	addresses, stop := started(t, func(ctx context.Context, d app.Deps) error { return app.RunStream(ctx, s, d) })
	n := streamNode{url: addresses.Streams[s.Node.Name], admin: addresses.Admin, stop: sync.OnceValue(stop)}
	t.Cleanup(func() {
		if err := n.stop(); err != nil {
			t.Error(err)
		}
	})
	await(t, "the node to be ready", func() bool { status, _ := get(t, n.url+"/healthz"); return status == http.StatusOK })
	return n
}

// seen collects messages, whoever brings them.
type seen struct {
	mu   sync.Mutex
	list []string
	last string // id of the last event
}

func (s *seen) add(value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, value)
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.list)
}

func (s *seen) lastID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// watchEvents reads an event stream to its end, as a browser does: it remembers
// the id of the last event, and comes back with it to whichever URL is next.
func watchEvents(t *testing.T, to *seen, next func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := readEventStream(ctx, client, next(), to); err != nil {
				select {
				case <-time.After(20 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
}

func readEventStream(ctx context.Context, client *http.Client, url string, to *seen) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if id := to.lastID(); id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var id, data, name string
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			id = value
		case "data":
			data = value
		case "event":
			name = value
		case "":
			to.take(id, name, data)
			id, data, name = "", "", ""
		}
	}
	return io.ErrUnexpectedEOF
}

// take is what a browser does at the end of an event.
func (s *seen) take(id, name, data string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id != "" {
		s.last = id
	}
	if data == "" {
		return
	}
	var m struct{ Value string }
	if err := json.Unmarshal([]byte(data), &m); err != nil || name != "" {
		m.Value = name + " " + data
	}
	s.list = append(s.list, m.Value)
}

// watchSocket subscribes with the official SDK, and returns the client.
func watchSocket(t *testing.T, to *seen, url, channel string) *centrifuge.Client {
	t.Helper()
	return watchSocketOver(t, nil, to, url, channel)
}

func watchSocketOver(t *testing.T, trust *tls.Config, to *seen, url, channel string) *centrifuge.Client {
	t.Helper()
	c := centrifuge.NewProtobufClient("ws"+strings.TrimPrefix(url, "http")+"/connection/websocket", centrifuge.Config{
		MinReconnectDelay: 10 * time.Millisecond, MaxReconnectDelay: 100 * time.Millisecond, TLSConfig: trust,
	})
	t.Cleanup(c.Close)
	sub, err := c.NewSubscription(channel)
	if err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan struct{}, 100)
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		if e.WasRecovering && !e.Recovered {
			to.add("not recovered")
		}
		subscribed <- struct{}{}
	})
	sub.OnPublication(func(e centrifuge.PublicationEvent) { to.add(string(e.Data)) })
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-subscribed:
	case <-time.After(30 * time.Second):
		t.Fatal("not subscribed")
	}
	return c
}

func send(t *testing.T, url, key, value string) {
	t.Helper()
	res, err := http.Post(url+"/v1/topics/messages/messages?key="+key, "text/plain", strings.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Fatalf("post: %d", res.StatusCode)
	}
}

// write writes a message into the hub, past all stamps.
func write(t *testing.T, hub, key, value string) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(hub))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "messages", Key: []byte(key), Value: []byte(value)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// What is posted at the door arrives by both protocols at both nodes, and through
// the door.
func TestPostedAtTheDoorSeenEverywhere(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	d := startDev(t, devOptions(t.TempDir()))
	stop := sync.OnceValue(d.stop)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	viewers := map[string]*seen{}
	for name, url := range map[string]string{"onprem": d.Streams["onprem"], "cloud": d.Streams["cloud"], "door": d.Door} {
		await(t, name+" to be ready", func() bool {
			status, _ := get(t, url+"/v1/topics/messages/last?key=tram")
			return status == http.StatusOK
		})
		viewers[name+" by events"], viewers[name+" by WebSocket"] = new(seen), new(seen)
		watchEvents(t, viewers[name+" by events"], func() string { return url + "/v1/topics/messages/stream?key=tram&from=beginning" })
		watchSocket(t, viewers[name+" by WebSocket"], url, "messages/tram")
	}
	send(t, d.Door, "tram", `"at the depot"`)
	send(t, d.Door, "bus", `"elsewhere"`)
	send(t, d.Door, "tram", `"on its way"`)
	for name, v := range viewers {
		await(t, "both messages at "+name, func() bool { return len(v.all()) >= 2 })
		if got := v.all(); !slices.Equal(got, []string{`"at the depot"`, `"on its way"`}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	type report struct {
		Streams []struct {
			Name        string
			Ready       bool
			Connections int
		}
		DoorStreams []struct {
			Name    string
			Healthy bool
		} `json:"door_streams"`
	}
	// A node that was looked at before it was ready is left out by the door for a
	// while; viewers at the door may be at either.
	await(t, "the status to show both nodes and their viewers", func() bool {
		var r report
		_, status := get(t, d.Admin+"/admin/v1/status")
		if err := json.Unmarshal([]byte(status), &r); err != nil {
			t.Fatal(err)
		}
		return len(r.Streams) == 2 && r.Streams[0].Ready && r.Streams[1].Ready && len(r.DoorStreams) == 2 && r.DoorStreams[0].Healthy && r.DoorStreams[1].Healthy &&
			min(r.Streams[0].Connections, r.Streams[1].Connections) >= 2 && r.Streams[0].Connections+r.Streams[1].Connections == 6
	})
	if status, _ := get(t, d.Admin+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d", status)
	}
}

// What a client publishes at one node is durable at that node's stamp, and arrives
// at both nodes, the publisher's own included, once.
func TestPublishedByAClient(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	d := startDev(t, devOptions(t.TempDir()))
	stop := sync.OnceValue(d.stop)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	here, there := new(seen), new(seen)
	var client *centrifuge.Client
	for name, s := range map[string]*seen{"cloud": here, "onprem": there} {
		url := d.Streams[name]
		await(t, name+" to be ready", func() bool { status, _ := get(t, url+"/healthz"); return status == http.StatusOK })
		if c := watchSocket(t, s, url, "messages/tram"); s == here {
			client = c
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if _, err := client.Publish(ctx, "messages/tram", []byte(`{"bell":true}`)); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*seen{"here": here, "there": there} {
		await(t, "what was published, "+name, func() bool { return len(s.all()) > 0 })
		if got := s.all(); !slices.Equal(got, []string{`{"bell":true}`}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, body := get(t, d.Streams["onprem"]+"/v1/topics/messages/last?key=tram"); !strings.Contains(body, `"stamp":"cloud"`) {
		t.Errorf("not by the node's own stamp: %s", body)
	}
	if _, err := client.Publish(ctx, "messages/*", []byte(`{}`)); err == nil {
		t.Error("published to all keys")
	}
	if _, body := get(t, d.Door+"/demo/"); !strings.Contains(body, "<html") {
		t.Errorf("the demonstration through the door: %.200s", body)
	}
}

// forwarder is a balancer of one address over nodes that come and go.
type forwarder struct {
	url string

	mu   sync.Mutex
	to   string              // guarded by mu
	open map[net.Conn]string // to which node each goes; guarded by mu
}

func startForwarder(t *testing.T) *forwarder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &forwarder{url: "http://" + l.Addr().String(), open: map[net.Conn]string{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { f.carry(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		f.point("")
		wg.Wait()
	})
	return f
}

// point sends connections to another node from now on, and cuts those to others.
func (f *forwarder) point(url string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.to = strings.TrimPrefix(url, "http://")
	for c, to := range f.open {
		if to != f.to {
			_ = c.Close()
		}
	}
}

func (f *forwarder) carry(c net.Conn) {
	defer c.Close()
	f.mu.Lock()
	to := f.to
	f.open[c] = to
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.open, c)
	}()
	n, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer n.Close()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(n, c); _ = n.Close() })
	_, _ = io.Copy(c, n)
	_ = c.Close()
	wg.Wait()
}

// Clients of a node that is stopped, or cut off without a word, go on at another:
// nothing is missing and nothing is there twice, by either protocol.
func TestClientsMoveToAnotherNode(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	hubAddr, stopHub := startTestHub(t)
	defer stopHub()
	stamp := startHalf(t, app.RunStamp, halfSettings(t.TempDir(), hubAddr))
	gateway := stamp.Gateways["onprem"]
	f := startForwarder(t)
	node := startStream(t, streamSettings(t, "n0", hubAddr))
	f.point(node.url)
	events, all, socket := new(seen), new(seen), new(seen)
	watchEvents(t, events, func() string { return f.url + "/v1/topics/messages/stream?key=k0" })
	watchEvents(t, all, func() string { return f.url + "/v1/topics/messages/stream" })
	watchSocket(t, socket, f.url, "messages/k0")
	await(t, "positions", func() bool { return events.lastID() != "" && all.lastID() != "" })

	var ofKey, ofAll []string
	for round := range 4 {
		post := func(n int) {
			for i := range n {
				v := fmt.Sprintf(`"%d-%d-%d"`, round, i, n)
				send(t, gateway, fmt.Sprint("k", i%3), v)
				if ofAll = append(ofAll, v); i%3 == 0 {
					ofKey = append(ofKey, v)
				}
			}
		}
		post(20)
		if round%2 == 0 { // without a word: the node goes away after its clients
			f.point("")
		} else if err := node.stop(); err != nil { // in good order
			t.Fatal(err)
		}
		post(25)
		if err := node.stop(); err != nil {
			t.Fatal(err)
		}
		node = startStream(t, streamSettings(t, fmt.Sprint("n", round+1), hubAddr))
		f.point(node.url)
	}
	for name, s := range map[string]*seen{"events of a key": events, "WebSocket": socket} {
		await(t, "all at "+name, func() bool { return len(s.all()) >= len(ofKey) })
		if got := s.all(); !slices.Equal(got, ofKey) {
			t.Errorf("%s:\ngot  %q\nwant %q", name, got, ofKey)
		}
	}
	await(t, "all of the topic", func() bool { return len(all.all()) >= len(ofAll) })
	got := all.all()
	slices.Sort(got)
	slices.Sort(ofAll)
	if !slices.Equal(got, ofAll) {
		t.Errorf("events of all keys:\ngot  %q\nwant %q", got, ofAll)
	}
	if err := stamp.stop(); err != nil {
		t.Error(err)
	}
}

// A node whose hub is away for longer than max_lag says so to balancers, and is well
// again once the hub is. Meanwhile it is ready for Kubernetes, since all nodes are in
// the same case, and lets clients in: they get last values.
func TestStreamNodeOutlivesTheHub(t *testing.T) {
	defer http.DefaultClient.CloseIdleConnections()
	addr, err := loopback.Address(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := hub.DefaultOptions()
	o.Listen, o.Dir = addr, t.TempDir()
	run := func() (stop func()) {
		h, err := hub.New(o, hub.Deps{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- h.Run(ctx) }()
		return sync.OnceFunc(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	stopHub := run()
	s := streamSettings(t, "n", addr)
	s.Stream.Live.MaxLag = time.Second
	n := startStream(t, s)
	write(t, addr, "k", `"kept"`)
	await(t, "the last value", func() bool {
		_, body := get(t, n.url+"/v1/topics/messages/last?key=k")
		return strings.Contains(body, "kept")
	})
	stopHub()
	await(t, "the node to be unwell", func() bool { status, _ := get(t, n.url+"/healthz"); return status == http.StatusServiceUnavailable })
	if status, body := get(t, n.admin+"/readyz"); status != http.StatusOK {
		t.Errorf("readyz: %d %s", status, body)
	}
	if status, body := get(t, n.url+"/v1/topics/messages/last?key=k"); status != http.StatusOK || !strings.Contains(body, "kept") {
		t.Errorf("last value without the hub: %d %s", status, body)
	}
	client := new(seen)
	watchSocket(t, client, n.url, "messages/k")
	await(t, "a new client to get the last value", func() bool { return len(client.all()) > 0 })
	if status, _ := get(t, n.admin+"/livez"); status != http.StatusOK {
		t.Errorf("livez: %d", status)
	}
	stopHub = run()
	defer stopHub()
	await(t, "the node to be well", func() bool { status, _ := get(t, n.url+"/healthz"); return status == http.StatusOK })
	if err := n.stop(); err != nil {
		t.Error(err)
	}
}

func TestStreamPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, move := range []func(*config.Stream){
		func(s *config.Stream) { s.HTTP.Listen = taken.Addr().String() },
		func(s *config.Stream) { s.Admin.Listen = taken.Addr().String() },
	} {
		s := streamSettings(t, "n", "127.0.0.1:1")
		move(&s)
		err := app.RunStream(t.Context(), s, app.Deps{Stdout: io.Discard, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
			t.Errorf("%v", err)
		}
	}
}

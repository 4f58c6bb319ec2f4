package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"postroad/internal/stream/live"
)

// A node is not ready before it has read the hub, and not while it has not heard
// of it for max_lag; once the hub is back it is ready again. It lets clients in from
// when it has read it first, whatever becomes of the hub, until it has drained.
func TestHealthFollowsTheHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		o := testOptions()
		n, err := New(o, Deps{Log: log, Auth: verifier(t, "*/*")})
		if err != nil {
			t.Fatal(err)
		}
		health := func() int {
			w := httptest.NewRecorder()
			n.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/healthz", nil))
			return w.Code
		}
		if health() != http.StatusServiceUnavailable {
			t.Error("ready before it runs")
		}
		if n.Serving() == nil {
			t.Error("it serves before it has read anything")
		}
		log.SetAway(true)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		within := func(most time.Duration, want int) (took time.Duration) {
			t.Helper()
			begin := time.Now()
			for health() != want {
				if <-time.After(50 * time.Millisecond); time.Since(begin) > most {
					t.Fatalf("health is not %d within %v", want, most)
				}
			}
			return time.Since(begin)
		}
		<-time.After(time.Minute)
		if n.Serving() == nil {
			t.Error("it serves though the hub never was there")
		}
		log.SetAway(false)
		within(time.Minute, http.StatusOK)
		<-time.After(time.Minute)
		if health() != http.StatusOK {
			t.Error("not ready though nothing happens")
		}
		log.SetAway(true)
		if took := within(2*o.Live.MaxLag, http.StatusServiceUnavailable); took < o.Live.MaxLag/2 {
			t.Errorf("not ready %v after the hub went away, before max_lag", took)
		}
		if err := n.Serving(); err != nil {
			t.Errorf("it lets nobody in because the hub is away: %v", err)
		}
		log.SetAway(false)
		within(5*time.Second, http.StatusOK)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := n.Ready(); !errors.Is(err, ErrDraining) {
			t.Errorf("after its end: %v", err)
		}
		if err := n.Serving(); !errors.Is(err, ErrDraining) {
			t.Errorf("it serves after its end: %v", err)
		}
	})
}

// received collects what a client of the official SDK is sent.
type received struct {
	mu     sync.Mutex
	values []string
	codes  []uint32
	sub    *centrifuge.Subscription
	client *centrifuge.Client
	// close closes the client; it may be called again.
	close func()
}

func (r *received) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.values...)
}

func (r *received) closed() []uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]uint32(nil), r.codes...)
}

// connect subscribes to a channel with the official SDK, by JSON or Protobuf.
func connect(t *testing.T, url, channel, token string, protobuf bool) *received {
	t.Helper()
	endpoint := "ws" + strings.TrimPrefix(url, "http") + WebSocketPath
	config := centrifuge.Config{Token: token, MinReconnectDelay: 10 * time.Millisecond, MaxReconnectDelay: 50 * time.Millisecond}
	r := &received{}
	create := centrifuge.NewJsonClient
	if protobuf {
		create = centrifuge.NewProtobufClient
	}
	r.client = create(endpoint, config)
	note := func(code uint32) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.codes = append(r.codes, code)
	}
	r.client.OnConnecting(func(e centrifuge.ConnectingEvent) { note(e.Code) })
	r.client.OnDisconnected(func(e centrifuge.DisconnectedEvent) { note(e.Code) })
	var err error
	if r.sub, err = r.client.NewSubscription(channel); err != nil {
		t.Fatal(err)
	}
	r.sub.OnPublication(func(e centrifuge.PublicationEvent) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.values = append(r.values, string(e.Data))
	})
	subscribed := make(chan struct{}, 16)
	r.sub.OnSubscribed(func(centrifuge.SubscribedEvent) { subscribed <- struct{}{} })
	r.close = sync.OnceFunc(r.client.Close)
	t.Cleanup(r.close)
	if err := errors.Join(r.sub.Subscribe(), r.client.Connect()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-subscribed:
	case <-time.After(20 * time.Second):
		t.Fatalf("not subscribed; closed with %v", r.closed())
	}
	return r
}

func TestWebSocketWithTheSDK(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	for _, protobuf := range []bool{false, true} {
		t.Run(fmt.Sprintf("protobuf %v", protobuf), func(t *testing.T) {
			key := fmt.Sprint("k", protobuf)
			r := connect(t, n.url, "cars/"+key, "", protobuf)
			log.Send("cars", key, `{"n":1}`)
			await(t, "the message", func() bool { return len(r.all()) == 1 && r.all()[0] == `{"n":1}` })
			if got := n.Connections(); got != 1 {
				t.Errorf("%d connections", got)
			}
			r.close()
			await(t, "the connection to be gone", func() bool { return n.Connections() == 0 })
		})
	}
	if got := counted(t, n.metrics.connections.WithLabelValues("websocket")); got != 0 {
		t.Errorf("%v WebSocket connections are counted", got)
	}
}

// Draining tells the balancer first, then WebSocket clients 3001 and viewers to
// connect again; who comes then is sent elsewhere.
func TestDrain(t *testing.T) {
	log := newLog()
	other := startNode(t, log, testOptions(), nil)
	n := startNode(t, log, testOptions(), nil, func(n *Node) { n.opts.Drain = DrainOptions{Rate: 1000, Timeout: time.Second} })
	r := connect(t, n.url, "one/a", "", false)
	v := watch(t, n.url+"/v1/topics/one/stream?key=a")
	v.position(t)
	log.Send("one", "a", `"before"`)
	v.values(t, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Drain(context.Background(), 2*time.Second)
	}()
	await(t, "the balancer to be told", func() bool { return ask(t, http.MethodGet, n.url+"/healthz").status == http.StatusServiceUnavailable })
	if err := n.Serving(); err != nil {
		t.Errorf("nobody is let in any more, though the delay is not over: %v", err)
	}
	var end string
	for {
		e, ok := v.next(t)
		if !ok {
			break
		}
		end = e.retry
	}
	if end == "" {
		t.Error("the viewer was not told when to come back")
	}
	await(t, "the client to be told", func() bool { return len(r.closed()) > 1 && r.closed()[1] == codeShutdown })
	<-done
	if left := n.Connections(); left != 0 {
		t.Errorf("%d connections are left", left)
	}
	if err := n.Serving(); !errors.Is(err, ErrDraining) {
		t.Errorf("it serves though it has drained: %v", err)
	}
	if a := ask(t, http.MethodGet, n.url+"/v1/topics/one/stream?key=a"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("who comes is answered %d", a.status)
	}
	// A browser would give up at anything but 200.
	a := ask(t, http.MethodGet, n.url+"/v1/topics/one/stream?key=a", "Accept", "text/event-stream")
	if a.status != http.StatusOK || !strings.HasPrefix(a.body, "retry: ") || strings.Contains(a.body, "data:") {
		t.Errorf("a browser that comes is answered %d %q", a.status, a.body)
	}
	log.Send("one", "a", `"after"`)
	if got := watch(t, other.url+"/v1/topics/one/stream?key=a", "Last-Event-ID", v.last).values(t, 1); got[0] != `"after"` {
		t.Errorf("at the other node: %q", got)
	}
}

// Connections that are old are ended so that their clients connect again.
func TestOldConnections(t *testing.T) {
	n := startNode(t, newLog(), testOptions(), nil, func(n *Node) { n.connections.age = AgeOptions{Max: time.Millisecond} })
	r := connect(t, n.url, "one/a", "", true)
	v := watch(t, n.url+"/v1/topics/one/stream?key=a")
	for {
		if _, ok := v.next(t); !ok {
			break
		}
	}
	await(t, "the client to be told", func() bool {
		for _, c := range r.closed() {
			if c == codeReconnect {
				return true
			}
		}
		return false
	})
}

func TestLimitsOfANode(t *testing.T) {
	o := testOptions()
	o.Limits.Connections, o.Limits.ConnectionsPerUser = 3, 1
	n := startNode(t, newLog(), o, verifier(t, "*/*"))
	url := n.url + "/v1/topics/one/stream?key=a"
	ann := "&access_token=" + token(t, "ursula", time.Minute)
	v := watch(t, url+ann)
	v.position(t)
	if a := ask(t, http.MethodGet, url+ann); a.status != http.StatusTooManyRequests {
		t.Errorf("a second connection of a user: %d %s", a.status, a.body)
	}
	r := connect(t, n.url, "one/a", "", false)
	watch(t, url).position(t)
	if a := ask(t, http.MethodGet, url); a.status != http.StatusServiceUnavailable {
		t.Errorf("one connection more than the node takes: %d %s", a.status, a.body)
	}
	if a := ask(t, http.MethodGet, n.url+WebSocketPath); a.status != http.StatusServiceUnavailable {
		t.Errorf("one WebSocket connection more: %d %s", a.status, a.body)
	}
	r.close()
	v.close()
	await(t, "room for one", func() bool { return n.Connections() == 1 })
	user := connect(t, n.url, "one/a", token(t, "ursula", time.Minute), false)
	if a := ask(t, http.MethodGet, url+ann); a.status != http.StatusTooManyRequests {
		t.Errorf("beside a WebSocket connection of the user: %d %s", a.status, a.body)
	}
	user.close()
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(DefaultOptions(), Deps{Log: newLog(), Auth: verifier(t)}); err == nil || !strings.Contains(err.Error(), "topics") {
		t.Errorf("without topics: %v", err)
	}
	if _, err := New(testOptions(live.TopicOptions{Name: "one"}), Deps{}); err == nil {
		t.Error("without collaborators: taken")
	}
}

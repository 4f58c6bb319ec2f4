package centrifugo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"

	"postroad/internal/stream/live"
	"postroad/internal/stream/live/livetest"
)

// balancer is one address before nodes that come and go.
type balancer struct {
	srv  *httptest.Server
	node atomic.Pointer[node]

	mu    sync.Mutex
	conns []net.Conn // that clients dialed; guarded by mu
}

func newBalancer(t *testing.T) *balancer {
	b := &balancer{}
	b.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := b.node.Load(); n != nil {
			n.serve(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	t.Cleanup(b.srv.Close)
	return b
}

// cut ends all connections as a node does that is killed: without a word.
func (b *balancer) cut() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.conns {
		_ = c.Close() // the client's own close may have come first
	}
	b.conns = nil
}

// sdk makes a client of the SDK that reconnects fast.
func (b *balancer) sdk(t *testing.T, e Encoding, token string, change ...func(*centrifuge.Config)) *centrifuge.Client {
	t.Helper()
	config := centrifuge.Config{
		Token: token, Name: "test", HandshakeTimeout: limit, ReadTimeout: limit, WriteTimeout: limit,
		MinReconnectDelay: 5 * time.Millisecond, MaxReconnectDelay: 50 * time.Millisecond,
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				b.mu.Lock()
				b.conns = append(b.conns, c)
				b.mu.Unlock()
			}
			return c, err
		},
	}
	for _, fn := range change {
		fn(&config)
	}
	endpoint := "ws" + strings.TrimPrefix(b.srv.URL, "http") + "/connection/websocket"
	c := centrifuge.NewJsonClient(endpoint, config)
	if e == Protobuf {
		c = centrifuge.NewProtobufClient(endpoint, config)
	}
	t.Cleanup(c.Close)
	return c
}

func connectSDK(t *testing.T, c *centrifuge.Client) {
	t.Helper()
	connected := make(chan struct{}, 16)
	c.OnConnected(func(centrifuge.ConnectedEvent) { connected <- struct{}{} })
	if err := c.Connect(); err != nil {
		t.Fatal(err)
	}
	within(t, connected, "connected")
}

// watched is a subscription of the SDK and what came of it.
type watched struct {
	*centrifuge.Subscription
	subscribed   chan centrifuge.SubscribedEvent
	unsubscribed chan centrifuge.UnsubscribedEvent

	mu   sync.Mutex
	data []string // guarded by mu
}

func watch(t *testing.T, c *centrifuge.Client, channel string) *watched {
	t.Helper()
	sub, err := c.NewSubscription(channel, centrifuge.SubscriptionConfig{
		Recoverable: true, Positioned: true, MinResubscribeDelay: 5 * time.Millisecond, MaxResubscribeDelay: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{Subscription: sub, subscribed: make(chan centrifuge.SubscribedEvent, 64), unsubscribed: make(chan centrifuge.UnsubscribedEvent, 64)}
	sub.OnSubscribed(func(e centrifuge.SubscribedEvent) { w.subscribed <- e })
	sub.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) { w.unsubscribed <- e })
	sub.OnPublication(func(e centrifuge.PublicationEvent) {
		w.mu.Lock()
		w.data = append(w.data, string(e.Data))
		w.mu.Unlock()
	})
	if err := sub.Subscribe(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *watched) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.data)
}

// wantSDKError checks an error of the SDK by its code.
func wantSDKError(t *testing.T, err error, code uint32, temporary bool) {
	t.Helper()
	got, ok := errors.AsType[*centrifuge.Error](err)
	if !ok || got.Code != code || got.Temporary != temporary {
		t.Errorf("%v, want code %d, temporary %v", err, code, temporary)
	}
}

func TestSDKCommands(t *testing.T) {
	log := hub(3)
	n := start(t, log, []string{"t"})
	b := newBalancer(t)
	b.node.Store(n)
	both(t, func(t *testing.T, e Encoding) {
		c := b.sdk(t, e, "alice")
		connectSDK(t, c)
		w := watch(t, c, "/t/k")
		ev := within(t, w.subscribed, "subscribed")
		if !ev.Recoverable || !ev.Positioned || ev.WasRecovering || ev.StreamPosition == nil || ev.StreamPosition.Epoch == "" {
			t.Errorf("subscribed: %+v", ev)
		}
		until(t, "the last value", func() bool { return len(w.seen()) == 1 })
		sent := fmt.Sprintf(`{"live":"%v"}`, e)
		log.Send("t", "k", sent)
		until(t, "a live publication", func() bool { s := w.seen(); return len(s) == 2 && s[1] == sent })

		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if _, err := c.Publish(ctx, "t/k", []byte(`{"from":"sdk"}`)); err != nil {
			t.Errorf("publish: %v", err)
		}
		if p := n.publish.last(); string(p.Data) != `{"from":"sdk"}` || p.Key != "k" {
			t.Errorf("published %+v", p)
		}
		_, err := c.Publish(ctx, "t/*", []byte(`1`))
		wantSDKError(t, err, 107, false)
		h, err := w.History(ctx, centrifuge.WithHistoryLimit(2), centrifuge.WithHistorySince(&centrifuge.StreamPosition{Offset: 1, Epoch: ev.StreamPosition.Epoch}))
		if err != nil || len(h.Publications) != 2 || h.Publications[0].Offset != 2 || string(h.Publications[1].Data) != `{"n":2}` || h.Epoch != ev.StreamPosition.Epoch {
			t.Errorf("history: %+v, %v", h, err)
		}
		_, err = w.Presence(ctx)
		wantSDKError(t, err, 108, false)
		_, err = w.PresenceStats(ctx)
		wantSDKError(t, err, 108, false)
		_, err = c.RPC(ctx, "m", []byte("{}"))
		wantSDKError(t, err, 108, false)
		if err := c.Send(ctx, []byte("{}")); err != nil {
			t.Errorf("send: %v", err)
		}
		if err := w.Unsubscribe(); err != nil {
			t.Fatal(err)
		}
		within(t, w.unsubscribed, "unsubscribed")
		forbidden := watch(t, c, "nothing/k")
		if ev := within(t, forbidden.unsubscribed, "the end of a subscription to nothing"); ev.Code != 102 {
			t.Errorf("unsubscribed: %+v", ev)
		}
	})
}

// A client that was away while the node was replaced gets what it missed, each
// message once and in order: far more than an answer holds, with duplicates of
// what it had before the cut, of what it missed, and of what came after.
func TestSDKRecoversAcrossNodes(t *testing.T) {
	const missed = 12_000
	both(t, func(t *testing.T, e Encoding) {
		log := hub(0)
		b := newBalancer(t)
		a := start(t, log, []string{"t"})
		b.node.Store(a)
		c := b.sdk(t, e, "alice")
		connectSDK(t, c)
		key, all := watch(t, c, "t/k"), watch(t, c, "t/*")
		within(t, key.subscribed, "subscribed")
		within(t, all.subscribed, "subscribed")

		sent := 0
		send := func(n int) (records []live.Record) {
			for range n {
				records = append(records, log.Send("t", []string{"k", "other"}[sent%2], fmt.Sprintf(`{"n":%d}`, sent)))
				sent++
			}
			return records
		}
		again := func(records []live.Record) {
			for _, r := range records {
				log.Append("t", live.Record{Key: r.Key, Value: r.Value, ID: r.ID, HasID: true})
			}
		}
		before := send(100)
		until(t, "what was sent before the cut", func() bool { return len(all.seen()) == 100 && len(key.seen()) == 50 })

		b.node.Store(nil)
		b.cut()
		a.stop()
		again(before[50:])
		gone := send(missed)
		again(gone[:500])
		again(before[:50])
		b.node.Store(start(t, log, []string{"t"}))
		for _, w := range []*watched{key, all} {
			if ev := within(t, w.subscribed, "subscribed again"); !ev.WasRecovering || !ev.Recovered {
				t.Errorf("%s: %+v", w.Channel, ev)
			}
		}
		again(gone[missed-500:])
		again(before[90:])
		send(100)
		checkSeen(t, log, key, "k")
		checkSeen(t, log, all, "")
	})
}

// checkSeen waits for the last record of a key, or of all, and compares what was
// seen with the first of each dedupe id in the log.
func checkSeen(t *testing.T, log *livetest.Log, w *watched, key string) {
	t.Helper()
	var want []string
	ids := map[[16]byte]bool{}
	records, _ := log.All("t", 0)
	for _, r := range records {
		if !ids[r.ID] && (key == "" || string(r.Key) == key) {
			want = append(want, string(r.Value))
		}
		ids[r.ID] = true
	}
	until(t, "all of "+w.Channel, func() bool { return len(w.seen()) >= len(want) })
	got := w.seen()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("%s: message %d is %s, want %s", w.Channel, i, got[i], want[i])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d messages, want %d", w.Channel, len(got), len(want))
	}
}

// Subscriptions of connect are recovered in connect.
func TestSDKServerSideRecovery(t *testing.T) {
	both(t, func(t *testing.T, e Encoding) {
		log := hub(3)
		b := newBalancer(t)
		b.node.Store(start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 4096 }))
		c := b.sdk(t, e, "carol t/k")
		subscribed := make(chan centrifuge.ServerSubscribedEvent, 16)
		c.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) { subscribed <- e })
		var mu sync.Mutex
		var got []string
		c.OnPublication(func(e centrifuge.ServerPublicationEvent) {
			mu.Lock()
			got = append(got, string(e.Data))
			mu.Unlock()
		})
		seen := func() []string {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(got)
		}
		connectSDK(t, c)
		if ev := within(t, subscribed, "subscribed"); ev.Channel != "t/k" || ev.WasRecovering || !ev.Recoverable {
			t.Errorf("subscribed: %+v", ev)
		}
		until(t, "the last value", func() bool { return len(seen()) == 1 })
		// Cut off with nothing but the last value, and once more further on.
		want := []string{`{"n":2}`}
		for round := range 2 {
			old := b.node.Swap(nil)
			b.cut()
			old.stop()
			for i := range 500 {
				value := fmt.Sprintf(`{"round":%d,"n":%d}`, round, i)
				log.Send("t", "k", value)
				want = append(want, value)
			}
			b.node.Store(start(t, log, []string{"t"}, func(s *settings) { s.opts.MaxReplyBytes = 4096 }))
			if ev := within(t, subscribed, "subscribed again"); !ev.WasRecovering || !ev.Recovered {
				t.Fatalf("round %d: %+v", round, ev)
			}
			until(t, "what was missed", func() bool { return len(seen()) >= len(want) })
			if !slices.Equal(seen(), want) {
				t.Fatalf("round %d: %d messages, want %d; they differ", round, len(seen()), len(want))
			}
		}
	})
}

// A token that ends is renewed while the connection goes on; a topic made anew is
// subscribed to again by the SDK itself.
func TestSDKRefreshAndResubscribe(t *testing.T) {
	both(t, func(t *testing.T, e Encoding) {
		log := hub(1)
		n := start(t, log, []string{"t"})
		n.people.expire("alice first", time.Now().Add(1500*time.Millisecond))
		n.people.expire("alice second", time.Now().Add(time.Hour))
		b := newBalancer(t)
		b.node.Store(n)
		fetched := make(chan struct{}, 16)
		c := b.sdk(t, e, "alice first", func(config *centrifuge.Config) {
			config.GetToken = func(centrifuge.ConnectionTokenEvent) (string, error) {
				fetched <- struct{}{}
				return "alice second", nil
			}
		})
		disconnected := make(chan centrifuge.ConnectingEvent, 16)
		c.OnConnecting(func(e centrifuge.ConnectingEvent) { disconnected <- e })
		connectSDK(t, c)
		within(t, disconnected, "connecting")
		w := watch(t, c, "t/k")
		within(t, w.subscribed, "subscribed")
		within(t, fetched, "the fetch of another token")
		until(t, "the refresh", func() bool {
			return metric(t, n.registry, "postroad_stream_client_commands_total", "code=0 method=refresh") == 1
		})
		log.Make("t", 1)
		log.Send("t", "k", `"anew"`)
		if ev := within(t, w.subscribed, "subscribed again"); !ev.WasRecovering || ev.Recovered {
			t.Errorf("subscribed again: %+v", ev)
		}
		until(t, "the last value of the new topic", func() bool { s := w.seen(); return len(s) > 0 && s[len(s)-1] == `"anew"` })
		select {
		case ev := <-disconnected:
			t.Errorf("the connection was made anew: %+v", ev)
		default:
		}
	})
}

package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postroad/internal/httpserve"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eventually waits for cond, looking every few milliseconds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited 20 s in vain: %s", what)
		}
	}
}

// logBuffer is a log that tests read while the console writes it.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// topic is a hub in memory: Follow shows what put appends.
type topic struct {
	messages chan Message
	fail     chan error
	ends     atomic.Int64 // offset of the next message
	follows  atomic.Int64
}

func newTopic() *topic {
	return &topic{messages: make(chan Message, 4096), fail: make(chan error)}
}

func (h *topic) Follow(ctx context.Context, fn func(Message) error) error {
	h.follows.Add(1)
	for {
		select {
		case m := <-h.messages:
			if err := fn(m); err != nil {
				return err
			}
		case err := <-h.fail:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *topic) put(stamp, id, key, value string) {
	offset := h.ends.Add(1) - 1
	h.messages <- Message{
		Topic: "messages", Partition: int32(offset % 3), Offset: offset, Time: time.Now().UTC(),
		Stamp: stamp, Key: &key, Value: value, ID: id,
	}
}

// stamp answers as a stamp does, and puts what it accepts into a topic.
type stamp struct {
	name  string
	topic *topic
	sick  atomic.Bool
	mu    sync.Mutex
	got   []string // bodies of the classic call; guarded by mu
}

func newStamp(t *testing.T, name string, h *topic) (*stamp, *httptest.Server) {
	t.Helper()
	s := &stamp{name: name, topic: h}
	srv := httptest.NewServer(s)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return s, srv
}

func (s *stamp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case s.sick.Load():
		httpserve.Problem{
			Name: "unavailable", Status: 503, Title: "Not available now", Detail: "draining", RetryAfter: 2 * time.Second,
		}.Write(w)
	case r.Method == "GET" && r.URL.Path == "/healthz":
		w.WriteHeader(http.StatusOK)
	case r.Method == "GET" && r.URL.Path == "/default":
		fmt.Fprintf(w, `{"hostname":"host-%s","ip":"10.0.0.1","stamp":%q,"region":"north","zone":"1","version":"0.1.0"}`, s.name, s.name)
	case r.Method == "POST" && r.URL.Path == "/ServiceAPI/message":
		s.classic(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (s *stamp) classic(w http.ResponseWriter, r *http.Request) {
	var in struct{ SenderID, Value string }
	var raw json.RawMessage
	_ = json.NewDecoder(r.Body).Decode(&raw)
	_ = json.Unmarshal(raw, &in)
	s.mu.Lock()
	s.got = append(s.got, string(raw))
	n := len(s.got)
	s.mu.Unlock()
	w.Header().Set("Idempotency-Key", "postroad-minted-1")
	if in.SenderID == "" || in.Value == "" {
		httpserve.Problem{Name: "bad-request", Status: 400, Title: "Bad request", Detail: "senderId is missing or empty"}.Write(w)
		return
	}
	id := fmt.Sprintf("%08x-7d1c-8f2e-9a40-%012x", 0x5ac0de00+n, len(s.name)*0x1f2e3d4c5b6a+n)
	w.Header().Set("Postroad-Receipt", fmt.Sprintf("%s.01KAJ8Q5N4T6Y0V3M2R7XH9D1C.%d", id, n))
	w.Header().Set("Set-Cookie", "not=shown")
	now := time.Now().UTC().Format(time.RFC3339Nano)
	b, _ := json.Marshal(map[string]any{"serverTimestamp": now, "senderId": in.SenderID, "correlationId": id, "value": in.Value, "success": true})
	value, _ := json.Marshal(map[string]any{"senderId": in.SenderID, "correlationId": id, "value": in.Value, "serverTimestamp": now})
	_, _ = w.Write(b)
	s.topic.put(s.name, id, in.SenderID, string(value))
}

func (s *stamp) bodies() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.got...)
}

// newDoor is a front door that sends everything to one stamp.
func newDoor(t *testing.T, s *stamp) *httptest.Server {
	t.Helper()
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(*httputil.ProxyRequest) {},
		Transport: handlerTransport{s},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Postroad-Origin", s.name)
			return nil
		},
	})
	t.Cleanup(srv.Close)
	return srv
}

type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	t.h.ServeHTTP(rec, r)
	res := rec.Result()
	res.Request = r
	return res, nil
}

// site is a console with a door and two stamps.
type site struct {
	*Console
	url            string // of the page
	hub            *topic
	onprem, cloud  *stamp
	log            *logBuffer
	onpremListener *httptest.Server
}

func newSite(t *testing.T, o Options, change func(*Deps)) *site {
	t.Helper()
	s := &site{hub: newTopic(), log: &logBuffer{}}
	var cloud *httptest.Server
	s.onprem, s.onpremListener = newStamp(t, "onprem", s.hub)
	s.cloud, cloud = newStamp(t, "cloud", s.hub)
	deps := Deps{
		Endpoints: []Endpoint{
			{"door", KindDoor, newDoor(t, s.onprem).URL},
			{"onprem", KindStamp, s.onpremListener.URL},
			{"cloud", KindStamp, cloud.URL + "/"},
		},
		Feed: s.hub,
		Log:  slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&deps)
	}
	var err error
	if s.Console, err = New(o, deps); err != nil {
		t.Fatal(err)
	}
	srv, err := httpserve.New(httpserve.DefaultOptions(), s.Handler(), httpserve.Deps{Name: "console"})
	if err != nil {
		t.Fatal(err)
	}
	s.url = srv.URL() + "/console/"
	ctx, stop := context.WithCancel(context.Background())
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- srv.Run(ctx) }()
	go func() { ran <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		for what, c := range map[string]chan error{"listener": served, "console": ran} {
			if err := <-c; err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	return s
}

func client(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second}
}

// do sends a request with a body, if any, and returns status, header and body.
func do(t *testing.T, method, url, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(res.Body); err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, b.String()
}

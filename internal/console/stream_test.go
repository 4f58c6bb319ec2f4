package console

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

// event is one event of a stream.
type event struct{ id, name, data string }

// watcher reads the stream as a browser does.
type watcher struct {
	t      *testing.T
	events chan event
	cancel context.CancelFunc
}

func watch(t *testing.T, url, last string) *watcher {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"api/messages", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	res, err := client(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("stream: %d %v", res.StatusCode, res.Header)
	}
	w := &watcher{t: t, events: make(chan event, 4096), cancel: cancel}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(w.events)
		defer res.Body.Close()
		var e event
		lines := bufio.NewReader(res.Body)
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
			switch field {
			case "id":
				e.id = value
			case "event":
				e.name = value
			case "data":
				e.data = value
			case "":
				if e.name != "" {
					w.events <- e
				}
				e = event{}
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// next waits for the next event with that name.
func (w *watcher) next(name string) event {
	w.t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				w.t.Fatalf("the stream ended before an event %q", name)
			}
			if e.name == name {
				return e
			}
		case <-limit.C:
			w.t.Fatalf("no event %q", name)
		}
	}
}

func (w *watcher) messages() ([]shown, string) {
	w.t.Helper()
	e := w.next("messages")
	var list []shown
	if err := json.Unmarshal([]byte(e.data), &list); err != nil {
		w.t.Fatal(err)
	}
	return list, e.id
}

// TestStream: what is kept comes first, then what arrives, each once; whoever
// comes back goes on where he was.
func TestStream(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	s.hub.put("onprem", "id-0", "k", "line\nbreak\r\n\ndata: forged")
	s.hub.put("cloud", "id-1", "k", "one")
	eventually(t, "messages kept", func() bool { return s.recent.from(0).next == 2 })
	w := watch(t, s.url, "")
	var hub hubState
	if err := json.Unmarshal([]byte(w.next("hub").data), &hub); err != nil || hub.State != hubUp {
		t.Errorf("hub %+v, %v", hub, err)
	}
	list, id := w.messages()
	if len(list) != 2 || list[0].Value != "line\nbreak\r\n\ndata: forged" || list[1].ID != "id-1" || *list[1].Key != "k" || list[1].Stamp != "cloud" {
		t.Fatalf("kept: %+v", list)
	}
	w.cancel()
	s.hub.put("onprem", "id-2", "k", "two")
	eventually(t, "third kept", func() bool { return s.recent.from(0).next == 3 })
	if list, _ := watch(t, s.url, id).messages(); len(list) != 1 || list[0].ID != "id-2" {
		t.Errorf("after coming back: %+v", list)
	}
	for _, foreign := range []string{"other.1", "", "x", "." + id, strings.Split(id, ".")[0] + ".x"} {
		if list, _ := watch(t, s.url, foreign).messages(); len(list) != 3 {
			t.Errorf("position %q: %d messages", foreign, len(list))
		}
	}
	ahead := strings.Split(id, ".")[0] + ".1000"
	w = watch(t, s.url, ahead)
	w.next("hub")
	s.hub.put("onprem", "id-3", "k", "three")
	if list, _ := w.messages(); len(list) != 1 || list[0].ID != "id-3" {
		t.Errorf("from ahead of the end: %+v", list)
	}
}

// TestStreamSkips: who falls behind is told how many messages are missing, and
// the memory stays what it was.
func TestStreamSkips(t *testing.T) {
	o := DefaultOptions()
	o.RecentMessages = 10
	s := newSite(t, o, nil)
	for i := range 35 {
		s.hub.put("onprem", fmt.Sprint("id-", i), "k", "v")
	}
	eventually(t, "all taken", func() bool { return s.recent.from(0).next == 35 })
	w := watch(t, s.url, s.run+".5")
	if e := w.next("skipped"); e.data != `{"count":20}` {
		t.Errorf("skipped %s", e.data)
	}
	if list, _ := w.messages(); len(list) != 10 || list[0].ID != "id-25" || list[9].ID != "id-34" {
		t.Errorf("messages %+v", list)
	}
}

func TestStreamLimitsViewers(t *testing.T) {
	o := DefaultOptions()
	o.MaxViewers = 1
	s := newSite(t, o, nil)
	first := watch(t, s.url, "")
	first.next("hub")
	if status, header, body := do(t, "GET", s.url+"api/messages", ""); status != 503 || header.Get("Retry-After") == "" || !strings.Contains(body, "limit") {
		t.Errorf("second viewer: %d %s", status, body)
	}
	first.cancel()
	eventually(t, "the first gone", func() bool { return s.viewers.Load() == 0 })
	watch(t, s.url, "").next("hub")
}

// stuck is a connection that takes nothing: a write waits for its deadline.
type stuck struct {
	net.Conn
	deadline chan time.Time
}

func (s *stuck) SetWriteDeadline(t time.Time) error {
	select {
	case s.deadline <- t:
	default:
	}
	return s.Conn.SetWriteDeadline(t)
}

// TestSlowViewer: a viewer that takes nothing holds up neither the feed nor
// others, and every write to it has a deadline.
func TestSlowViewer(t *testing.T) {
	o := DefaultOptions()
	o.ShownBytes = 64 << 10
	s := newSite(t, o, nil)
	server, browser := net.Pipe() // takes nothing that is not read
	defer browser.Close()
	conn := &stuck{server, make(chan time.Time, 1)}
	srv := &http.Server{Handler: s.Handler()}
	l := &oneConn{conn: conn, closed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	defer func() {
		_ = srv.Close()
		<-done
	}()
	_, _ = io.WriteString(browser, "GET /console/api/messages HTTP/1.1\r\nHost: x\r\n\r\n")
	if at := <-conn.deadline; time.Until(at) > writeTimeout {
		t.Errorf("deadline in %s", time.Until(at))
	}
	other := watch(t, s.url, "")
	for i := range 300 {
		s.hub.put("onprem", fmt.Sprint("id-", i), "k", strings.Repeat("x", 1000))
	}
	for {
		if list, _ := other.messages(); list[len(list)-1].ID == "id-299" {
			break
		}
	}
}

// oneConn is a listener with one connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
	taken  bool
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.taken {
		l.taken = true
		return l.conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// TestStreamDrains: an open page does not hold up the end of the listener. It
// is the clean-up of newSite that fails otherwise.
func TestStreamDrains(t *testing.T) {
	var page net.Conn
	t.Run("site", func(t *testing.T) {
		s := newSite(t, DefaultOptions(), nil)
		open, err := net.Dial("tcp", strings.TrimSuffix(strings.TrimPrefix(s.url, "http://"), "/console/"))
		if err != nil {
			t.Fatal(err)
		}
		page = open
		_, _ = io.WriteString(open, "GET /console/api/messages HTTP/1.1\r\nHost: x\r\n\r\n")
		if line, err := bufio.NewReader(open).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
			t.Fatalf("stream: %q %v", line, err)
		}
	})
	defer page.Close()
	if _, err := io.Copy(io.Discard, page); err != nil {
		t.Errorf("the stream did not end well: %v", err)
	}
}

func TestCut(t *testing.T) {
	key := strings.Repeat("k", 40)
	short := "k"
	for _, c := range []struct {
		m     Message
		value string
		key   string
		cut   bool
	}{
		{Message{Value: "0123456789abcdef", Key: &short}, "0123456789abcdef", "k", false},
		{Message{Value: "0123456789abcdefg", Key: &short}, "0123456789abcdef", "k", true},
		{Message{Value: "0123456789abcdeü.", Key: &short}, "0123456789abcde", "k", true},
		{Message{Value: "AAAAAAAAAAAAAAAAAA==", ValueBase64: true, Key: &short}, "AAAAAAAAAAAAAAAA", "k", true},
		{Message{Value: "v", Key: &key}, "v", key[:16], true},
		{Message{Value: strings.Repeat("\x80", 30), Key: &short}, "", "k", true},
	} {
		got := cut(c.m, 16)
		if got.Value != c.value || *got.Key != c.key || got.Cut != c.cut || got.Bytes != len(c.m.Value) {
			t.Errorf("cut(%+v) = %+v", c.m, got)
		}
		if utf8.ValidString(c.m.Value) != utf8.ValidString(got.Value) && got.Value != "" {
			t.Errorf("%q became %q", c.m.Value, got.Value)
		}
	}
	if got := cut(Message{Value: "v"}, 16); got.Key != nil {
		t.Errorf("no key became %q", *got.Key)
	}
}

// failing is a Feed that fails a number of times and then stays.
type failing struct {
	left  int
	calls []time.Time
}

func (f *failing) Follow(ctx context.Context, _ func(Message) error) error {
	f.calls = append(f.calls, time.Now())
	if f.left--; f.left >= 0 {
		return errors.New("broker away")
	}
	<-ctx.Done()
	return nil
}

// TestFeedRestarts: with growing pauses, and the hub is down from the first
// failure until following has lasted.
func TestFeedRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		buf := &logBuffer{}
		feed := &failing{left: 4}
		c, err := New(DefaultOptions(), Deps{
			Feed: feed, Endpoints: []Endpoint{{"door", KindDoor, "http://127.0.0.1:1"}}, Log: slog.New(slog.NewTextHandler(buf, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		began := time.Now()
		synctest.Wait()
		if hub := c.recent.from(0).hub; hub.State != hubDown || hub.Error != "broker away" || !hub.Since.Equal(began) {
			t.Errorf("hub %+v at once, want down", hub)
		}
		<-time.After(time.Minute) // of the bubble's clock
		synctest.Wait()
		hub := c.recent.from(0).hub
		if last := feed.calls[len(feed.calls)-1]; len(feed.calls) != 5 || hub.State != hubUp || !hub.Since.Equal(last.Add(settled)) {
			t.Errorf("%d calls, hub %+v, want up %s after %s", len(feed.calls), hub, settled, last)
		}
		for i := 1; i < len(feed.calls); i++ {
			if pause := feed.calls[i].Sub(feed.calls[i-1]); pause < retryFirst/4 || pause > 2*retryMost {
				t.Errorf("pause %d is %s", i, pause)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := strings.Count(buf.String(), "hub is unreachable"); n != 1 {
			t.Errorf("%d times logged as unreachable", n)
		}
	})
}

// TestPing: the hub is down when it says nothing, though following goes on.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := make(chan struct{})
		c, err := New(DefaultOptions(), Deps{
			Feed: &failing{}, Endpoints: []Endpoint{{"door", KindDoor, "http://127.0.0.1:1"}},
			Ping: func(ctx context.Context) error {
				select {
				case <-away: // closed: does not answer
					<-ctx.Done()
					return ctx.Err()
				default:
					return nil
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		synctest.Wait()
		if hub := c.recent.from(0).hub; hub.State != hubUp {
			t.Errorf("hub %+v, want up", hub)
		}
		close(away)
		<-c.recent.from(0).changed
		if hub := c.recent.from(0).hub; hub.State != hubDown || hub.Error == "" {
			t.Errorf("hub %+v, want down", hub)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"postroad/internal/message"
)

// raw sends bytes on a connection of its own, closes the sending half if
// asked, and returns the answer; nil where the server gave none.
func (r *rig) raw(text string, closeWrite bool) *reply {
	r.Helper()
	conn, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.server.Listener.Addr().String())
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		r.Fatal(err)
	}
	if closeWrite {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			r.Fatal(err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.Fatal(err)
	}
	if res.Close {
		res.Header.Set("Connection", "close") // the client takes it out
	}
	return &reply{status: res.StatusCode, header: res.Header, body: string(b)}
}

const rawHead = "POST /v1/topics/t/messages HTTP/1.1\r\nHost: h\r\nIdempotency-Key: k\r\n"

// TestSlowBody: a body that does not come in time is answered with 408 and
// nothing of it is stored, whichever part of it came.
func TestSlowBody(t *testing.T) {
	for name, text := range map[string]string{
		"none of it": "Content-Length: 5\r\n\r\n",
		"half of it": "Content-Length: 5\r\n\r\nab",
		"a chunk":    "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
		"lines":      "Content-Type: application/x-ndjson\r\nContent-Length: 500\r\n\r\n{\"value\":1}\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(o *Options, _ *Deps) { o.BodyTimeout = 100 * time.Millisecond })
			a := r.raw(rawHead+text, false)
			if a == nil {
				t.Fatal("no answer")
			}
			r.want(*a, http.StatusRequestTimeout, "urn:postroad:problem:timeout", "body_timeout")
			if a.header.Get("Connection") != "close" || a.header.Get("Idempotency-Key") != "k" {
				t.Errorf("header %v", a.header)
			}
			r.idle()
		})
	}
}

// TestTruncatedBody: a body shorter than promised stores nothing.
func TestTruncatedBody(t *testing.T) {
	for name, text := range map[string]string{
		"shorter than its length": "Content-Length: 50\r\n\r\nab",
		"chunk cut off":           "Transfer-Encoding: chunked\r\n\r\n5\r\nab",
		"no last chunk":           "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{\"value\":1}\n\r\n",
		"not chunked":             "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			if a := r.raw(rawHead+text, true); a != nil && a.status != http.StatusBadRequest {
				t.Errorf("%d %s", a.status, a.body)
			}
			r.idle()
		})
	}
}

// idle waits until no request is in progress, and checks that nothing is
// stored and no memory is held.
func (r *rig) idle() {
	r.Helper()
	eventually(r.T, "no request in progress", func() bool { return r.gateway.load.requests.Load() == 0 })
	if n := r.gateway.load.bytes.Load(); n != 0 {
		r.Errorf("%d bytes are still reserved", n)
	}
	if len(r.store.all()) != 0 {
		r.Error("something is stored")
	}
}

// eventually waits for a condition, for at most ten seconds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestAnswersDoNotWaitForBodies: who is refused, or asks with a body that
// nobody reads, is answered though the body never comes.
func TestAnswersDoNotWaitForBodies(t *testing.T) {
	r := newRig(t, nil)
	for path, status := range map[string]int{
		"POST /v1/topics/a%20b/messages": 400, "POST /nowhere": 404, "PUT /v1/topics/t/messages": 405, "GET /healthz": 200, "POST /v1/topics/t/messages?key=": 400,
	} {
		for _, length := range []string{"Content-Length: 10", "Content-Length: 300000", "Transfer-Encoding: chunked"} {
			if a := r.raw(path+" HTTP/1.1\r\nHost: h\r\n"+length+"\r\n\r\n", false); a == nil || a.status != status {
				t.Errorf("%s, %s: %+v", path, length, a)
			}
		}
	}
}

func TestBodyLengths(t *testing.T) {
	r := newRig(t, nil)
	a := r.raw(rawHead+"\r\n", false)
	r.want(*a, http.StatusLengthRequired, "length-required")
	a = r.raw(rawHead+"Content-Length: 900001\r\n\r\n", false)
	r.want(*a, http.StatusRequestEntityTooLarge, "body of 900001 bytes; at most 900000 (message.max_bytes)")
	a = r.raw(rawHead+"Transfer-Encoding: chunked\r\n\r\ndbba1\r\n"+strings.Repeat("x", 900_001)+"\r\n0\r\n\r\n", false)
	r.want(*a, http.StatusRequestEntityTooLarge, "body of more than 900000 bytes (message.max_bytes)")
	if len(r.store.all()) != 0 {
		t.Error("something is stored")
	}
	a = r.raw(rawHead+"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", false)
	r.want(*a, http.StatusAccepted)
	if m := r.one(); string(m.Value) != "abc" {
		t.Errorf("value %q", m.Value)
	}
	// What follows the body is the next request's.
	a = r.raw("POST /v1/topics/t/messages HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nabcdef", false)
	r.want(*a, http.StatusAccepted)
	if all := r.store.all(); string(all[1].Value) != "ab" {
		t.Errorf("value %q", all[1].Value)
	}
}

// TestBodiesOfAllSizes reads bodies around the steps by which the buffer
// grows, in pieces of every kind, and again from used buffers.
func TestBodiesOfAllSizes(t *testing.T) {
	g, err := New(DefaultOptions(), Deps{Store: instantStore{}, Tracker: &fakeTracker{}, Log: quiet(), Identity: Identity{Stamp: "s"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 1, bodyStart - 1, bodyStart, bodyStart + 1, 2 * bodyStart, bodySmall, bodySmall + 1, 5*bodySmall + 7, bodyKeep + 1} {
		text := strings.Repeat("abcdefg", size/7+1)[:size]
		for name, src := range map[string]io.Reader{
			"whole": strings.NewReader(text), "data with EOF": iotest.DataErrReader(strings.NewReader(text)), "halves": iotest.HalfReader(strings.NewReader(text)),
		} {
			buf := g.bodies.get(int64(size))
			if err := g.fill(buf, src, max(size, 1)); err != nil || string(buf.b) != text {
				t.Fatalf("size %d, %s: %d bytes, %v", size, name, len(buf.b), err)
			}
			if int(g.load.bytes.Load()) < size || buf.reserved > max(bodyStart, 2*size)+1 {
				t.Errorf("size %d: reserved %d", size, buf.reserved)
			}
			g.bodies.put(buf)
			if n := g.load.bytes.Load(); n != 0 {
				t.Fatalf("size %d: %d bytes are still reserved", size, n)
			}
		}
	}
}

// TestOverloadByRequests: one request too many is told to come again, before
// its body is read.
func TestOverloadByRequests(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) { o.Overload.MaxRequests = 2 })
	entered, release := make(chan struct{}), make(chan struct{})
	r.store.before = func(context.Context, []message.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() { r.want(r.post(topicPath, "x"), http.StatusAccepted) })
		<-entered
	}
	a := r.raw(rawHead+"Content-Length: 5\r\n\r\n", false)
	r.want(*a, http.StatusServiceUnavailable, "overload.max_requests")
	if a.header.Get("Retry-After") != "1" || a.header.Get("Idempotency-Key") != "k" {
		t.Errorf("header %v", a.header)
	}
	r.want(r.do(http.MethodGet, "/healthz", ""), http.StatusOK)
	close(release)
	group.Wait()
	if len(r.store.all()) != 2 {
		t.Error("not all accepted messages are stored")
	}
}

// TestOverloadByBytes: bodies beyond the memory for them are refused while
// they come in.
func TestOverloadByBytes(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) {
		o.Message.MaxBytes, o.Batch.MaxBytes, o.Overload.MaxBytes = 100_000, 100_000, 200_000
	})
	entered, release := make(chan struct{}), make(chan struct{})
	r.store.before = func(context.Context, []message.Message) error {
		entered <- struct{}{}
		<-release
		return nil
	}
	var group sync.WaitGroup
	body := strings.Repeat("x", 90_000)
	group.Go(func() { r.want(r.post(topicPath, body), http.StatusAccepted) })
	<-entered
	held := r.gateway.load.bytes.Load()
	r.gateway.load.maxBytes = held + 50_000
	a := r.post(topicPath, body)
	r.want(a, http.StatusServiceUnavailable, "overload.max_bytes", "unavailable")
	if n := r.gateway.load.bytes.Load(); n != held {
		t.Errorf("%d bytes are reserved, %d before", n, held)
	}
	close(release)
	group.Wait()
}

// TestMemoryIsNotSharedAfterUnknownOutcome: a write that goes on after Append
// has returned with an unknown outcome reads what the client sent, not what
// later requests bring.
func TestMemoryIsNotSharedAfterUnknownOutcome(t *testing.T) {
	r := newRig(t, nil)
	var kept []message.Message
	var want []string
	r.store.before = func(_ context.Context, msgs []message.Message) error {
		if len(kept) == 0 {
			kept = msgs
			for i := range msgs {
				want = append(want, fmt.Sprintf("%s %s %s", msgs[i].Key, msgs[i].Value, msgs[i].Headers))
			}
			return message.ErrOutcomeUnknown
		}
		return nil
	}
	lines := `{"key":"a","value":{"n":1},"headers":{"h":"v"}}` + "\n" + `{"key":"b","value":"text"}`
	r.want(r.post(topicPath, lines, ndjson), http.StatusGatewayTimeout)
	for i := range 50 {
		r.want(r.post(topicPath, strings.Repeat(fmt.Sprintf(`{"key":"zzz","value":{"m":%d}}`+"\n", i), 3), ndjson), http.StatusAccepted)
		r.want(r.post(topicPath, strings.Repeat("q", 100), "Content-Type: image/png"), http.StatusAccepted)
	}
	for i := range kept {
		if got := fmt.Sprintf("%s %s %s", kept[i].Key, kept[i].Value, kept[i].Headers); got != want[i] {
			t.Errorf("message %d is now\n%s, was\n%s", i, got, want[i])
		}
	}
}

// TestConcurrentRequestsKeepApart: many requests at once, of every form; each
// stored message is whole and is what was sent under its key. Run with -race.
func TestConcurrentRequestsKeepApart(t *testing.T) {
	r := newRig(t, nil)
	var group sync.WaitGroup
	const workers, rounds = 8, 12
	for w := range workers {
		group.Go(func() {
			for i := range rounds {
				name := fmt.Sprintf("w%d-%d", w, i)
				value := strings.Repeat(name+",", 1+i*40)
				r.want(r.post(topicPath+"?key="+name, value), http.StatusAccepted)
				r.want(r.post(topicPath, fmt.Sprintf(`{"key":%q,"value":%q}`+"\n"+`{"key":%q,"value":"\u0022%s"}`, name, value, name, value), ndjson), http.StatusAccepted)
				r.want(r.post("/ServiceAPI/message", fmt.Sprintf(`{"senderId":%q,"value":%q}`, name, value)), http.StatusOK)
			}
		})
	}
	group.Wait()
	all := r.store.all()
	if len(all) != workers*rounds*4 {
		t.Fatalf("%d messages are stored", len(all))
	}
	for _, m := range all {
		for _, part := range strings.Split(strings.Trim(string(m.Value), `,"`), ",") {
			if m.Topic == "t" && part != string(m.Key) || m.Topic == "messages" && !strings.Contains(string(m.Value), `"senderId":"`+string(m.Key)+`"`) {
				t.Fatalf("key %s has value %.80s", m.Key, m.Value)
			}
		}
	}
}

package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/httpserve"
	"postroad/internal/stream/live"
)

func TestRoutes(t *testing.T) {
	n := startNode(t, newLog(), testOptions(live.TopicOptions{Name: "cars"}), nil)
	for _, row := range []struct {
		method, path string
		status       int
		problem      string
	}{
		{"GET", "/healthz", 200, ""},
		{"HEAD", "/healthz", 200, ""},
		{"POST", "/healthz", 405, "method-not-allowed"},
		{"GET", "/", 404, "not-found"},
		{"GET", "/v1/topics/cars", 404, "not-found"},
		{"GET", "/v1/topics/cars/messages", 404, "not-found"},
		{"GET", "/v1/topics/cars/stream/", 404, "not-found"},
		{"HEAD", "/v1/topics/cars/stream", 200, ""},
		{"POST", "/v1/topics/cars/stream", 405, "method-not-allowed"},
		{"GET", "/v1/topics/nothing/stream", 404, "not-found"},
		{"GET", "/v1/topics/no topic/stream", 404, "not-found"},
		{"GET", "/v1/topics/cars/stream?key=a&partition=1", 400, "bad-request"},
		{"GET", "/v1/topics/cars/stream?key=a&key=b", 400, "bad-request"},
		{"GET", "/v1/topics/cars/stream?key=%ff", 400, "bad-request"},
		{"GET", "/v1/topics/cars/stream?partition=x", 400, "bad-request"},
		{"GET", "/v1/topics/cars/stream?partition=4", 404, "not-found"},
		{"GET", "/v1/topics/cars/stream?from=yesterday", 400, "bad-request"},
		{"GET", "/v1/topics/cars/last", 400, "bad-request"},
		{"GET", "/v1/topics/cars/last?partition=1", 400, "bad-request"},
		{"GET", "/v1/topics/cars/last?key=a", 200, ""},
		{"HEAD", "/v1/topics/cars/last?key=a", 200, ""},
		{"GET", "/v1/topics/nothing/last?key=a", 404, "not-found"},
		{"GET", "/v1/topics/cars/history", 200, ""},
		{"GET", "/v1/topics/cars/history?limit=0", 400, "bad-request"},
		{"GET", "/v1/topics/cars/history?limit=1001", 400, "bad-request"},
		{"GET", "/v1/topics/cars/history?limit=many", 400, "bad-request"},
		{"GET", "/v1/topics/cars/history?reverse=maybe", 400, "bad-request"},
		{"GET", "/v1/topics/cars/history?reverse=true&from=beginning", 400, "bad-request"},
		{"GET", "/v1/topics/cars/history?from=nowhere", 400, "bad-request"},
		{"GET", "/v1/topics/nothing/history", 404, "not-found"},
		{"GET", "/demo/app.js", 200, ""},
		{"POST", "/demo/", 405, "method-not-allowed"},
		{"GET", "/demo", 301, ""},
		{"OPTIONS", "/v1/topics/cars/stream", 204, ""},
		{"GET", "/connection/websocket", 426, "upgrade-required"},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			a := ask(t, row.method, n.url+strings.ReplaceAll(row.path, " ", "%20"))
			if a.status != row.status {
				t.Fatalf("status %d, want %d: %s", a.status, row.status, a.body)
			}
			if row.problem != "" {
				if name, detail := a.problem(t); name != row.problem || detail == "" {
					t.Errorf("problem %q %q, want %q", name, detail, row.problem)
				}
			}
			if row.method == http.MethodHead && a.body != "" {
				t.Errorf("body %q", a.body)
			}
			if row.status == http.StatusMethodNotAllowed && a.header.Get("Allow") != allowGet {
				t.Errorf("allows %q", a.header.Get("Allow"))
			}
		})
	}
	if h := ask(t, http.MethodHead, n.url+"/v1/topics/cars/stream").header.Get("Content-Type"); h != "text/event-stream" {
		t.Errorf("an event stream is %q", h)
	}
	if n.connections.len() != 0 {
		t.Errorf("%d connections are left", n.connections.len())
	}
}

// The id of an event holds so many partitions and no more; who asks for all of a
// wide topic is told what to ask for instead.
func TestTooManyPartitions(t *testing.T) {
	log := newLog()
	log.Make("wide", maxView+1)
	n := startNode(t, log, testOptions(live.TopicOptions{Name: "wide"}), nil)
	for _, what := range []string{"stream", "history"} {
		if _, detail := ask(t, http.MethodGet, n.url+"/v1/topics/wide/"+what).problem(t); !strings.Contains(detail, "partition") {
			t.Errorf("%s: %q", what, detail)
		}
	}
	log.Send("wide", "a", "v")
	if got := watch(t, n.url+"/v1/topics/wide/stream?key=a").values(t, 1); got[0] != "v" {
		t.Errorf("one key: %q", got)
	}
}

func read(t *testing.T, url string) (h historyJSON, values []string) {
	t.Helper()
	a := ask(t, http.MethodGet, url)
	if err := json.Unmarshal([]byte(a.body), &h); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	for _, m := range h.Messages {
		values = append(values, *m.Value)
	}
	return h, values
}

// onlyBackward takes a position from history in reverse to where it is none: it may
// be one ahead of the log, and what comes there would be left out.
func onlyBackward(t *testing.T, n *rig, history string) {
	t.Helper()
	h, _ := read(t, history+"&reverse=true&from=end")
	stream := n.url + "/v1/topics/cars/stream?key=a"
	for _, url := range []string{history + "&from=" + h.Position, stream + "&from=" + h.Position} {
		a := ask(t, http.MethodGet, url)
		if name, detail := a.problem(t); a.status != http.StatusBadRequest || name != "bad-request" || !strings.Contains(detail, "reverse=true") {
			t.Errorf("forward from a position of reverse: %d %s", a.status, a.body)
		}
	}
	if e := watch(t, stream, "Last-Event-ID", h.Position).nextEvent(t); e.name != "gap" {
		t.Errorf("a stream that comes back with a position of reverse begins with %+v", e)
	}
}

func TestHistoryInPages(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	var want []string
	for i := range 25 {
		want = append(want, log1(log.Send("cars", "a", fmt.Sprint(i))))
		log.Send("cars", "b", "other")
	}
	awaitLast(t, n, "cars", "a", "24")
	url := n.url + "/v1/topics/cars/history?key=a&limit=10"
	for _, row := range []struct {
		name, query string
		want        []string
	}{
		{"forward", "", want},
		{"from the beginning", "&from=beginning", want},
		{"backward", "&reverse=true", reversed(want)},
		{"from the end, backward", "&reverse=true&from=end", reversed(want)},
	} {
		var got []string
		next := url + row.query
		for page := 0; ; page++ {
			h, values := read(t, next)
			got = append(got, values...)
			if !h.More || page > 10 {
				break
			}
			next = url + "&reverse=" + fmt.Sprint(strings.Contains(row.query, "reverse=true")) + "&from=" + h.Position
		}
		if !slices.Equal(got, row.want) {
			t.Errorf("%s: %q", row.name, got)
		}
	}
	onlyBackward(t, n, url)
	end, values := read(t, url+"&from=end")
	if len(values) != 0 || end.More {
		t.Errorf("from the end: %v", end)
	}
	log.Send("cars", "a", "new")
	if got := watch(t, n.url+"/v1/topics/cars/stream?key=a&from="+end.Position).values(t, 1); got[0] != "new" {
		t.Errorf("a stream from where the history ended: %q", got)
	}
	log.Make("cars", 4)
	await(t, "the topic made anew to be read", func() bool {
		a := ask(t, http.MethodGet, n.url+"/v1/topics/cars/history?key=a")
		return a.status == http.StatusOK && strings.Contains(a.body, `"messages":[]`)
	})
	a := ask(t, http.MethodGet, url+"&from="+end.Position)
	if name, _ := a.problem(t); a.status != http.StatusGone || name != "unrecoverable" {
		t.Errorf("from a position of what is gone: %d %s", a.status, a.body)
	}
}

func reversed(s []string) []string {
	r := slices.Clone(s)
	slices.Reverse(r)
	return r
}

func TestLast(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	last := func(key string) (l lastJSON) {
		t.Helper()
		a := ask(t, http.MethodGet, n.url+"/v1/topics/cars/last?key="+key)
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != http.StatusOK || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("%d %s: %v", a.status, a.body, err)
		}
		return l
	}
	if l := last("none"); l.Message != nil || l.Position == "" || l.Key != "none" {
		t.Errorf("of a key without messages: %+v", l)
	}
	log.Send("cars", "a/b", "v1")
	log.Send("cars", "a/b", "v2")
	// Without a key messages stand in several partitions: the newest of all counts.
	now := time.Now()
	log.Append("cars", live.Record{Partition: 3, Value: []byte("newest"), Accepted: now})
	log.Append("cars", live.Record{Partition: 1, Value: []byte("older"), Accepted: now.Add(-time.Minute)})
	await(t, "all to be read", func() bool {
		p, err := n.engine.Positions(live.Subject{Topic: "cars", All: true, Partition: -1})
		sum := int64(0)
		for _, at := range p {
			sum += at.Next
		}
		return err == nil && sum == 4
	})
	if l := last("a%2Fb"); *l.Message.Value != "v2" || *l.Message.Key != "a/b" {
		t.Errorf("of a key: %+v", l.Message)
	}
	if l := last(""); *l.Message.Value != "newest" || l.Message.Key != nil {
		t.Errorf("of messages without a key: %+v", l.Message)
	}
}

func TestWhoMayRead(t *testing.T) {
	n := startNode(t, newLog(), testOptions(), verifier(t, "cars/public*"))
	good, expired := token(t, "ursula", time.Minute), token(t, "ursula", -time.Minute)
	stranger := token(t, "nobody", time.Minute)
	for _, row := range []struct {
		name, path string
		header     []string
		status     int
	}{
		{"what everybody may", "/v1/topics/cars/last?key=public-1", nil, 200},
		{"what not everybody may", "/v1/topics/cars/last?key=a", nil, 403},
		{"another topic", "/v1/topics/one/last?key=public-1", nil, 403},
		{"all keys", "/v1/topics/cars/history", nil, 403},
		{"all of a partition", "/v1/topics/cars/history?partition=0", nil, 403},
		{"with a token", "/v1/topics/cars/last?key=a", []string{"Authorization", "Bearer " + good}, 200},
		{"with a token in the query", "/v1/topics/cars/history?access_token=" + good, nil, 200},
		{"with both", "/v1/topics/cars/history?access_token=" + good, []string{"Authorization", "Bearer " + good}, 400},
		{"with an old one", "/v1/topics/cars/last?key=public-1", []string{"Authorization", "Bearer " + expired}, 401},
		{"with a broken one", "/v1/topics/cars/last?key=public-1&access_token=" + good[:len(good)-2], nil, 401},
		{"with one that opens nothing", "/v1/topics/cars/last?key=a", []string{"Authorization", "Bearer " + stranger}, 403},
		{"HEAD of a stream", "/v1/topics/cars/stream?key=a", nil, 403},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := ask(t, http.MethodGet, n.url+row.path, row.header...)
			if a.status != row.status {
				t.Fatalf("%d %s, want %d", a.status, a.body, row.status)
			}
			if strings.Contains(a.body, good) || strings.Contains(a.body, expired) {
				t.Errorf("the answer holds a token: %s", a.body)
			}
		})
	}
}

// A stream ends when the token that opened it is no longer good.
func TestStreamEndsWithItsToken(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), verifier(t))
	if a := ask(t, http.MethodGet, n.url+"/v1/topics/one/stream?key=a"); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.status)
	}
	v := watch(t, n.url+"/v1/topics/one/stream?key=a&access_token="+token(t, "ann", 4*time.Second))
	v.position(t)
	for {
		if _, ok := v.next(t); !ok {
			break
		}
	}
	if got := counted(t, n.metrics.ended.WithLabelValues("expired")); got != 1 {
		t.Errorf("%v streams ended so", got)
	}
}

func TestOriginOfPages(t *testing.T) {
	o := testOptions()
	o.Origins = []string{"https://app.example"}
	n := startNode(t, newLog(), o, nil)
	for _, path := range []string{"/v1/topics/one/last?key=a", "/connection/websocket"} {
		if a := ask(t, http.MethodGet, n.url+path, "Origin", "https://evil.example"); a.status != http.StatusForbidden || strings.Contains(a.header.Get("Access-Control-Allow-Origin"), "evil") {
			t.Errorf("%s for a page of elsewhere: %d", path, a.status)
		}
	}
	a := ask(t, http.MethodGet, n.url+"/v1/topics/one/last?key=a", "Origin", "https://app.example")
	if a.status != http.StatusOK || a.header.Get("Access-Control-Allow-Origin") != "https://app.example" || a.header.Get("Vary") != "Origin" {
		t.Errorf("for a page that is listed: %d %v", a.status, a.header)
	}
	a = ask(t, http.MethodOptions, n.url+"/v1/topics/one/stream", "Origin", "https://app.example", "Access-Control-Request-Method", "GET")
	if !strings.Contains(a.header.Get("Access-Control-Allow-Headers"), "last-event-id") || a.header.Get("Access-Control-Allow-Methods") == "" {
		t.Errorf("preflight: %v", a.header)
	}
	if a := ask(t, http.MethodOptions, n.url+"/v1/topics/one/stream", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET"); a.header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("preflight for a page of elsewhere: %v", a.header)
	}
}

// Event streams work over HTTP/2 too: several of a page share one connection.
func TestEventsOverHTTP2(t *testing.T) {
	log := newLog()
	n := startNode(t, log, testOptions(), nil)
	o := httpserve.DefaultOptions()
	server, err := httpserve.New(o, n.Handler(), httpserve.Deps{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	two := new(http.Protocols)
	two.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: two}
	defer tr.CloseIdleConnections()
	var streams []*viewing
	for i := range 8 {
		streams = append(streams, watchOver(t, tr, fmt.Sprintf("%s/v1/topics/one/stream?key=k%d", server.URL(), i)))
	}
	for i, v := range streams {
		if v.res.ProtoMajor != 2 {
			t.Fatalf("over %s", v.res.Proto)
		}
		v.position(t)
		log.Send("one", fmt.Sprint("k", i), "v")
	}
	for _, v := range streams {
		if got := v.values(t, 1); got[0] != "v" {
			t.Errorf("%q", got)
		}
		v.close()
	}
}

package console

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	good := []Endpoint{{"door", KindDoor, "http://127.0.0.1:8080"}}
	for name, deps := range map[string]Deps{
		"no feed":     {Endpoints: good},
		"no endpoint": {Feed: newTopic()},
		"twice":       {Feed: newTopic(), Endpoints: append(good, good[0])},
		"no name":     {Feed: newTopic(), Endpoints: []Endpoint{{"", KindDoor, good[0].URL}}},
		"kind":        {Feed: newTopic(), Endpoints: []Endpoint{{"a", "hub", good[0].URL}}},
		"scheme":      {Feed: newTopic(), Endpoints: []Endpoint{{"a", KindDoor, "file:///etc/passwd"}}},
		"query":       {Feed: newTopic(), Endpoints: []Endpoint{{"a", KindDoor, "http://x/?a=b"}}},
		"no host":     {Feed: newTopic(), Endpoints: []Endpoint{{"a", KindDoor, "http://:80"}}},
	} {
		if _, err := New(DefaultOptions(), deps); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	err := Options{}.Validate()
	for _, field := range []string{"recent_messages: 0: ", "shown_bytes: 0: ", "max_viewers: 0: ", "send_timeout: 0s: ", "probe_timeout: 0s: must be between 10ms and 1m0s"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("no problem %q in %v", field, err)
		}
	}
	if _, err := New(Options{}, Deps{Endpoints: good, Feed: newTopic()}); err == nil {
		t.Error("New took bad options")
	}
	if err := DefaultOptions().Validate(); err != nil {
		t.Error(err)
	}
}

// TestAssets: the page and everything it names are there, under the policy,
// and only asked for again when they changed.
func TestAssets(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	status, header, html := do(t, "GET", s.url, "")
	if status != 200 || header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(html, "Postroad") {
		t.Fatalf("page: %d %q", status, header)
	}
	names := map[string]string{}
	for _, m := range regexp.MustCompile(`(?:href|src)="([a-z.]+)"`).FindAllStringSubmatch(html, -1) {
		names[m[1]] = ""
	}
	for _, name := range []string{"console.js", "answers.js", "messages.js", "endpoints.js"} {
		_, _, js := do(t, "GET", s.url+name, "")
		for _, m := range regexp.MustCompile(`from "\./([a-z.]+)"`).FindAllStringSubmatch(js, -1) {
			names[m[1]] = ""
		}
		if regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(`).MatchString(js) {
			t.Errorf("%s makes markup of text", name)
		}
	}
	if len(names) < 7 {
		t.Errorf("the page names only %v", names)
	}
	types := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	for name := range names {
		status, header, body := do(t, "GET", s.url+name, "")
		if status != 200 || header.Get("Content-Type") != types[path.Ext(name)] || len(body) == 0 {
			t.Errorf("%s: %d %s", name, status, header.Get("Content-Type"))
		}
		if csp := header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", name, csp)
		}
		if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cache-Control") != "no-cache" {
			t.Errorf("%s: headers %v", name, header)
		}
		if status, _, _ := do(t, "GET", s.url+name, "", "If-None-Match", header.Get("ETag")); status != http.StatusNotModified {
			t.Errorf("%s asked for again: %d", name, status)
		}
	}
	for _, p := range []string{"nothing.js", "page/index.html", "../console.go", "api/", "api/other"} {
		if status, _, _ := do(t, "GET", s.url+p, ""); status == 200 {
			t.Errorf("%s is served", p)
		}
	}
	for p, method := range map[string]string{"api/send": "GET", "api/endpoints": "POST", "api/messages": "PUT"} {
		if status, header, _ := do(t, method, s.url+p, ""); status != http.StatusMethodNotAllowed || header.Get("Allow") == "" {
			t.Errorf("%s %s: %d", method, p, status)
		}
	}
}

func TestEndpoints(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }))
	defer odd.Close()
	o := DefaultOptions()
	o.ProbeTimeout = 300 * time.Millisecond
	s := newSite(t, o, func(d *Deps) {
		d.Endpoints = append(d.Endpoints, Endpoint{"silent", KindStamp, silent.URL}, Endpoint{"dead", KindStamp, "http://127.0.0.1:1"}, Endpoint{"odd", KindStamp, odd.URL})
	})
	s.cloud.sick.Store(true)
	status, _, body := do(t, "GET", s.url+"api/endpoints", "")
	var got struct{ Endpoints []endpointState }
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != 200 || len(got.Endpoints) != 6 {
		t.Fatalf("%d %s %v", status, body, err)
	}
	for i, want := range []struct{ name, stamp, err string }{
		{"door", "onprem", ""},
		{"onprem", "onprem", ""},
		{"cloud", "", "/healthz answered 503"},
		{"silent", "", "no answer within 300ms"},
		{"dead", "", "connection refused"},
		{"odd", "", "/default is not what a stamp answers"},
	} {
		e := got.Endpoints[i]
		if e.Name != want.name || e.Healthy != (want.err == "") || !strings.Contains(e.Error, want.err) || (e.Identity != nil) != (want.stamp != "") {
			t.Errorf("%s: %+v, want error %q", want.name, e, want.err)
		}
		if e.Identity != nil && (e.Identity.Stamp != want.stamp || e.Identity.Hostname != "host-"+want.stamp) {
			t.Errorf("%s: identity %+v", want.name, *e.Identity)
		}
	}
	if _, _, again := do(t, "GET", s.url+"api/endpoints", ""); again != body && time.Since(s.board.asked) < boardFresh {
		t.Error("the endpoints were asked again at once")
	}
}

func TestSend(t *testing.T) {
	s := newSite(t, DefaultOptions(), nil)
	send := func(body string, header ...string) (int, sendAnswer, string) {
		t.Helper()
		status, _, text := do(t, "POST", s.url+"api/send", body, append([]string{"Content-Type", "application/json"}, header...)...)
		var a sendAnswer
		if status == 200 {
			if err := json.Unmarshal([]byte(text), &a); err != nil {
				t.Fatal(err)
			}
		}
		return status, a, text
	}
	status, a, _ := send(`{"endpoint":"door","senderId":"s<1>","value":"a\u0000b\n\"ü\u2028"}`, "Sec-Fetch-Site", "same-origin")
	if status != 200 || a.Status != 200 || a.Headers["Postroad-Origin"] != "onprem" || a.Headers["Postroad-Receipt"] == "" || a.LatencyMs <= 0 || a.Error != nil {
		t.Errorf("%d %+v", status, a)
	}
	if len(a.Headers["Set-Cookie"]) > 0 {
		t.Error("a header that is no business of the page's was passed on")
	}
	var body struct{ CorrelationID, Value string }
	if err := json.Unmarshal([]byte(a.Body), &body); err != nil || body.Value != "a\x00b\n\"ü\u2028" || body.CorrelationID == "" {
		t.Errorf("body %s, %v", a.Body, err)
	}
	if _, a, _ := send(`{"endpoint":"cloud","senderId":"","value":"x"}`); a.Status != 400 || !strings.Contains(a.Body, "urn:postroad:problem:bad-request") {
		t.Errorf("refused by the stamp: %+v", a)
	}
	for name, c := range map[string]struct {
		status int
		body   string
		header []string
	}{
		"unknown endpoint": {400, `{"endpoint":"http://127.0.0.1:1","senderId":"s","value":"v"}`, nil},
		"not JSON":         {400, `senderId=s`, nil},
		"two values":       {400, `{"endpoint":"door"} {}`, nil},
		"empty":            {400, ``, nil},
		"too large":        {413, `{"endpoint":"door","value":"` + strings.Repeat("x", maxSend) + `"}`, nil},
		"a form":           {415, `{"endpoint":"door"}`, []string{"Content-Type", "text/plain"}},
		"another site":     {403, `{"endpoint":"door","senderId":"s","value":"v"}`, []string{"Sec-Fetch-Site", "cross-site"}},
		"a neighbour":      {403, `{"endpoint":"door","senderId":"s","value":"v"}`, []string{"Sec-Fetch-Site", "same-site"}},
		"another origin":   {403, `{"endpoint":"door","senderId":"s","value":"v"}`, []string{"Origin", "http://evil.example"}},
	} {
		if status, _, text := send(c.body, c.header...); status != c.status || !strings.Contains(text, `"type":"urn:postroad:problem:`) {
			t.Errorf("%s: %d %s, want %d", name, status, text, c.status)
		}
	}
	if n := len(s.onprem.bodies()) + len(s.cloud.bodies()); n != 2 {
		t.Errorf("%d messages reached the stamps, want 2", n)
	}
}

// TestSendGetsNoAnswer: silence, a refused connection and a redirect are told
// for what they are, and lead nowhere else.
func TestSendGetsNoAnswer(t *testing.T) {
	posts := make(chan string, 10)
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or the end of the client is not noticed
		posts <- r.Method
		<-r.Context().Done()
	}))
	defer silent.Close()
	o := DefaultOptions()
	o.SendTimeout = 200 * time.Millisecond
	s := newSite(t, o, func(d *Deps) {
		redirect := httptest.NewServer(http.RedirectHandler(d.Endpoints[1].URL+"/ServiceAPI/message", http.StatusTemporaryRedirect))
		t.Cleanup(redirect.Close)
		d.Endpoints = append(d.Endpoints, Endpoint{"silent", KindStamp, silent.URL}, Endpoint{"dead", KindStamp, "http://127.0.0.1:1"}, Endpoint{"redirect", KindStamp, redirect.URL})
	})
	for name, want := range map[string]string{"silent": "no answer within 200ms; the message may be stored", "dead": "connection refused", "redirect": ""} {
		_, _, text := do(t, "POST", s.url+"api/send", `{"endpoint":"`+name+`","senderId":"s","value":"v"}`, "Content-Type", "application/json")
		var a sendAnswer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		if name == "redirect" {
			if a.Status != http.StatusTemporaryRedirect || len(s.onprem.bodies()) != 0 {
				t.Errorf("redirect: %+v", a)
			}
			continue
		}
		if a.Status != 0 || a.Error == nil || a.Error.Title != "No answer" || !strings.Contains(a.Error.Detail, want) || strings.Contains(a.Error.Detail, "http://") {
			t.Errorf("%s: %+v", name, a)
		}
	}
	if len(posts) != 1 {
		t.Errorf("the silent endpoint was asked %d times", len(posts))
	}
}

// TestUnusedConsole: a console that never ran holds nothing.
func TestUnusedConsole(t *testing.T) {
	c, err := New(DefaultOptions(), Deps{Feed: newTopic(), Endpoints: []Endpoint{{"door", KindDoor, "http://127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Run(ctx); err != nil {
		t.Error(err)
	}
}

package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"postroad/internal/message"
)

func TestPlainMessage(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		name, path  string
		fields      []string
		key         string
		contentType string
	}{
		{"key in query", "/v1/topics/t.1/messages?key=a%2Fb%20%C3%A9", []string{"Content-Type: image/png"}, "a/b é", "image/png"},
		{"key in field", "/v1/topics/t.1/messages", []string{"Postroad-Key: k", "Content-Type: application/x-frames; v=\"1\""}, "k", "application/x-frames; v=\"1\""},
		{"the same in both", "/v1/topics/t.1/messages?key=k", []string{"Postroad-Key: k"}, "k", ""},
		{"no key", "/v1/topics/t.1/messages", nil, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.post(c.path, "\x00\xff{", append(c.fields, "Traceparent: "+trace)...)
			r.want(a, http.StatusAccepted)
			m := r.one()
			want := `{"accepted":1,"ids":["` + message.Receipt{ID: m.ID, Place: m.Place}.String() + `"],"stamp":"onprem","lane":"` + testLane + `","seq":1}`
			if a.body != want {
				t.Errorf("answer\n%s, want\n%s", a.body, want)
			}
			if string(m.Key) != c.key || (m.Key == nil) != (c.key == "") || string(m.Value) != "\x00\xff{" || m.Topic != "t.1" || m.TraceParent != trace {
				t.Errorf("message %+v", m)
			}
			h := headersOf(m.Message)
			if _, ok := h["content-type"]; h["content-type"] != c.contentType || ok != (c.contentType != "") || len(m.Headers) > 1 {
				t.Errorf("stored with headers that the client did not send: %v", h)
			}
		})
	}
}

func TestEmptyMessageNeedsALength(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.do(http.MethodPost, "/v1/topics/t/messages", ""), http.StatusAccepted)
	if m := r.one(); m.Value == nil || len(m.Value) != 0 {
		t.Errorf("value %v", m.Value)
	}
}

func TestTopicRefusals(t *testing.T) {
	const path = "/v1/topics/t/messages"
	many := make([]string, 0, maxFields)
	for i := range maxFields {
		many = append(many, "X-"+strings.Repeat("a", i+1)+": 1")
	}
	for _, c := range []struct {
		name, path, body string
		fields           []string
		status           int
		detail           string
	}{
		{"topic with slash", "/v1/topics/a%2Fb/messages", "x", nil, 400, `topic \"a/b\"`},
		{"topic of dots", "/v1/topics/%2E%2E/messages", "x", nil, 400, `topic \"..\"`},
		{"topic too long", "/v1/topics/" + strings.Repeat("a", 250) + "/messages", "x", nil, 400, "1 to 249"},
		{"topic of the hub's own", "/v1/topics/__consumer_offsets/messages", "x", nil, 400, "the hub's own"},
		{"no topic", "/v1/topics//messages", "x", nil, 400, `topic \"\"`},
		{"topic with space", "/v1/topics/a%20b/messages", "x", nil, 400, `topic \"a b\"`},
		{"empty key", path + "?key=", "x", nil, 400, "key is empty"},
		{"control character in key", path + "?key=a%0Ab", "x", nil, 400, "control character U+000A at byte 1"},
		{"delete in key", path + "?key=%7F", "x", nil, 400, "control character U+007F at byte 0"},
		{"key not UTF-8", path + "?key=%ff", "x", nil, 400, "byte 0 is not UTF-8"},
		{"key field not UTF-8", path, "x", []string{"Postroad-Key: a\xff"}, 400, "byte 1 is not UTF-8"},
		{"long key", path + "?key=" + strings.Repeat("k", 1025), "x", nil, 400, "key of 1025 bytes; at most 1024"},
		{"two keys", path + "?key=a&key=b", "x", nil, 400, "different keys"},
		{"keys differ", path + "?key=a", "x", []string{"Postroad-Key: b"}, 400, "different keys"},
		{"bad query", path + "?key=%zz", "x", nil, 400, "query"},
		{"too large", path, strings.Repeat("x", 900_001), nil, 413, "at most 900000 (message.max_bytes)"},
		{"too large with headers", path, strings.Repeat("x", 900_000), []string{"Content-Type: text/plain"}, 413, "(key, headers and value as stored); at most 900000 (message.max_bytes)"},
		{"coded", path, "x", []string{"Content-Encoding: gzip"}, 415, `content coding \"gzip\"`},
		{"other event format", path, "x", []string{"Content-Type: application/cloudevents+xml"}, 415, "application/cloudevents+json"},
		{"many fields", path, "x", many, 431, "header fields; at most 100"},
		{"large fields", path, "x", []string{"X-A: " + strings.Repeat("a", 65<<10)}, 431, "bytes of header fields; at most 65536"},
		{"content type not UTF-8", path, "x", []string{"Content-Type: a/\xffb"}, 400, "Content-Type: byte 2 is not UTF-8"},
		{"unknown path", "/v1/topics/t", "x", nil, 404, "there is no path"},
		{"root", "/", "x", nil, 404, "there is no path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.post(c.path, c.body, c.fields...)
			r.want(a, c.status, c.detail, `"type":"urn:postroad:problem:`)
			if got := a.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %s", got)
			}
			if len(r.store.all()) != 0 {
				t.Error("something is stored")
			}
		})
	}
}

func TestLargestMessage(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post("/v1/topics/t/messages?key=k", "0"), http.StatusAccepted)
	small := r.one()
	overhead := small.Size() - 1
	r.want(r.post("/v1/topics/t/messages?key=k", strings.Repeat("x", 900_000-overhead)), http.StatusAccepted)
	r.want(r.post("/v1/topics/t/messages?key=k", strings.Repeat("x", 900_001-overhead)), http.StatusRequestEntityTooLarge)
	if n := len(r.store.all()); n != 2 {
		t.Errorf("%d messages are stored", n)
	}
}

func TestMethods(t *testing.T) {
	r := newRig(t, nil)
	for _, c := range []struct {
		method, path string
		status       int
		allow        string
	}{
		{http.MethodGet, "/v1/topics/t/messages", 405, allowPost},
		{http.MethodDelete, "/serviceapi/message", 405, allowPost},
		{http.MethodPost, "/healthz", 405, allowGet},
		{http.MethodPut, "/v1/messages/x", 405, allowGet},
		{http.MethodHead, "/healthz", 200, ""},
		{http.MethodHead, "/default", 200, ""},
		{http.MethodOptions, "/v1/topics/t/messages", 204, allowPost},
		{http.MethodOptions, "/docs", 204, allowGet},
		{http.MethodOptions, "/nowhere", 404, ""},
	} {
		a := r.do(c.method, c.path, "")
		if a.status != c.status || a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: %d, Allow %q; want %d, %q", c.method, c.path, a.status, a.header.Get("Allow"), c.status, c.allow)
		}
	}
}

func TestTraceParentIsValidated(t *testing.T) {
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for field, ok := range map[string]bool{
		"00-" + trace + "-" + parent + "-01":                             true,
		"00-" + trace + "-" + parent + "-01-x":                           false,
		"cc-" + trace + "-" + parent + "-01":                             true,
		"cc-" + trace + "-" + parent + "-01-later":                       true,
		"cc-" + trace + "-" + parent + "-01later":                        false,
		"ff-" + trace + "-" + parent + "-01":                             false,
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01":           false,
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01":            false,
		"00-" + strings.ToUpper(trace) + "-" + parent + "-01":            false,
		"00-" + trace + "-" + parent:                                     false,
		"":                                                               false,
		"cc-" + trace + "-" + parent + "-01-" + strings.Repeat("x", 300): false,
	} {
		if got := traceParent([]string{field}); (got == field && field != "") != ok {
			t.Errorf("%q gives %q", field, got)
		}
	}
	if got := traceParent([]string{"00-" + trace + "-" + parent + "-01", "00-" + trace + "-" + parent + "-01"}); got != "" {
		t.Errorf("two fields give %q", got)
	}
}

func TestPreferWait(t *testing.T) {
	const most = 30 * time.Second
	for field, want := range map[string]time.Duration{
		"wait=5":                       5 * time.Second,
		"wait = 5":                     5 * time.Second,
		`Wait="7"`:                     7 * time.Second,
		"respond-async, wait=3":        3 * time.Second,
		"wait=4; x=1, handling=strict": 4 * time.Second,
		`foo="wait=9, a", wait=2`:      2 * time.Second,
		"wait=99999":                   most,
		"wait=0":                       0,
		"wait=-1":                      0,
		"wait=1.5":                     0,
		"wait":                         0,
		"":                             0,
		"waiting=5":                    0,
		"wait=x, wait=5":               0,
		"wait=99999999999999999999":    0,
	} {
		if got := preferWait([]string{field}, most); got != want {
			t.Errorf("%q: %v, want %v", field, got, want)
		}
	}
	if got := preferWait([]string{"respond-async", "wait=6"}, most); got != 6*time.Second {
		t.Errorf("second field: %v", got)
	}
}

// TestPreferWaitAnswers: 200 with what the hub said of each message once all
// are settled, else 202 as without waiting.
func TestPreferWaitAnswers(t *testing.T) {
	const body = `{"value":1}` + "\n" + `{"value":2}`
	r := newRig(t, nil)
	ndjson := "Content-Type: " + typeNDJSON
	a := r.post("/v1/topics/t/messages", body, ndjson, "Prefer: wait=600", "Idempotency-Key: k")
	r.want(a, http.StatusAccepted, `"accepted":2`)
	if strings.Contains(a.body, `"messages"`) || a.header.Get("Preference-Applied") != "wait=30" {
		t.Errorf("answer %s, applied %q", a.body, a.header.Get("Preference-Applied"))
	}
	if r.tracker.waited > 30*time.Second || r.tracker.waited < 10*time.Second {
		t.Errorf("waited at most %v, want wait_max", r.tracker.waited)
	}
	r.tracker.set(message.Place{Lane: testLane, Seq: 1}, message.Outcome{State: message.StateForwarded, Located: true, Partition: 3, Offset: 41})
	a = r.post("/v1/topics/t/messages", body, ndjson, "Prefer: wait=1", "Idempotency-Key: k")
	r.want(a, http.StatusAccepted)
	r.tracker.set(message.Place{Lane: testLane, Seq: 2}, message.Outcome{State: message.StateDead, Reason: `too "large"`})
	a = r.post("/v1/topics/t/messages", body, ndjson, "Prefer: wait=1", "Idempotency-Key: k")
	r.want(a, http.StatusOK)
	var answer struct {
		IDs      []string `json:"ids"`
		Messages []struct {
			ID, State, Reason string
			Partition, Offset *int64
		} `json:"messages"`
	}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || len(answer.Messages) != 2 {
		t.Fatalf("%v: %s", err, a.body)
	}
	one, two := answer.Messages[0], answer.Messages[1]
	if one.ID != answer.IDs[0] || one.State != "forwarded" || one.Partition == nil || *one.Partition != 3 || *one.Offset != 41 {
		t.Errorf("first message %+v", one)
	}
	if two.ID != answer.IDs[1] || two.State != "dead" || two.Reason != `too "large"` || two.Partition != nil {
		t.Errorf("second message %+v", two)
	}
	if len(r.store.all()) != 2 {
		t.Error("replays stored again")
	}
}

// TestAppendFailures: each class of failure has its answer, and only an
// unknown outcome may be 504.
func TestAppendFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		err    error
		status int
		kind   string
		retry  string
	}{
		{"not stored", message.ErrNotStored, 503, "unavailable", "1"},
		{"full", message.ErrFull, 507, "insufficient-storage", "30"},
		{"too large", message.ErrTooLarge, 413, "too-large", ""},
		{"unknown", message.ErrOutcomeUnknown, 504, "outcome-unknown", ""},
		{"of no class", errDisk, 504, "outcome-unknown", ""},
		{"time is up", context.DeadlineExceeded, 504, "outcome-unknown", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			r.store.before = func(context.Context, []message.Message) error { return c.err }
			for _, path := range []string{"/v1/topics/t/messages", "/ServiceAPI/message"} {
				a := r.post(path, classicBody)
				r.want(a, c.status, `"urn:postroad:problem:`+c.kind+`"`)
				if got := a.header.Get("Retry-After"); got != c.retry {
					t.Errorf("Retry-After %q", got)
				}
				if !strings.HasPrefix(a.header.Get("Idempotency-Key"), `"postroad-minted-`) {
					t.Errorf("key %q", a.header.Get("Idempotency-Key"))
				}
				if strings.Contains(a.body, errDisk.Error()) {
					t.Errorf("the answer tells of the inside: %s", a.body)
				}
			}
		})
	}
}

// TestAppendTimeout: a disk that does not answer ends in outcome-unknown.
func TestAppendTimeout(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) { o.AppendTimeout = 100 * time.Millisecond })
	r.store.before = func(ctx context.Context, _ []message.Message) error {
		<-ctx.Done()
		return message.ErrOutcomeUnknown
	}
	r.want(r.post("/v1/topics/t/messages", "x"), http.StatusGatewayTimeout, "outcome-unknown")
}

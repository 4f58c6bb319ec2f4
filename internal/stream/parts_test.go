package stream

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"postroad/internal/message"
	"postroad/internal/stream/live"
)

func TestOrigins(t *testing.T) {
	for _, row := range []struct {
		name, listed, origin, host, forwarded string
		allowed                               bool
		cors                                  string
	}{
		{"no page", "", "", "node:8800", "", true, ""},
		{"of the node itself", "", "http://node:8800", "node:8800", "", true, ""},
		{"of the node, in other letters", "", "http://NODE:8800", "node:8800", "", true, ""},
		{"of the door before it", "", "https://door.example", "node:8800", "door.example", true, ""},
		{"of elsewhere", "", "https://evil.example", "node:8800", "door.example", false, ""},
		{"of another port", "", "http://node:8801", "node:8800", "", false, ""},
		{"of a file", "", "null", "node:8800", "", false, ""},
		{"listed", "https://app.example", "https://app.example", "node:8800", "", true, "https://app.example"},
		{"listed with another scheme", "https://app.example", "http://app.example", "node:8800", "", false, ""},
		{"begins like one that is listed", "https://app.example", "https://app.example.evil", "node:8800", "", false, ""},
		{"any", "*", "https://evil.example", "node:8800", "", true, "*"},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+row.host+"/connection/websocket", nil)
			if row.origin != "" {
				r.Header.Set("Origin", row.origin)
			}
			if row.forwarded != "" {
				r.Header.Set("X-Forwarded-Host", row.forwarded)
			}
			o := newOrigins(strings.Fields(row.listed))
			if got := o.allows(r); got != row.allowed {
				t.Errorf("allowed: %v", got)
			}
			h := http.Header{}
			o.headers(h, r)
			if got := h.Get("Access-Control-Allow-Origin"); got != row.cors {
				t.Errorf("pages may read: %q, want %q", got, row.cors)
			}
		})
	}
}

func TestMessageAsJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)
	id := message.ID{1, 2, 3}
	for _, row := range []struct {
		name   string
		record live.Record
		want   string
	}{
		{
			"text",
			live.Record{Partition: 2, Offset: 7, Key: []byte("a/ü"), Value: []byte("<x>\n"), ID: id, HasID: true, Accepted: at, Stamp: "onprem"},
			`{"topic":"t","partition":2,"offset":7,"key":"a/ü","value":"<x>\n","id":"` + id.String() + `","time":"2026-01-02T03:04:05.006Z","stamp":"onprem"}`,
		},
		{"without a key", live.Record{Value: []byte("1"), Accepted: at}, `{"topic":"t","partition":0,"offset":0,"key":null,"value":"1","time":"2026-01-02T03:04:05.006Z"}`},
		{"with an empty one", live.Record{Key: []byte{}, Accepted: at}, `{"topic":"t","partition":0,"offset":0,"key":"","value":"","time":"2026-01-02T03:04:05.006Z"}`},
		{
			"bytes",
			live.Record{Key: []byte{0xff}, Value: []byte{0xfe, 0}, Accepted: at},
			`{"topic":"t","partition":0,"offset":0,"key":null,"key_base64":"/w==","base64":"/gA=","time":"2026-01-02T03:04:05.006Z"}`,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := string(eventEncoder{}.Encode("t/x", true, true, []*live.Record{&row.record, &row.record}))
			line := "data: " + row.want + "\n"
			if got != line+line {
				t.Errorf("got\n%swant twice\n%s", got, line)
			}
		})
	}
}

// However wild a record, its event is one line of JSON that gives it back.
func FuzzEvent(f *testing.F) {
	f.Add([]byte("key"), []byte("value\n\r\u2028"), true)
	f.Add([]byte{0xff, 0}, []byte{0x80}, true)
	f.Add([]byte(nil), []byte(nil), false)
	f.Fuzz(func(t *testing.T, key, value []byte, keyed bool) {
		if !keyed {
			key = nil
		}
		r := live.Record{Key: key, Value: value}
		text := string(eventEncoder{}.Encode("t/*", true, true, []*live.Record{&r}))
		data, ok := strings.CutPrefix(text, "data: ")
		if !ok || strings.Count(data, "\n") != 1 || !strings.HasSuffix(data, "\n") || strings.Contains(data, "\r") {
			t.Fatalf("not one line of data: %q", text)
		}
		var m messageJSON
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, m.Value, m.Base64); got != string(value) {
			t.Fatalf("value %q, want %q", got, value)
		}
		if keyed && m.Key == nil && m.KeyBase64 == "" || !keyed && (m.Key != nil || m.KeyBase64 != "") {
			t.Fatalf("key %v %q of %q", m.Key, m.KeyBase64, key)
		}
	})
}

func textOf(t *testing.T, text, coded *string) string {
	t.Helper()
	if (text == nil) == (coded == nil) {
		t.Fatalf("either text or base64: %v, %v", text, coded)
	}
	if text != nil {
		return *text
	}
	b, err := base64.StdEncoding.DecodeString(*coded)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTokenOfARequest(t *testing.T) {
	for _, row := range []struct {
		name, target string
		fields       []string
		want         string
		bad          bool
	}{
		{"none", "/x", nil, "", false},
		{"header", "/x", []string{"Bearer abc"}, "abc", false},
		{"header in lower case", "/x", []string{"bearer abc"}, "abc", false},
		{"parameter", "/x?access_token=abc", nil, "abc", false},
		{"both", "/x?access_token=abc", []string{"Bearer abc"}, "", true},
		{"two headers", "/x", []string{"Bearer abc", "Bearer abd"}, "", true},
		{"another scheme", "/x", []string{"Basic abc"}, "", true},
		{"nothing behind the scheme", "/x", []string{"Bearer "}, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, row.target, nil)
			r.Header["Authorization"] = row.fields
			got, err := tokenOf(r)
			if got != row.want || (err != nil) != row.bad {
				t.Fatalf("%q, %v", got, err)
			}
			if err != nil && strings.Contains(err.Error(), "abc") {
				t.Errorf("the error holds the token: %v", err)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	good := DefaultOptions()
	good.Live.Topics = []live.TopicOptions{{Name: "messages"}}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	bad := good
	bad.Live.Topics = nil
	bad.Origins = []string{"*", "https://app.example", "app.example", "https://app.example/path"}
	bad.Limits = LimitOptions{Connections: 0, ConnectionsPerUser: -1, PendingBytes: 1}
	bad.Age = AgeOptions{Max: time.Second, Jitter: 2}
	bad.Drain = DrainOptions{Rate: 0, Timeout: -1}
	bad.SSE = SSEOptions{}
	bad.History = HistoryOptions{}
	bad.WebSocket.WriteDelay = time.Hour
	bad.Protocol.MaxSubscriptions = 0
	bad.Publish.Gateways = []string{"ftp://x"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("taken")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, want := range []string{
		"topics: none", `origins[2]: "app.example": must be scheme://host`, "origins[3]: ", "limits.connections: 0: ", "limits.connections_per_user: -1: ",
		"limits.pending_bytes: 1: ", "age.max: 1s: ", "age.jitter: 2: ", "drain.rate: 0: ", "drain.timeout: -1ns: ",
		"sse.queue_bytes: 0: ", "sse.keep_alive: 0s: ", "sse.retry: 0s: ", "sse.write_timeout: 0s: ", "history.max_messages: 0: ", "history.concurrent: 0: ",
		"websocket.write_delay: 1h0m0s: ", "protocol.max_subscriptions: 0: ", "publish.gateways[0]: ftp://x: ",
	} {
		found := false
		for _, l := range lines {
			found = found || strings.HasPrefix(l, want)
		}
		if !found {
			t.Errorf("no problem %q in\n%v", want, err)
		}
	}
	if len(lines) != 19 {
		t.Errorf("%d problems:\n%v", len(lines), err)
	}
}

package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"postroad/internal/message"
)

const ndjson = "Content-Type: " + typeNDJSON

func TestNDJSON(t *testing.T) {
	body := `{"key":"a","value":"te\u0078t\n"}` + "\r\n" +
		"\n  \t\r\n" +
		`  {"value": {"x" : 1.50} , "id":"i1", "headers":{"B-Own":"v","a":"w","Content-Type":"application/vnd.x+json","ce_type":"mine"}}` + "\n" +
		`{"key":null,"id":null,"headers":null,"value":false}`
	r := newRig(t, nil)
	a := r.post("/v1/topics/t/messages?key=req", body, ndjson)
	r.want(a, http.StatusAccepted, `"accepted":3`, `"seq":1`)
	all := r.store.all()
	for i, want := range []struct{ key, value, headers string }{
		{"a", "text\n", "[{content-type text/plain; charset=utf-8}]"},
		{"req", `{"x" : 1.50}`, "[{B-Own v} {a w} {ce_type mine} {content-type application/vnd.x+json}]"},
		{"req", "false", "[{content-type application/json}]"},
	} {
		m := all[i]
		if string(m.Key) != want.key || string(m.Value) != want.value {
			t.Errorf("message %d: key %q value %q", i, m.Key, m.Value)
		}
		var list []string
		for _, h := range m.Headers {
			list = append(list, fmt.Sprintf("{%s %s}", h.Name, h.Value))
		}
		if got := "[" + strings.Join(list, " ") + "]"; got != want.headers {
			t.Errorf("message %d: headers\n%s, want\n%s", i, got, want.headers)
		}
		if !strings.Contains(a.body, message.Receipt{ID: m.ID, Place: m.Place}.String()) {
			t.Errorf("the receipt of message %d is missing: %s", i, a.body)
		}
	}
	if all[0].Digest != all[2].Digest || all[0].Digest == all[1].Digest {
		t.Error("messages without an id have the digest of the request, one with an id its own")
	}
}

// TestNDJSONBadLine: one bad line and nothing is stored; the problem names the
// line and what is wrong with it.
func TestNDJSONBadLine(t *testing.T) {
	const good = `{"value":1}` + "\n"
	for _, c := range []struct{ name, line, detail string }{
		{"cut off", `{"value":1`, "the text ends early"},
		{"no object", `[1]`, "an array at byte 0, where an object is wanted"},
		{"bare word", `nonsense`, "invalid JSON at byte"},
		{"no value", `{"key":"a"}`, "value is missing"},
		{"null", `{"value":null}`, "value is null"},
		{"unknown member", `{"value":1,"Key":"a"}`, `unknown member \"Key\"`},
		{"twice", `{"value":1,"value":2}`, `member \"value\" is there twice`},
		{"twice inside", `{"value":{"a":{"b":1,"b":2}}}`, `member \"b\" is there twice`},
		{"two on a line", `{"value":1} {"value":2}`, "more text after the JSON value, at byte"},
		{"number as key", `{"key":5,"value":1}`, "key is a number; must be a string"},
		{"empty key", `{"key":"","value":1}`, "key is empty"},
		{"control character in key", `{"key":"a\nb","value":1}`, "key: control character U+000A at byte 1"},
		{"raw control character", "{\"key\":\"a\x01\",\"value\":1}", "invalid JSON at byte"},
		{"not UTF-8", "{\"value\":\"\xff\"}", "UTF-8"},
		{"not UTF-8 inside", "{\"value\":{\"a\":\"\xc3(\"}}", "UTF-8"},
		{"surrogate", `{"value":"\udc00"}`, "invalid JSON at byte"},
		{"empty id", `{"id":"","value":1}`, "id of 0 bytes"},
		{"long id", `{"id":"` + strings.Repeat("i", 1025) + `","value":1}`, "id of 1025 bytes; must be 1 to 1024"},
		{"control character in id", `{"id":"\u0000","value":1}`, "id: control character"},
		{"headers", `{"value":1,"headers":[]}`, "an array at byte 0, where an object is wanted"},
		{"header value", `{"value":1,"headers":{"a":1}}`, `header \"a\" is a number; must be a string`},
		{"header name", `{"value":1,"headers":{"":"x"}}`, "headers: name of 0 bytes"},
		{"header of ours", `{"value":1,"headers":{"Postroad-Id":"x"}}`, `headers: \"Postroad-Id\" is Postroad's own`},
		{"two types", `{"value":1,"headers":{"content-type":"a","Content-Type":"b"}}`, "content-type is there twice"},
		{"many headers", `{"value":1,"headers":{` + manyHeaders(65) + `}}`, "headers: more than 64"},
		{"deep", `{"value":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`, "depth"},
		{"large", `{"value":"` + strings.Repeat("x", 900_000) + `"}`, "at most 900000 (message.max_bytes)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.post("/v1/topics/t/messages", good+"\n"+c.line+"\n"+good, ndjson)
			status := http.StatusBadRequest
			if c.name == "large" {
				status = http.StatusRequestEntityTooLarge
			}
			r.want(a, status, "line 3: ", c.detail, `"line":3`)
			if len(r.store.all()) != 0 {
				t.Error("something is stored")
			}
		})
	}
}

func manyHeaders(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf(`"h%d":"x"`, i))
	}
	return strings.Join(list, ",")
}

func TestNDJSONLimits(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) { o.Batch = BatchOptions{MaxBytes: 4096, MaxMessages: 3} })
	r.want(r.post("/v1/topics/t/messages", strings.Repeat(`{"value":1}`+"\n", 3), ndjson), http.StatusAccepted, `"accepted":3`)
	r.want(r.post("/v1/topics/t/messages", strings.Repeat(`{"value":1}`+"\n", 4), ndjson), http.StatusRequestEntityTooLarge, "more than 3 messages (batch.max_messages)")
	r.want(r.post("/v1/topics/t/messages", strings.Repeat(" ", 4097), ndjson), http.StatusRequestEntityTooLarge, "at most 4096 (batch.max_bytes)")
	r.want(r.post("/v1/topics/t/messages", " \n \n", ndjson), http.StatusBadRequest, "no line with a message")
	r.want(r.post("/v1/topics/t/messages", "", ndjson), http.StatusBadRequest, "no line with a message")
	if len(r.store.all()) != 3 {
		t.Error("refused lines are stored")
	}
}

func FuzzNDJSON(f *testing.F) {
	for _, seed := range []string{
		`{"key":"a","value":"b","id":"c","headers":{"d":"e"}}`, "\n\n{\"value\":1}\r\n", `{"value":{"a":[1,2,{"b":null}]}}`, `{"value":"\ud83d\ude00"}`, "{", "\xff", `{"value":null}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var b batch
		if err := b.readLines(new(jsonReader), src, nil, 100); err != nil {
			mustRefuse(t, err)
			return
		}
		if len(b.msgs) == 0 || len(b.msgs) > strings.Count(string(src), "\n")+1 || len(b.lines) != len(b.msgs) || len(b.own) != len(b.msgs) {
			t.Fatalf("%d messages of %q", len(b.msgs), src)
		}
		for i := range b.msgs {
			m := &b.msgs[i]
			if m.Value == nil || m.Key != nil && checkMessageKey("key", m.Key) != nil || headersOf(*m)["content-type"] == "" && len(m.Headers) == 0 {
				t.Fatalf("accepted %+v", m)
			}
		}
	})
}

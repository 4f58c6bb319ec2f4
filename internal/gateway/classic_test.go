package gateway

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"postroad/internal/message"
)

const classicBody = `{"senderId":"van-17","value":"arrived \"early\""}`

func TestClassicAnswerAndStoredMessage(t *testing.T) {
	r := newRig(t, nil)
	a := r.post("/ServiceAPI/message", classicBody, "Content-Type: application/json")
	r.want(a, http.StatusOK)
	m := r.one()
	want := `{"serverTimestamp":"2026-03-04T05:06:07.891011Z","senderId":"van-17","correlationId":"` + m.ID.String() +
		`","value":"arrived \"early\"","success":true}`
	if a.body != want {
		t.Errorf("answer\n%s, want\n%s", a.body, want)
	}
	if got := a.header.Get("Postroad-Receipt"); got != (message.Receipt{ID: m.ID, Place: m.Place}).String() {
		t.Errorf("receipt %s", got)
	}
	stored := `{"senderId":"van-17","correlationId":"` + m.ID.String() + `","value":"arrived \"early\"","serverTimestamp":"2026-03-04T05:06:07.891011Z"}`
	if string(m.Value) != stored {
		t.Errorf("stored\n%s, want\n%s", m.Value, stored)
	}
	if m.Topic != "messages" || string(m.Key) != "van-17" || m.Principal != "anonymous" || !m.KeyHash.IsZero() || m.Repeat {
		t.Errorf("message %+v", m)
	}
	h := headersOf(m.Message)
	if h["content-type"] != "application/json" || len(h) != 1 {
		t.Errorf("headers %v", h)
	}
}

func TestClassicLetterCase(t *testing.T) {
	for _, path := range []string{"/ServiceAPI/message", "/serviceapi/MESSAGE", "/SERVICEAPI/Message"} {
		for _, body := range []string{`{"senderId":"a","value":"b"}`, `{"SENDERID":"a","Value":"b"}`, `{"senderid":"a","vAlUe":"b","other":[1]}`} {
			r := newRig(t, nil)
			r.want(r.post(path, body, "Content-Type: application/json"), http.StatusOK, `"senderId":"a"`, `"value":"b"`)
		}
	}
}

func TestClassicLinesAndTopic(t *testing.T) {
	r := newRig(t, func(o *Options, _ *Deps) { o.Classic = ClassicOptions{Topic: "old", Value: ClassicLines} })
	r.want(r.post("/ServiceAPI/message", `{"senderId":"a","value":"b\nc"}`), http.StatusOK)
	m := r.one()
	if string(m.Value) != "a\nb\nc" || m.Topic != "old" || headersOf(m.Message)["content-type"] != "text/plain; charset=utf-8" {
		t.Errorf("message %+v, value %q", m, m.Value)
	}
}

func TestClassicRefusals(t *testing.T) {
	for _, c := range []struct {
		name, body, contentType string
		status                  int
		detail                  string
	}{
		{"no sender", `{"value":"b"}`, "application/json", 400, "senderId is missing or empty"},
		{"empty sender", `{"senderId":"","value":"b"}`, "application/json", 400, "senderId is missing or empty"},
		{"null sender", `{"senderId":null,"value":"b"}`, "application/json", 400, "senderId is missing or empty"},
		{"no value", `{"senderId":"a"}`, "application/json", 400, "value is missing or empty"},
		{"empty value", `{"senderId":"a","value":""}`, "application/json", 400, "value is missing or empty"},
		{"number", `{"senderId":1,"value":"b"}`, "application/json", 400, "senderId is a number; must be a string"},
		{"object", `{"senderId":"a","value":{}}`, "application/json", 400, "value is an object; must be a string"},
		{"twice", `{"senderId":"a","senderId":"c","value":"b"}`, "application/json", 400, `member \"senderId\" is there twice`},
		{"twice in case", `{"senderId":"a","SENDERID":"c","value":"b"}`, "application/json", 400, "senderId is there twice"},
		{"control character", `{"senderId":"a\u0007","value":"b"}`, "application/json", 400, "control character U+0007 at byte 1"},
		{"array", `["a"]`, "application/json", 400, "an array at byte 0, where an object is wanted"},
		{"cut off", `{"senderId":"a","val`, "application/json", 400, "the text ends early"},
		{"more", `{"senderId":"a","value":"b"} x`, "application/json", 400, "byte"},
		{"two", `{"senderId":"a","value":"b"}{}`, "application/json", 400, "more text after the JSON value"},
		{"not UTF-8", "{\"senderId\":\"a\xff\",\"value\":\"b\"}", "application/json", 400, "UTF-8"},
		{"lone surrogate", `{"senderId":"\ud800","value":"b"}`, "application/json", 400, "invalid JSON"},
		{"deep", `{"senderId":"a","value":"b","x":` + strings.Repeat("[", 100_000), "application/json", 400, "depth"},
		{"form", "senderId=a&value=b", "application/x-www-form-urlencoded", 415, "send application/json"},
		{"charset", classicBody, "application/json; charset=iso-8859-1", 415, "JSON is UTF-8"},
		{"long sender", `{"senderId":"` + strings.Repeat("k", 1025) + `","value":"b"}`, "application/json", 400, "senderId of 1025 bytes"},
		{"large", `{"senderId":"a","value":"` + strings.Repeat("v", 900_000) + `"}`, "application/json", 413, "at most 900000 (message.max_bytes)"},
		{"large once escaped", `{"senderId":"a","value":"` + strings.Repeat(`\u0001`, 200_000) + `"}`, "application/json", 413, "at most 900000 (message.max_bytes)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, nil)
			a := r.post("/ServiceAPI/message", c.body, "Content-Type: "+c.contentType)
			r.want(a, c.status, c.detail)
			if len(r.store.all()) != 0 {
				t.Error("something is stored")
			}
			if a.header.Get("Idempotency-Key") == "" {
				t.Error("the answer has no key")
			}
		})
	}
}

// TestClassicReplay repeats a classic call later: the answer is the first one's
// to the byte, the time of the server included.
func TestClassicReplay(t *testing.T) {
	r := newRig(t, nil)
	first := r.post("/ServiceAPI/message", classicBody, "Idempotency-Key: k1")
	r.clock.advance(3600e9)
	second := r.post("/ServiceAPI/message", classicBody, "Idempotency-Key: k1")
	r.want(second, http.StatusOK)
	if second.body != first.body || second.header.Get("Postroad-Receipt") != first.header.Get("Postroad-Receipt") {
		t.Errorf("replayed\n%s, first\n%s", second.body, first.body)
	}
	if first.header.Get("Idempotent-Replayed") != "" || second.header.Get("Idempotent-Replayed") != "true" {
		t.Error("Idempotent-Replayed must be on the second answer only")
	}
	r.one()
}

func FuzzClassic(f *testing.F) {
	for _, seed := range []string{classicBody, `{}`, `{"senderid":"\u00e9","VALUE":"x"}`, "", "[", `{"senderId":null}`} {
		f.Add([]byte(seed))
	}
	g := &Gateway{opts: DefaultOptions()}
	f.Fuzz(func(t *testing.T, src []byte) {
		sender, value, err := g.readClassic(src)
		if err != nil {
			if g.problems = problemTable(); g.problem(err).Status != http.StatusBadRequest {
				t.Fatalf("%v is no bad request", err)
			}
			return
		}
		if len(sender) == 0 || len(value) == 0 || checkMessageKey("senderId", sender) != nil {
			t.Fatalf("accepted sender %q, value %q", sender, value)
		}
		var std map[string]any
		if err := json.Unmarshal(src, &std); err != nil {
			t.Fatalf("accepted what is no JSON: %v", err)
		}
	})
}

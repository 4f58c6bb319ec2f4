package carry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"postroad/internal/door/doortest"
	"postroad/internal/door/policy"
)

const lost = messagesPath + "x.lane.1"

// says are the answers of a stamp to a lookup.
func says(state string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Range") != "" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch state {
		case "missing":
			problem(w, http.StatusNotFound, "not-found")
		case "broken":
			panic(http.ErrAbortHandler)
		case "failing":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "refusing":
			problem(w, http.StatusUnauthorized, "unauthorized")
		case "silent":
			<-r.Context().Done()
		case "placed":
			_, _ = io.WriteString(w, `{"id":"x","state":"forwarded","partition":1,"offset":0,"stamp":"s","complete":true}`+"\n")
		default:
			_, _ = fmt.Fprintf(w, `{"id":"x","state":%q,"stamp":"s","lane":"l","seq":1,"complete":true}`, state)
		}
	})
}

// TestLookup asks three stamps that know different things.
func TestLookup(t *testing.T) {
	for _, c := range []struct {
		stamps   string
		status   int // 0: silent
		origin   string
		state    string
		complete bool
	}{
		{"missing missing missing", 404, "a", "", false},
		{"missing missing queued", 200, "c", "queued", true},
		{"queued missing forwarded", 200, "c", "forwarded", true},
		{"queued dead missing", 200, "b", "dead", true},
		{"dead forwarded queued", 200, "b", "forwarded", true},
		{"forwarded missing placed", 200, "c", "forwarded", true},
		{"queued queued queued", 200, "a", "queued", true},
		{"broken queued missing", 200, "b", "queued", false},
		{"missing queued silent", 200, "b", "queued", false},
		{"placed missing silent", 200, "a", "forwarded", false},
		{"failing placed missing", 200, "b", "forwarded", false},
		{"odd missing missing", 200, "a", "odd", true},
		{"odd queued missing", 200, "b", "queued", true},
		{"refusing refusing refusing", 401, "a", "", false},
		{"missing refusing missing", 401, "b", "", false},
		{"missing broken missing", 0, "b", "", false},
		{"silent missing failing", 0, "a c", "", false},
	} {
		t.Run(c.stamps, func(t *testing.T) {
			var urls []string
			for i, s := range strings.Fields(c.stamps) {
				urls = append(urls, newStamp(t, string(rune('a'+i)), says(s)).URL)
			}
			o := testOptions()
			if strings.Contains(c.stamps, "silent") {
				o.LookupTimeout = 250 * time.Millisecond
			}
			r := newRig(t, rigging{carry: o}, urls...)
			for _, method := range []string{"GET", "HEAD"} {
				got := r.do(t, request(t.Context(), Gateway, method, lost, strings.NewReader("means nothing"), "Range", "bytes=0-1"))
				if c.status == 0 {
					if silent, ok := errors.AsType[*Silent](got.err); !ok || strings.Join(silent.Origins, " ") != c.origin {
						t.Errorf("%s: %v", method, got)
					}
					continue
				}
				wantLocated(t, got, method, c.status, c.origin, c.state, c.complete)
			}
		})
	}
}

func wantLocated(t *testing.T, got answer, method string, status int, origin, state string, complete bool) {
	t.Helper()
	if got.err != nil || got.status != status || got.header.Get(OriginHeader) != origin {
		t.Fatalf("%s: %v, want %d from %s", method, got, status, origin)
	}
	if method == "HEAD" {
		if got.body != "" || got.header.Get("Content-Length") == "" {
			t.Errorf("HEAD: %v, length %q", got, got.header.Get("Content-Length"))
		}
		return
	}
	if status != 200 {
		return
	}
	var said struct {
		State    string
		Complete bool
	}
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || said.State != state || said.Complete != complete {
		t.Errorf("told %s: %v", got.body, err)
	}
	if got.header.Get("Content-Length") != fmt.Sprint(len(got.body)) {
		t.Errorf("length %q of %d", got.header.Get("Content-Length"), len(got.body))
	}
}

// TestLookupUnhealthy: an origin that gets no traffic may still be the one that
// knows.
func TestLookupUnhealthy(t *testing.T) {
	urls := []string{newStamp(t, "a", says("queued")).URL, newStamp(t, "b", says("missing")).URL}
	r := newRig(t, rigging{}, urls...)
	if err := r.group.Hold("a", true); err != nil {
		t.Fatal(err)
	}
	wantLocated(t, r.do(t, request(t.Context(), Gateway, "GET", lost, nil)), "GET", 200, "a", "queued", true)

	dead := newRig(t, rigging{}, doortest.DeadURL(t), urls[1])
	for range 2 { // the second finds it known to be down
		got := dead.do(t, request(t.Context(), Gateway, "GET", lost, nil))
		if silent, ok := errors.AsType[*Silent](got.err); !ok || !slices.Equal(silent.Origins, []string{"a"}) {
			t.Errorf("told %v", got)
		}
	}
	all := newRig(t, rigging{}, doortest.DeadURL(t), doortest.DeadURL(t))
	if got := all.do(t, request(t.Context(), Gateway, "GET", lost, nil)); got.err == nil {
		t.Errorf("told %v", got)
	}
}

// TestLookupDisabled: an origin that is disabled is not asked, which takes no time,
// and may hold the message all the same.
func TestLookupDisabled(t *testing.T) {
	a, c := newStamp(t, "a", says("queued")), newStamp(t, "c", says("queued"))
	b := newStamp(t, "b", says("missing"))
	r := newRig(t, rigging{}, a.URL, b.URL, c.URL)
	turn := func(off string) {
		t.Helper()
		var list []policy.OriginOptions
		for _, name := range []string{"a", "b", "c"} {
			list = append(list, policy.OriginOptions{Name: name, Enabled: !strings.Contains(off, name)})
		}
		if err := r.group.Update(calm(), list); err != nil {
			t.Fatal(err)
		}
	}
	look := func() answer { return r.do(t, request(t.Context(), Gateway, "GET", lost, nil)) }
	turn("ac")
	if silent, ok := errors.AsType[*Silent](look().err); !ok || !slices.Equal(silent.Origins, []string{"a", "c"}) {
		t.Errorf("told %v", silent)
	}
	if a.asked.Load()+c.asked.Load() > 0 {
		t.Error("an origin that is disabled was asked")
	}
	turn("a")
	wantLocated(t, look(), "GET", 200, "c", "queued", false)
	turn("abc")
	if _, ok := errors.AsType[*NoOrigin](look().err); !ok {
		t.Error("nobody was asked, and somebody answered")
	}
	turn("")
	wantLocated(t, look(), "GET", 200, "a", "queued", true)
}

// TestNoLookup: only a GET or HEAD for one message is put to all.
func TestNoLookup(t *testing.T) {
	for _, c := range []struct {
		kind         Kind
		method, path string
	}{
		{Plain, "GET", lost},
		{Gateway, "GET", "/v1/messages"},
		{Gateway, "GET", messagesPath},
		{Gateway, "GET", "/v1/other/y"},
		{Gateway, "POST", lost},
	} {
		a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
		r := newRig(t, rigging{}, a.URL, b.URL)
		if got := r.do(t, request(t.Context(), c.kind, c.method, c.path, nil)); got.status != 200 || b.asked.Load() != 0 {
			t.Errorf("%s %s: %v, b was asked %d times", c.method, c.path, got, b.asked.Load())
		}
	}
}

// TestIncomplete: the member is set in whatever a stamp wrote.
func TestIncomplete(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":1,"complete":true}`:    `{"a":1,"complete":false}`,
		"{\"complete\":true}\n":      `{"complete":false}`,
		`{"complete": true, "a":[]}`: `{"a":[],"complete":false}`,
		`{"a":1}`:                    `{"a":1,"complete":false}`,
		`null`:                       `null`,
		`nonsense`:                   `nonsense`,
	} {
		if got := string(incomplete([]byte(body))); got != want {
			t.Errorf("%s became %s, want %s", body, got, want)
		}
	}
}

// FuzzLocated: whatever a stamp answers, it is ranked and marked.
func FuzzLocated(f *testing.F) {
	for _, s := range []string{`{"state":"queued","complete":true}`, `{"state":"forwarded","offset":1}`, `{"state":1}`, `[]`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if rank := rankOf(200, b); rank < rankFound || rank > rankPlaced {
			t.Errorf("rank %d", rank)
		}
		var was, is map[string]json.RawMessage
		if json.Unmarshal(b, &was) == nil && was != nil {
			if err := json.Unmarshal(incomplete(b), &is); err != nil || string(is["complete"]) != "false" {
				t.Errorf("%q became %q: %v", b, incomplete(b), err)
			}
		}
	})
}

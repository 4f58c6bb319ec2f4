package door

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"postroad/internal/door/doortest"
)

// holder is a stamp that holds the messages of some paths and answers all else
// with its own 404.
func holder(t *testing.T, name string, paths ...string) *stamp {
	return newStamp(t, name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range paths {
			if r.URL.Path == p {
				_, _ = fmt.Fprintf(w, "%s holds it, asked %s", name, r.URL.RawQuery)
				return
			}
		}
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, name+" does not know it")
	}))
}

const lost = "/v1/messages/" + "x.lane.1"

// asked wants each stamp to have been asked so often.
func asked(t *testing.T, stamps []*stamp, want ...int64) {
	t.Helper()
	for i, s := range stamps {
		if n := s.asked.Load(); n != want[i] {
			t.Errorf("%s was asked %d times, want %d", s.name, n, want[i])
		}
	}
}

// TestLookup: what one stamp does not know is asked of the others, so that a
// receipt is good at the door whichever stamp gave it.
func TestLookup(t *testing.T) {
	const held, other = "/v1/messages/" + "y.lane.2", "/v1/other/y"
	for _, method := range []string{"GET", "HEAD"} {
		t.Run(method, func(t *testing.T) {
			stamps := []*stamp{holder(t, "a"), holder(t, "b"), holder(t, "c", held, other)}
			f := open(t, testOptions(origins(stamps[0].URL, stamps[1].URL, stamps[2].URL)...), Deps{})
			for _, c := range []struct {
				path, origin, body string
				status             int
				asked              []int64 // in all so far
			}{
				{held + "?scan=true", "c", "c holds it, asked scan=true", 200, []int64{1, 1, 1}},
				{lost, "a", "a does not know it", 404, []int64{2, 2, 2}},
				{other, "a", "a does not know it", 404, []int64{3, 2, 2}},
				{"/v1/messages", "a", "a does not know it", 404, []int64{4, 2, 2}},
			} {
				if method == "HEAD" {
					c.body = ""
				}
				a := ask(t, method, f.url+c.path, strings.NewReader("a body that means nothing"))
				if a.status != c.status || a.header.Get(OriginHeader) != c.origin || a.body != c.body {
					t.Errorf("%s: answer %d from %q: %q", c.path, a.status, a.header.Get(OriginHeader), a.body)
				}
				asked(t, stamps, c.asked...)
			}
		})
	}
	stamps := []*stamp{holder(t, "a"), holder(t, "b", held)}
	f := open(t, testOptions(origins(stamps[0].URL, stamps[1].URL)...), Deps{})
	if a := ask(t, "POST", f.url+held, strings.NewReader("x")); a.status != 404 {
		t.Errorf("POST: answer %d", a.status)
	}
	asked(t, stamps, 1, 0)
}

// TestLookupSilent: while an origin is silent nobody can say that a message
// does not exist, but one that another origin holds is found all the same.
func TestLookupSilent(t *testing.T) {
	const held = "/v1/messages/" + "y.lane.2"
	for down := range 3 {
		t.Run(string(rune('a'+down)), func(t *testing.T) {
			stamps := []*stamp{holder(t, "a"), holder(t, "b"), holder(t, "c")}
			stamps[(down+2)%3] = holder(t, "holder", held)
			urls := []string{stamps[0].URL, stamps[1].URL, stamps[2].URL}
			urls[down] = doortest.DeadURL(t)
			f := open(t, testOptions(origins(urls...)...), Deps{})
			name := "no answer came from " + string(rune('a'+down)) + ";"
			for range 2 { // the second finds it known to be down
				if a := ask(t, "GET", f.url+held, nil); a.status != 200 || !strings.HasPrefix(a.body, "holder holds it") {
					t.Errorf("held: answer %d %s", a.status, a.body)
				}
				a := ask(t, "GET", f.url+lost, nil)
				if a.status != 503 || problemName(t, a) != "unavailable" || a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, name) {
					t.Errorf("not held: answer %d %s, Retry-After %q", a.status, a.body, a.header.Get("Retry-After"))
				}
			}
		})
	}
}

// TestLookupUnhealthy: an origin that gets no traffic may still be the one that
// knows, and is asked as well.
func TestLookupUnhealthy(t *testing.T) {
	const held = "/v1/messages/" + "y.lane.2"
	stamps := []*stamp{holder(t, "a", held), holder(t, "b"), holder(t, "c")}
	f := open(t, testOptions(origins(stamps[0].URL, stamps[1].URL, stamps[2].URL)...), Deps{})
	f.suspect(t, "a")
	if a := ask(t, "GET", f.url+held, nil); a.status != 200 || a.header.Get(OriginHeader) != "a" {
		t.Errorf("held: answer %d %s", a.status, a.body)
	}
	if a := ask(t, "GET", f.url+lost, nil); a.status != 404 || !strings.HasSuffix(a.body, " does not know it") {
		t.Errorf("not held: answer %d %s", a.status, a.body)
	}
	asked(t, stamps, 2, 2, 2)

	for _, name := range []string{"a", "b", "c"} {
		f.suspect(t, name)
	}
	if a := ask(t, "GET", f.url+held, nil); a.status != 200 || a.header.Get(OriginHeader) != "a" {
		t.Errorf("no healthy origin: answer %d %s", a.status, a.body)
	}
	asked(t, stamps, 3, 3, 3)
}

// TestLookupHanging: an origin that takes connections but does not answer is
// given lookup_timeout, not the hour of a response.
func TestLookupHanging(t *testing.T) {
	hang := newStamp(t, "a", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	well := holder(t, "b")
	o := testOptions(origins(hang.URL, well.URL)...)
	o.Carry.LookupTimeout = 200 * time.Millisecond
	o.Carry.ResponseTimeout = time.Hour
	f := open(t, o, Deps{})
	f.suspect(t, "a")
	eventually(t, "the other one to answer in time", func() bool {
		a := ask(t, "GET", f.url+lost, nil)
		if a.status != 503 || problemName(t, a) != "unavailable" || !strings.Contains(a.body, `"complete":false`) {
			t.Fatalf("answer %d %s", a.status, a.body)
		}
		return strings.Contains(a.body, "no answer came from a;")
	})
}

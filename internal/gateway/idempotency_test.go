package gateway

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"postroad/internal/message"
)

const topicPath = "/v1/topics/t/messages"

// TestEveryAnswerHasTheKey: the client's key as it wrote it, else a minted one,
// on every answer to a POST of messages.
func TestEveryAnswerHasTheKey(t *testing.T) {
	r := newRig(t, nil)
	for _, path := range []string{topicPath, "/v1/topics/a%20b/messages", "/ServiceAPI/message", "/serviceapi/MESSAGE"} {
		for _, contentType := range []string{"Content-Type: text/plain", structured, "Content-Type: application/json"} {
			for _, field := range []string{`"quoted key"`, "bare-key"} {
				if a := r.post(path, "5", contentType, "Idempotency-Key: "+field); a.header.Get("Idempotency-Key") != field {
					t.Errorf("%s: %d answered with key %q, sent %q", path, a.status, a.header.Get("Idempotency-Key"), field)
				}
			}
			a := r.post(path, "5", contentType)
			key, err := parseKey(a.header.Get("Idempotency-Key"))
			if err != nil || !message.IsMinted(key) {
				t.Errorf("%s: %d answered with key %q", path, a.status, a.header.Get("Idempotency-Key"))
			}
		}
	}
	r.gateway.Drain()
	if a := r.post(topicPath, "x", "Idempotency-Key: k"); a.status != 503 || a.header.Get("Idempotency-Key") != "k" {
		t.Errorf("draining: %d, key %q", a.status, a.header.Get("Idempotency-Key"))
	}
}

func TestParseKey(t *testing.T) {
	for field, want := range map[string]string{
		"abc": "abc", `"abc"`: "abc", `"a b,;c"`: "a b,;c", `"a\"b\\c"`: `a"b\c`, "8e03978e-40d5:x/y=": "8e03978e-40d5:x/y=",
		strings.Repeat("k", 255): strings.Repeat("k", 255),
	} {
		if got, err := parseKey(field); err != nil || got != want {
			t.Errorf("%q: %q, %v; want %q", field, got, err, want)
		}
	}
	if got, err := parseKey("\t\"a b\" "); err != nil || got != "a b" {
		t.Errorf("with white space around: %q, %v", got, err)
	}
	for _, field := range []string{
		"", `""`, `"`, `"abc`, `abc"`, `"a"b"`, `"abc"; x=1`, `"abc" x`, "a b", "a,b", "a;b", `a\b`, `"a\b"`, `"a\`, "a\x7f", "\"a\tb\"", "é", `"é"`,
		strings.Repeat("k", 256),
	} {
		if got, err := parseKey(field); err == nil {
			t.Errorf("%q is taken as %q", field, got)
		}
	}
}

func TestBadKeys(t *testing.T) {
	r := newRig(t, nil)
	for _, fields := range [][]string{
		{`Idempotency-Key: "open`},
		{"Idempotency-Key: a", "Idempotency-Key: a"},
		{"Idempotency-Key: a", "Postroad-Attempt: 0"},
		{"Idempotency-Key: a", "Postroad-Attempt: x"},
	} {
		r.want(r.post(topicPath, "x", fields...), http.StatusBadRequest)
	}
	if len(r.store.all()) != 0 {
		t.Error("something is stored")
	}
}

// TestReplay: the same request under a key is answered from memory, whichever
// way the key is written.
func TestReplay(t *testing.T) {
	r := newRig(t, nil)
	body := `{"value":1}` + "\n" + `{"value":2,"id":"own"}`
	first := r.post(topicPath, body, ndjson, "Idempotency-Key: k")
	r.want(first, http.StatusAccepted)
	second := r.post(topicPath, body, ndjson, `Idempotency-Key: "k"`, "User-Agent: other", "Traceparent: x")
	r.want(second, http.StatusAccepted)
	if first.body != second.body || first.header.Get("Idempotent-Replayed") != "" || second.header.Get("Idempotent-Replayed") != "true" {
		t.Errorf("answers %s and %s, replayed %q", first.body, second.body, second.header.Get("Idempotent-Replayed"))
	}
	all := r.store.all()
	if len(all) != 2 || all[0].KeyHash.IsZero() || all[0].KeyHash != all[1].KeyHash || all[0].Repeat {
		t.Errorf("stored %+v", all)
	}
	// Another topic is another scope.
	r.want(r.post("/v1/topics/u/messages", "other", "Idempotency-Key: k"), http.StatusAccepted)
}

// TestKeyReused: whatever a client sends differently makes it another request;
// transport headers do not.
func TestKeyReused(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post(topicPath+"?key=a", "body", "Content-Type: text/plain", "Idempotency-Key: k"), http.StatusAccepted)
	for name, a := range map[string]reply{
		"body":         r.post(topicPath+"?key=a", "bodies", "Content-Type: text/plain", "Idempotency-Key: k"),
		"key":          r.post(topicPath+"?key=b", "body", "Content-Type: text/plain", "Idempotency-Key: k"),
		"no key":       r.post(topicPath, "body", "Content-Type: text/plain", "Idempotency-Key: k"),
		"content type": r.post(topicPath+"?key=a", "body", "Content-Type: text/html", "Idempotency-Key: k"),
		"an event":     r.post(topicPath+"?key=a", "body", "Content-Type: text/plain", "Idempotency-Key: k", "Ce-Specversion: 1.0", "Ce-Id: 1", "Ce-Source: s", "Ce-Type: t"),
	} {
		if a.status != http.StatusUnprocessableEntity || !strings.Contains(a.body, "problem:key-reused") {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	r.want(r.post(topicPath, "body", "Postroad-Key: a", "Content-Type: text/plain", "Idempotency-Key: k", "X-Other: 1"), http.StatusAccepted)
	r.one()
}

// TestFailureFreesTheKey: after a surely failed store the key may carry any
// request.
func TestFailureFreesTheKey(t *testing.T) {
	for _, failure := range []error{message.ErrNotStored, message.ErrFull, message.ErrTooLarge} {
		r := newRig(t, nil)
		r.store.before = func(context.Context, []message.Message) error { return failure }
		if a := r.post(topicPath, "one", "Idempotency-Key: k"); a.status < 400 {
			t.Fatalf("%v: %d", failure, a.status)
		}
		r.store.before = nil
		a := r.post(topicPath, "two", "Idempotency-Key: k")
		r.want(a, http.StatusAccepted)
		if a.header.Get("Idempotent-Replayed") != "" || r.one().Repeat {
			t.Errorf("%v: the second request was taken for a repeat", failure)
		}
	}
}

// TestUnknownOutcomeStoresAgain: no 409 and no replay after outcome-unknown;
// the same request keeps its id and is marked as a repeat.
func TestUnknownOutcomeStoresAgain(t *testing.T) {
	r := newRig(t, nil)
	r.store.before = func(_ context.Context, msgs []message.Message) error {
		r.store.before = nil
		if _, err := r.store.Append(context.Background(), msgs); err != nil {
			return err
		}
		return fmt.Errorf("sync: %w", message.ErrOutcomeUnknown)
	}
	r.want(r.post(topicPath, "one", "Idempotency-Key: k"), http.StatusGatewayTimeout, "outcome-unknown")
	second := r.post(topicPath, "one", "Idempotency-Key: k")
	r.want(second, http.StatusAccepted, `"seq":2`)
	if second.header.Get("Idempotent-Replayed") != "" {
		t.Error("replayed an unknown outcome")
	}
	all := r.store.all()
	if len(all) != 2 || all[0].ID != all[1].ID || all[0].Repeat || !all[1].Repeat {
		t.Errorf("stored %+v", all)
	}
	third := r.post(topicPath, "one", "Idempotency-Key: k")
	r.want(third, http.StatusAccepted, `"seq":2`)
	if third.header.Get("Idempotent-Replayed") != "true" {
		t.Error("not replayed once known")
	}
}

// TestMintedKeys are not indexed, and presenting one marks a repeat, unless a
// front door says that it is the first attempt.
func TestMintedKeys(t *testing.T) {
	r := newRig(t, nil)
	key := r.post(topicPath, "one").header.Get("Idempotency-Key")
	for _, c := range []struct {
		fields []string
		repeat bool
	}{
		{[]string{"Idempotency-Key: " + key}, true},
		{[]string{"Idempotency-Key: " + key, "Postroad-Attempt: 1"}, false},
		{[]string{"Idempotency-Key: " + key, "Postroad-Attempt: 2"}, true},
		{[]string{"Idempotency-Key: client", "Postroad-Attempt: 1"}, false},
		{[]string{"Idempotency-Key: client-2", "Postroad-Attempt: 3"}, true},
	} {
		r.want(r.post(topicPath, "one", c.fields...), http.StatusAccepted)
		all := r.store.all()
		m := all[len(all)-1]
		if m.Repeat != c.repeat {
			t.Errorf("%v: repeat %v", c.fields, m.Repeat)
		}
		minted := strings.Contains(c.fields[0], "minted")
		if m.KeyHash.IsZero() != minted || minted && m.ID != all[0].ID {
			t.Errorf("%v: key hash %v, id %v; the first has %v", c.fields, m.KeyHash, m.ID, all[0].ID)
		}
	}
	if r.gateway.index.len() != 2 {
		t.Errorf("%d keys are indexed, want the two of the client", r.gateway.index.len())
	}
}

func TestRetention(t *testing.T) {
	r := newRig(t, nil)
	r.want(r.post(topicPath, "one", "Idempotency-Key: k"), http.StatusAccepted)
	r.clock.advance(24*time.Hour - time.Second)
	if a := r.post(topicPath, "one", "Idempotency-Key: k"); a.header.Get("Idempotent-Replayed") != "true" {
		t.Error("not replayed within 24 h")
	}
	r.clock.advance(2 * time.Second)
	a := r.post(topicPath, "two", "Idempotency-Key: k")
	r.want(a, http.StatusAccepted)
	if a.header.Get("Idempotent-Replayed") != "" || len(r.store.all()) != 2 {
		t.Error("the key outlived its retention")
	}
}

// TestKeyInProgress: while a request is being stored its key is busy, for the
// same body and for another; afterwards repeats are replayed. Run with -race.
func TestKeyInProgress(t *testing.T) {
	r := newRig(t, nil)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r.store.before = func(context.Context, []message.Message) error {
		once.Do(func() { close(entered) })
		<-release
		return nil
	}
	first := make(chan reply)
	go func() { first <- r.post(topicPath, "one", "Idempotency-Key: k") }()
	<-entered
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			a := r.post(topicPath, []string{"one", "two"}[i%2], "Idempotency-Key: k")
			if a.status != http.StatusConflict || a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, "problem:conflict") {
				t.Errorf("in progress: %d %s", a.status, a.body)
			}
		})
	}
	group.Wait()
	close(release)
	a := <-first
	r.want(a, http.StatusAccepted)
	for range 8 {
		group.Go(func() {
			if b := r.post(topicPath, "one", "Idempotency-Key: k"); b.body != a.body || b.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("afterwards: %d %s", b.status, b.body)
			}
		})
	}
	group.Wait()
	r.one()
}

// TestConcurrentDuplicates sends many copies of many requests at once: each is
// stored once, every answer is that one's or 409.
func TestConcurrentDuplicates(t *testing.T) {
	r := newRig(t, nil)
	const requests, copies = 20, 8
	answers := make([]sync.Map, requests)
	var group sync.WaitGroup
	for i := range requests {
		for range copies {
			group.Go(func() {
				a := r.post(topicPath, fmt.Sprint("body ", i), fmt.Sprint("Idempotency-Key: k", i))
				switch a.status {
				case http.StatusAccepted:
					answers[i].Store(a.body, true)
				case http.StatusConflict:
				default:
					t.Errorf("%d %s", a.status, a.body)
				}
			})
		}
	}
	group.Wait()
	if n := len(r.store.all()); n != requests {
		t.Errorf("%d messages are stored, want %d", n, requests)
	}
	for i := range answers {
		n := 0
		answers[i].Range(func(any, any) bool { n++; return true })
		if n != 1 {
			t.Errorf("request %d has %d different answers", i, n)
		}
	}
}

func FuzzIdempotencyKey(f *testing.F) {
	for _, seed := range []string{"abc", `"a\"b"`, `"`, "a,b", `"\`, " x ", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		key, err := parseKey(field)
		if err != nil {
			mustRefuse(t, err)
			return
		}
		if key == "" || len(key) > maxKeyLen || checkText("key", []byte(key)) != nil {
			t.Fatalf("accepted %q as %q", field, key)
		}
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, err := parseKey(quoted); err != nil || again != key {
			t.Fatalf("%q written as %q is read as %q, %v", key, quoted, again, err)
		}
	})
}

func FuzzPrefer(f *testing.F) {
	for _, seed := range []string{"wait=5", `a="b,c;d", wait=2;x`, `"`, `\`, ",,;;=="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if got := preferWait([]string{field}, time.Minute); got < 0 || got > time.Minute || got%time.Second != 0 {
			t.Fatalf("%q gives %v", field, got)
		}
	})
}

package carry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"postroad/internal/door/doortest"
	"postroad/internal/message"
)

// sizes of bodies: none, within the transport's buffer of 4 KiB, over it, and
// the largest that is kept.
func sizes() []int { return []int{0, 100, 5 << 10, 1 << 20} }

// TestDeadOrigin: where no connection opens nothing was sent, so every method
// goes on to the next origin, with the body as the client sent it and no mark.
func TestDeadOrigin(t *testing.T) {
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE"} {
		for _, kind := range []Kind{Plain, Gateway} {
			for _, size := range sizes() {
				for _, chunked := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%v/%d/chunked=%v", method, kind, size, chunked), func(t *testing.T) {
						deadOrigin(t, kind, method, size, chunked)
					})
				}
			}
		}
	}
}

func deadOrigin(t *testing.T, kind Kind, method string, size int, chunked bool) {
	b := newStamp(t, "b", nil)
	r := newRig(t, rigging{}, doortest.DeadURL(t), b.URL)
	want := strings.Repeat("x", size)
	var body io.Reader = strings.NewReader(want)
	if chunked {
		body = io.MultiReader(body)
	}
	a := r.do(t, request(t.Context(), kind, method, topic, body, KeyHeader, "k"))
	sent := want
	if method == "HEAD" {
		want = ""
	}
	if a.err != nil || a.status != 200 || a.header.Get(OriginHeader) != "b" || a.body != want {
		t.Fatalf("answer %v with %d bytes, want 200 from b with %d", a, len(a.body), len(want))
	}
	if mark, key, got := b.last(); mark != "" || key != "k" || got != sent {
		t.Errorf("b got mark %q, key %q, %d bytes", mark, key, len(got))
	}
	if r.group.Origins()[0].Healthy() || !r.group.Origins()[1].Healthy() {
		t.Error("a refuses connections and is called healthy, or b is not")
	}
	if s := r.Stats(); s.Repeats != 0 || s.Buffered != 0 {
		t.Errorf("stats %+v: what was not sent is no repeat", s)
	}
}

// TestSilentDial is TestDeadOrigin where the network swallows the SYN.
func TestSilentDial(t *testing.T) {
	t.Parallel() // it waits
	b := newStamp(t, "b", nil)
	o := testOptions()
	o.DialTimeout = time.Second
	p := calm()
	p.Health.Errors.Consecutive = 3
	r := newRig(t, rigging{carry: o, policy: p}, "http://"+doortest.FullBacklog(t), b.URL)
	for i := range 3 {
		if !r.group.Origins()[0].Healthy() {
			t.Fatalf("isolated after %d connections that did not open: one lost packet is enough for one", i)
		}
		if a := r.post(t, "hello"); a.status != 200 || a.body != "hello" || a.header.Get(OriginHeader) != "b" {
			t.Fatalf("answer %v", a)
		}
	}
	if r.group.Origins()[0].Healthy() {
		t.Error("an origin to which no connection opens is called healthy")
	}
}

// brokenWire fails its first write without taking a byte, as the kernel does
// on a kept connection whose other end is gone.
type brokenWire struct{ net.Conn }

func (brokenWire) Write([]byte) (int, error) { return 0, syscall.EPIPE }

// TestNothingWritten: a connection that opened but took nothing leaves the
// request as good as new, so every method goes on to the next origin.
func TestNothingWritten(t *testing.T) {
	for _, method := range []string{"GET", "POST", "PUT"} {
		for _, size := range sizes() {
			for _, chunked := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/chunked=%v", method, size, chunked), func(t *testing.T) {
					nothingWritten(t, method, size, chunked)
				})
			}
		}
	}
}

func nothingWritten(t *testing.T, method string, size int, chunked bool) {
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	r := newRig(t, rigging{}, a.URL, b.URL)
	to := r.target("a")
	open := func(ctx context.Context) (net.Conn, error) {
		c, err := to.open(ctx)
		if w, ok := c.(*wire); ok {
			w.Conn = brokenWire{w.Conn}
		}
		return c, err
	}
	to.lines.open = open
	to.transport.current.Load().DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return open(ctx) }
	want := strings.Repeat("x", size)
	var body io.Reader = strings.NewReader(want)
	if chunked {
		body = io.MultiReader(body)
	}
	got := r.do(t, request(t.Context(), Gateway, method, topic, body))
	if got.status != 200 || got.header.Get(OriginHeader) != "b" || got.body != want {
		t.Fatalf("answer %v with %d bytes", got, len(got.body))
	}
	if n := a.asked.Load(); n != 0 {
		t.Errorf("a was asked %d times", n)
	}
	if first := r.attempts()[0]; first.Sent || first.Origin != "a" {
		t.Errorf("the first attempt is told as %+v", first)
	}
}

// TestAllDown: the error promises that nothing was stored, and has the key.
func TestAllDown(t *testing.T) {
	r := newRig(t, rigging{}, doortest.DeadURL(t), doortest.DeadURL(t))
	for range 2 { // the second finds them known to be down
		a := r.post(t, "{}")
		failed, ok := errors.AsType[*Attempt](a.err)
		if !ok || failed.Sent || !message.IsMinted(strings.Trim(failed.Key, `"`)) {
			t.Fatalf("answer %v", a)
		}
	}
	if err := r.group.Drain("a", true); err != nil {
		t.Fatal(err)
	}
}

// TestNoOrigin: where the policy names nobody nothing was sent.
func TestNoOrigin(t *testing.T) {
	r := newRig(t, rigging{}, doortest.DeadURL(t))
	if err := r.group.Hold("a", true); err != nil {
		t.Fatal(err)
	}
	a := r.post(t, "{}", KeyHeader, "k")
	if none, ok := errors.AsType[*NoOrigin](a.err); !ok || none.Key != "k" {
		t.Fatalf("answer %v", a)
	}
}

// TestRepeat: a POST that a stamp took and then gave no answer to goes to
// another one, marked, with the same key and body.
func TestRepeat(t *testing.T) {
	for _, size := range sizes() {
		for _, own := range []string{"", "k", `"quoted"`} {
			t.Run(fmt.Sprintf("%d/%s", size, own), func(t *testing.T) {
				a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					panic(http.ErrAbortHandler)
				}))
				b := newStamp(t, "b", nil)
				r := newRig(t, rigging{}, a.URL, b.URL)
				var header []string
				if own != "" {
					header = []string{KeyHeader, own}
				}
				got := r.post(t, strings.Repeat("y", size), header...)
				if got.status != 200 || got.header.Get(OriginHeader) != "b" || len(got.body) != size {
					t.Fatalf("answer %v", got)
				}
				mark, key, body := b.last()
				if mark != "2" || len(body) != size || key != got.header.Get(KeyHeader) || own != "" && key != own || own == "" && !message.IsMinted(strings.Trim(key, `"`)) {
					t.Errorf("b got mark %q, key %q, %d bytes; the client got key %q", mark, key, len(body), got.header.Get(KeyHeader))
				}
				if s := r.Stats(); s.Repeats != 1 || s.Buffered != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		}
	}
}

// TestMarks: the first attempt of a key that was minted here is known to be the
// first; a client's number is believed from a trusted hop only.
func TestMarks(t *testing.T) {
	minted := message.MintKey()
	for _, c := range []struct {
		name, key, mark string
		trusted         bool
		want            string
	}{
		{"own key", "k", "", false, ""},
		{"no key", "", "", false, "1"},
		{"somebody's minted key", minted, "", false, ""},
		{"a client's number", "k", "7", false, ""},
		{"a client's denial", minted, "1", false, ""},
		{"a hop's number", "k", "7", true, "7"},
		{"a hop's first", minted, "1", true, "1"},
		{"a hop's nonsense", "k", "seven", true, "seven"},
		{"a hop's last", "k", "65535", true, "65535"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newStamp(t, "a", nil)
			r := newRig(t, rigging{}, a.URL)
			req := request(t.Context(), Gateway, "POST", topic, strings.NewReader("x"))
			if c.key != "" {
				req.Header.Set(KeyHeader, c.key)
			}
			if c.mark != "" {
				req.Header.Set(AttemptHeader, c.mark)
			}
			req = req.WithContext(With(t.Context(), Call{Kind: Gateway, Trusted: c.trusted}))
			if got := r.do(t, req); got.status != 200 {
				t.Fatalf("answer %v", got)
			}
			if mark, _, _ := a.last(); mark != c.want {
				t.Errorf("the stamp got mark %q, want %q", mark, c.want)
			}
			if req.Header.Get(AttemptHeader) != c.mark || req.Header.Get(KeyHeader) != c.key {
				t.Error("the request of the caller was changed")
			}
		})
	}
}

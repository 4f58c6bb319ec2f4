package carry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestJudge is the table of what answers to a POST of messages mean, and what
// the client is told where the origin that gave one is alone, and where another
// may have stored the message already.
func TestJudge(t *testing.T) {
	const own, bare = "own", "bare"
	for _, c := range []struct {
		status int
		by     string
		want   fate
	}{
		{200, bare, settled},
		{202, bare, settled},
		{302, bare, refused},
		{400, own, refused},
		{405, own, refused},
		{411, own, refused},
		{413, own, refused},
		{415, own, refused},
		{431, own, refused},
		{501, bare, refused},
		{401, own, refused},
		{403, own, refused},
		{404, own, refused},
		{408, own, refused},
		{409, own, refused},
		{421, own, refused},
		{422, own, refused},
		{425, bare, refused},
		{429, own, refused},
		{503, own, elsewhere},
		{507, own, elsewhere},
		{503, bare, unknown},
		{507, bare, unknown},
		{500, own, unknown},
		{500, bare, unknown},
		{502, bare, unknown},
		{504, own, unknown},
		{504, bare, unknown},
		{599, bare, unknown},
	} {
		t.Run(fmt.Sprintf("%d/%s", c.status, c.by), func(t *testing.T) {
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if c.by == own {
					problem(w, c.status, "something")
					return
				}
				w.WriteHeader(c.status)
			})
			single(t, newStamp(t, "a", handler), c.status, c.by == own, c.want)
			second(t, newStamp(t, "b", handler), c.status, c.want)
			third(t, newStamp(t, "a", handler), c.want)
		})
	}
}

// single: the origin is alone.
func single(t *testing.T, s *stamp, status int, own bool, want fate) {
	a := newRig(t, rigging{}, s.URL).post(t, "x")
	if want == unknown && (!own || status != 504) {
		if failed := wantUnknown(t, a); failed.Status != status {
			t.Errorf("alone: told %+v", failed)
		}
		return
	}
	if a.err != nil || a.status != status || a.header.Get(KeyHeader) == "" {
		t.Errorf("alone: told %v", a)
	}
}

// second: an origin that was asked before took the message and gave no answer.
// Only an answer that settles may be told, or the client is told that nothing
// was stored while something is.
func second(t *testing.T, s *stamp, status int, want fate) {
	l := &ledger{}
	a := newRig(t, rigging{}, scripted(t, step{"", -1, "", "close"}, l, true), s.URL).post(t, "x")
	if want == settled {
		if a.err != nil || a.status != status {
			t.Errorf("second: told %v", a)
		}
		return
	}
	if _, ok := errors.AsType[*Attempt](a.err); !ok && a.status != 504 {
		t.Errorf("second: told %v although the first may have stored it", a)
	}
}

// third: there is another origin that works. It is asked for what this one did
// not do, and never for what this one refused.
func third(t *testing.T, s *stamp, want fate) {
	other := newStamp(t, "b", nil)
	a := newRig(t, rigging{}, s.URL, other.URL).post(t, "x")
	goes := want == elsewhere || want == unknown
	if asked := other.asked.Load() > 0; asked != goes || goes && (a.err != nil || a.status != 200) {
		t.Errorf("the other was asked: %v, told %v", asked, a)
	}
	if mark, _, _ := other.last(); goes && mark != "2" {
		t.Errorf("the other got the mark %q", mark)
	}
}

// TestRefusalWaits: what one origin refuses is not told while another, which got
// the same message before, may still say that it is stored.
func TestRefusalWaits(t *testing.T) {
	for _, status := range []int{301, 302, 400, 401, 405, 409, 413, 415, 429, 431, 501, 503, 507} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			refused := make(chan struct{})
			a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-refused
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, accepted)
			}))
			b := newStamp(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				problem(w, status, "x")
				close(refused)
			}))
			r := newRig(t, rigging{policy: hedging()}, a.URL, b.URL)
			if got := r.post(t, "x"); got.status != 202 || got.header.Get(OriginHeader) != "a" {
				t.Errorf("told %v", got)
			}
		})
	}
}

// TestFirstRefusal: where all surely refused, the client gets the first word.
func TestFirstRefusal(t *testing.T) {
	refuse := func(status int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Retry-After", "30")
			problem(w, status, "x")
		})
	}
	r := newRig(t, rigging{}, newStamp(t, "a", refuse(507)).URL, newStamp(t, "b", refuse(503)).URL)
	got := r.post(t, "x", KeyHeader, "k")
	if got.status != 507 || got.header.Get(OriginHeader) != "a" || got.header.Get("Retry-After") != "30" || got.header.Get(KeyHeader) != "k" {
		t.Errorf("told %v", got)
	}
}

// TestRead: a GET goes on where an origin cannot serve it, and what cannot be
// had anywhere is answered as the first origin did.
func TestRead(t *testing.T) {
	for _, status := range []int{502, 503, 504, 500, 404} {
		handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		a, b := newStamp(t, "a", handler), newStamp(t, "b", nil)
		got := newRig(t, rigging{}, a.URL, b.URL).do(t, request(t.Context(), Plain, "GET", "/x", nil))
		want := "a"
		if status > 500 {
			want = "b"
		}
		if got.err != nil || got.header.Get(OriginHeader) != want {
			t.Errorf("%d: answer %v, want it from %s", status, got, want)
		}
		got = newRig(t, rigging{}, a.URL, newStamp(t, "b", handler).URL).do(t, request(t.Context(), Plain, "GET", "/x", nil))
		if got.status != status || got.header.Get(OriginHeader) != "a" {
			t.Errorf("%d from both: answer %v", status, got)
		}
	}
}

// TestAnswers: an answer arrives as it was sent, whether it was read whole or is
// too long for that.
func TestAnswers(t *testing.T) {
	for _, size := range []int{0, 1, 5000, maxWholeAnswer, maxWholeAnswer + 1} {
		for _, chunked := range []bool{false, true} {
			for _, room := range []int64{64 << 20, 8 << 10} {
				t.Run(fmt.Sprintf("%d/chunked=%v/room=%d", size, chunked, room), func(t *testing.T) {
					want := strings.Repeat("z", size)
					a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						if chunked {
							w.Header().Set("Trailer", "After")
						}
						w.WriteHeader(http.StatusAccepted)
						_, _ = io.WriteString(w, want)
						w.Header().Set("After", "all")
					}))
					o := testOptions()
					o.MaxBuffered = room
					r := newRig(t, rigging{carry: o}, a.URL)
					res, err := r.RoundTrip(request(t.Context(), Gateway, "POST", topic, strings.NewReader("x")))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(res.Body)
					if err != nil || string(got) != want || res.Body.Close() != nil {
						t.Errorf("got %d bytes of %d: %v", len(got), size, err)
					}
					if chunked && res.Trailer.Get("After") != "all" {
						t.Errorf("trailers %v", res.Trailer)
					}
					eventually(t, "memory is given back", func() bool { return r.Stats().Buffered == 0 })
				})
			}
		}
	}
}

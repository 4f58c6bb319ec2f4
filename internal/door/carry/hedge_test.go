package carry

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/door/doortest"
	"postroad/internal/door/policy"
)

// TestHang: an origin that falls silent, at whatever step, costs the client the
// time of a hedge; its request is answered by another origin.
func TestHang(t *testing.T) {
	for _, s := range sendings() {
		if !s.repeats {
			continue
		}
		for _, f := range hangs() {
			if reads(s.method) && f.name == "hangs in the body" {
				continue // its answer has begun
			}
			for _, warm := range []bool{false, true} {
				if warm && f.read == 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/warm=%v", s.name, f.name, warm), func(t *testing.T) { hang(t, s, f, warm) })
			}
		}
	}
}

func hang(t *testing.T, s sending, f step, warm bool) {
	l := &ledger{}
	o := testOptions()
	o.ResponseTimeout = time.Minute
	r := newRig(t, rigging{policy: hedging(), carry: o}, scripted(t, f, l, true), good(t, l))
	if warm {
		warmUntil(t, r)
	}
	before := r.Stats().Hedges
	body := strings.Repeat("b", s.size)
	a := r.do(t, s.request(t, body))
	if a.err != nil || a.header.Get(OriginHeader) != "b" {
		t.Fatalf("answer %v", a)
	}
	for _, w := range audit(s, a, body, l) {
		t.Error(w)
	}
	if n := r.Stats().Hedges - before; n != 1 {
		t.Errorf("%d hedges", n)
	}
	left := int64(0)
	if s.method == "POST" {
		left = 1
	}
	if n := r.Stats().Orphans; n > left { // fewer where it was cut before it was sent
		t.Errorf("%d attempts run on, want %d", n, left)
	}
}

// warmUntil warms the first origin although a hedge may answer in its place.
func warmUntil(t *testing.T, r *rig) {
	t.Helper()
	eventually(t, "the first origin answers in time", func() bool {
		a := r.do(t, request(t.Context(), Gateway, "GET", warmPath, nil))
		return a.status == 200 && a.header.Get(OriginHeader) == "a"
	})
}

// TestHangNever: what may never be repeated waits for its origin, and is cut
// when its time is over.
func TestHangNever(t *testing.T) {
	t.Parallel() // it waits
	for _, s := range sendings() {
		if s.repeats {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			l := &ledger{}
			o := testOptions()
			o.ResponseTimeout = 300 * time.Millisecond
			r := newRig(t, rigging{policy: hedging(), carry: o}, scripted(t, step{"", -1, "", "hang"}, l, true), good(t, l))
			a := r.do(t, s.request(t, strings.Repeat("b", s.size)))
			wantUnknown(t, a)
			if touched, executed, _ := l.read(); touched > 1 || len(executed) > 1 {
				t.Errorf("reached origins %d times", touched)
			}
		})
	}
}

// TestHangAlone: with nobody else to ask the outcome is unknown after
// response_timeout, also where the answer hangs in its body.
func TestHangAlone(t *testing.T) {
	t.Parallel() // it waits
	for _, f := range hangs() {
		t.Run(f.name, func(t *testing.T) {
			o := testOptions()
			o.ResponseTimeout = 600 * time.Millisecond
			r := newRig(t, rigging{policy: hedging(), carry: o}, scripted(t, f, &ledger{}, true))
			if failed := wantUnknown(t, r.post(t, "x", KeyHeader, "k")); failed.Key != "k" || failed.Origin != "a" {
				t.Errorf("told %+v", failed)
			}
		})
	}
}

// TestLateAnswer: the answer that comes after another one won counts for the
// policy and for nothing else, and its connection is used again.
func TestLateAnswer(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var first atomic.Bool
	a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if first.CompareAndSwap(false, true) {
			close(arrived)
			<-release
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, accepted)
	}))
	b := newStamp(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-arrived // or the first attempt would be cut before it was sent
		_, _ = io.Copy(w, r.Body)
	}))
	r := newRig(t, rigging{policy: hedging()}, a.URL, b.URL)
	if got := r.post(t, "one"); got.header.Get(OriginHeader) != "b" || got.body != "one" {
		t.Fatalf("answer %v", got)
	}
	eventually(t, "the first runs on, without its body", func() bool { s := r.Stats(); return s.Orphans == 1 && s.Buffered == 0 })
	close(release)
	eventually(t, "the late answer is counted", func() bool { return len(r.attempts()) == 2 })
	late := r.attempts()[1]
	if late.Origin != "a" || late.Status != 202 || late.Won || late.Err != nil {
		t.Errorf("the late attempt is told as %+v", late)
	}
	eventually(t, "nothing is left", func() bool { s := r.Stats(); return s.Orphans == 0 && s.Buffered == 0 })
}

// TestOrphansHoldNoBody: what runs on although its request is answered takes no
// memory from the bodies of others. What was not written to its end is cut.
func TestOrphansHoldNoBody(t *testing.T) {
	for _, c := range []struct {
		name string
		f    step
		size int
		cut  bool
	}{
		{"small", step{"", -1, "", "hang"}, 100, false},
		{"over a line", step{"", -1, "", "hang"}, 60 << 10, false},
		{"over the transport", step{"", -1, "", "hang"}, 900 << 10, false},
		{"not taken", step{"", 0, "", "hang"}, 24 << 20, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			const posts = 3
			o := testOptions()
			o.MaxRepeatBody, o.MaxBuffered = 32<<20, 256<<20
			l := &ledger{}
			var posted atomic.Int64
			b := newStamp(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				eventually(t, "the first origin has all of it", func() bool {
					_, executed, _ := l.read()
					return c.cut || len(executed) == int(posted.Load())
				})
				<-time.After(20 * time.Millisecond)
				w.WriteHeader(http.StatusAccepted)
			}))
			r := newRig(t, rigging{carry: o, policy: hedging()}, scripted(t, c.f, l, true), b.URL)
			for range posts {
				posted.Add(1)
				if a := r.post(t, strings.Repeat("x", c.size)); a.header.Get(OriginHeader) != "b" || a.status != 202 {
					t.Fatalf("answer %v", a)
				}
			}
			eventually(t, "no body is held", func() bool { return r.Stats().Buffered == 0 })
			if c.cut {
				eventually(t, "what was begun is cut", func() bool { return len(r.attempts()) == 2*posts })
			} else if n := r.Stats().Orphans; n != posts {
				t.Errorf("%d attempts run on, want %d", n, posts)
			}
			if s := r.group.Status().Origins[0]; s.Failed != 0 {
				t.Errorf("%d failed", s.Failed)
			}
		})
	}
}

// TestLateAnswerWarm is TestLateAnswer where the first attempt began on a kept
// line: its goroutine takes over in the middle.
func TestLateAnswerWarm(t *testing.T) {
	for _, say := range []string{"", "HTTP/1.1 202 Acc", "HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 202 Accepted\r\nContent-Length: 26\r\n\r\n{\"acc"} {
		arrived, release := make(chan struct{}), make(chan struct{})
		whole := answerOf(202, "application/json", accepted)
		if strings.HasPrefix(say, "HTTP/1.1 202 Accepted") {
			whole = "HTTP/1.1 202 Accepted\r\nContent-Length: 26\r\n\r\n" + accepted
		}
		rest := strings.TrimPrefix(whole, say)
		url := doortest.RawOrigin(t, func(c net.Conn) {
			br := bufio.NewReader(c)
			for warm(c, br) {
				req, err := http.ReadRequest(br)
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(c, say)
				close(arrived)
				<-release
				_, _ = io.WriteString(c, rest)
			}
		})
		b := newStamp(t, "b", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost { // and no hedge of the warming
				<-arrived
			}
			_, _ = io.Copy(w, r.Body)
		}))
		r := newRig(t, rigging{policy: hedging()}, url, b.URL)
		warmUntil(t, r)
		if got := r.post(t, "one"); got.header.Get(OriginHeader) != "b" || got.body != "one" {
			t.Fatalf("answer %v", got)
		}
		close(release)
		eventually(t, "the late answer is counted", func() bool {
			return slices.ContainsFunc(r.attempts(), func(late Attempted) bool {
				return late.Origin == "a" && late.Status == 202 && !late.Won && late.Err == nil
			})
		})
		eventually(t, "nothing is left", func() bool { s := r.Stats(); return s.Orphans == 0 && s.Buffered == 0 })
	}
}

// TestClientGone: a POST that a stamp may be storing is not cut when its client
// goes, is not repeated either, and its outcome is counted.
func TestClientGone(t *testing.T) {
	for _, kind := range []Kind{Gateway, Plain} {
		t.Run(kind.String(), func(t *testing.T) {
			arrived, release, cut := make(chan struct{}), make(chan struct{}), make(chan struct{})
			a := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				close(arrived)
				select {
				case <-release:
				case <-r.Context().Done():
					close(cut)
				}
				w.WriteHeader(http.StatusAccepted)
			}))
			b := newStamp(t, "b", nil)
			r := newRig(t, rigging{policy: calm()}, a.URL, b.URL)
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-arrived; cancel() }()
			got := r.do(t, request(ctx, kind, "POST", topic, strings.NewReader("x")))
			wantUnknown(t, got)
			if kind == Plain {
				<-cut
			}
			close(release)
			eventually(t, "the outcome is counted", func() bool { return len(r.attempts()) == 1 })
			if one := r.attempts()[0]; kind == Gateway && (one.Status != 202 || one.Won) || kind == Plain && one.Status != 0 {
				t.Errorf("the attempt is told as %+v", one)
			}
			if b.asked.Load() != 0 {
				t.Error("a request whose client is gone was repeated")
			}
		})
	}
}

// TestClose: attempts that run on end with the carrier.
func TestClose(t *testing.T) {
	r := newRig(t, rigging{policy: hedging()}, scripted(t, step{"", -1, "", "hang"}, &ledger{}, true), good(t, &ledger{}))
	if a := r.post(t, "x"); a.status != 202 {
		t.Fatalf("answer %v", a)
	}
	r.Close()
	if s := r.Stats(); s.Orphans != 0 || s.Buffered != 0 {
		t.Errorf("stats %+v", s)
	}
}

// slowPair is two origins that both wait until they are let go.
func slowPair(t *testing.T) (urls []string, asked func() int64, letGo func()) {
	wait := make(chan struct{})
	var once sync.Once
	letGo = func() { once.Do(func() { close(wait) }) }
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		select {
		case <-wait:
		case <-r.Context().Done():
		}
		w.WriteHeader(http.StatusAccepted)
	})
	a, b := newStamp(t, "a", handler), newStamp(t, "b", handler)
	t.Cleanup(letGo)
	return []string{a.URL, b.URL}, func() int64 { return a.asked.Load() + b.asked.Load() }, letGo
}

// TestNoStorm: when both origins are slow at once the budget bounds what is sent
// twice, and every request is answered.
func TestNoStorm(t *testing.T) {
	const posts = 60
	p := hedging()
	p.Repeat = policy.Repeat{Share: 0, Burst: 4, Refill: 24 * time.Hour}
	urls, asked, letGo := slowPair(t)
	r := newRig(t, rigging{policy: p}, urls...)
	var wg sync.WaitGroup
	var good atomic.Int64
	for range posts {
		wg.Go(func() {
			if a := r.post(t, "x"); a.status == 202 {
				good.Add(1)
			}
		})
	}
	eventually(t, "all have arrived", func() bool { return asked() >= posts })
	eventually(t, "some wanted a hedge", func() bool { return r.Stats().Hedges+r.Stats().Refused > 0 })
	letGo()
	wg.Wait()
	if n := asked(); n > posts+4 || good.Load() != posts {
		t.Errorf("%d posts made %d requests, %d were answered", posts, n, good.Load())
	}
}

// TestBudget: repeats after failures stop where the budget is empty, and the
// client is told what is known.
func TestBudget(t *testing.T) {
	p := calm()
	p.Repeat = policy.Repeat{Share: 0, Burst: 3, Refill: 24 * time.Hour}
	l := &ledger{}
	r := newRig(t, rigging{policy: p}, scripted(t, step{"", -1, "", "close"}, l, true), good(t, l))
	var fine, unknowns int
	for range 10 {
		a := r.post(t, "x")
		if a.err == nil {
			fine++
			continue
		}
		wantUnknown(t, a)
		unknowns++
	}
	if s := r.Stats(); fine != 3 || unknowns != 7 || s.Repeats != 3 || s.Refused != 7 {
		t.Errorf("%d answered, %d unknown, stats %+v", fine, unknowns, s)
	}
	if a := r.do(t, request(t.Context(), Gateway, "GET", "/default", nil)); a.status != 202 {
		t.Errorf("a GET does not need the budget: %v", a)
	}
}

// script is an http.RoundTripper of a target, for tests in a bubble of time.
type script func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (s script) RoundTrip(req *http.Request) (*http.Response, error) { return s(req) }

func answering(status int) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
		ContentLength: int64(len(accepted)), Body: io.NopCloser(strings.NewReader(accepted)),
	}
}

// TestHedgeDelay: the hedge goes out after the delay that the policy names and
// not before; a client that lets the gateway wait is given that time on top.
func TestHedgeDelay(t *testing.T) {
	for _, c := range []struct {
		prefer string
		want   time.Duration
	}{
		{"", 250 * time.Millisecond},
		{"wait=5", 5250 * time.Millisecond},
		{`respond-async, wait="2"; x=1`, 2250 * time.Millisecond},
		{"wait=soon", 250 * time.Millisecond},
		{"wait=300", 20250 * time.Millisecond}, // half of response_timeout
	} {
		t.Run(c.prefer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var hedged time.Duration
				r := scriptedRig(t, map[string]script{
					"a": func(req *http.Request) (*http.Response, error) {
						<-req.Context().Done()
						return nil, context.Cause(req.Context())
					},
					"b": func(*http.Request) (*http.Response, error) {
						hedged = time.Since(begun)
						return answering(202), nil
					},
				}, time.Now)
				req := request(t.Context(), Gateway, "POST", topic, strings.NewReader("x"))
				if c.prefer != "" {
					req.Header.Set("Prefer", c.prefer)
				}
				if a := r.do(t, req); a.status != 202 || hedged != c.want {
					t.Errorf("answer %v, hedged after %v, want %v", a, hedged, c.want)
				}
				r.Close()
			})
		})
	}
}

// TestWaitEnds: however long a client lets the gateway wait, its request ends with
// response_timeout, or when it is gone, also on a line that was used before.
func TestWaitEnds(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("leaves=%v", leaves), func(t *testing.T) {
			o := testOptions()
			o.ResponseTimeout = 300 * time.Millisecond
			if leaves {
				o.ResponseTimeout = 20 * time.Minute
			}
			l := &ledger{}
			r := newRig(t, rigging{carry: o}, scripted(t, step{"", -1, "", "hang"}, l, true))
			r.warm(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			told := make(chan answer, 1)
			go func() {
				told <- r.do(t, request(ctx, Gateway, "POST", topic, strings.NewReader("x"), "Prefer", "wait=3000"))
			}()
			if leaves {
				eventually(t, "it is there", func() bool { _, executed, _ := l.read(); return len(executed) == 1 })
				cancel()
			}
			select {
			case a := <-told:
				wantUnknown(t, a)
			case <-time.After(time.Minute):
				t.Fatal("it waits and waits")
			}
			if !r.group.Origins()[0].Healthy() {
				t.Error("the origin is blamed for what the client asked for")
			}
		})
	}
}

// TestWaitBlame: an origin is not to blame for answers that do not come within
// response_timeout where clients wanted to wait for longer, and else it is.
func TestWaitBlame(t *testing.T) {
	for prefer, healthy := range map[string]bool{"wait=30": true, "wait=5": false, "": false} {
		t.Run(prefer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				hang := func(req *http.Request) (*http.Response, error) {
					<-req.Context().Done()
					return nil, context.Cause(req.Context())
				}
				r := scriptedRig(t, map[string]script{"a": hang}, time.Now)
				r.guards.sent = func(*flight) bool { return true } // no connection counts what a script takes
				for range 6 {
					wantUnknown(t, r.post(t, "x", "Prefer", prefer))
				}
				if got := r.group.Origins()[0].Healthy(); got != healthy {
					t.Errorf("the origin is healthy: %v, want %v", got, healthy)
				}
				r.Close()
			})
		})
	}
}

// scriptedRig is a rig whose origins are functions.
func scriptedRig(t *testing.T, scripts map[string]script, clock func() time.Time) *rig {
	p := policy.DefaultOptions()
	urls := make([]string, len(scripts))
	for i := range urls {
		urls[i] = "http://127.0.0.1:1"
	}
	r := newRig(t, rigging{policy: p, clock: clock}, urls...)
	for name, s := range scripts {
		r.target(name).carries, r.target(name).lines = s, nil
	}
	return r
}

// TestOwnStall: when this machine stood still its timers fire late and all at
// once. That is no silence of an origin, and no reason to send anything twice.
func TestOwnStall(t *testing.T) {
	for _, stalled := range []bool{true, false} {
		t.Run(fmt.Sprint(stalled), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var slept atomic.Int64
				clock := func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
				var again atomic.Int64
				r := scriptedRig(t, map[string]script{
					"a": func(*http.Request) (*http.Response, error) {
						<-time.After(300 * time.Millisecond)
						return answering(202), nil
					},
					"b": func(*http.Request) (*http.Response, error) {
						again.Add(1)
						return answering(202), nil
					},
				}, clock)
				var wg sync.WaitGroup
				for range 20 {
					wg.Go(func() {
						if a := r.post(t, "x"); a.status != 202 {
							t.Errorf("answer %v", a)
						}
					})
				}
				synctest.Wait() // all wait for their hedges
				if stalled {
					slept.Store(int64(3 * time.Second))
				}
				wg.Wait()
				if n := again.Load(); stalled == (n > 0) {
					t.Errorf("%d hedges", n)
				}
				if stalled && !r.group.Origins()[0].Healthy() {
					t.Error("an origin was called silent by a machine that slept")
				}
				<-time.After(time.Second)
				r.Close()
			})
		})
	}
}

// TestSlowReads: requests that rightly take long, all at once and with nothing
// else under way, speak against nobody, and leave the budget to POSTs. POSTs of
// messages and upgrades without an answer do.
func TestSlowReads(t *testing.T) {
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	for _, c := range []struct {
		name, method, path string
		kind               Kind
		header             []string
		healthy            bool
	}{
		{"history", "GET", "/v1/topics/t/history", Stream, nil, true},
		{"a long poll", "GET", "/poll", Plain, nil, true},
		{"a report", "PUT", "/report", Plain, nil, true},
		{"messages", "POST", topic, Gateway, nil, false},
		{"upgrades", "GET", "/connection/websocket", Stream, upgrade, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { slowReads(t, c.kind, c.method, c.path, c.header, c.healthy) })
		})
	}
}

func slowReads(t *testing.T, kind Kind, method, path string, header []string, healthy bool) {
	slow := func(req *http.Request) (*http.Response, error) {
		select {
		case <-time.After(10 * time.Second):
			return answering(200), nil
		case <-req.Context().Done():
			return nil, context.Cause(req.Context())
		}
	}
	r := scriptedRig(t, map[string]script{"a": slow, "b": slow}, time.Now)
	var wg sync.WaitGroup
	for range 600 {
		wg.Go(func() { r.do(t, request(t.Context(), kind, method, path, nil, header...)) })
	}
	<-time.After(5 * time.Second)
	if got := r.group.Origins()[0].Healthy(); got != healthy {
		t.Errorf("the origin is healthy: %v, want %v", got, healthy)
	}
	if left, burst := r.group.Status().Budget.Tokens, policy.DefaultOptions().Repeat.Burst; healthy && left < float64(burst)/2-1 {
		t.Errorf("%v repeats are left of %d", left, burst)
	}
	wg.Wait()
	<-time.After(time.Minute)
	r.Close()
}

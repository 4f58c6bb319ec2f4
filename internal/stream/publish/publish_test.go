package publish

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/auth"
	"postroad/internal/gateway"
	"postroad/internal/message"
)

func TestPublish(t *testing.T) {
	a := newStamp(t, "a", nil)
	reg := prometheus.NewRegistry()
	p := node(t, []*stamp{a}, func(_ *Options, d *Deps) { d.Registerer = reg })
	got, err := p.Publish(t.Context(), Message{
		Principal: "Zoë / 7", Topic: "chat", Key: "room 1/ü", Value: []byte(`{"x":1}`), Type: TypeJSON,
		TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	})
	if err != nil || got.Stamp != "a" || got.Attempts != 1 || !message.IsMinted(got.Key) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := p.Publish(t.Context(), Message{Principal: "b", Topic: "chat", Type: TypeBytes}); err != nil {
		t.Fatal(err)
	}
	stored := a.stored(t)
	if len(stored) != 2 {
		t.Fatalf("%d messages", len(stored))
	}
	m := stored[0]
	receipt, err := message.ParseReceipt(got.Receipt)
	if err != nil || receipt.ID != m.ID || m.Principal != "Zoë / 7" || string(m.Key) != "room 1/ü" || string(m.Value) != `{"x":1}` || m.Repeat ||
		m.Topic != "chat" || string(m.Headers[0].Value) != TypeJSON || m.TraceParent == "" {
		t.Errorf("%+v, %v", m, err)
	}
	if stored[1].Key != nil || len(stored[1].Value) != 0 {
		t.Errorf("%+v", stored[1])
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "postroad_stream_publishes_total" && f.GetMetric()[0].GetCounter().GetValue() != 2 {
			t.Errorf("%v", f)
		}
	}
}

// Each row is a way in which the first gateway fails. The message is stored for
// readers once, at the second where the first is no good, and the client is told
// what is so.
func TestFaults(t *testing.T) {
	for name, row := range map[string]struct {
		first, second []fault
		want          error
		copies        int
	}{
		"reply lost":                   {[]fault{lost}, nil, nil, 2},
		"reply cut":                    {[]fault{half}, nil, nil, 2},
		"request cut":                  {[]fault{cut}, nil, nil, 1},
		"hangs":                        {[]fault{hangs}, nil, nil, 1},
		"stores and hangs":             {[]fault{late}, nil, nil, 2},
		"busy":                         {[]fault{busy}, nil, nil, 1},
		"full":                         {[]fault{full}, nil, nil, 1},
		"stored behind a mesh":         {[]fault{mesh}, nil, nil, 2},
		"a mesh, then busy":            {[]fault{mesh, busy, busy}, []fault{busy, busy, busy}, ErrUnknown, 1},
		"bad gateway":                  {[]fault{broken}, nil, nil, 1},
		"another's page":               {[]fault{page}, nil, nil, 1},
		"an empty answer":              {[]fault{empty}, nil, nil, 1},
		"both lose the reply":          {[]fault{lost}, []fault{lost}, nil, 3},
		"both busy, then not":          {[]fault{busy, busy}, []fault{busy, busy}, nil, 1},
		"both busy, for ever":          {[]fault{busy, busy, busy}, []fault{busy, busy, busy}, ErrUnavailable, 0},
		"lost, then busy":              {[]fault{lost, busy, busy}, []fault{busy, busy, busy}, ErrUnknown, 1},
		"both cut for ever":            {[]fault{cut, cut, cut}, []fault{cut, cut, cut}, ErrUnknown, 0},
		"both lose replies, all of it": {[]fault{lost, lost, lost}, []fault{lost, lost, lost}, ErrUnknown, 6},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
			a.next(row.first...)
			b.next(row.second...)
			p := node(t, []*stamp{a, b}, nil)
			var l ledger
			got, err := p.Publish(t.Context(), text("ann", "k", name))
			l.enter(name, err)
			if !errors.Is(err, row.want) {
				t.Fatalf("%+v, %v; want %v", got, err, row.want)
			}
			if e, ok := errors.AsType[*Error](err); ok && (!message.IsMinted(e.Key) || e.Attempts != p.opts.Attempts) {
				t.Errorf("%+v", e)
			}
			for i, r := range append(a.requests(), b.requests()...) {
				if r.key == "" || r.key != a.requests()[0].key || r.principal != "ann" {
					t.Errorf("request %d: %+v", i, r)
				}
			}
			stored := append(a.stored(t), b.stored(t)...)
			if len(stored) != row.copies {
				t.Errorf("%d copies, want %d", len(stored), row.copies)
			}
			if broken := l.judge(stored); broken != nil {
				t.Error(joined(broken))
			}
		})
	}
}

// storm publishes many messages through two gateways that fail by chance, and
// returns what was broken.
func storm(t *testing.T, seed uint64, change func(*Options, *Deps)) []string {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	faults := []fault{works, works, works, works, lost, half, cut, busy, full, mesh, broken, page, late, hangs}
	stamps := []*stamp{newStamp(t, "a", nil), newStamp(t, "b", nil)}
	for _, s := range stamps {
		for range 120 {
			s.next(faults[r.IntN(len(faults))])
		}
	}
	p := node(t, stamps, func(o *Options, d *Deps) {
		o.AttemptTimeout = 150 * time.Millisecond
		if change != nil {
			change(o, d)
		}
	})
	var l ledger
	var all sync.WaitGroup
	for c := range 8 {
		all.Go(func() {
			for n := range 6 {
				value := fmt.Sprintf("%d/%d", c, n)
				_, err := p.Publish(t.Context(), text(fmt.Sprint("client-", c), fmt.Sprint("key-", n), value))
				l.enter(value, err)
			}
		})
	}
	all.Wait()
	var stored []message.Message
	for _, s := range stamps {
		stored = append(stored, s.stored(t)...)
	}
	return l.judge(stored)
}

func TestStorm(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	if broken := storm(t, seed, nil); broken != nil {
		t.Error(joined(broken))
	}
}

// The judge finds what a publisher would break that takes a new key for each
// attempt, or does not say which attempt it is.
func TestStormFindsSabotage(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(http.RoundTripper) http.RoundTripper
		finds string
	}{
		"a new key each time": {func(r http.RoundTripper) http.RoundTripper { return fresh{r} }, "messages to readers"},
		"no numbers":          {func(r http.RoundTripper) http.RoundTripper { return unnumbered{r} }, "are not marked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
			a.next(lost)
			p := node(t, []*stamp{a, b}, func(_ *Options, d *Deps) { d.Client = sabotaged(t, row.spoil) })
			var l ledger
			_, err := p.Publish(t.Context(), text("ann", "k", "v"))
			l.enter("v", err)
			if broken := joined(l.judge(append(a.stored(t), b.stored(t)...))); !strings.Contains(broken, row.finds) {
				t.Errorf("found %q", broken)
			}
			broken := storm(t, 1, func(_ *Options, d *Deps) { d.Client = sabotaged(t, row.spoil) })
			if !strings.Contains(joined(broken), row.finds) {
				t.Errorf("the storm found %q", joined(broken))
			}
		})
	}
}

// While the first gateway hangs one message at a time pays for it, and once it is
// well it gets the messages again.
func TestOneThatHangsIsPassedOver(t *testing.T) {
	t.Parallel()
	a, b := newStamp(t, "a", nil), newStamp(t, "b", nil)
	a.next(hangs)
	p := node(t, []*stamp{a, b}, nil)
	for n := range 50 {
		if _, err := p.Publish(t.Context(), text("ann", "k", fmt.Sprint(n))); err != nil {
			t.Fatal(err)
		}
		if n == 0 && (len(a.requests()) != 1 || len(b.requests()) != 1) {
			t.Fatalf("%d and %d requests", len(a.requests()), len(b.requests()))
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if _, err := p.Publish(t.Context(), text("ann", "k", fmt.Sprint("again ", time.Now()))); err != nil {
			t.Fatal(err)
		}
		if n := len(a.requests()); n > 3 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the first gateway got no message any more")
		}
		<-time.After(5 * time.Millisecond)
	}
}

// Nobody listens: surely not stored, and said so within the time.
func TestBothDown(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := "http://" + l.Addr().String()
	l.Close()
	p := node(t, nil, func(o *Options, _ *Deps) { o.Gateways, o.Attempts = []string{addr, addr}, 4 })
	_, err = p.Publish(t.Context(), text("ann", "k", "v"))
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, ErrUnavailable) || e.Attempts != 4 || strings.Contains(err.Error(), addr) {
		t.Errorf("%+v", err)
	}
	p = node(t, nil, func(o *Options, _ *Deps) {
		o.Gateways, o.TokenFile = []string{addr}, filepath.Join(t.TempDir(), "none")
	})
	if _, err := p.Publish(t.Context(), text("ann", "k", "v")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no token: %v", err)
	}
	if p, err := New(DefaultOptions(), Deps{Log: quiet()}); p != nil || err != nil {
		t.Error(p, err)
	}
	if _, err := (*Publisher)(nil).Publish(t.Context(), text("ann", "k", "v")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("no gateway: %v", err)
	}
}

// A client that leaves while its message is under way: nobody knows, and the
// gateway is not blamed.
func TestClientLeaves(t *testing.T) {
	t.Parallel()
	a := newStamp(t, "a", nil)
	a.next(late)
	p := node(t, []*stamp{a}, func(o *Options, _ *Deps) { o.AttemptTimeout = 10 * time.Second })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := p.Publish(ctx, text("ann", "k", "v")); done <- err }()
	for deadline := time.Now().Add(10 * time.Second); len(a.requests()) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("no request came")
		}
		<-time.After(time.Millisecond)
	}
	cancel()
	if err := <-done; !errors.Is(err, ErrUnknown) {
		t.Errorf("%v", err)
	}
	if !p.gateways.all[0].well(time.Now()) {
		t.Error("the gateway is blamed")
	}
}

// What a gateway refuses is refused for good, in the gateway's words, and no
// other gateway is asked.
func TestRefusals(t *testing.T) {
	t.Parallel()
	limited := func(o *gateway.Options) { o.Message.MaxBytes = 1024 }
	a, b := newStamp(t, "a", limited), newStamp(t, "b", limited)
	p := node(t, []*stamp{a, b}, nil)
	for name, row := range map[string]struct {
		m      Message
		want   error
		part   string
		status int
	}{
		"too large":         {text("ann", "k", strings.Repeat("x", 1025)), ErrTooLarge, "message.max_bytes", 413},
		"a bad key":         {text("ann", "a\nb", "x"), ErrInvalid, "control character", 400},
		"a hub's own topic": {Message{Principal: "ann", Topic: "__x", Type: TypeText}, ErrInvalid, "hub's own", 400},
		"no topic":          {Message{Principal: "ann", Topic: "a/b", Type: TypeText}, ErrInvalid, "topic", 0},
		"a batch":           {Message{Principal: "ann", Topic: "t", Type: "application/x-ndjson"}, ErrInvalid, "type", 0},
		"an event":          {Message{Principal: "ann", Topic: "t", Type: "application/cloudevents+json"}, ErrInvalid, "type", 0},
		"no name":           {Message{Topic: "t", Type: TypeText}, ErrInvalid, "name", 0},
	} {
		_, err := p.Publish(t.Context(), row.m)
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, row.want) || e.Status != row.status || !strings.Contains(e.Detail, row.part) {
			t.Errorf("%s: %+v", name, err)
		}
	}
	if len(b.requests()) != 0 || len(a.stored(t)) != 0 {
		t.Errorf("%d requests at the second", len(b.requests()))
	}
}

// Answers of a gateway and what they mean for the message.
func TestAnswers(t *testing.T) {
	for status, want := range map[int]error{
		302: ErrUnavailable, 400: ErrInvalid, 401: ErrUnavailable, 403: ErrDenied, 404: ErrUnavailable, 405: ErrUnavailable, 408: ErrUnavailable, 409: ErrUnknown,
		411: ErrInvalid, 413: ErrTooLarge, 415: ErrInvalid, 421: ErrUnavailable, 422: ErrInvalid, 429: ErrUnavailable, 431: ErrTooLarge,
		500: ErrUnknown, 502: ErrUnknown, 503: ErrUnavailable, 504: ErrUnknown, 507: ErrUnavailable,
	} {
		e := judge(&http.Response{StatusCode: status, Header: http.Header{
			"Content-Type": {"application/problem+json"}, "Retry-After": {"999999"},
		}}, []byte(`{"type":"urn:postroad:problem:x","title":"T","detail":"`+strings.Repeat("d", 2*maxDetail)+`"}`))
		if !errors.Is(e, want) || len(e.Detail) > maxDetail || e.Type != "urn:postroad:problem:x" || e.after != maxAfter {
			t.Errorf("%d: %+v, want %v", status, e, want)
		}
	}
}

// A proxy between a node and a gateway answers for it, also where the request went
// through and only the answer did not come. What it says is not that nothing is
// stored: told that, a client publishes again, and readers see the message twice.
func TestAnswersOfAProxy(t *testing.T) {
	for kind, body := range map[string]string{
		"text/plain": "upstream reset", "text/html": `{"type":"urn:postroad:problem:unavailable"}`,
		"application/problem+json": `{"type":"about:blank","title":"Service Unavailable"}`,
	} {
		for _, status := range []int{408, 429, 503, 507} {
			e := judge(&http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}}}, []byte(body))
			if !errors.Is(e, ErrUnknown) || e.final {
				t.Errorf("%d %s: %+v, want %v", status, body, e, ErrUnknown)
			}
		}
	}
}

// A gateway that asks for tokens takes a node's word for who its client is, but
// decides itself what that one may do.
func TestPolicyOfTheGateway(t *testing.T) {
	t.Parallel()
	var ann auth.Policy
	if err := ann.UnmarshalText([]byte("ann publish chat/k")); err != nil {
		t.Fatal(err)
	}
	a := newStamp(t, "a", func(o *gateway.Options) {
		o.Auth.Enabled, o.Auth.Policies = true, []auth.Policy{ann}
		o.Auth.Keys = []auth.KeyFile{{Kind: auth.KindHMAC, File: file(t, strings.Repeat("s", 40))}}
	})
	p := node(t, []*stamp{a}, nil)
	for _, row := range []struct {
		name, key string
		want      error
	}{{"ann", "k", nil}, {"ann", "l", ErrDenied}, {"bob", "k", ErrDenied}, {auth.AnonymousName, "k", ErrDenied}} {
		if _, err := p.Publish(t.Context(), text(row.name, row.key, "v")); !errors.Is(err, row.want) {
			t.Errorf("%s to %s: %v, want %v", row.name, row.key, err, row.want)
		}
	}
	p = node(t, []*stamp{a}, func(o *Options, _ *Deps) { o.TokenFile = "" })
	if _, err := p.Publish(t.Context(), text("ann", "k", "v")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a node that does not say who it is: %v", err)
	}
	if stored := a.stored(t); len(stored) != 1 || stored[0].Principal != "ann" {
		t.Errorf("%+v", stored)
	}
}

// Where nobody is asked for a token, a node's word counts all the same, and its
// clients without a name are as all who send without one.
func TestGatewayWithoutTokens(t *testing.T) {
	t.Parallel()
	a := newStamp(t, "a", nil)
	p := node(t, []*stamp{a}, func(o *Options, _ *Deps) { o.TokenFile = file(t, "a-token-that-nobody-knows-0123456789") })
	if _, err := p.Publish(t.Context(), text("ann", "k", "v")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a node that is not known: %v", err)
	}
	p = node(t, []*stamp{a}, func(o *Options, _ *Deps) { o.TokenFile = "" })
	if _, err := p.Publish(t.Context(), text("ann", "k", "v")); err != nil {
		t.Errorf("a node that names nobody: %v", err)
	}
	p = node(t, []*stamp{a}, nil)
	if _, err := p.Publish(t.Context(), text(auth.AnonymousName, "k", "w")); err != nil {
		t.Errorf("a client without a token: %v", err)
	}
	stored := a.stored(t)
	if len(stored) != 2 {
		t.Errorf("%d messages", len(stored))
	}
	for _, m := range stored {
		if m.Principal != "anonymous" {
			t.Errorf("principal %q", m.Principal)
		}
	}
}

// The transport must not repeat by itself: it would send what may have been
// stored once more under the number of the attempt before, and the copy would
// not be marked.
func TestTransportRepeatsNothing(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	seen := map[string]int{}
	conns := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen[r.Header.Get("Idempotency-Key")+" "+r.Header.Get("Postroad-Attempt")]++
		conns[r.RemoteAddr]++
		second := conns[r.RemoteAddr] > 1
		mu.Unlock()
		if second { // a connection that was kept breaks: that is what a transport likes to hide
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"accepted":1,"ids":["x"],"stamp":"s"}`)
	}))
	defer server.Close()
	p := node(t, nil, func(o *Options, _ *Deps) { o.Gateways = []string{server.URL} })
	for range 6 {
		for _, value := range []string{"v", ""} {
			if _, err := p.Publish(t.Context(), text("ann", "k", value)); err != nil {
				t.Fatal(err)
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	second := 0
	for what, n := range seen {
		if n != 1 {
			t.Errorf("%s came %d times", what, n)
		}
		if strings.HasSuffix(what, " 2") {
			second++
		}
	}
	if second == 0 {
		t.Error("no connection broke: the test shows nothing")
	}
}

// roundTrip is a gateway without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, fields ...string) *http.Response {
	w := httptest.NewRecorder()
	for i := 0; i < len(fields); i += 2 {
		w.Header().Set(fields[i], fields[i+1])
	}
	w.WriteHeader(status)
	if status == http.StatusAccepted {
		w.WriteString(`{"accepted":1,"ids":["x"],"stamp":"s"}`)
	}
	return w.Result()
}

// A gateway that says when to come again is left alone until then, by all
// messages; one that never does is given up in time.
func TestRetryAfterAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var times []time.Duration
		p, err := New(Options{Gateways: []string{"http://gw"}, AttemptTimeout: time.Second, GiveUp: 15 * time.Second, Attempts: 100, Concurrent: 2}, Deps{
			Log: quiet(), Client: &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
				times = append(times, time.Since(start))
				if len(times) > 2 {
					return answer(202), nil
				}
				return answer(503, "Retry-After", "5"), nil
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.Publish(t.Context(), text("ann", "k", "v"))
		if err != nil || a.Attempts != 3 || times[1] < 5*time.Second || times[2] < 10*time.Second {
			t.Fatalf("%+v, %v, at %v", a, err, times)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		start, asked := time.Now(), 0
		p, err := New(Options{Gateways: []string{"http://gw", "http://gw2"}, AttemptTimeout: time.Second, GiveUp: 15 * time.Second, Attempts: 100, Concurrent: 2}, Deps{
			Log: quiet(), Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				asked++
				<-r.Context().Done()
				return nil, r.Context().Err()
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Publish(t.Context(), text("ann", "k", "v")); !errors.Is(err, ErrUnavailable) || time.Since(start) > 15*time.Second || asked < 8 {
			t.Errorf("%v after %v and %d attempts", err, time.Since(start), asked)
		}
	})
}

// One message at a time tries a gateway that failed; without that all of them
// would wait for one that hangs.
func TestOneTriesAGatewayThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateways([]string{"a", "b"}, time.Second)
		a, b := g.all[0], g.all[1]
		want := func(what string, want *peer) {
			t.Helper()
			if got := g.pick(nil); got != want {
				t.Fatalf("%s: %v", what, got)
			}
		}
		want("well", a)
		a.failed(0, true)
		want("resting", b)
		<-time.After(firstRest + firstRest/2)
		want("the one that tries", a)
		want("others meanwhile", b)
		<-time.After(time.Second)
		want("the next that tries", a)
		a.worked()
		want("well again", a)
		a.failed(3*time.Second, true)
		b.failed(0, true)
		want("asked to be left alone", b)
		b.failed(2*time.Second, true)
		want("both asked", nil)
		if rest := g.rest(); rest != 2*time.Second {
			t.Errorf("rest %v", rest)
		}
		<-time.After(2*time.Second + longestRest)
		want("both rested", a)
		for range 100 {
			a.failed(0, true)
		}
		<-time.After(longestRest + longestRest/2)
		want("failed often", a)
	})
}

// More messages at once than are allowed are refused at once.
func TestConcurrent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Options{Gateways: []string{"http://gw"}, AttemptTimeout: time.Second, GiveUp: time.Second, Attempts: 1, Concurrent: 3}, Deps{
			Log: quiet(), Client: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				<-time.After(100 * time.Millisecond)
				return answer(202), nil
			})},
		})
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 10)
		for range 10 {
			go func() { _, err := p.Publish(t.Context(), text("ann", "k", "v")); results <- err }()
		}
		good := 0
		for range 10 {
			if err := <-results; err == nil {
				good++
			} else if !errors.Is(err, ErrUnavailable) {
				t.Error(err)
			}
		}
		if good != 3 {
			t.Errorf("%d accepted", good)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	o := Options{Gateways: []string{"gw:8081", "ftp://x", "http://u:p@x", "https://good:1/base"}, AttemptTimeout: time.Hour, GiveUp: time.Second}
	_, err := New(o, Deps{})
	for _, part := range []string{"gateways[0]: ", "gateways[1]: ", "gateways[2]: ", "attempt_timeout: ", "give_up: ", "attempts: ", "concurrent: ", "Deps.Log"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if err != nil && (strings.Contains(err.Error(), "gateways[3]") || strings.Contains(err.Error(), "u:p")) {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{Gateways: []string{"http://x"}, CAFile: file(t, "no PEM"), AttemptTimeout: time.Second, GiveUp: time.Second, Attempts: 1, Concurrent: 1}, Deps{Log: quiet()}); err == nil {
		t.Error("certificates that are none")
	}
}

package door

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
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/door/policy"
	"postroad/internal/httpserve"
)

// fakeStreams are streams of a set that end as soon as they are told to.
type fakeStreams struct {
	set *streamSet
	mu  sync.Mutex
	cut []time.Time // when each was ended; guarded by mu
}

func (f *fakeStreams) add(t *testing.T, at place, idle time.Duration) *stream {
	t.Helper()
	var st *stream
	var once sync.Once
	st, err := f.set.add(at, time.Now(), idle, func() {
		once.Do(func() {
			f.mu.Lock()
			f.cut = append(f.cut, time.Now())
			f.mu.Unlock()
			f.set.remove(st)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func newFakeStreams() *fakeStreams {
	s := newStreams(time.Now, func() float64 { return 0.5 })
	s.set(1000, Drain{Rate: 20, Timeout: 10 * time.Second})
	return &fakeStreams{set: s}
}

// TestMoveRate: streams leave at the stated rate, and what it allowed while there
// was nothing to move is not made up for.
func TestMoveRate(t *testing.T) {
	f := newFakeStreams()
	for range 100 {
		f.add(t, place{"g", "a"}, 0)
		f.add(t, place{"g", "b"}, 0)
		f.add(t, place{"h", "a"}, 0)
	}
	for range 1000 {
		f.set.move("g", 10, time.Second, nil) // nothing is to be moved
	}
	leave := map[string]time.Time{"a": time.Now()}
	for step := range 50 {
		f.set.move("g", 10, 100*time.Millisecond, leave)
		if gone := 100 - f.set.count(place{"g", "a"}); gone > step+1 || gone < step {
			t.Fatalf("after %d steps of a tenth of a second %d are gone, at 10 a second", step+1, gone)
		}
	}
	// A loop that stood still for long does not cut all at once.
	if n := f.set.move("g", 10, time.Hour, leave); n > 2 {
		t.Errorf("%d moved after an hour without a step", n)
	}
	if b, h := f.set.count(place{"g", "b"}), f.set.count(place{"h", "a"}); b != 100 || h != 100 {
		t.Errorf("%d of another origin and %d of another group are left, want all", b, h)
	}
	if n := f.set.move("g", 0, time.Second, leave); n != 0 {
		t.Errorf("%d moved at rate 0", n)
	}
	if got := f.set.endedBy()[endedMoved]; got == 0 || int(got) != len(f.cut) {
		t.Errorf("%d counted as moved, %d were ended", got, len(f.cut))
	}
}

// TestIdle: who is quiet is ended, who speaks is not, however old.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStreams()
		live, quiet, never := f.add(t, place{"g", "a"}, time.Minute), f.add(t, place{"g", "a"}, time.Minute), f.add(t, place{"g", "a"}, 0)
		for range 100 {
			<-time.After(50 * time.Second)
			live.touch()
			f.set.sweep()
		}
		if quiet.cause.Load() == nil || *quiet.cause.Load() != endedIdle || live.cause.Load() != nil || never.cause.Load() != nil || f.set.total() != 2 {
			t.Errorf("quiet %v, live %v, never %v, %d left", quiet.cause.Load(), live.cause.Load(), never.cause.Load(), f.set.total())
		}
	})
}

// TestDrainRate: the door lets go of its streams at the rate, spread, and takes
// none meanwhile; where that would take too long it is faster.
func TestDrainRate(t *testing.T) {
	for _, c := range []struct {
		n           int
		least, most time.Duration
	}{{100, 4 * time.Second, 6 * time.Second}, {1000, 8 * time.Second, 10 * time.Second}, {0, 0, 0}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeStreams()
			for range c.n {
				f.add(t, place{"g", "a"}, 0)
			}
			begin := time.Now()
			f.set.letGo(context.Background())
			took := time.Since(begin)
			if took < c.least || took > c.most || f.set.total() != 0 || len(f.cut) != c.n {
				t.Errorf("%d streams took %s, %d left", c.n, took, f.set.total())
			}
			most := 0
			for i := range f.cut {
				n := 0
				for ; i+n < len(f.cut) && f.cut[i+n].Sub(f.cut[i]) < 500*time.Millisecond; n++ {
				}
				most = max(most, n)
			}
			if rate := max(20, float64(c.n)/9); float64(most) > rate {
				t.Errorf("%d ended within half a second, at %.0f a second", most, rate)
			}
			if _, err := f.set.add(place{"g", "a"}, time.Now(), 0, func() {}); err == nil {
				t.Error("a new stream was taken while draining")
			}
		})
	}
}

// TestDrainEndsWithItsContext: what is left then is ended at once.
func TestDrainEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeStreams()
		for range 500 {
			f.add(t, place{"g", "a"}, 0)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		begin := time.Now()
		f.set.letGo(ctx)
		if took := time.Since(begin); took > time.Second || f.set.total() != 0 {
			t.Errorf("took %s, %d left", took, f.set.total())
		}
	})
}

func TestManyStreams(t *testing.T) {
	f := newFakeStreams()
	f.set.set(2, Drain{Rate: 1, Timeout: time.Second})
	f.add(t, place{"g", "a"}, 0)
	st := f.add(t, place{"g", "a"}, 0)
	if _, err := f.set.add(place{"g", "a"}, time.Now(), 0, func() {}); err == nil {
		t.Error("one more than allowed was taken")
	}
	st.cut("test")
	f.add(t, place{"g", "a"}, 0)
}

// TestLeaving: which origins should carry no streams.
func TestLeaving(t *testing.T) {
	now := time.Unix(1000, 0)
	on := func(name string, priority int, state policy.State, more ...func(*policy.OriginStatus)) policy.OriginStatus {
		usable := state == policy.Healthy || state == policy.Restoring
		o := policy.OriginStatus{Name: name, Priority: priority, Percent: 100, State: state, Usable: usable, Healthy: usable, Since: now.Add(-time.Minute)}
		for _, m := range more {
			m(&o)
		}
		return o
	}
	percent := func(n int) func(*policy.OriginStatus) { return func(o *policy.OriginStatus) { o.Percent = n } }
	lately := func(o *policy.OriginStatus) { o.Since = now.Add(-time.Second) }
	all := []string{"a", "b", "gone"}
	for _, c := range []struct {
		name   string
		status policy.Status
		want   []string
	}{
		{"all well, one priority", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Healthy), on("b", 1, policy.Healthy)}}, []string{"gone"}},
		{"a stand-in", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Healthy), on("b", 2, policy.Healthy)}}, []string{"b", "gone"}},
		{"a stand-in, the first is coming back", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Restoring), on("b", 2, policy.Healthy)}}, []string{"gone"}},
		{"a stand-in for half", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Healthy, percent(50)), on("b", 2, policy.Healthy)}}, []string{"gone"}},
		{"draining", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Draining), on("b", 1, policy.Healthy)}}, []string{"a", "gone"}},
		{"held", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Held), on("b", 2, policy.Healthy)}}, []string{"a", "gone"}},
		{"without weight", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Healthy, percent(0)), on("b", 1, policy.Healthy)}}, []string{"a", "gone"}},
		{"suspect for long", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Suspect), on("b", 1, policy.Healthy)}}, []string{"a", "gone"}},
		{"suspect for a moment", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Suspect, lately), on("b", 1, policy.Healthy)}}, []string{"gone"}},
		{"nowhere to go", policy.Status{Origins: []policy.OriginStatus{on("a", 1, policy.Draining), on("b", 1, policy.Suspect)}}, []string{"gone"}},
		{"panic", policy.Status{Panic: true, Origins: []policy.OriginStatus{on("a", 1, policy.Suspect), on("b", 1, policy.Healthy)}}, nil},
	} {
		since := now.Add(-time.Second)
		got := leaving(c.status, all, home{priority: wholeTier(c.status), since: since}, now)
		var names []string
		for n, until := range got {
			names = append(names, n)
			if standsIn := n == "b"; standsIn != until.Equal(since) || !standsIn && !until.Equal(now) {
				t.Errorf("%s: %s is left by who came until %v", c.name, n, until)
			}
		}
		slices.Sort(names)
		if !slices.Equal(names, c.want) {
			t.Errorf("%s: %v leave, want %v", c.name, names, c.want)
		}
	}
}

// sockets is an origin of upgraded connections that echo.
func sockets(t *testing.T, name string) *stamp {
	return newStamp(t, name, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", r.Header.Get("Upgrade"))
		w.Header().Set("Stamp", name)
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	}))
}

// socket opens an upgraded connection through the door and returns who has it.
func socket(t *testing.T, url string) (at string, r *bufio.Reader, c net.Conn) {
	t.Helper()
	res, r, c := raw(t, url, upgrade)
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade answered %d", res.StatusCode)
	}
	return res.Header.Get("Stamp"), r, c
}

// TestStreamsMoveOffDrained: an order takes the streams of an origin away, and new
// ones go to the other; those of the other stay.
func TestStreamsMoveOffDrained(t *testing.T) {
	a, b := sockets(t, "a"), sockets(t, "b")
	o := testOptions(Origin{Name: "a", URL: a.URL}, Origin{Name: "b", URL: b.URL})
	o.Streams.MoveRate = 1000
	f := open(t, o, Deps{})
	f.probing(t)
	readers := map[string][]*bufio.Reader{}
	conns := map[string][]net.Conn{}
	for i := 0; i < 200 && (len(readers["a"]) < 5 || len(readers["b"]) < 5); i++ {
		at, r, c := socket(t, f.url)
		readers[at], conns[at] = append(readers[at], r), append(conns[at], c)
	}
	if len(readers["a"]) < 5 || len(readers["b"]) < 5 {
		t.Fatalf("streams went to %d and %d: not to any healthy origin", len(readers["a"]), len(readers["b"]))
	}
	if n := f.origin(gatewaysGroup, "a").Streams; n != len(readers["a"]) {
		t.Errorf("%d streams counted at a, want %d", n, len(readers["a"]))
	}
	if err := f.state.Load().groups[gatewaysGroup].policy.Drain("a", true); err != nil {
		t.Fatal(err)
	}
	for _, r := range readers["a"] {
		if _, err := r.ReadByte(); err == nil {
			t.Error("a byte came from a drained origin")
		}
	}
	eventually(t, "the drained origin to carry none", func() bool { return f.origin(gatewaysGroup, "a").Streams == 0 })
	for i, c := range conns["b"] {
		want := fmt.Sprintf("still %d\n", i)
		_, _ = io.WriteString(c, want)
		if line, err := readers["b"][i].ReadString('\n'); err != nil || line != want {
			t.Fatalf("a stream of the other origin: %q, %v", line, err)
		}
	}
	for range 10 {
		if at, _, _ := socket(t, f.url); at != "b" {
			t.Errorf("a new stream went to %s", at)
		}
	}
}

// TestEventStreamsMove: the same for event streams, by both ways through the door.
func TestEventStreamsMove(t *testing.T) {
	for _, path := range []string{"/events", "/v1/events"} {
		a, b := streams(t), streams(t)
		list := origins(a.URL, b.URL)
		o := testOptions(list...)
		f := open(t, o, Deps{})
		f.probing(t)
		res, err := client(t).Get(f.url + path)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewReader(res.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != "data: 1\n" || res.Header.Get(OriginHeader) != "a" {
			t.Fatalf("%s: %q, %v", path, line, err)
		}
		if err := f.state.Load().groups[gatewaysGroup].policy.Hold("a", true); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(lines)
		if err == nil && path == "/v1/events" {
			t.Errorf("%s: a stream that was cut ended as if it were whole", path)
		}
		_ = res.Body.Close()
		eventually(t, "the held origin to carry none", func() bool { return f.live.total() == 0 })
	}
}

// TestFailback: streams that went to the stand-in come back, at a rate, once the
// first is back as a whole.
func TestFailback(t *testing.T) {
	a, b := sockets(t, "a"), sockets(t, "b")
	o := testOptions(origins(a.URL, b.URL)...)
	o.Streams.MoveRate = 1000
	f := open(t, o, Deps{})
	g := f.state.Load().groups[gatewaysGroup].policy
	if err := g.Hold("a", true); err != nil {
		t.Fatal(err)
	}
	at, r, _ := socket(t, f.url)
	if at != "b" {
		t.Fatalf("with a held the stream went to %s", at)
	}
	if err := g.Release("a"); err != nil {
		t.Fatal(err)
	}
	f.probing(t)
	if _, err := r.ReadByte(); err == nil {
		t.Error("a byte came from the stand-in")
	}
	if at, _, _ := socket(t, f.url); at != "a" {
		t.Errorf("the client came back to %s", at)
	}
}

// TestFailbackIsOnce: of a stand-in those leave who came before the first was back
// as a whole. Who comes later was moved before, or could not get to the first for a
// moment: it stays until the first has been out again.
func TestFailbackIsOnce(t *testing.T) {
	clock := newClock()
	o := testOptions(origins(newStamp(t, "a", nil).URL, newStamp(t, "b", nil).URL)...)
	o.Policy.Health.Restore.Ramp = 10 * time.Second
	o.Streams.MoveRate = 1000
	f := open(t, o, Deps{Now: clock.now})
	g := f.state.Load().groups[gatewaysGroup].policy
	at := place{gatewaysGroup, "b"}
	came := func(asked time.Time) {
		t.Helper()
		var st *stream
		var err error
		var once sync.Once
		if st, err = f.live.add(at, asked, 0, func() { once.Do(func() { f.live.remove(st) }) }); err != nil {
			t.Fatal(err)
		}
	}
	carries := func(when string, want int) {
		t.Helper()
		clock.add(time.Second)
		f.moveOnce(time.Second, 0)
		f.moveOnce(time.Second, 0)
		if n := f.live.count(at); n != want {
			t.Errorf("%s: the stand-in carries %d, want %d", when, n, want)
		}
	}
	for range 2 {
		if err := g.Hold("a", true); err != nil {
			t.Fatal(err)
		}
		carries("the first is out", f.live.count(at))
		for range 3 {
			came(clock.now())
		}
		asked := clock.now() // but is connected later
		carries("the first is out, three came", f.live.count(at))
		if err := g.Release("a"); err != nil {
			t.Fatal(err)
		}
		came(clock.now())
		n := f.live.count(at)
		for range 8 {
			carries("the ramp goes on", n)
		}
		clock.add(5 * time.Second)
		carries("the first is back", 0)
		came(asked)
		carries("one that asked before is connected", 0)
		came(clock.now())
		came(clock.now())
		for range 5 {
			carries("two came since", 2)
		}
	}
	if err := f.Reload(o); err != nil {
		t.Fatal(err)
	}
	carries("after a reload", 0)
}

// TestFailbackWithCookie: a cookie that names the stand-in does not lead a client
// back to it, to be ended there again and again.
func TestFailbackWithCookie(t *testing.T) {
	a, b := sockets(t, "a"), sockets(t, "b")
	o := testOptions(origins(a.URL, b.URL)...)
	o.Affinity = affinityCookie
	f := open(t, o, Deps{})
	g := f.state.Load().groups[gatewaysGroup].policy
	if err := g.Hold("a", true); err != nil {
		t.Fatal(err)
	}
	with := strings.Replace(upgrade, "\r\n\r\n", "\r\nCookie: "+cookiePrefix+gatewaysGroup+"=b\r\n\r\n", 1)
	at := func() string {
		res, _, _ := raw(t, f.url, with)
		return res.Header.Get("Stamp")
	}
	if got := at(); got != "b" {
		t.Fatalf("with a held the stream went to %s", got)
	}
	if err := g.Release("a"); err != nil {
		t.Fatal(err)
	}
	if got := at(); got != "a" {
		t.Errorf("with a back the client came to %s", got)
	}
}

// TestDrainOfTheDoor: its streams end, new ones are refused with a word when to
// ask again, and all else goes on.
func TestDrainOfTheDoor(t *testing.T) {
	a := sockets(t, "a")
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	_, r, _ := socket(t, f.url)
	if res := ask(t, "GET", f.url+"/healthz", nil); res.status != http.StatusOK {
		t.Errorf("before: /healthz answered %d", res.status)
	}
	f.Stopping()
	if res := ask(t, "GET", f.url+"/healthz", nil); res.status != http.StatusServiceUnavailable || res.body != "{\"drain\":true}\n" {
		t.Errorf("while it stops: /healthz answered %d %q", res.status, res.body)
	}
	f.Drain(t.Context())
	if _, err := r.ReadByte(); err == nil {
		t.Error("the stream lives on")
	}
	res, _, _ := raw(t, f.url, upgrade)
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream: %d, Retry-After %q", res.StatusCode, res.Header.Get("Retry-After"))
	}
}

// TestStoppingDoorIsDrained: a door before one that is about to stop sends nothing
// more there, and takes it for no failure.
func TestStoppingDoorIsDrained(t *testing.T) {
	site, cloud := open(t, testOptions(origins(newStamp(t, "site", nil).URL)...), Deps{}), newStamp(t, "cloud", nil)
	f := open(t, testOptions(origins(site.url, cloud.URL)...), Deps{})
	f.probing(t)
	if res := ask(t, "GET", f.url+"/x", nil); res.header.Get("Stamp") != "site" {
		t.Fatalf("%q answered", res.header.Get("Stamp"))
	}
	site.Stopping()
	eventually(t, "the origin to be left alone", func() bool { return f.origin(gatewaysGroup, "a").State == policy.Draining })
	if res := ask(t, "GET", f.url+"/x", nil); res.header.Get("Stamp") != "cloud" {
		t.Errorf("%q answered", res.header.Get("Stamp"))
	}
	if o := f.origin(gatewaysGroup, "a"); o.Isolations != 0 || !o.Healthy {
		t.Errorf("the door that stops passes for one that failed: %+v", o)
	}
}

// TestExecutedIsToldSo: the answer to what an origin has done is passed on although
// it cannot be counted among the streams; 503 would say that nothing was done.
func TestExecutedIsToldSo(t *testing.T) {
	events := newStamp(t, "a", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: done\n\n")
		_ = http.NewResponseController(w).Flush() // without a length
	}))
	o := testOptions(origins(events.URL)...)
	o.Limits.Streams = 0
	o.Origins[0].Stream = events.URL
	f := open(t, o, Deps{})
	for _, path := range []string{"/x", "/v1/x", "/v1/topics/t/stream"} {
		for method, want := range map[string]int{"GET": 503, "POST": 200, "PUT": 200, "DELETE": 200} {
			if res := ask(t, method, f.url+path, nil); res.status != want || want == 200 && res.body != "data: done\n\n" {
				t.Errorf("%s %s: %d %q, want %d", method, path, res.status, res.body, want)
			}
		}
	}
	if n := f.live.total(); n != 0 {
		t.Errorf("%d streams are counted", n)
	}
}

// TestIdleThroughTheDoor: a WebSocket that speaks outlives the limit many times,
// one that is silent does not.
func TestIdleThroughTheDoor(t *testing.T) {
	a := sockets(t, "a")
	o := testOptions(origins(a.URL)...)
	o.Streams.Idle = time.Minute
	now := newClock()
	f := open(t, o, Deps{Now: now.now})
	_, live, c := socket(t, f.url)
	_, quiet, _ := socket(t, f.url)
	for i := range 5 {
		now.add(40 * time.Second)
		want := fmt.Sprintf("frame %d\n", i)
		_, _ = io.WriteString(c, want)
		if line, err := live.ReadString('\n'); err != nil || line != want {
			t.Fatalf("after %d frames: %q, %v", i, line, err)
		}
		f.live.sweep()
	}
	if _, err := quiet.ReadByte(); err == nil {
		t.Error("a byte came on the silent one")
	}
	eventually(t, "one stream to be left", func() bool { return f.live.total() == 1 })
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func newClock() *clock { return &clock{at: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// TestBigFrames: a stream of any size passes the small buffers as it is.
func TestBigFrames(t *testing.T) {
	a := sockets(t, "a")
	f := open(t, testOptions(origins(a.URL)...), Deps{})
	_, r, c := socket(t, f.url)
	sent := strings.Repeat("0123456789abcdef", 64<<10)
	go func() { _, _ = io.WriteString(c, sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(r, got); err != nil || string(got) != sent {
		t.Errorf("%d bytes came back changed, %v", len(got), err)
	}
}

// TestServerDrainEndsStreams is the drain of a listener whose streams are many:
// none is left over when it has stopped.
func TestServerDrainEndsStreams(t *testing.T) {
	a := streams(t)
	o := testOptions(origins(a.URL)...)
	o.Drain = Drain{Rate: 500, Timeout: 5 * time.Second}
	f := open(t, o, Deps{})
	srv, err := httpserve.New(httpserve.DefaultOptions(), f.Handler(), httpserve.Deps{Name: "door"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	var bodies []io.ReadCloser
	for range 40 {
		res, err := client(t).Get(srv.URL() + "/events")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, res.Body)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
	for _, b := range bodies {
		_, _ = io.Copy(io.Discard, b)
	}
	eventually(t, "no stream to be left", func() bool { return f.live.total() == 0 })
}

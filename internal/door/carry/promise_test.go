package carry

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postroad/internal/door/policy"
)

// deed is a request that an origin executed.
type deed struct{ origin, key, mark, body string }

// world is some origins in memory that do by a seed what origins do, and what they
// did. It knows nothing of what a carrier thinks of them.
type world struct {
	seed  uint64
	over  chan struct{} // closed when nothing hangs any more
	conns atomic.Uint64
	wg    sync.WaitGroup

	mu      sync.Mutex
	touched map[int]map[string]int // requests of which something arrived; guarded by mu
	deeds   map[int][]deed         // guarded by mu
}

// chance is what is left to chance about one thing.
func (w *world) chance(of string, n uint64) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64([]byte(of), n))
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// open connects to an origin, mostly.
func (w *world) open(origin string, t *target) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		rnd := w.chance("connection to "+origin, w.conns.Add(1))
		if rnd.IntN(20) == 0 {
			return nil, &dialError{errors.New("refused"), denied}
		}
		if rnd.IntN(20) == 0 {
			select {
			case <-time.After(time.Duration(rnd.IntN(600)) * time.Millisecond):
			case <-ctx.Done():
				return nil, &dialError{context.Cause(ctx), late}
			}
		}
		here, there := net.Pipe()
		w.wg.Go(func() {
			defer there.Close()
			for in := bufio.NewReader(there); w.serve(origin, there, in); {
			}
		})
		return &wire{Conn: here, stall: t.opts.ResponseTimeout, writers: t.writers}, nil
	}
}

func (w *world) touch(id int, origin string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.touched[id] == nil {
		w.touched[id] = map[string]int{}
	}
	w.touched[id][origin]++
}

func (w *world) execute(id int, d deed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deeds[id] = append(w.deeds[id], d)
}

// pause waits, though not beyond the end.
func (w *world) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-w.over:
	}
}

// idOf finds the id in the first line of a request.
func idOf(b []byte) (id int, ok bool) {
	line, _, _ := bytes.Cut(b, []byte("\r\n"))
	_, rest, found := bytes.Cut(line, []byte("?id="))
	digits, _, _ := bytes.Cut(rest, []byte(" "))
	id, err := strconv.Atoi(string(digits))
	return id, found && err == nil
}

// serve takes one request and reports whether the connection goes on.
func (w *world) serve(origin string, c net.Conn, in *bufio.Reader) bool {
	if _, err := in.Peek(1); err != nil {
		return false
	}
	begun, _ := in.Peek(in.Buffered())
	id, ok := idOf(begun)
	if !ok {
		return false
	}
	w.touch(id, origin)
	rnd := w.chance(origin, uint64(id))
	early := rnd.IntN(30)
	if early == 0 {
		return false
	}
	req, err := http.ReadRequest(in)
	if err != nil || early == 1 {
		return false
	}
	if early == 2 {
		_, _ = io.WriteString(c, strings.Replace(answerOf(413, "text/plain", "early"), "\r\n", "\r\nConnection: close\r\n", 1))
		return false
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return false
	}
	do := func() {
		w.execute(id, deed{origin, strings.Join(req.Header[KeyHeader], ","), strings.Join(req.Header[AttemptHeader], ","), string(body)})
	}
	answer, goesOn := w.answer(rnd, do)
	if end := strings.LastIndex(answer, "\r\n\r\n"); req.Method == http.MethodHead && end >= 0 {
		answer = answer[:end+4]
	}
	if _, err := io.WriteString(c, answer); err != nil {
		return false
	}
	return goesOn && rnd.IntN(8) > 0 // else it closes a connection that would be used again
}

// pick one.
func pick[T any](rnd *rand.Rand, of ...T) T { return of[rnd.IntN(len(of))] }

// answer lets an origin do what it does with a request. It has executed it if do
// was called, and what says that it was not executed is never said then.
func (w *world) answer(rnd *rand.Rand, do func()) (answer string, goesOn bool) {
	const typ = "application/problem+json"
	own := func(status int) string {
		return answerOf(status, typ, fmt.Sprintf(`{"type":"urn:postroad:problem:x","title":"x","status":%d}`, status))
	}
	whole := answerOf(202, "application/json", accepted)
	slow := time.Duration(pick(rnd, 0, 0, 0, 20, 300, 700, 3_000)) * time.Millisecond
	w.pause(slow)
	switch rnd.IntN(24) {
	case 0, 1, 2: // the reply is lost
		do()
		return "", false
	case 3:
		do()
		return whole[:len(whole)-rnd.IntN(len(whole)-1)-1], false
	case 4, 5: // fails, nobody knows where
		if rnd.IntN(2) == 0 {
			do()
		}
		return pick(rnd, own(500), own(504), answerOf(500, "text/plain", "x"), answerOf(502, "text/html", ""), answerOf(503, "text/html", "busy"), answerOf(504, "text/html", "")), true
	case 6:
		do()
		w.pause(time.Hour)
		return "", false
	case 7, 8: // late, and later than anybody waits
		w.pause(time.Duration(5+rnd.IntN(60)) * time.Second)
		do()
		return whole, true
	case 9, 10:
		return pick(rnd, own(503), own(507)), true
	case 11, 12, 13:
		return answerOf(pick(rnd, 302, 400, 405, 413, 415, 431, 501), "text/html", "no"), true
	case 14, 15:
		return own(pick(rnd, 400, 401, 403, 404, 409, 413, 422, 429)), true
	case 16:
		return "", false
	}
	do()
	return whole, true
}

// asked is a request of a client and what became of it.
type asked struct {
	sending
	id   int
	body string
	told answer
}

// promise sends requests by a seed to a world of its own and returns what is wrong
// about what the clients were told.
func promise(t *testing.T, seed uint64, sabotage func(*guards)) (wrong []string) {
	w := &world{seed: seed, over: make(chan struct{}), touched: map[int]map[string]int{}, deeds: map[int][]deed{}}
	rnd := w.chance("clients", 0)
	o := testOptions()
	o.DialTimeout, o.MaxRepeatBody = 500*time.Millisecond, 256<<10
	p := policy.DefaultOptions()
	if rnd.IntN(2) == 0 { // whatever they do, origins stay
		p.Health.Errors.Consecutive, p.Health.Errors.Rate, p.Health.Silence = 10_000, 1, 0
	}
	if rnd.IntN(3) == 0 {
		p.Hedge.Start = 20 * time.Millisecond
	}
	urls := make([]string, 2+rnd.IntN(2))
	for i := range urls {
		urls[i] = "http://127.0.0.1:1"
	}
	r := newRig(t, rigging{carry: o, policy: p}, urls...)
	for name, to := range *r.targets.Load() {
		open := w.open(name, to)
		to.lines.open = open
		to.transport.current.Load().DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return open(ctx) }
	}
	if sabotage != nil {
		sabotage(&r.guards)
	}
	all := make([]*asked, 40)
	var clients sync.WaitGroup
	for id := range all {
		all[id] = w.ask(t, r, &clients, id)
	}
	clients.Wait()
	<-time.After(2 * o.ResponseTimeout) // whoever is late is late by now
	close(w.over)
	r.Close()
	w.wg.Wait()
	for _, a := range all {
		for _, what := range w.audit(a) {
			wrong = append(wrong, fmt.Sprintf("seed %d, request %d, %s: %s", seed, a.id, a.name, what))
		}
	}
	return wrong
}

// ask has a client send a request.
func (w *world) ask(t *testing.T, r *rig, clients *sync.WaitGroup, id int) *asked {
	rnd := w.chance("client", uint64(id))
	list := sendings()
	a := &asked{sending: list[rnd.IntN(len(list))], id: id}
	if rnd.IntN(2) == 0 {
		a.sending = list[rnd.IntN(5)] // messages are what it is about
	}
	if a.size > 1<<20 {
		a.size = 256<<10 + 1
	}
	a.body = strings.Repeat(string(rune('a'+id%26)), a.size)
	a.path += "?id=" + strconv.Itoa(id)
	when, leaves := time.Duration(rnd.IntN(15_000))*time.Millisecond, time.Hour
	if rnd.IntN(10) == 0 {
		leaves = time.Duration(rnd.IntN(3000)) * time.Millisecond
	}
	if rnd.IntN(10) == 0 {
		a.header = append(slices.Clone(a.header), "Prefer", "wait="+strconv.Itoa(rnd.IntN(100)))
	}
	clients.Go(func() {
		<-time.After(when)
		ctx, cancel := context.WithTimeout(t.Context(), leaves)
		defer cancel()
		a.told = r.do(t, request(ctx, a.kind, a.method, a.path, strings.NewReader(a.body), a.header...))
	})
	return a
}

// word is what a client was told of its request.
type word int

const (
	wordUnknown word = iota
	wordStored
	wordNot
	wordFalse // something that no client may be told
)

// word of the door on a message, or of an origin on what the door only passes on.
func (a *asked) word() word {
	keyed := a.kind == Gateway && a.method == http.MethodPost && takesMessages(strings.TrimSuffix(a.path, "?id="+strconv.Itoa(a.id))) && !strings.Contains(a.name, "upgraded")
	status := a.told.status
	own := strings.Contains(a.told.body, "urn:postroad:problem")
	failed, attempt := errors.AsType[*Attempt](a.told.err)
	switch {
	case a.told.err != nil && status > 0: // an answer that broke off
		if keyed && a.repeats {
			return wordFalse
		}
		return wordUnknown
	case attempt && failed.Sent:
		return wordUnknown
	case a.told.err != nil:
		return wordNot
	case status < 300:
		return wordStored
	case status < 500, status == 501, own && (status == 503 || status == 507):
		return wordNot
	case keyed && (status != 504 || !own):
		return wordFalse
	}
	return wordUnknown
}

// audit compares what a client was told with what origins got and did.
func (w *world) audit(a *asked) (wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	w.mu.Lock()
	defer w.mu.Unlock()
	deeds, touched := w.deeds[a.id], 0
	for origin, n := range w.touched[a.id] {
		touched++
		if n > 1 && !reads(a.method) {
			complain("was sent to %s %d times", origin, n)
		}
	}
	if !a.repeats && touched > 1 {
		complain("may not be repeated, and was sent to %d origins", touched)
	}
	if reads(a.method) {
		return wrong // changes nothing
	}
	first := 0
	for _, d := range deeds {
		if d.body != a.body {
			complain("%s executed another body, of %d bytes", d.origin, len(d.body))
		}
		if d.key != deeds[0].key || len(deeds) > 1 && d.key == "" {
			complain("%s executed it under the key %q, %s under %q", d.origin, d.key, deeds[0].origin, deeds[0].key)
		}
		if n, _ := strconv.Atoi(d.mark); n < 2 {
			first++
		}
	}
	if first > 1 {
		complain("%d executions pass for the first: %v", first, deeds)
	}
	switch a.word() {
	case wordStored:
		if len(deeds) == 0 {
			complain("told %v, executed nowhere", a.told)
		}
	case wordNot:
		if len(deeds) > 0 {
			complain("told %v, executed by %s", a.told, deeds[0].origin)
		}
	case wordFalse:
		complain("told %v", a.told)
	}
	return wrong
}

// TestPromise: whatever origins do, clients are told the truth, and nothing is
// executed twice that may not be.
func TestPromise(t *testing.T) {
	const seeds = 60
	from := rand.Uint64() >> 16
	t.Logf("seeds from %d", from)
	for seed := from; seed < from+seeds; seed++ {
		synctest.Test(t, func(t *testing.T) {
			for _, what := range promise(t, seed, nil) {
				t.Error(what)
			}
		})
	}
}

// TestPromiseSabotaged takes the guards away one by one: each time somebody must
// notice, by the rule that was broken.
func TestPromiseSabotaged(t *testing.T) {
	for _, c := range []struct {
		name, notices string
		sabotage      func(*guards)
	}{
		{"a success that is none", "executed nowhere", func(g *guards) {
			g.judge = func(r rule, res *http.Response, body []byte) fate {
				f := judge(r, res, body)
				if f == refused {
					res.StatusCode, f = http.StatusAccepted, settled
				}
				return f
			}
		}},
		{"one refuses for all", ", executed by ", func(g *guards) {
			g.judge = func(r rule, res *http.Response, body []byte) fate {
				f := judge(r, res, body)
				if f == refused {
					f = settled
				}
				return f
			}
		}},
		{"a failure is a refusal", "told ", func(g *guards) {
			g.judge = func(r rule, res *http.Response, body []byte) fate {
				f := judge(r, res, body)
				if f == unknown {
					f = elsewhere
				}
				return f
			}
		}},
		{"what was sent is not counted", ", executed by ", func(g *guards) { g.sent = func(*flight) bool { return false } }},
		{"what was sent goes on", "may not be repeated", func(g *guards) { g.sent = func(*flight) bool { return false } }},
		{"everything is repeated", "may not be repeated", func(g *guards) {
			g.rule = func(r *http.Request, k Kind) rule {
				own := ruleFor(r, k)
				own.repeat = true
				return own
			}
		}},
		{"a plain post is keyed", "may not be repeated", func(g *guards) {
			g.rule = func(r *http.Request, _ Kind) rule { return ruleFor(r, Gateway) }
		}},
		{"the transport repeats", "was sent to ", func(g *guards) { g.once = func(string) bool { return false } }},
		{"no marks", "pass for the first", func(g *guards) { g.mark = func(*race, int) string { return "" } }},
		{"another key for each attempt", "under the key", func(g *guards) {
			g.key = func(_ *race, n int) string { return fmt.Sprintf("key %d", n) }
		}},
		{"answers are not read whole", "told ", func(g *guards) {
			g.whole = func(*http.Response, *held) ([]byte, bool, error) { return nil, false, nil }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from := rand.Uint64() >> 16
			for seed := from; seed < from+1000; seed++ {
				noticed := false
				synctest.Test(t, func(t *testing.T) {
					noticed = slices.ContainsFunc(promise(t, seed, c.sabotage), func(s string) bool { return strings.Contains(s, c.notices) })
				})
				if noticed {
					t.Logf("noticed after %d seeds", seed-from+1)
					return
				}
			}
			t.Errorf("nobody noticed, seeds from %d", from)
		})
	}
}

package carry

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// sending is one kind of request and what may happen to it.
type sending struct {
	name   string
	kind   Kind
	method string
	path   string
	header []string
	size   int
	// repeats: it may reach a second origin after it reached a first.
	repeats bool
}

// sendings is the table of what may be repeated, and what may never be.
func sendings() []sending {
	key := []string{KeyHeader, "k"}
	return []sending{
		{"a message", Gateway, "POST", topic, nil, 100, true},
		{"a message with a key", Gateway, "POST", topic, key, 100, true},
		{"a large message", Gateway, "POST", topic, nil, 200 << 10, true},
		{"an empty message", Gateway, "POST", topic, key, 0, true},
		{"a classic call", Gateway, "POST", "/serviceAPI/Message", nil, 100, true},
		{"a get", Gateway, "GET", "/default", nil, 0, true},
		{"a head", Plain, "HEAD", "/x", nil, 0, true},
		{"a stream", Stream, "GET", "/v1/topics/t/stream", nil, 0, true},

		{"a body over the limit", Gateway, "POST", topic, key, 1<<20 + 1, false},
		{"a message to something plain", Plain, "POST", topic, nil, 100, false},
		{"a keyed message to something plain", Plain, "POST", topic, key, 100, false},
		{"an empty keyed message to something plain", Plain, "POST", topic, key, 0, false},
		{"a message to a stream node", Stream, "POST", topic, key, 100, false},
		{"a part of a relay", Gateway, "POST", "/v1/relay/t", key, 100, false},
		{"an empty part of a relay", Gateway, "POST", "/v1/relay/t", key, 0, false},
		{"a post elsewhere", Gateway, "POST", "/v1/topics/t", key, 100, false},
		{"a put", Gateway, "PUT", topic, key, 100, false},
		{"a patch", Gateway, "PATCH", topic, key, 100, false},
		{"a delete", Gateway, "DELETE", topic, key, 0, false},
		{"a delete of something plain", Plain, "DELETE", "/x", key, 0, false},
		{"an options", Gateway, "OPTIONS", topic, key, 0, false},
		{"an upgrade", Stream, "GET", "/connection/websocket", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, 0, false},
		{"an upgraded message", Gateway, "POST", topic, []string{KeyHeader, "k", "Connection", "Upgrade", "Upgrade", "x"}, 100, false},
	}
}

func (s sending) request(t testing.TB, body string) *http.Request {
	return request(t.Context(), s.kind, s.method, s.path, strings.NewReader(body), s.header...)
}

// audit compares what the client was told with what origins got.
func audit(s sending, a answer, body string, l *ledger) (wrong []string) {
	touched, executed, stored := l.read()
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if !s.repeats && (touched > 1 || len(executed) > 1) {
		complain("reached origins %d times, which it never may", touched)
	}
	unmarked := 0
	for i, e := range executed {
		key, rest, _ := strings.Cut(e, "|")
		mark, got, _ := strings.Cut(rest, "|")
		if got != body {
			complain("execution %d has a body of %d bytes, want %d", i, len(got), len(body))
		}
		if s.method == "POST" && mark != "2" { // the first attempt; it need not arrive first
			if unmarked++; unmarked > 1 {
				complain("execution %d is marked %q, as another one", i, mark)
			}
		}
		if first, _, _ := strings.Cut(executed[0], "|"); key != first {
			complain("execution %d has the key %q, the first %q", i, key, first)
		}
	}
	failed, attempt := errors.AsType[*Attempt](a.err)
	switch {
	case attempt && failed.Sent: // unknown is never a lie
		if reads(s.method) && s.repeats {
			complain("a read that could be had elsewhere was not: %v", a)
		}
	case a.err != nil && attempt:
		if stored > 0 || touched > 0 {
			complain("told that nothing was sent, %d arrived: %v", touched, a)
		}
	case a.err != nil && a.status > 0:
		if s.method == "POST" && s.kind == Gateway && s.repeats {
			complain("the answer broke off: %v", a)
		}
	case a.err != nil:
		complain("told %v", a)
	case a.status < 300:
		if stored == 0 {
			complain("told %d, nothing was stored", a.status)
		}
	case stored > 0 && s.kind == Gateway && s.method == "POST":
		complain("told %d, stored %d times", a.status, stored)
	}
	return wrong
}

// TestFaults breaks each kind of request at each step, with a second origin that
// works and without.
func TestFaults(t *testing.T) {
	for _, s := range sendings() {
		for _, f := range steps() {
			t.Run(s.name+"/"+f.name, func(t *testing.T) {
				for _, w := range faulty(t, s, f, nil) {
					t.Error(w)
				}
			})
		}
	}
}

// way is how a request meets a fault: with another origin or without, over lines
// where they take it or over the transport, on a connection that was used before
// or not.
type way struct{ alone, transport, warm bool }

func ways() []way {
	return []way{
		{},
		{alone: true},
		{transport: true},
		{alone: true, transport: true},
		{warm: true},
		{alone: true, warm: true},
		{transport: true, warm: true},
	}
}

// warm has the first origin keep a connection, if it is one that does.
func (r *rig) warm(t testing.TB) {
	t.Helper()
	if a := r.do(t, request(t.Context(), Gateway, "GET", warmPath, nil)); a.status != 200 || a.header.Get(OriginHeader) != "a" {
		t.Fatalf("warming: %v", a)
	}
}

// noLines has the transport take everything.
func (r *rig) noLines() {
	for _, t := range *r.targets.Load() {
		t.lines = nil
	}
}

// faulty runs s against an origin that does f, with another and alone.
func faulty(t *testing.T, s sending, f step, sabotage func(*guards)) (wrong []string) {
	if f.read > 60 && s.size < f.read {
		return nil // there is not that much to read
	}
	body := strings.Repeat("b", s.size)
	for _, way := range ways() {
		alone := way.alone
		if way.transport && (!s.repeats || s.kind == Stream || s.size > maxLineBody) {
			continue // it takes the transport anyway
		}
		if way.warm && (f.read == 0 || f.read == -2) {
			continue
		}
		l := &ledger{}
		urls := []string{scripted(t, f, l, true)}
		if !alone {
			urls = append(urls, good(t, l))
		}
		r := newRig(t, rigging{}, urls...)
		if way.transport {
			r.noLines()
		}
		if way.warm {
			r.warm(t)
		}
		if sabotage != nil {
			sabotage(&r.guards)
		}
		a := r.do(t, s.request(t, body))
		if alone && a.err != nil && reads(s.method) {
			continue
		}
		for _, w := range audit(s, a, body, l) {
			wrong = append(wrong, fmt.Sprintf("%+v: %s", way, w))
		}
		begun := reads(s.method) && a.status > 0 // an answer to a read is passed on as it comes
		if !alone && s.repeats && !begun && (a.err != nil || a.header.Get(OriginHeader) != "b") {
			wrong = append(wrong, fmt.Sprintf("the origin that works was not asked: %v", a))
		}
		if got := r.Stats().Buffered; got != 0 {
			wrong = append(wrong, fmt.Sprintf("%d bytes are still held", got))
		}
	}
	return wrong
}

// TestFaultsSabotaged takes the guards away one by one: each time the table above
// must complain.
func TestFaultsSabotaged(t *testing.T) {
	for name, sabotage := range map[string]func(*guards){
		"everything is repeated": func(g *guards) {
			g.rule = func(r *http.Request, k Kind) rule {
				own := ruleFor(r, k)
				own.repeat = true
				return own
			}
		},
		"a plain post is keyed": func(g *guards) {
			g.rule = func(r *http.Request, _ Kind) rule { return ruleFor(r, Gateway) }
		},
		"what was sent is not counted": func(g *guards) { g.sent = func(*flight) bool { return false } },
		"no marks":                     func(g *guards) { g.mark = func(*race, int) string { return "" } },
		"answers are not read whole": func(g *guards) {
			g.whole = func(*http.Response, *held) ([]byte, bool, error) { return nil, false, nil }
		},
		"a failure is a refusal": func(g *guards) {
			g.judge = func(rule, *http.Response, []byte) fate { return elsewhere }
		},
	} {
		t.Run(name, func(t *testing.T) {
			list := append(steps(), step{"fails half-way", -1, answerOf(500, "text/plain", "half-way"), "keep"})
			for _, s := range slices.Backward(sendings()) {
				for _, f := range list {
					if len(faulty(t, s, f, sabotage)) > 0 {
						return
					}
				}
			}
			t.Error("nobody noticed")
		})
	}
}

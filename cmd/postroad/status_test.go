package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// well is the status of a stamp with which nothing is the matter.
func well() stampStatus {
	return stampStatus{
		Name: "onprem", Version: "1.2.3", Accepting: true,
		Queue:   queueStatus{Lanes: 1, DiskFreeBytes: 50 << 30},
		Forward: forwardStatus{Breaker: breakerStatus{State: "closed"}},
	}
}

func TestVerdicts(t *testing.T) {
	for _, tc := range []struct {
		name           string
		change         func(*stampStatus)
		word, sentence string
	}{
		{"well", func(*stampStatus) {}, "OK", "accepting and forwarding"},
		{"dead letters", func(s *stampStatus) { s.Forward.DeadTotal = 1 }, "OK", "but the hub refused 1 message for good"},
		{"behind", func(s *stampStatus) { s.Queue.OldestAgeSeconds = 61 }, "BEHIND", "the oldest message has waited for 1 min 1 s"},
		{"disk", func(s *stampStatus) { s.Queue.DiskFreeBytes = 1_000_000 }, "DISK LOW", "1.00 MB left for messages"},
		{"hub away", func(s *stampStatus) { s.Forward.Breaker.State = "open" }, "HUB AWAY", "nothing waits yet; what is accepted now is kept"},
		{
			"hub being tried, messages wait, disk low",
			func(s *stampStatus) {
				s.Forward.Breaker.State, s.Queue.UnforwardedMessages, s.Queue.DiskFreeBytes = "half-open", 3, 1
			},
			"HUB AWAY", "messages are kept here until the hub is back",
		},
		{
			"held, hub reached",
			func(s *stampStatus) { s.Forward.Chains = []chainStatus{{State: "draining"}, {State: "held"}} },
			"HELD", "the hub refuses messages until somebody changes something; they are kept here",
		},
		{
			"a topic held",
			func(s *stampStatus) {
				s.Forward.Chains = []chainStatus{{State: "draining", Topics: []topicStatus{{Topic: "t", State: "held"}, {Topic: "u", State: "recovering"}}}}
			},
			"HELD", "1 topic held until somebody changes something",
		},
		{"damage", func(s *stampStatus) { s.Queue.DamagedMessages, s.Forward.Breaker.State = 2, "open" }, "DAMAGE", "2 messages damaged on disk and set aside"},
		{"refusing", func(s *stampStatus) { s.Accepting, s.Refusing = false, "disk full\x1b" }, "DOWN", `accepts nothing: disk full\x1b`},
		{"gateway alone", func(s *stampStatus) { s.Part, s.Forward = partGateway, forwardStatus{} }, "OK", "accepting; forwarders of this queue send to the hub"},
		{
			"gateway alone, nobody forwards",
			func(s *stampStatus) { s.Part, s.Forward, s.Queue.OldestAgeSeconds = partGateway, forwardStatus{}, 61 },
			"BEHIND", "the oldest message has waited for 1 min 1 s; see the forwarders of this queue",
		},
		{"gateway alone, refusing", func(s *stampStatus) { s.Part, s.Accepting, s.Refusing = partGateway, false, "disk full" }, "DOWN", "accepts nothing: disk full"},
		{"forwarder alone", func(s *stampStatus) { s.Part = partForward }, "OK", "forwarding"},
		{
			"forwarder alone, hub away",
			func(s *stampStatus) { s.Part, s.Forward.Breaker.State = partForward, "open" },
			"HUB AWAY", "nothing waits yet; what is accepted now is kept",
		},
		{
			"may not send",
			func(s *stampStatus) { s.Forward.Breaker = breakerStatus{State: "open", Own: true, Cause: "overdue"} },
			"PAUSED", "this process may not send now, its lanes may be another's",
		},
		{"forwarder alone, stopping", func(s *stampStatus) { s.Part, s.Accepting = partForward, false }, "DOWN", "forwards nothing: no reason given"},
		{"refusing without a word", func(s *stampStatus) { s.Accepting = false }, "DOWN", "accepts nothing: no reason given"},
	} {
		s := well()
		tc.change(&s)
		if v := judge(s); v.word != tc.word || v.sentence != tc.sentence {
			t.Errorf("%s: %s %q, want %s %q", tc.name, v.word, v.sentence, tc.word, tc.sentence)
		}
	}
}

func TestHubAwayIsExplained(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := well()
	s.Hub.Brokers = []string{"a:1", "b:2"}
	s.Forward.LastError = "no route"
	s.Forward.Breaker = breakerStatus{State: "open", Since: now.Add(-4 * time.Hour), NextTry: now.Add(2 * time.Second)}
	want := []string{"a:1,b:2  out of reach since 2026-01-01 23:04:05 (4 h 0 min)", "no route", "next try in 2.0 s"}
	if got := hubTexts(s, now, 87); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Forward.Breaker = breakerStatus{State: "closed"}
	s.Forward.Chains = []chainStatus{{State: "held", Error: "topic cars: not authorized", NextTry: now.Add(time.Minute)}}
	want = []string{"a:1,b:2  reached, but refuses: topic cars: not authorized", "next try in 1 min 0 s"}
	if got := hubTexts(s, now, 87); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Forward.Breaker = breakerStatus{State: "half-open", Cause: "timeout", Since: now.Add(-time.Minute)}
	want = []string{"a:1,b:2  being tried since 03:03:05 (1 min 0 s)", "timeout"}
	if got := hubTexts(s, now, 87); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Hub = hubStatus{Name: "central", Generation: 2, Dialect: "eventhubs", Brokers: []string{"a:1", "b:2"}}
	s.Hub.Trouble = "hub: jaas_file: no such file"
	want = []string{"central (generation 2), eventhubs at a:1,b:2  reached", "going on with what its files held before: hub: jaas_file: no such file"}
	s.Forward.Chains, s.Forward.Breaker = nil, breakerStatus{State: "closed"}
	if got := hubTexts(s, now, 87); strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	// The state is not cut off, however long the address.
	s.Forward.Breaker = breakerStatus{State: "open", Own: true, Cause: "may not write to the hub: overdue " + strings.Repeat("word ", 30), Since: now}
	s.Hub = hubStatus{Brokers: []string{strings.Repeat("a", 100) + ":1"}}
	got := hubTexts(s, now, 40)
	if len(got) != 2+reasonLines || got[1] != "not asked since 03:04:05 (0.0 s)" || got[2] != "may not write to the hub: overdue word" || !strings.HasSuffix(got[5], "…") {
		t.Errorf("got %q", got)
	}
}

// No line is wider than the terminal, however narrow and however long the
// names.
func TestViewFitsTheTerminal(t *testing.T) {
	s := well()
	s.Queue.Dir = strings.Repeat("/directory", 20)
	s.Refusing, s.Accepting = strings.Repeat("reason ", 40), false
	for _, width := range []int{40, 80, 200} {
		for _, line := range drawStatus(statusReport{Stamps: []stampStatus{s, well()}}, time.Now(), terminal{is: true, width: width}) {
			if n := len([]rune(line)); n > width {
				t.Errorf("%d columns in a terminal of %d: %s", n, width, line)
			}
		}
	}
	if got := drawStatus(statusReport{}, time.Now(), terminal{}); len(got) != 1 || got[0] != "no stamp runs there" {
		t.Errorf("without stamps: %q", got)
	}
}

// A listener that stops answering is shown with the last state, and again
// without a word once it answers.
func TestWatchSurvivesSilence(t *testing.T) {
	good := []byte(`{"stamps":[{"name":"onprem","accepting":true,"forward":{"breaker":{"state":"closed"}}}]}`)
	steps := []struct {
		body []byte
		err  error
		want []string
		not  string
	}{
		{nil, errors.New("refused"), []string{"NO ANSWER for 0.0 s: refused"}, "onprem"},
		{good, nil, []string{"onprem"}, "NO ANSWER"},
		{nil, errors.New("refused"), []string{"NO ANSWER for 0.0 s", "what follows is from 03:04:07:", "onprem"}, "{"},
		{nil, errors.New("refused"), []string{"NO ANSWER for 2.0 s", "onprem"}, "{"},
		{[]byte("{"), nil, []string{"NO ANSWER for 4.0 s: read the status", "onprem"}, "accepts nothing"},
		{good, nil, []string{"onprem"}, "NO ANSWER"},
	}
	w := watched{base: "http://x", every: 2 * time.Second}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, step := range steps {
		w.take(step.body, step.err, now)
		got := strings.Join(w.lines(now, terminal{}), "\n")
		for _, want := range step.want {
			if !strings.Contains(got, want) {
				t.Errorf("step %d: no %q in\n%s", i, want, got)
			}
		}
		if strings.Contains(got, step.not) {
			t.Errorf("step %d: %q in\n%s", i, step.not, got)
		}
		now = now.Add(2 * time.Second)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var out, errs bytes.Buffer
		asked := 0
		c := statusCommand{Every: 10 * time.Millisecond, JSON: asJSON}
		err := c.watch(ctx, streams{out: &out, err: &errs}, "http://x", func(context.Context) ([]byte, error) {
			asked++
			switch asked {
			case 2:
				return nil, errors.New("refused")
			case 4:
				cancel()
			}
			return []byte("{\n \"stamps\": []}"), nil
		})
		if err != nil || asked != 4 {
			t.Errorf("json %v: asked %d times, %v", asJSON, asked, err)
		}
		if asJSON && (out.String() != "{\"stamps\":[]}\n{\"stamps\":[]}\n" || errs.String() != "postroad: refused\n") {
			t.Errorf("printed %q and %q", out.String(), errs.String())
		}
		if !asJSON && strings.Count(out.String(), "no stamp runs there") != 3 {
			t.Errorf("printed %s", out.String())
		}
	}
	c := statusCommand{Every: time.Second}
	err := c.watch(t.Context(), streams{out: failingWriter{}}, "", func(context.Context) ([]byte, error) { return []byte(`{}`), nil })
	if err == nil {
		t.Error("an output that is gone goes unnoticed")
	}
}

func TestHeldTopicsAreShown(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := forwardStatus{}
	for i := range 7 {
		f.Chains = append(f.Chains, chainStatus{Topics: []topicStatus{
			{Topic: fmt.Sprint("t", i), State: "held", Error: "not authorized\x1b", NextTry: now.Add(30 * time.Second), Aside: i == 0},
			{Topic: "t0", State: "held"},
			{Topic: "fine", State: "recovering"},
		}})
	}
	got := heldTexts(f, now, 40)
	if len(got) != 2+2*(heldShown-1)+1 || got[0] != `t0: not authorized\x1b` || got[1] != "  in a side lane, next try in 30 s" ||
		got[3] != "  next try in 30 s" || got[len(got)-1] != "and 2 other topics" {
		t.Errorf("%q", got)
	}
	if got := heldTexts(forwardStatus{}, now, 40); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestWrap(t *testing.T) {
	for _, tc := range []struct {
		text  string
		width int
		lines int
		want  string // separated by |
	}{
		{"short", 10, 3, "short"},
		{"", 10, 3, ""},
		{"one two three", 7, 3, "one two|  three"},
		{"one two three", 6, 3, "one|  two|  thr…"},
		{"one two three", 8, 1, "one two…"},
		{"aaaaaaaaaaaa bb", 5, 9, "aaaaa|  aaa|  aaa|  a|  bb"},
		{"日本語 日本語", 7, 2, "日本語|  日本…"},
	} {
		got := wrap(tc.text, tc.width, tc.lines)
		if strings.Join(got, "|") != tc.want {
			t.Errorf("%q in %d: %q, want %q", tc.text, tc.width, got, tc.want)
		}
	}
}

func TestFlowIsTold(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := 300.0
	s := well()
	if texts := rateTexts(s); texts != nil {
		t.Errorf("rates that are not known: %q", texts)
	}
	s.Flow = flowStatus{InPerSecond: &in, InBytesPerSecond: 75000, OutPerSecond: 2, OutBytesPerSecond: 500, NeverDrains: true}
	s.Queue.UnforwardedMessages = 5
	if got := rateTexts(s); len(got) != 1 || got[0] != "in 300/s (75.0 kB/s), out 2.0/s (500 B/s)" {
		t.Errorf("%q", got)
	}
	if got := waitingTexts(s); len(got) != 2 || got[1] != "never empty at this rate" {
		t.Errorf("%q", got)
	}
	s.Part, s.Flow.NeverDrains, s.Flow.DrainSeconds = partGateway, false, 75
	if got := rateTexts(s); len(got) != 1 || got[0] != "in 300/s (75.0 kB/s)" {
		t.Errorf("%q", got)
	}
	if got := waitingTexts(s); len(got) != 2 || got[1] != "empty in about 1 min 15 s" {
		t.Errorf("%q", got)
	}
	h := hubStatus{ThrottledSeconds: 3.2, ThrottledAt: now.Add(-4 * time.Second)}
	if got := throttledTexts(h, now); len(got) != 1 || got[0] != "for 3.2 s of the last minute by the hub, because of a quota, last 4.0 s ago" {
		t.Errorf("%q", got)
	}
	if got := throttledTexts(hubStatus{}, now); got != nil {
		t.Errorf("%q", got)
	}
}

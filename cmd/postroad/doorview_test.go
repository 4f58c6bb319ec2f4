package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestDrawDoor(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	const answer = `{"groups":[
 {"name":"gateways","panic":false,"budget":{"posted":123456,"spent":12,"refused":3},"origins":[
  {"name":"onprem","priority":1,"weight":50,"percent":100,"state":"suspect","reason":"5 requests in a row without a byte\u001b[31m","since":"2026-01-02T11:59:50Z","isolated_until":"2026-01-02T12:00:07Z","in_flight":0,"answered":1200,"failed":5},
  {"name":"cloud-green","priority":2,"weight":70,"percent":25,"state":"restoring","reason":"probes pass","ramp":0.4,"usable":true,"since":"2026-01-02T11:00:00Z","in_flight":3,"answered":1000000,"failed":0,"said":{"weight":25,"fill":0.934,"throttled":true}},
  {"name":"cloud-blue","priority":2,"weight":50,"percent":40,"state":"healthy","reason":"probes pass","usable":true,"since":"2026-01-01T11:00:00Z","in_flight":12,"streams":5000,"answered":2,"failed":0}]},
 {"name":"streams","panic":true,"origins":[{"name":"onprem","priority":1,"weight":50,"percent":100,"state":"draining","reason":"drained by an operator","since":"2026-01-02T11:59:59Z"}]}
]}`
	const want = `gateways  REDUCED  2 of 3 origins take requests
  origin       state                        priority  weight     in flight  streams  answered   failed  since
  onprem       suspect                      1         50         0          0  1,200      5       11:59:50 (10 s)
    5 requests in a row without a byte\x1b[31m, out for 7.0 s at least
  cloud-green  restoring, 40 %  2         70 × 25 %  3          0  1,000,000  0       11:00:00 (1 h 0 min)
    probes pass
    announces: its queue is 93 % full, its hub throttles it, or is away, it asks for 25 % of its share
  cloud-blue   healthy             2         50 × 40 %  12         5,000  2          0       2026-01-01 11:00:00 (1 d 1 h)
  repeats and hedges: 12 of 123,456 POSTs, 3 refused by the budget

streams  PANIC  too few origins are healthy: requests go to those that are not, too
  origin  state     priority  weight  in flight  streams  answered  failed  since
  onprem  draining  1         50      0          0  0         0       11:59:59 (1.0 s)
    drained by an operator`
	var s doorState
	if err := json.Unmarshal([]byte(answer), &s); err != nil {
		t.Fatal(err)
	}
	got := drawDoor(s, now, terminal{width: 140})
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") } // columns are checked below
	for i, line := range strings.Split(want, "\n") {
		if i >= len(got) || squeeze(got[i]) != squeeze(line) {
			t.Errorf("line %d: want %q in\n%s", i, line, strings.Join(got, "\n"))
		}
	}
	at := strings.Index(got[1], "priority")
	for _, i := range []int{2, 4, 7} {
		if row := []rune(got[i]); row[at] == ' ' || row[at-1] != ' ' {
			t.Errorf("columns do not stand below each other:\n%s", strings.Join(got, "\n"))
		}
	}
	narrow := drawDoor(s, now, terminal{width: 80})
	for i, want := range []string{
		"origin state prio weight flight streams answered failed",
		"onprem suspect 1 50 0 0 1,200 5",
		`5 requests in a row without a byte\x1b[31m, out for 7.0 s at least, since 1…`,
		"cloud-green restoring, 40 % 2 70×25% 3 0 1,000,000 0",
		"probes pass, since 11:00:00 (1 h 0 min)",
	} {
		if squeeze(narrow[i+1]) != want {
			t.Errorf("at 80 columns: want %q in\n%s", want, strings.Join(narrow, "\n"))
		}
	}
	for _, line := range drawDoor(s, now, terminal{width: 40}) {
		if len([]rune(line)) > 40 {
			t.Errorf("%q is wider than the terminal", line)
		}
	}
	if got := drawDoor(doorState{}, now, terminal{}); got[0] != "the door has no origins" {
		t.Errorf("an empty door: %q", got)
	}
}

func TestJudgeGroup(t *testing.T) {
	well, sick, off := doorOrigin{State: "healthy", Usable: true}, doorOrigin{State: "suspect"}, doorOrigin{State: "disabled"}
	for _, row := range []struct {
		group doorGroup
		want  string
	}{
		{doorGroup{Origins: []doorOrigin{well, well}}, "OK"},
		{doorGroup{Origins: []doorOrigin{well, off}}, "OK"},
		{doorGroup{Origins: []doorOrigin{well, sick}}, "REDUCED"},
		{doorGroup{Origins: []doorOrigin{sick, off}}, "DOWN"},
		{doorGroup{Origins: []doorOrigin{sick}, Panic: true}, "PANIC"},
		{doorGroup{Origins: []doorOrigin{well}, Stalled: true}, "STALLED"},
	} {
		if got := judgeGroup(row.group).word; got != row.want {
			t.Errorf("%+v: %s, want %s", row.group, got, row.want)
		}
	}
}

func TestEventText(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := now.Add(-time.Minute)
	for want, e := range map[string]doorEvent{
		"11:59:00  g/o  healthy -> suspect  no answer": {At: at, Kind: "state", Group: "g", Origin: "o", From: "healthy", To: "suspect", Reason: "no answer"},
		"11:59:00  g  calm -> panic":                   {At: at, Kind: "panic", Group: "g", From: "calm", To: "panic"},
		"11:59:00  g/o  order: drain":                  {At: at, Kind: "order", Group: "g", Origin: "o", Reason: "drain"},
		`11:59:00  reload: 1 group\n`:                  {At: at, Kind: "reload", Reason: "1 group\n"},
	} {
		if got := eventText(e, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

package drill

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// counts are what an audit found, for comparison.
type counts struct{ lost, failedExecuted, refuted, twice, seenTwice, foreign int }

func countsOf(a DoorAudit) counts {
	return counts{a.Lost.Count, a.FailedExecuted.Count, a.Refuted.Count, a.ExecutedTwice.Count, a.SeenTwice.Count, a.Foreign.Count}
}

// printed is the print of the n-th message of a test.
func printed(n int) Print { return PrintOf(kindPlain, nil, fmt.Append(nil, n)) }

// done is an execution under a key, in the order of at.
func done(n, at int, key string) execution {
	return execution{print: printed(n), at: time.Unix(int64(at), 0), key: key}
}

func TestAudit(t *testing.T) {
	for _, c := range []struct {
		name     string
		told     Outcome
		executed []execution
		want     counts
	}{
		{"acknowledged and executed", Acknowledged, []execution{done(0, 1, "k")}, counts{}},
		{"acknowledged and lost", Acknowledged, nil, counts{lost: 1}},
		{"unknown and executed", Unknown, []execution{done(0, 1, "")}, counts{failedExecuted: 1}},
		{"unknown and not", Unknown, nil, counts{}},
		{"refused and executed", Refused, []execution{done(0, 1, "k")}, counts{failedExecuted: 1, refuted: 1}},
		{"refused and not", Refused, nil, counts{}},
		{"twice under one key", Acknowledged, []execution{done(0, 1, "k"), done(0, 2, "k")}, counts{twice: 1}},
		{"twice under two keys", Acknowledged, []execution{done(0, 1, "k"), done(0, 2, "l")}, counts{twice: 1, seenTwice: 1}},
		{"twice without a key", Acknowledged, []execution{done(0, 1, ""), done(0, 2, "")}, counts{twice: 1, seenTwice: 1}},
		{"first without, then with a key", Acknowledged, []execution{done(0, 2, "k"), done(0, 1, "")}, counts{twice: 1, seenTwice: 1}},
		{"three times, two keys", Unknown, []execution{done(0, 1, "k"), done(0, 2, "l"), done(0, 3, "k")}, counts{failedExecuted: 1, twice: 2, seenTwice: 1}},
		{"never sent", Acknowledged, []execution{done(0, 1, "k"), done(7, 2, "k")}, counts{foreign: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := NewLedger()
			l.Answered(l.Sending("0", NoStream, 0, printed(0)), c.told)
			a := audit(l, c.executed)
			if got := countsOf(a); got != c.want {
				t.Errorf("got %+v, want %+v\n%s", got, c.want, a)
			}
			fine := c.told == Acknowledged && (c.want == counts{} || c.want == counts{twice: 1})
			if a.OK() != fine {
				t.Errorf("OK is %v", a.OK())
			}
		})
	}
}

// An audit that does not look is found out by the audit of the deceived.
func TestSoundFindsBlindAudit(t *testing.T) {
	l := NewLedger()
	var executed []execution
	for n := range 5 {
		l.Answered(l.Sending(fmt.Sprint(n), NoStream, 0, printed(n)), Acknowledged)
		executed = append(executed, done(n, n, fmt.Sprintf("key %d", n%3)))
	}
	executed = append(executed, done(4, 9, "key 1")) // not one to deceive with
	if err := sound(l, executed, audit(l, executed)); err != nil {
		t.Errorf("a true audit: %v", err)
	}
	for name, blind := range map[string]func(*DoorAudit){
		"lost":     func(a *DoorAudit) { a.Lost.Count++ },
		"executed": func(a *DoorAudit) { a.ExecutedTwice.Count++ },
		"seen":     func(a *DoorAudit) { a.SeenTwice.Count++ },
	} {
		a := audit(l, executed)
		blind(&a) // as if what is found of the deceived had been missed
		if err := sound(l, executed, a); err == nil || !strings.Contains(err.Error(), "blind") {
			t.Errorf("blind to what is %s: %v", name, err)
		}
	}
	if err := sound(l, executed[:2], audit(l, executed[:2])); err == nil {
		t.Error("two executions are enough to deceive with")
	}
}

// What a backend writes is read again; a line that a kill has cut off is left out,
// and anything else is an error.
func TestReadExecutions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record")
	if got, err := readExecutions(path); got != nil || err != nil {
		t.Errorf("no record: %v, %v", got, err)
	}
	line := func(n int, attempt, key string) string {
		p := printed(n)
		return fmt.Sprintf("%x %d %q %q\n", p[:], n, attempt, key)
	}
	text := line(1, "", `"a key" \ ü`) + line(2, "2", "")
	if err := os.WriteFile(path, []byte(text+line(3, "", "k")[:70]), 0o600); err != nil {
		t.Fatal(err)
	}
	want := []execution{
		{print: printed(1), at: time.Unix(0, 1), key: `"a key" \ ü`},
		{print: printed(2), at: time.Unix(0, 2), attempt: "2"},
	}
	if got, err := readExecutions(path); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"\n", "00 1 \"\" \"\"\n", strings.Repeat("z", 64) + " 1 \"\" \"\"\n", strings.Repeat("0", 64) + " x \"\" \"\"\n", strings.Repeat("0", 64) + " 1 x\n", strings.Repeat("0", 64) + " 1 \"\" x\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := readExecutions(path); err == nil {
			t.Errorf("%q is %v", bad, got)
		}
	}
}

func TestBusiest(t *testing.T) {
	at := func(ms ...int) (all []time.Time) {
		for _, m := range ms {
			all = append(all, time.Unix(0, 0).Add(time.Duration(m)*time.Millisecond))
		}
		return all
	}
	for _, c := range []struct {
		times  []time.Time
		most   int
		lasted time.Duration
	}{
		{nil, 0, 0},
		{at(5), 1, 0},
		{at(0, 999, 1000, 1500), 3, 1500 * time.Millisecond},
		{at(3000, 0, 1000, 2000), 1, 3 * time.Second},
	} {
		if most, lasted := busiest(c.times, time.Second); most != c.most || lasted != c.lasted {
			t.Errorf("%v: %d, %v", c.times, most, lasted)
		}
	}
}

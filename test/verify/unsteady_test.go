package main

import (
	"strings"
	"testing"
)

// once makes a test that fails the first time and passes ever after.
const once = `package m

import (
	"os"
	"testing"
)

func TestOther(t *testing.T) {}

func TestOnce(t *testing.T) {
	if _, err := os.Stat("ran"); err == nil {
		return
	}
	if err := os.WriteFile("ran", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	MISHAP
}
`

func TestWhatFailsOnce(t *testing.T) {
	for _, tc := range []struct {
		name, mishap string
		failure      string
		said         string
	}{
		{
			name: "it is excused", mishap: `t.Run("part", func(t *testing.T) { t.Error("too late") })`,
			said: "UNSTEADY: example.test/m TestOnce",
		},
		{
			name: "a seed found it", mishap: `t.Error("seed 7: one message is lost")`,
			failure: "1 tests failed", said: "TestOnce is not run again: a random seed",
		},
		{
			name: "a panic", mishap: `panic("boom")`,
			failure: "tests failed", said: "not run again: it crashed",
		},
		{
			name: "it ends the process", mishap: `os.Exit(1)`,
			failure: "tests failed in 1 packages",
		},
		{
			name: "it fails again", mishap: `_ = os.Remove("ran"); t.Error("too late")`,
			failure: "1 tests failed", said: "running again, alone: example.test/m TestOnce",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, out := module(t, map[string]string{"m_test.go": strings.Replace(once, "MISHAP", tc.mishap, 1)})
			v.ci = true
			rep, err := v.goTest(t.Context(), false, "-vet=off", "./...")
			if err == nil {
				t.Fatalf("the first run passed\n%s", out)
			}
			if err = v.again(t.Context(), rep, false, err); tc.failure == "" && err != nil ||
				tc.failure != "" && (err == nil || !strings.Contains(err.Error(), tc.failure)) {
				t.Errorf("%v, want %q\n%s", err, tc.failure, out)
			}
			if !strings.Contains(out.String(), tc.said) {
				t.Errorf("printed\n%s\nwithout %q", out, tc.said)
			}
			if excused := strings.Contains(out.String(), "UNSTEADY"); excused != (tc.failure == "") {
				t.Errorf("excused: %v", excused)
			}
		})
	}
}

// Many at once are no mishap, and a skip stays a failure under CI.
func TestWhatIsNotExcused(t *testing.T) {
	v, _ := module(t, map[string]string{})
	failed := errUsage
	many := &reporter{failed: 4, failures: make([]failure, mostUnsteady+1)}
	if err := v.again(t.Context(), many, false, failed); err != failed { //nolint:errorlint // this very one
		t.Errorf("of many: %v", err)
	}
	v.ci = true
	skipped := &reporter{passed: 1, skips: []skip{{"m", "TestA", ""}}}
	if err := v.again(t.Context(), skipped, false, failed); err == nil || !strings.Contains(err.Error(), "a skip is a failure") {
		t.Errorf("beside a skip: %v", err)
	}
}

func TestFinding(t *testing.T) {
	for said, want := range map[string]bool{
		"want 1, got 2":                                                           false,
		"seed 7\nk 3 was forwarded 0 times":                                       true,
		"seed 7\n  0  acknowledged and lost\ntoo late":                            false,
		"seed 7\n 10  acknowledged and lost":                                      true,
		"seed 7\n 0  acknowledged and lost\n3  seen twice":                        true,
		"Seed 7\n 0  acknowledged and missed\n 1  told that something is missing": true,
	} {
		if got := finding(said); got != want {
			t.Errorf("%q: %v, want %v", said, got, want)
		}
	}
}

package main

import (
	"bytes"
	"strings"
	"testing"
)

// events is go test -json by hand: one package that passes with a skip in it,
// one that fails by a test, one that fails after its tests.
const events = `{"Action":"start","Package":"m/good"}
{"Action":"run","Package":"m/good","Test":"TestA"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"m/good","Test":"TestA","Output":"    a_test.go:1: chatter\n"}
{"Action":"pass","Package":"m/good","Test":"TestA"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"=== RUN   TestB\n"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"    a_test.go:2: needs a browser\n"}
{"Action":"output","Package":"m/good","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"m/good","Test":"TestB"}
{"Action":"output","Package":"m/good","Output":"-test.shuffle 42\n"}
{"Action":"output","Package":"m/good","Output":"PASS\n"}
{"Action":"output","Package":"m/good","Output":"ok  \tm/good\t0.1s\n"}
{"Action":"pass","Package":"m/good"}
not an event
{"Action":"output","Package":"m/bad","Output":"-test.shuffle 43\n"}
{"Action":"output","Package":"m/bad","Test":"TestFine","Output":"fine says\n"}
{"Action":"pass","Package":"m/bad","Test":"TestFine"}
{"Action":"output","Package":"m/bad","Test":"TestC","Output":"=== RUN   TestC\n"}
{"Action":"output","Package":"m/bad","Test":"TestC","Output":"    c_test.go:3: want 1\n"}
{"Action":"fail","Package":"m/bad","Test":"TestC"}
{"Action":"output","Package":"m/bad","Output":"FAIL\tm/bad\t0.1s\n"}
{"Action":"fail","Package":"m/bad"}
{"Action":"output","Package":"m/leak","Test":"TestD","Output":"goroutine 7 leaked\n"}
{"Action":"pass","Package":"m/leak","Test":"TestD"}
{"Action":"output","Package":"m/leak","Output":"FAIL\tm/leak\t0.1s\n"}
{"Action":"fail","Package":"m/leak"}
{"Action":"output","Package":"m/none","Output":"?   \tm/none\t[no test files]\n"}
{"Action":"skip","Package":"m/none"}
{"Action":"build-output","ImportPath":"m/broken","Output":"broken.go:1: syntax error\n"}
{"Action":"output","Package":"m/stuck","Test":"TestE","Output":"still waiting\n"}
`

func TestReporterPrintsWhatMatters(t *testing.T) {
	var out bytes.Buffer
	r := newReporter(&out)
	if err := r.consume(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	r.finish()
	want := strings.Join([]string{
		"ok  \tm/good\t0.1s",
		"not an event",
		"-test.shuffle 43", "    c_test.go:3: want 1", "FAIL\tm/bad\t0.1s",
		"goroutine 7 leaked", "FAIL\tm/leak\t0.1s",
		"?   \tm/none\t[no test files]",
		"broken.go:1: syntax error",
		"UNFINISHED\tm/stuck", "still waiting",
		"",
		"*** 1 SKIPPED: this was not tested on this machine ***",
		"    m/good TestB: a_test.go:2: needs a browser",
		"",
		"3 passed, 1 failed, 1 skipped",
		"",
	}, "\n")
	if got := out.String(); got != want {
		t.Fatalf("printed\n%s\nwant\n%s", got, want)
	}
}

func TestVerdict(t *testing.T) {
	skipped := []skip{{"m", "TestA", ""}}
	for _, tc := range []struct {
		name   string
		r      reporter
		strict bool
		want   string
	}{
		{"all passed", reporter{passed: 2}, true, ""},
		{"a test failed", reporter{passed: 2, failed: 1, failedPackages: 1}, false, "1 tests failed in 1 packages"},
		{"a package did not build", reporter{passed: 2, failedPackages: 1}, false, "0 tests failed in 1 packages"},
		{"nothing ran", reporter{}, false, "no test passed"},
		{"a skip on a person's machine", reporter{passed: 1, skips: skipped}, false, ""},
		{"a skip under CI", reporter{passed: 1, skips: skipped}, true, "a skip is a failure"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.r.verdict(tc.strict)
			switch {
			case tc.want == "" && err != nil:
				t.Fatalf("verdict = %v, want none", err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Fatalf("verdict = %v, want %q", err, tc.want)
			}
		})
	}
}

// TestGoTestOfARealModule runs go test itself, so that a change of its output
// is noticed here and not by a skip that slips through.
func TestGoTestOfARealModule(t *testing.T) {
	const head = "package m\n\nimport \"testing\"\n\n"
	for _, tc := range []struct {
		name, body    string
		ci            bool
		failure, said string
	}{
		{
			name: "pass", body: `func TestA(t *testing.T) {}`, ci: true,
			said: "1 passed, 0 failed, 0 skipped",
		},
		{
			name: "skip", body: `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Skip("no browser") }`,
			said: "example.test/m TestB: m_test.go:5: no browser",
		},
		{
			name: "skip under CI", body: `func TestA(t *testing.T) {}; func TestB(t *testing.T) { t.Skip("no browser") }`, ci: true,
			failure: "a skip is a failure", said: "1 passed, 0 failed, 1 skipped",
		},
		{
			name: "fail", body: `func TestA(t *testing.T) { t.Fatal("want 1") }`,
			failure: "1 tests failed", said: "m_test.go:5: want 1",
		},
		{
			name: "panic", body: `func TestA(t *testing.T) { panic("boom") }`,
			failure: "tests failed", said: "boom",
		},
		{
			name: "does not build", body: `func TestA(t *testing.T) { nothing() }`,
			failure: "in 1 packages", said: "undefined: nothing",
		},
		{
			name: "no tests", body: `var _ testing.TB`,
			failure: "no test passed", said: "0 passed",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v, out := module(t, map[string]string{"m_test.go": head + tc.body + "\n"})
			v.ci = tc.ci
			_, err := v.goTest(t.Context(), false, "-vet=off", "./...")
			if tc.failure == "" && err != nil {
				t.Fatalf("goTest = %v\n%s", err, out)
			}
			if tc.failure != "" && (err == nil || !strings.Contains(err.Error(), tc.failure)) {
				t.Fatalf("goTest = %v, want %q\n%s", err, tc.failure, out)
			}
			if !strings.Contains(out.String(), tc.said) {
				t.Fatalf("printed\n%s\nwithout %q", out, tc.said)
			}
		})
	}
}

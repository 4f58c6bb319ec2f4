package main

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A test that fails once among thousands, and passes when it is run again alone, is
// most often one that depends on who comes first. It is to be mended, and is told
// of loudly; the change that it happened to does not fail for it. What may be a fault
// of the product is never run again: whatever a random seed may have found (the next
// run has another), unless a ledger says that nothing was lost, doubled or out of
// order; a data race, a panic, a package that failed around its tests.
const (
	mostUnsteady = 3
	steadyRuns   = "3"
)

// failure is a test that failed, or a package where test is empty. found says why
// it counts whatever a second run would say; "" where that may excuse it.
type failure struct{ pkg, test, found string }

func (f failure) String() string { return strings.TrimSpace(f.pkg + " " + f.test) }

// What speaks for a fault of the product.
var (
	crashed = regexp.MustCompile(`DATA RACE|race detected|panic: |fatal error: |goroutine \d+ \[`)
	seeded  = regexp.MustCompile(`(?i)seed`)
	// A verdict of internal/drill, and one that finds something.
	judged = regexp.MustCompile(`\d  acknowledged and (lost|missed)`)
	guilty = regexp.MustCompile(`[1-9]\d*  (acknowledged and |seen twice|seen, |out of order|requests seen in part|told that|faults of)`)
)

// finding reports whether a random seed may have found what a test says.
func finding(said string) bool {
	return seeded.MatchString(said) && (!judged.MatchString(said) || guilty.MatchString(said))
}

// failuresOf says what failed of a package, by its tests at the top.
func failuresOf(pkg string, lines []line, verdicts map[string]string) []failure {
	var said strings.Builder
	by := map[string]*strings.Builder{}
	var tests []string
	for _, l := range lines {
		said.WriteString(l.text)
		if l.test == "" {
			continue
		}
		top, _, _ := strings.Cut(l.test, "/")
		if by[top] == nil {
			by[top] = new(strings.Builder)
			tests = append(tests, top)
		}
		by[top].WriteString(l.text)
	}
	if crashed.MatchString(said.String()) {
		return []failure{{pkg, "", "it crashed, or has a data race"}}
	}
	var out []failure
	for _, name := range tests {
		switch {
		case verdicts[name] == "pass", verdicts[name] == "skip":
		case verdicts[name] != "fail":
			out = append(out, failure{pkg, name, "it did not end"})
		case finding(by[name].String()):
			out = append(out, failure{pkg, name, "a random seed may have found it"})
		default:
			out = append(out, failure{pkg, name, ""})
		}
	}
	if len(out) == 0 {
		return []failure{{pkg, "", "it failed around its tests"}}
	}
	return out
}

// again runs the tests that failed again, each of them alone. It returns nil where
// all pass as often as they have to and may be excused, and else why they failed.
func (v *verifier) again(ctx context.Context, rep *reporter, race bool, failed error) error {
	if len(rep.failures) > mostUnsteady || len(rep.open) > 0 {
		return failed
	}
	byPackage := map[string][]string{}
	for _, f := range rep.failures {
		if f.found != "" {
			v.note(fmt.Sprintf("%s is not run again: %s", f, f.found))
			return failed
		}
		byPackage[f.pkg] = append(byPackage[f.pkg], regexp.QuoteMeta(f.test))
	}
	for pkg, tests := range byPackage {
		slices.Sort(tests)
		args := []string{"-count=" + steadyRuns, "-shuffle=on", "-timeout=20m", "-run", "^(" + strings.Join(tests, "|") + ")$", pkg}
		if race {
			args = append([]string{"-race"}, args...)
		}
		fmt.Fprintf(v.stdout, "running again, alone: %s %s\n", pkg, strings.Join(tests, ", "))
		if _, err := v.goTest(ctx, race, args...); err != nil {
			return failed
		}
	}
	for _, f := range rep.failures {
		v.note(fmt.Sprintf("UNSTEADY: %s failed, and passed %s times when it was run again alone. Mend it: its output is above", f, steadyRuns))
	}
	rep.failed, rep.failedPackages = 0, 0
	return rep.verdict(v.ci)
}

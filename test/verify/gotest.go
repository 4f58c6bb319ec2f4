package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`, as documented by `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
}

// line is a line of output of a package, kept until its verdict is known.
type line struct{ test, text string }

// skip is a test that did not run, with what it said.
type skip struct{ pkg, test, reason string }

// reporter turns the events of go test into the lines go test prints without
// -v: one for a package that passed, everything about the tests that failed
// for one that did not. It counts, and keeps the skips, which those lines hide.
type reporter struct {
	out io.Writer
	// open holds the lines of packages that are still running.
	open map[string][]line
	// ended holds the verdict of each test of those packages.
	ended          map[string]map[string]string
	passed, failed int
	failedPackages int
	skips          []skip
	failures       []failure
}

func newReporter(out io.Writer) *reporter {
	return &reporter{out: out, open: make(map[string][]line), ended: make(map[string]map[string]string)}
}

// consume reads events to the end. A line that is none is passed through.
func (r *reporter) consume(events io.Reader) error {
	in := bufio.NewReader(events)
	for {
		text, err := in.ReadBytes('\n')
		if len(text) > 0 {
			var e event
			if json.Unmarshal(text, &e) != nil {
				fmt.Fprintf(r.out, "%s", text)
			} else {
				r.handle(e)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output of go test: %w", err)
		}
	}
}

func (r *reporter) handle(e event) {
	switch e.Action {
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "output":
		r.open[e.Package] = append(r.open[e.Package], line{e.Test, e.Output})
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e)
		} else {
			r.endTest(e)
		}
	}
}

func (r *reporter) endTest(e event) {
	if r.ended[e.Package] == nil {
		r.ended[e.Package] = make(map[string]string)
	}
	r.ended[e.Package][e.Test] = e.Action
	switch e.Action {
	case "pass":
		r.passed++
	case "fail":
		r.failed++
	case "skip":
		r.skips = append(r.skips, skip{e.Package, e.Test, r.reason(e)})
	}
}

// reason is what a skipped test logged.
func (r *reporter) reason(e event) string {
	var said []string
	for _, l := range r.open[e.Package] {
		text := strings.TrimSpace(l.text)
		if l.test == e.Test && text != "" && !framing(text) {
			said = append(said, text)
		}
	}
	return strings.Join(said, " ")
}

// framing tells the lines that go test adds around a test's own.
func framing(text string) bool {
	return slices.ContainsFunc([]string{"=== ", "--- PASS", "--- SKIP", "--- FAIL"},
		func(p string) bool { return strings.HasPrefix(text, p) })
}

// endPackage prints a package's lines: those of the package itself, and where
// it failed those of each test that failed or never ended. Where no test did,
// the package failed around them (TestMain, a leak), and all is shown.
func (r *reporter) endPackage(e event) {
	verdicts := r.ended[e.Package]
	failed := e.Action == "fail"
	if failed {
		r.failedPackages++
		r.failures = append(r.failures, failuresOf(e.Package, r.open[e.Package], verdicts)...)
	}
	toBlame := failed && slices.ContainsFunc(r.open[e.Package], func(l line) bool {
		return l.test != "" && verdicts[l.test] != "pass" && verdicts[l.test] != "skip"
	})
	for _, l := range r.open[e.Package] {
		switch {
		case verdicts[l.test] != "" && strings.HasPrefix(l.text, "=== "):
		case !failed && (l.test != "" || noise(l.text)):
		case toBlame && (verdicts[l.test] == "pass" || verdicts[l.test] == "skip"):
		default:
			fmt.Fprint(r.out, l.text)
		}
	}
	delete(r.open, e.Package)
	delete(r.ended, e.Package)
}

// noise tells the lines of a passed package that go test leaves out.
func noise(text string) bool {
	return text == "PASS\n" || strings.HasPrefix(text, "-test.shuffle ")
}

// finish prints what no verdict came for (go test was stopped), the skips and
// the counts.
func (r *reporter) finish() {
	for pkg, lines := range r.open {
		fmt.Fprintf(r.out, "UNFINISHED\t%s\n", pkg)
		for _, l := range lines {
			if verdict := r.ended[pkg][l.test]; verdict != "pass" && verdict != "skip" {
				fmt.Fprint(r.out, l.text)
			}
		}
	}
	if len(r.skips) > 0 {
		fmt.Fprintf(r.out, "\n*** %d SKIPPED: this was not tested on this machine ***\n", len(r.skips))
		for _, s := range r.skips {
			fmt.Fprintf(r.out, "    %s %s: %s\n", s.pkg, s.test, s.reason)
		}
		fmt.Fprintln(r.out)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skips))
}

// verdict is an error where a test or package failed, where none ran, and,
// where strict, where one skipped.
func (r *reporter) verdict(strict bool) error {
	switch {
	case r.failed > 0 || r.failedPackages > 0:
		return fmt.Errorf("%d tests failed in %d packages", r.failed, r.failedPackages)
	case r.passed == 0:
		return errors.New("no test passed: none was found, or all were skipped")
	case strict && len(r.skips) > 0:
		return fmt.Errorf("%d tests were skipped, and under CI a skip is a failure", len(r.skips))
	}
	return nil
}

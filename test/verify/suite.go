package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// proofTag is the build tag of tests that take too long for every change.
const proofTag = "proof"

// test is `make test`.
func (v *verifier) test(ctx context.Context, args []string) error {
	fs := v.flags("test")
	only := fs.String("only", "", "comma-separated `stages` to run instead of all")
	if err := v.parse(fs, args); err != nil {
		return err
	}
	stages := []stage{
		{name: "tools", run: v.buildTools},
		{name: "format", run: v.format},
		{name: "vet", run: v.vet},
		{name: "lint", run: v.lint},
		{name: "workflows", run: v.workflows},
		{name: "generated", run: v.generated},
		{name: "tests", run: v.tests},
	}
	stages, err := choose(stages, *only)
	if err != nil {
		fmt.Fprintln(v.stderr, "verify:", err)
		return errUsage
	}
	return v.runStages(ctx, stages)
}

// choose keeps the stages that only names; all where it is empty.
func choose(stages []stage, only string) ([]stage, error) {
	if only == "" {
		return stages, nil
	}
	var names []string
	for _, s := range stages {
		names = append(names, s.name)
	}
	wanted := strings.Split(only, ",")
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return nil, fmt.Errorf("no stage %q: there are %s", w, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(stages, func(s stage) bool { return !slices.Contains(wanted, s.name) }), nil
}

// format fails where gofumpt would change a file, and names it.
func (v *verifier) format(ctx context.Context) error {
	gofumpt, err := v.toolPath(ctx, "gofumpt")
	if err != nil {
		return err
	}
	out, err := v.output(ctx, gofumpt, "-l", ".")
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("not formatted, run make fmt:\n%s", out)
	}
	return nil
}

func (v *verifier) vet(ctx context.Context) error {
	return v.command(ctx, "go", "vet", "-tags", proofTag, "./...").Run()
}

func (v *verifier) lint(ctx context.Context) error {
	linter, err := v.toolPath(ctx, "golangci-lint")
	if err != nil {
		return err
	}
	return v.command(ctx, linter, "run", "--allow-serial-runners", "./...").Run()
}

// workflows checks the CI definitions of the hosting platform. shellcheck and
// pyflakes are left out, so that the verdict is the same on every machine.
func (v *verifier) workflows(ctx context.Context) error {
	files, err := filepath.Glob(filepath.Join(v.root, ".github", "workflows", "*.yml"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return errors.New("no workflow in .github/workflows")
	}
	actionlint, err := v.toolPath(ctx, "actionlint")
	if err != nil {
		return err
	}
	return v.command(ctx, actionlint, append([]string{"-shellcheck=", "-pyflakes="}, files...)...).Run()
}

// tests runs every test with the race detector where the machine can.
func (v *verifier) tests(ctx context.Context) error {
	// The queue's tests take six minutes on two cores that do nothing else, and go
	// test gives a package ten.
	args := []string{"-shuffle=on", "-timeout=20m", "./..."}
	why := v.noRace(ctx)
	switch {
	case why == "":
		args = append([]string{"-race"}, args...)
	case v.ci:
		return fmt.Errorf("the race detector cannot run: %s", why)
	default:
		v.note("the race detector did NOT run: " + why)
	}
	rep, err := v.goTest(ctx, why == "", args...)
	if err != nil && rep != nil && rep.failed > 0 {
		return v.again(ctx, rep, why == "", err)
	}
	return err
}

// noRace says why the race detector cannot run here; "" where it can.
func (v *verifier) noRace(ctx context.Context) string {
	cc, err := v.output(ctx, "go", "env", "CC")
	if err != nil {
		return err.Error()
	}
	name, _, _ := strings.Cut(cc, " ")
	if _, err := exec.LookPath(name); err != nil {
		return fmt.Sprintf("it needs a C compiler, and %q is not to be found; install gcc or set CC", name)
	}
	return ""
}

// goTest runs go test through a reporter and fails where a test failed or,
// under CI, skipped. cgo is what the race detector needs.
func (v *verifier) goTest(ctx context.Context, cgo bool, args ...string) (*reporter, error) {
	cmd := v.command(ctx, "go", append([]string{"test", "-json"}, args...)...)
	if cgo {
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=1")
	}
	cmd.Stdout = nil
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start go test: %w", err)
	}
	rep := newReporter(v.stdout)
	readErr := rep.consume(events)
	waitErr := cmd.Wait()
	rep.finish()
	if n := len(rep.skips); n > 0 && !v.ci {
		v.note(fmt.Sprintf("%d tests were skipped (listed above)", n))
	}
	return rep, errors.Join(rep.verdict(v.ci), readErr, waitErr)
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"postroad/test/tree"
)

const usage = `usage: go run ./test/verify <command>

  test  [-only STAGE,...]                       everything a change has to pass
  bench [-run REGEXP]                           Go benchmarks of every package that has some
  proof [-list] [-run REGEXP] [-fuzztime 10m]   every fuzz target and every TestProof…
  tool [-path] NAME [ARGUMENT...]               a tool pinned below tools/, or where it is
`

// errUsage ends a run with exit code 2; what was wrong is printed already.
var errUsage = errors.New("usage")

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run returns the exit code: 0 fine, 1 a stage failed, 2 wrong usage. The
// first interrupt ends what is running, the second kills.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	root, err := tree.Root()
	if err != nil {
		fmt.Fprintln(stderr, "verify:", err)
		return 1
	}
	v := &verifier{root: root, stdout: stdout, stderr: stderr, ci: os.Getenv("CI") == "true"}
	err = v.dispatch(ctx, args)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		return 2
	case errors.As(err, &exit): // a tool that said itself what is wrong
		return 1
	default:
		fmt.Fprintln(stderr, "verify:", err)
		return 1
	}
}

// verifier is one run of a command.
type verifier struct {
	root           string
	stdout, stderr io.Writer
	// ci makes a failure of what is otherwise noted: skips, no race detector.
	ci bool
	// notes are printed below the table of stages.
	notes []string
}

func (v *verifier) dispatch(ctx context.Context, args []string) error {
	if len(args) == 0 {
		args = []string{"help"}
	}
	switch args[0] {
	case "test":
		return v.test(ctx, args[1:])
	case "bench":
		return v.bench(ctx, args[1:])
	case "proof":
		return v.proof(ctx, args[1:])
	case "tool":
		return v.tool(ctx, args[1:])
	case "help":
		fmt.Fprint(v.stdout, usage)
		return nil
	default:
		fmt.Fprintf(v.stderr, "verify: unknown command %q\n%s", args[0], usage)
		return errUsage
	}
}

// flags returns a flag set that reports to stderr and never exits.
func (v *verifier) flags(name string) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(v.stderr)
	return fs
}

// parse allows no arguments beyond the flags.
func (v *verifier) parse(fs *flag.FlagSet, args []string) error {
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(v.stderr, "verify: %s takes no argument %q\n", fs.Name(), fs.Arg(0))
		return errUsage
	}
	return nil
}

// command prepares a command in the project's root that writes to our own
// output and is interrupted, not killed, when ctx ends.
func (v *verifier) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = v.root
	cmd.Stdout = v.stdout
	cmd.Stderr = v.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output runs a command and returns what it printed, without the last newline.
func (v *verifier) output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := v.command(ctx, name, args...)
	cmd.Stdout = nil
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// note keeps a line for the end of the run and says it at once.
func (v *verifier) note(text string) {
	v.notes = append(v.notes, text)
	fmt.Fprintln(v.stdout, "NOTE:", text)
}

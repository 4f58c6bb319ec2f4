package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"postroad/internal/config"
	"postroad/internal/drill"
)

// version is written by the linker when a release is built, and by nothing
// else: -ldflags "-X main.version=1.2.3".
var version string

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2 // wrong arguments or configuration
	exitLoss   = 3 // a check found loss
)

// urlEnv is the variable that send reads.
const urlEnv = "POSTROAD_URL"

// notSettings are the variables that begin like settings and are none.
func notSettings() []string { return []string{urlEnv, drill.RecorderEnv} }

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// streams are where a command reads and writes.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// grammar is the command line: its flags, commands and their help.
type grammar struct {
	Dev     devCommand     `cmd:"" group:"run" help:"Run everything in one process, for development."`
	Stamp   stampCommand   `cmd:"" group:"run" help:"Run a stamp: gateway, queue and forwarder."`
	Gateway gatewayCommand `cmd:"" group:"run" help:"Run the accepting half of a stamp alone."`
	Forward forwardCommand `cmd:"" group:"run" help:"Run the sending half of a stamp alone."`
	Stream  streamCommand  `cmd:"" group:"run" help:"Run a stream node: the hub, live, for WebSocket and SSE clients."`
	Door    doorCommand    `cmd:"" group:"run" help:"Run a front door: one address before several stamps; and give it orders."`
	Hub     hubCommand     `cmd:"" group:"run" help:"Run the embedded hub alone, for development."`
	Send    sendCommand    `cmd:"" group:"use" help:"Post messages to a stamp or front door."`
	Tail    tailCommand    `cmd:"" group:"use" help:"Follow a topic, each message once."`
	Status  statusCommand  `cmd:"" group:"use" help:"Show the state of a stamp."`
	Bench   benchCommand   `cmd:"" group:"use" help:"Measure against floors in the same run."`
	Queue   queueCommand   `cmd:"" group:"use" help:"Look into a queue directory, and mend it."`
	Config  configCommand  `cmd:"" group:"set" help:"Check, print or describe a configuration."`
	Token   tokenCommand   `cmd:"" group:"set" help:"Mint a token for a client."`
	Auth    authCommand    `cmd:"" group:"set" help:"Explain what a caller may do."`
	Version versionCommand `cmd:"" group:"set" help:"Print the version."`
}

// groups are the headings of the commands in the help, in their order.
func groups() []kong.Group {
	return []kong.Group{
		{Key: "run", Title: "Run:"},
		{Key: "use", Title: "Use and watch:"},
		{Key: "set", Title: "Configure:"},
	}
}

// usageError is a mistake in the arguments that the parser cannot see, or a
// configuration that cannot be read.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// lossError is a check's finding that messages were lost.
type lossError struct{ text string }

func (e *lossError) Error() string { return e.text }

// run parses args, runs the command and returns the exit code. The first
// SIGINT or SIGTERM ends ctx, upon which commands drain; the second kills.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // the second signal finds no handler

	std := streams{in: stdin, out: stdout, err: stderr}
	exited := false
	parser, err := newParser(std, func(int) { exited = true })
	if err != nil {
		fmt.Fprintln(stderr, "postroad:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	command, err := parser.Parse(args)
	if exited { // help was asked for and printed
		return exitOK
	}
	if err != nil {
		fmt.Fprintln(stderr, "postroad:", err)
		fmt.Fprintln(stderr, "see:", "postroad "+strings.TrimLeft(commandOf(err)+" --help", " "))
		return exitUsage
	}
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run(std)
	if err != nil {
		fmt.Fprintln(stderr, "postroad:", err)
	}
	return exitCode(err)
}

func newParser(std streams, exit func(int)) (*kong.Kong, error) {
	return kong.New(&grammar{},
		kong.Name("postroad"),
		kong.Description("Carries messages from any site to your event hub and on to every reader, and loses none."),
		kong.Writers(std.out, std.err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.ExplicitGroups(groups()),
		kong.Vars{"url_env": urlEnv, "default_topic": defaultTopic},
	)
}

// commandOf names the command whose arguments did not parse, as far as the
// parser came.
func commandOf(err error) string {
	var pe *kong.ParseError
	if !errors.As(err, &pe) || pe.Context == nil || pe.Context.Selected() == nil {
		return ""
	}
	return strings.TrimPrefix(pe.Context.Selected().FullPath(), "postroad ")
}

func exitCode(err error) int {
	var (
		usage *usageError
		bad   *config.Error
		loss  *lossError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage), errors.As(err, &bad):
		return exitUsage
	case errors.As(err, &loss):
		return exitLoss
	}
	return exitFailed
}

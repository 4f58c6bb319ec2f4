package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: peers list | store FLAGS | produce FLAGS | engines | engine FLAGS")

// run does one thing and prints its result as JSON.
func run(ctx context.Context, args []string, out, errOut io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	var result any
	var err error
	switch flags := flag.NewFlagSet(args[0], flag.ContinueOnError); args[0] {
	case "list":
		result, err = described()
	case "store":
		result, err = runStore(ctx, flags, args[1:], errOut)
	case "produce":
		result, err = runProduce(ctx, flags, args[1:], errOut)
	case "engines":
		result, err = describedEngines()
	case "engine":
		return runEngine(ctx, flags, args[1:], out, errOut)
	default:
		return errUsage
	}
	if err != nil {
		return err
	}
	text, err := json.Marshal(result)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(text))
	return err
}

func runStore(ctx context.Context, flags *flag.FlagSet, args []string, errOut io.Writer) (any, error) {
	flags.SetOutput(errOut)
	name := flags.String("name", "", "which `store`; list names them")
	dir := flags.String("dir", "", "a `directory` that does not exist; it is left behind")
	writers := flags.Int("writers", 64, "writers at a time")
	size := flags.Int("bytes", 256, "size of a record in bytes")
	seconds := flags.Float64("seconds", 3, "how long to write")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *dir == "" || *writers < 1 || *size < 1 || *seconds <= 0 {
		return nil, errors.New("store: --dir must be given, and writers, bytes and seconds must be positive")
	}
	return measure(ctx, *name, *dir, *writers, *size, time.Duration(*seconds*float64(time.Second)))
}

func runProduce(ctx context.Context, flags *flag.FlagSet, args []string, errOut io.Writer) (any, error) {
	flags.SetOutput(errOut)
	brokers := flags.String("brokers", "", "`host:port` of the hub")
	from := flags.String("from", "", "`topic` whose records are produced again")
	to := flags.String("to", "", "`topic` that they are produced to")
	records := flags.Int("records", 0, "how many there are")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if *brokers == "" || *from == "" || *to == "" || *records < 1 {
		return nil, errors.New("produce: --brokers, --from, --to and --records must be given")
	}
	return produce(ctx, *brokers, *from, *to, *records)
}

// runEngine serves until standard input ends.
func runEngine(ctx context.Context, flags *flag.FlagSet, args []string, out, errOut io.Writer) error {
	flags.SetOutput(errOut)
	name := flags.String("name", "", "which `engine`; engines names them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return serve(ctx, *name, os.Stdin, out)
}

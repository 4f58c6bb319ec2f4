package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/pprof"
	"time"

	"postroad/internal/bench"
	"postroad/internal/telemetry"
)

type benchCommand struct {
	Ingest benchIngest `cmd:"" help:"How fast messages are accepted, against HTTP and the disk alone."`
	Start  benchStart  `cmd:"" help:"How long postroad dev takes to its first message."`
}

// benchFlags are the flags of every benchmark.
type benchFlags struct {
	Dir        string `help:"Directory on the disk to be measured (that of temporary files); what is written there is removed." default:"" placeholder:"DIR" type:"path"`
	Rounds     int    `help:"Rounds in which all contenders are measured in turn." default:"5"`
	JSON       bool   `help:"Print as JSON."`
	CPUProfile string `help:"Write a CPU profile of this process to a file." name:"cpuprofile" placeholder:"FILE" type:"path"`
}

// dir is where to write.
func (f *benchFlags) dir() string {
	if f.Dir == "" {
		return os.TempDir()
	}
	return f.Dir
}

// benchReport is what a benchmark has measured.
type benchReport interface {
	Write(w io.Writer) error
}

type benchIngest struct {
	benchFlags
	Duration    time.Duration `help:"How long each contender runs in each round." default:"3s"`
	Connections []int         `help:"Connections that single messages are posted over." default:"64,256" placeholder:"N"`
	Batches     int           `help:"Connections that batches are posted over." default:"16" placeholder:"N"`
	Samples     int           `help:"Messages that are followed to the hub on an idle system." default:"500" placeholder:"N"`
}

// Help says what is measured.
func (c *benchIngest) Help() string {
	return "Measures the whole way in (gateway, queue, forwarder, embedded hub, as they are shipped) against a handler that does nothing and against the disk alone, round for round in one process, load generator included." +
		" Shares are what counts: figures of different machines cannot be compared. Takes about three minutes."
}

// Run measures the way in.
func (c *benchIngest) Run(ctx context.Context, out streams) error {
	o := bench.IngestOptions{
		Dir: c.dir(), Duration: c.Duration, Rounds: c.Rounds,
		Connections: c.Connections, BatchConnections: c.Batches, Samples: c.Samples,
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Ingest(ctx, o, d) })
}

type benchStart struct {
	benchFlags
	Messages int    `help:"Messages in the data that is not fresh." default:"20000" placeholder:"N"`
	Binary   string `help:"Binary to start (this one)." default:"" placeholder:"FILE" type:"path"`
}

// Help says what is measured.
func (c *benchStart) Help() string {
	return "Starts `postroad dev` on no data, on data, and on data after it was killed, and measures until a reader has its first message."
}

// Run measures the start.
func (c *benchStart) Run(ctx context.Context, out streams) error {
	o := bench.StartOptions{Binary: c.Binary, Dir: c.dir(), Rounds: c.Rounds, Messages: c.Messages}
	if o.Binary == "" {
		var err error
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("this binary: %w", err)
		}
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Start(ctx, o, d) })
}

// run measures and prints; progress goes to standard error.
func (f *benchFlags) run(out streams, measure func(bench.Deps) (benchReport, error)) (err error) {
	log, err := telemetry.NewLogger(out.err, telemetry.LogOptions{Level: "warn", Format: "auto"})
	if err != nil {
		return err
	}
	stop, err := f.profile()
	if err != nil {
		return err
	}
	report, err := measure(bench.Deps{
		Version:  telemetry.CurrentVersion(version),
		Progress: func(format string, args ...any) { fmt.Fprintf(out.err, format+"\n", args...) },
		Log:      log,
	})
	if err = errors.Join(err, stop()); err != nil {
		return err
	}
	if !f.JSON {
		return report.Write(out.out)
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("print the report: %w", err)
	}
	fmt.Fprintln(out.out, string(b))
	return nil
}

// profile begins a CPU profile where one is asked for; stop ends it.
func (f *benchFlags) profile() (stop func() error, err error) {
	if f.CPUProfile == "" {
		return func() error { return nil }, nil
	}
	file, err := os.Create(f.CPUProfile)
	if err != nil {
		return nil, fmt.Errorf("CPU profile: %w", err)
	}
	if err := pprof.StartCPUProfile(file); err != nil {
		return nil, errors.Join(fmt.Errorf("CPU profile: %w", err), file.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return file.Close()
	}, nil
}

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
	Ingest  benchIngest  `cmd:"" help:"How fast messages are accepted, against HTTP and the disk alone."`
	Drain   benchDrain   `cmd:"" help:"How fast a backlog goes out, against a bare producer."`
	Backlog benchBacklog `cmd:"" help:"What a backlog takes of disk and memory, and how soon a start on it accepts."`
	Start   benchStart   `cmd:"" help:"How long postroad dev takes to its first message."`
	Stream  benchStream  `cmd:"" help:"What connections, deliveries and a full stream node cost, and how long a message takes."`
	Door    benchDoor    `cmd:"" help:"What a request through the front door costs and what clients see of faults, beside other proxies."`

	ReverseProxy benchReverseProxy `cmd:"" hidden:"" help:"Be the plain proxy that the front door is measured against."`
	Backend      benchBackend      `cmd:"" hidden:"" help:"Be an origin that writes down what it executes."`
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
	Only        []string      `help:"Parts to measure: idle, singles, batches, storage (all)." placeholder:"PART"`
	peersFlag
}

// peersFlag names the program of bench/peers.
type peersFlag struct {
	Peers string `help:"Program of bench/peers, which measures the stores of others and a bare producer; make bench builds it." default:"" placeholder:"FILE" type:"path"`
}

// binaryFlag names the binary whose processes are measured.
type binaryFlag struct {
	Binary string `help:"Binary to start (this one)." default:"" placeholder:"FILE" type:"path"`
}

func (f *binaryFlag) binary() (string, error) {
	if f.Binary != "" {
		return f.Binary, nil
	}
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("this binary: %w", err)
	}
	return path, nil
}

// Help says what is measured.
func (c *benchIngest) Help() string {
	return "Measures the whole way in (gateway, queue, forwarder, embedded hub, as they are shipped) against a handler that does nothing and against the disk alone, round for round in one process, load generator included." +
		" With --peers, the stores of others beside the queue. Shares are what counts: figures of different machines cannot be compared. Takes about seven minutes."
}

// Run measures the way in.
func (c *benchIngest) Run(ctx context.Context, out streams) error {
	o := bench.IngestOptions{
		Dir: c.dir(), Duration: c.Duration, Rounds: c.Rounds,
		Connections: c.Connections, BatchConnections: c.Batches, Samples: c.Samples,
		Peers: c.Peers, Only: c.Only,
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Ingest(ctx, o, d) })
}

type benchDrain struct {
	benchFlags
	Messages int    `help:"Messages in the backlog." default:"500000" placeholder:"N"`
	Bytes    int    `help:"Size of a message." default:"256" placeholder:"N"`
	Hub      string `help:"Address of a hub that runs, such as a real Kafka, to drain into; its topics \"messages\" and \"bare\" are filled. By default the embedded one is started." placeholder:"HOST:PORT"`
	binaryFlag
	peersFlag
}

// Help says what is measured.
func (c *benchDrain) Help() string {
	return "Fills a stamp whose hub is away, starts both, and watches the records come into the hub." +
		" With --peers, a bare producer then produces the same records into the same hub, and the share of its rate is what counts. Takes about two minutes."
}

// Run measures the drain.
func (c *benchDrain) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.DrainOptions{Binary: binary, Dir: c.dir(), Rounds: c.Rounds, Messages: c.Messages, Bytes: c.Bytes, Peers: c.Peers, Hub: c.Hub}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Drain(ctx, o, d) })
}

type benchBacklog struct {
	benchFlags
	Messages    int `help:"Messages in the backlog, fewer where the disk has no room for them; a full measurement takes 10000000." default:"1000000" placeholder:"N"`
	Bytes       int `help:"Size of a message." default:"1024" placeholder:"N"`
	Connections int `help:"Connections that the messages come over." default:"16" placeholder:"N"`
	binaryFlag
}

// Help says what is measured.
func (c *benchBacklog) Help() string {
	return "Fills a stamp whose hub is away, kills it, starts it, stops it, starts it and lets it drain, in processes of the shipped binary:" +
		" bytes on the disk, resident memory in each phase, and how soon a start on the backlog accepts a message. Takes about five minutes."
}

// Run measures the backlog.
func (c *benchBacklog) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.BacklogOptions{
		Binary: binary, Dir: c.dir(), Rounds: c.Rounds,
		Messages: c.Messages, Bytes: c.Bytes, Connections: c.Connections,
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Backlog(ctx, o, d) })
}

type benchStart struct {
	benchFlags
	Messages int `help:"Messages in the data that is not fresh." default:"20000" placeholder:"N"`
	binaryFlag
}

// Help says what is measured.
func (c *benchStart) Help() string {
	return "Starts `postroad dev` on no data, on data, and on data after it was killed, and measures until a reader has its first message."
}

// Run measures the start.
func (c *benchStart) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.StartOptions{Binary: binary, Dir: c.dir(), Rounds: c.Rounds, Messages: c.Messages}
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

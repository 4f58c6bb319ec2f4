package main

import (
	"context"
	"os"

	"postroad/internal/app"
	"postroad/internal/drill"
	"postroad/internal/telemetry"
	"postroad/internal/vehicles"
)

type devCommand struct {
	Data         string `help:"Directory that keeps the hub's records and the queues." default:"./postroad-data" placeholder:"DIR" type:"path"`
	Door         string `help:"Where the front door listens." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`
	Onprem       string `help:"Where the gateway of stamp onprem listens." default:"127.0.0.1:8081" placeholder:"HOST:PORT"`
	Cloud        string `help:"Where the gateway of stamp cloud listens." default:"127.0.0.1:8082" placeholder:"HOST:PORT"`
	StreamOnprem string `help:"Where the stream node of stamp onprem listens." default:"127.0.0.1:8800" placeholder:"HOST:PORT"`
	StreamCloud  string `help:"Where the stream node of stamp cloud listens." default:"127.0.0.1:8801" placeholder:"HOST:PORT"`
	Hub          string `help:"Where the embedded hub listens." default:"127.0.0.1:9092" placeholder:"HOST:PORT"`
	Admin        string `help:"Where the admin listener listens." default:"127.0.0.1:9600" placeholder:"HOST:PORT"`
	Vehicles     int    `help:"How many simulated vehicles post where they are, for the page at /demo/; 0 for none." default:"300" placeholder:"N"`
	Pprof        bool   `help:"Serve profiles on the admin listener."`
	processFlags
}

// processFlags are the flags of every command that runs until it is stopped.
type processFlags struct {
	LogLevel      string `help:"Least level that is logged: debug, info, warn or error." default:"" placeholder:"LEVEL"`
	AddressesFile string `help:"Write where everything listens to this file, as JSON, once it does." placeholder:"FILE" type:"path"`
}

// Help says what runs.
func (c *devCommand) Help() string {
	return "Runs everything in one process, with no configuration: the embedded hub, the stamps onprem and cloud with a stream node each, the front door over them, the console." +
		" Port 0 takes a free one. For development only: the hub has one broker and no replicas."
}

// Run runs everything until ctx ends.
func (c *devCommand) Run(ctx context.Context, out streams) error {
	opts := telemetry.DefaultLogOptions()
	opts.Level = "warn" // a person watches; what runs was printed
	if c.Vehicles < 0 || c.Vehicles > vehicles.MaxCount {
		return usagef("--vehicles: %d: must be between 0 and %d", c.Vehicles, vehicles.MaxCount)
	}
	deps, err := c.deps(out, opts)
	if err != nil {
		return err
	}
	return app.RunDev(ctx, app.DevOptions{
		Dir: c.Data, Door: c.Door, Onprem: c.Onprem, Cloud: c.Cloud, Hub: c.Hub, Admin: c.Admin, Pprof: c.Pprof, Vehicles: c.Vehicles,
		StreamOnprem: c.StreamOnprem, StreamCloud: c.StreamCloud,
	}, deps)
}

// deps are what the command line gives a process. The flag goes before opts.
func (f processFlags) deps(out streams, opts telemetry.LogOptions) (app.Deps, error) {
	if f.LogLevel != "" {
		opts.Level = f.LogLevel
	}
	log, err := telemetry.NewLogger(out.err, opts)
	if err != nil {
		return app.Deps{}, usagef("log: %w", err)
	}
	return app.Deps{
		Stdout: out.out, Log: log, Version: telemetry.CurrentVersion(version),
		AddressesFile: f.AddressesFile, RecorderFile: os.Getenv(drill.RecorderEnv),
	}, nil
}

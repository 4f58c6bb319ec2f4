package main

import (
	"context"

	"postroad/internal/app"
	"postroad/internal/hub"
	"postroad/internal/telemetry"
)

type hubCommand struct {
	Listen     string `help:"Where the hub listens." default:"127.0.0.1:9092" placeholder:"HOST:PORT"`
	Data       string `help:"Directory that keeps the records." default:"./postroad-hub" placeholder:"DIR" type:"path"`
	Partitions int    `help:"Partitions of topics that it creates." default:"8"`
	processFlags
}

// Help says what it is for.
func (c *hubCommand) Help() string {
	return "Runs the embedded hub alone. For development only: one broker, no replicas, no access control."
}

// Run runs the hub until ctx ends.
func (c *hubCommand) Run(ctx context.Context, out streams) error {
	opts := hub.DefaultOptions()
	opts.Listen, opts.Dir, opts.Partitions = c.Listen, c.Data, c.Partitions
	if err := opts.Validate(); err != nil {
		return &usageError{err}
	}
	deps, err := c.deps(out, telemetry.DefaultLogOptions())
	if err != nil {
		return err
	}
	return app.RunHub(ctx, opts, deps)
}

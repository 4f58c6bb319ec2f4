package main

import (
	"context"

	"postroad/internal/app"
	"postroad/internal/config"
)

// stampFlags are the flags of the commands that run a stamp or a half of one.
// All three take the same settings, so that one file serves a whole stamp.
type stampFlags struct {
	settingsFlags
	processFlags
}

// run runs a stamp or a half of one until ctx ends.
func (f stampFlags) run(ctx context.Context, out streams, part func(context.Context, config.Stamp, app.Deps) error) error {
	settings, _, err := f.loadStamp()
	if err != nil {
		return err
	}
	deps, err := f.deps(out, settings.Log)
	if err != nil {
		return err
	}
	return part(ctx, settings, deps)
}

type stampCommand struct {
	stampFlags
}

// Help says what runs.
func (c *stampCommand) Help() string {
	return "Runs a stamp: the gateway that accepts messages, the queue that keeps them and the forwarder that sends them to the hub." +
		" `postroad config reference` lists the settings."
}

// Run runs a stamp until ctx ends.
func (c *stampCommand) Run(ctx context.Context, out streams) error {
	return c.run(ctx, out, app.RunStamp)
}

package main

import (
	"context"

	"postroad/internal/app"
)

type stampCommand struct {
	settingsFlags
	processFlags
}

// Help says what runs.
func (c *stampCommand) Help() string {
	return "Runs a stamp: the gateway that accepts messages, the queue that keeps them and the forwarder that sends them to the hub." +
		" `postroad config reference` lists the settings."
}

// Run runs a stamp until ctx ends.
func (c *stampCommand) Run(ctx context.Context, out streams) error {
	settings, _, err := c.loadStamp()
	if err != nil {
		return err
	}
	deps, err := c.deps(out, settings.Log)
	if err != nil {
		return err
	}
	return app.RunStamp(ctx, settings, deps)
}

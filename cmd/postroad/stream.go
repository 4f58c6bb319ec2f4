package main

import (
	"context"

	"postroad/internal/app"
)

type streamCommand struct {
	settingsFlags
	processFlags
}

// Help says what runs.
func (c *streamCommand) Help() string {
	return "Runs a stream node: it reads topics of the hub and brings their messages to WebSocket and SSE clients." +
		" Any number of nodes, behind any balancer, serve the same clients; none keeps anything." +
		" `postroad config reference` lists the settings; `postroad config check` knows the file by its section stream."
}

// Run runs a stream node until ctx ends.
func (c *streamCommand) Run(ctx context.Context, out streams) error {
	settings, _, err := c.loadStream()
	if err != nil {
		return err
	}
	deps, err := c.deps(out, settings.Log)
	if err != nil {
		return err
	}
	return app.RunStream(ctx, settings, deps)
}

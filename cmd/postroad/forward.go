package main

import (
	"context"

	"postroad/internal/app"
)

type forwardCommand struct {
	stampFlags
}

// Help says what runs.
func (c *forwardCommand) Help() string {
	return "Runs the half of a stamp that sends messages from the queue directory to the hub." +
		" Any number of `postroad gateway`, `postroad forward` and `postroad stamp` may share a directory; what one of them leaves behind, another drains." +
		" The settings are those of `postroad stamp`, and one file serves all three commands;" +
		" two processes on one machine need different addresses, such as --set admin.listen=127.0.0.1:9601."
}

// Run runs a forwarder until ctx ends.
func (c *forwardCommand) Run(ctx context.Context, out streams) error {
	return c.run(ctx, out, app.RunForward)
}

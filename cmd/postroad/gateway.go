package main

import (
	"context"

	"postroad/internal/app"
)

type gatewayCommand struct {
	stampFlags
}

// Help says what runs.
func (c *gatewayCommand) Help() string {
	return "Runs the half of a stamp that accepts messages and keeps them in the queue directory, for `postroad forward` on the same directory to send to the hub." +
		" Any number of both may share a directory. The settings are those of `postroad stamp`, and one file serves all three commands;" +
		" two processes on one machine need different addresses, such as --set admin.listen=127.0.0.1:9601."
}

// Run runs a gateway until ctx ends.
func (c *gatewayCommand) Run(ctx context.Context, out streams) error {
	return c.run(ctx, out, app.RunGateway)
}

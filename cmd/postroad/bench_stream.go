package main

import (
	"context"
	"time"

	"postroad/internal/bench"
)

type benchStream struct {
	benchFlags
	Duration time.Duration `help:"How long messages flow in each measurement." default:"8s"`
	Clients  int           `help:"Clients that connect; the targets are for the default, and the other numbers scale with it." default:"10000" placeholder:"N"`
	Only     []string      `help:"Parts to measure: idle (S1), fanout (S2), latency (S3), full (S5) (all)." placeholder:"PART"`
	binaryFlag
	peersFlag
}

// Help says what is measured.
func (c *benchStream) Help() string {
	return "Measures stream nodes in processes of the shipped binary, each on a core of its own where there are two:" +
		" memory for each idle connection, processor time for each million messages delivered, time from a POST to a subscriber, and the memory of a full node." +
		" With --peers, engines of others beside ours. Needs as many open files as clients, in two processes. Takes about eight minutes, with peers half an hour."
}

// Run measures stream nodes.
func (c *benchStream) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.StreamOptions{
		Binary: binary, Dir: c.dir(), Rounds: c.Rounds, Duration: c.Duration,
		Clients: c.Clients, Peers: c.Peers, Only: c.Only,
	}
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Stream(ctx, o, d) })
}

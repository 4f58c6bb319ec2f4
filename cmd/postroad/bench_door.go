package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"postroad/internal/bench"
	"postroad/internal/drill"
)

type benchDoor struct {
	benchFlags
	Duration    time.Duration `help:"How long each proxy is under load in each round." default:"2s"`
	Connections int           `help:"Clients, each of which sends one request after the other." default:"64" placeholder:"N"`
	FaultRounds int           `help:"How many times each fault happens behind Postroad's door." default:"3" placeholder:"N"`
	Only        []string      `help:"Parts to measure: posts, gets, faults (all)." placeholder:"PART"`
	binaryFlag
}

// Help says what is measured.
func (c *benchDoor) Help() string {
	return "Measures what a request through the front door takes of the processor (D1), beside HAProxy, nginx and Caddy as they are installed here, and httputil.ReverseProxy," +
		" round for round, each a process on a core of its own where there are two." +
		" Then kills and stops one of two origins behind each of them, under load, and says what clients saw and how it came back (D2, D3). Takes about seven minutes."
}

// Run measures the front door.
func (c *benchDoor) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.DefaultDoorOptions()
	o.Binary, o.Dir, o.Rounds, o.Duration = binary, c.dir(), c.Rounds, c.Duration
	o.Connections, o.FaultRounds, o.Only = c.Connections, c.FaultRounds, c.Only
	if err := o.Validate(); err != nil {
		return &usageError{err}
	}
	return c.run(out, func(d bench.Deps) (benchReport, error) { return bench.Door(ctx, o, d) })
}

// benchReverseProxy is the process that the front door is measured against.
type benchReverseProxy struct {
	Listen        string   `help:"Address to listen at." default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	Origins       []string `help:"Base URLs of the origins." name:"origin" required:"" placeholder:"URL"`
	AddressesFile string   `help:"File to write the address to." type:"path" placeholder:"FILE"`
}

// Run serves until it is told to end.
func (c *benchReverseProxy) Run(ctx context.Context) error {
	return bench.ServeReverseProxy(ctx, c.Listen, c.Origins, func(a net.Addr) error {
		if c.AddressesFile == "" {
			return nil
		}
		text, err := json.Marshal(drill.Addresses{Door: "http://" + a.String()})
		if err == nil {
			if err = os.WriteFile(c.AddressesFile+".new", text, 0o600); err == nil {
				err = os.Rename(c.AddressesFile+".new", c.AddressesFile)
			}
		}
		if err != nil {
			return fmt.Errorf("say where it listens: %w", err)
		}
		return nil
	})
}

// benchBackend is an origin of the faults.
type benchBackend struct {
	Listen        string        `help:"Address to listen at." default:"127.0.0.1:0" placeholder:"HOST:PORT"`
	Record        string        `help:"File that each executed request is written to." required:"" type:"path" placeholder:"FILE"`
	Work          time.Duration `help:"How long a request takes." default:"0s"`
	AddressesFile string        `help:"File to write the address to." type:"path" required:"" placeholder:"FILE"`
}

// Run serves until it is told to end.
func (c *benchBackend) Run(ctx context.Context) error {
	return drill.RunBackend(ctx, c.Listen, c.Record, c.AddressesFile, drill.Behaviour{Work: c.Work}, nil)
}

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
	Duration    time.Duration `help:"How long each proxy is under load in each round." default:"3s"`
	Connections int           `help:"Clients, each of which sends one request after the other." default:"64" placeholder:"N"`
	Only        []string      `help:"Parts to measure: posts, gets (all)." placeholder:"PART"`
	binaryFlag
}

// Help says what is measured.
func (c *benchDoor) Help() string {
	return "Measures what a request through the front door takes of the processor (D1), beside HAProxy, nginx and Caddy as they are installed here, and httputil.ReverseProxy," +
		" round for round, each a process on a core of its own where there are two. Takes about three minutes."
}

// Run measures the front door.
func (c *benchDoor) Run(ctx context.Context, out streams) error {
	binary, err := c.binary()
	if err != nil {
		return err
	}
	o := bench.DoorOptions{Binary: binary, Dir: c.dir(), Rounds: c.Rounds, Duration: c.Duration, Connections: c.Connections, Only: c.Only}
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

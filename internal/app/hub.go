package app

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/hub"
)

// RunHub runs the embedded hub alone until ctx ends.
func RunHub(ctx context.Context, o hub.Options, d Deps) (err error) {
	h, err := hub.New(o, hub.Deps{Log: d.Log})
	if err != nil {
		return err
	}
	st := newStack(d.Log)
	st.push(layer{name: "hub", run: h.Run, close: h.Close})
	defer func() { err = errors.Join(err, st.stop()) }()
	fmt.Fprintf(d.Stdout, "hub %s, for development only: one broker, no replicas\n", h.Addr())
	if err := writeAddresses(d.AddressesFile, Addresses{Hub: h.Addr()}); err != nil {
		return err
	}
	return st.wait(ctx)
}

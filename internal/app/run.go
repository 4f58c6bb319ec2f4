package app

import (
	"context"
	"errors"
	"fmt"

	"postroad/internal/config"
	"postroad/internal/httpserve"
	"postroad/internal/queue"
)

// RunStamp runs one stamp until ctx ends, then drains it.
func RunStamp(ctx context.Context, settings config.Stamp, d Deps) error {
	return run(ctx, settings, queue.WritesAndDrains, d)
}

// RunGateway runs the half of a stamp that accepts messages until ctx ends, then
// drains it. Forwarders on the same queue directory send them to the hub; the
// gateway itself never speaks to the hub.
func RunGateway(ctx context.Context, settings config.Stamp, d Deps) error {
	return run(ctx, settings, queue.Writes, d)
}

// RunForward runs the half of a stamp that sends messages from the queue to the
// hub until ctx ends, then gives up its claims.
func RunForward(ctx context.Context, settings config.Stamp, d Deps) error {
	return run(ctx, settings, queue.Drains, d)
}

func run(ctx context.Context, settings config.Stamp, part queue.Part, d Deps) (err error) {
	p, err := newProcess(d)
	if err != nil {
		return err
	}
	st := newStack(p.log)
	defer func() { err = errors.Join(err, st.stop(), p.close()) }()
	admin, err := p.admin(settings.Admin)
	if err != nil {
		return err
	}
	st.push(layer{name: "admin", run: admin.Run})
	s, err := newStamp(settings, part, p)
	if err != nil {
		return err
	}
	s.push(st)
	if err := p.mount(st, admin, s); err != nil {
		return err
	}
	if !s.writes() { // a gateway is ready as long as it accepts
		context.AfterFunc(ctx, admin.Stopping)
	}
	admin.Started()
	a := Addresses{Admin: admin.URL()}
	if s.writes() {
		a.Gateways = map[string]string{settings.Stamp.Name: s.server.URL()}
	}
	fmt.Fprintf(d.Stdout, "%s\n", s.listening(admin.URL()))
	if err := writeAddresses(d.AddressesFile, a); err != nil {
		return err
	}
	return st.wait(ctx)
}

// mount puts on the admin listener what the process has to show. The console
// sends to a gateway and reads from the hub: it is there where both halves are.
func (p process) mount(st *stack, admin *httpserve.Admin, s *stamp) error {
	if s.part == queue.WritesAndDrains && !s.relays() { // another stamp is no hub to read from
		if _, err := p.console(st, admin, s.settings.Console, []*stamp{s}); err != nil {
			return err
		}
	}
	admin.AddCheck("queue", func(context.Context) error { return s.serving() })
	mountStatus(admin, []*stamp{s}, nil, nil)
	mountDead(admin, []*stamp{s})
	return nil
}

// listening says for a person what runs, and where.
func (s *stamp) listening(admin string) string {
	name := s.settings.Stamp.Name
	switch s.part {
	case queue.Writes:
		return fmt.Sprintf("gateway of stamp %s: %s, admin %s", name, s.server.URL(), admin)
	case queue.Drains:
		return fmt.Sprintf("forwarder of stamp %s: admin %s", name, admin)
	}
	return fmt.Sprintf("stamp %s: gateway %s, admin %s", name, s.server.URL(), admin)
}

package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/config"
	"postroad/internal/door"
	"postroad/internal/httpserve"
)

// DoorSource is where the settings of a front door come from, again and again.
type DoorSource struct {
	// Load reads them; an error of config.Load says everything that is wrong.
	Load func() (config.Door, error)
	// File, where set, is the file that they come from: it is looked at for
	// changes.
	File string
	// Ask, where set, brings a word whenever they are to be read again, such as a
	// signal.
	Ask <-chan struct{}
}

// RunDoor runs a front door until ctx ends, then drains it. It begins with the
// settings given; src brings later ones.
func RunDoor(ctx context.Context, settings config.Door, src DoorSource, d Deps) (err error) {
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
	f, err := newFront(settings, p)
	if err != nil {
		return err
	}
	f.push(st, src)
	f.mount(admin)
	context.AfterFunc(ctx, admin.Stopping)
	admin.Started()
	fmt.Fprintf(d.Stdout, "door: %s, admin %s\n", f.edge.URL(), admin.URL())
	if err := writeAddresses(d.AddressesFile, Addresses{Admin: admin.URL(), Door: f.edge.URL()}); err != nil {
		return err
	}
	return st.wait(ctx)
}

// front is a front door with its listener.
type front struct {
	process
	settings config.Door // those in use; owned by the loop of reloads once it runs
	door     *door.Door
	edge     *httpserve.Edge
	reloads  *prometheus.CounterVec
}

// newFront binds the listener; nothing runs yet. On an error it has undone what it
// did.
func newFront(settings config.Door, p process) (*front, error) {
	f := &front{process: p, settings: settings, reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "postroad_door_settings_reads_total",
		Help: "Settings read again while the door ran, by whether they are used or were refused.",
	}, []string{"result"})}
	for _, result := range []string{"used", "refused"} {
		f.reloads.WithLabelValues(result)
	}
	if err := p.registry.Register(f.reloads); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	f.warn(settings)
	var err error
	if f.door, err = door.New(settings.Door, door.Deps{Log: p.log, Registerer: p.registry}); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	f.edge, err = httpserve.NewEdge(settings.HTTP, f.door.Handler(), httpserve.EdgeDeps{
		Deps: httpserve.Deps{Log: p.log, Name: "door"}, Registerer: p.registry,
	})
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	return f, nil
}

func (f *front) warn(settings config.Door) {
	for _, w := range settings.Warnings() {
		f.log.Warn("setting is hardly meant", "what", w)
	}
}

// push starts the door's parts, the listener last: what it carries goes to origins
// that are being watched.
func (f *front) push(st *stack, src DoorSource) {
	st.push(layer{name: "origins of the door", run: f.door.Run})
	st.push(layer{name: "settings of the door", run: func(ctx context.Context) error { return f.follow(ctx, src) }})
	st.push(layer{name: "door", run: f.edge.Run, grace: f.settings.HTTP.DrainDelay + f.settings.HTTP.ShutdownTimeout + defaultGrace})
}

// mount puts the state of the door on the admin listener, and its orders.
func (f *front) mount(admin *httpserve.Admin) {
	mountStatus(admin, nil, nil, f.door)
}

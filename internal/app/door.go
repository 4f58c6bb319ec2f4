package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

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
	f, err := newFront(settings, p, d.Stdout, nil)
	if err != nil {
		return err
	}
	f.warn(settings)
	fmt.Fprintf(d.Stdout, "door: %s, admin %s\n", f.edge.URL(), admin.URL())
	f.mount(admin)
	st.push(layer{name: "garbage", run: lessCollecting})
	f.push(st, src)
	admin.Started()
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
	probed   atomic.Bool // the first probes are done
}

// newFront binds the listener; nothing runs yet. On an error it has undone what it
// did. local is what the door serves itself, by prefix; accessLog may be nil.
func newFront(settings config.Door, p process, accessLog io.Writer, local map[string]http.Handler) (*front, error) {
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
	var err error
	if f.door, err = door.New(settings.Door, door.Deps{Log: p.log, Registerer: p.registry, AccessLog: accessLog, Local: local}); err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	serve := settings.HTTP
	serve.DrainDelay = 0 // the door drains before its listener does, see serve
	f.edge, err = httpserve.NewEdge(serve, f.door.Handler(), httpserve.EdgeDeps{
		Deps: httpserve.Deps{Log: p.log, Name: "door"}, Registerer: p.registry, Trusted: f.door.Trusts,
	})
	if err != nil {
		f.door.Close()
		return nil, fmt.Errorf("door: %w", err)
	}
	return f, nil
}

func (f *front) warn(settings config.Door) {
	for _, w := range settings.Warnings() {
		f.log.Warn("setting is hardly meant", "what", w)
	}
	var files unix.Rlimit
	need := 2*uint64(settings.HTTP.Clients.Connections) + 256 // one to the client and one to an origin
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < need {
		f.log.Warn("the limit of open files may be reached before that of connections",
			"files", files.Cur, "connections", settings.HTTP.Clients.Connections)
	}
}

// push starts the door's parts, the listener last: what it carries goes to origins
// that are being watched.
func (f *front) push(st *stack, src DoorSource) {
	f.pushProbes(st, f.door.Run)
	st.push(layer{name: "settings of the door", run: func(ctx context.Context) error { return f.follow(ctx, src) }})
	f.pushListener(st)
}

func (f *front) pushProbes(st *stack, run func(context.Context) error) {
	st.push(layer{name: "origins of the door", run: run, close: func() error { f.door.Close(); return nil }})
}

func (f *front) pushListener(st *stack) {
	o := f.settings
	st.push(layer{name: "door", run: f.serve, grace: o.HTTP.DrainDelay + o.Door.Drain.Timeout + o.HTTP.ShutdownTimeout + defaultGrace})
}

// serve runs the listener until ctx ends. Then it goes on for drain_delay, in which
// clients are asked to come by another connection, lets the streams go at their rate, and only then stops to accept: meanwhile balancers have
// noticed, and what still comes is served.
func (f *front) serve(ctx context.Context) error {
	delay := f.settings.HTTP.DrainDelay
	listen, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.edge.Run(listen) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	f.door.Stopping()
	f.edge.Leave()
	f.log.Info("draining, still accepting", "delay", delay)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case err := <-ended:
		return err
	case <-t.C:
	}
	f.door.Drain(listen)
	stop()
	return <-ended
}

// mount puts the state of the door on the admin listener, and its orders.
func (f *front) mount(admin *httpserve.Admin) {
	admin.AddCheck("door", func(context.Context) error { return f.ready() })
	mountStatus(admin, nil, nil, f.door)
	admin.Handle("/door", f.door.Admin())
	admin.Handle("/door/", f.door.Admin())
}

var errNotProbed = errors.New("the origins were not looked at yet")

// ready says that the door knows what it does, and accepts. That its origins are well is not
// asked: another door has the same ones.
func (f *front) ready() error {
	if !f.edge.Accepting() {
		return errDraining
	}
	if f.probed.Load() {
		return nil
	}
	for _, g := range f.door.Status().Groups {
		if !slices.ContainsFunc(g.Origins, func(o door.OriginStatus) bool { return !o.ProbedAt.IsZero() || o.State == "disabled" }) {
			return errNotProbed
		}
	}
	f.probed.Store(true)
	return nil
}

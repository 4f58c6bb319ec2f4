package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"postroad/internal/config"
	"postroad/internal/console"
	"postroad/internal/door"
	"postroad/internal/durable"
	"postroad/internal/httpserve"
	"postroad/internal/hub"
	"postroad/internal/queue"
)

// DevOptions are the flags of "postroad dev".
type DevOptions struct {
	// Dir keeps the hub's records and the stamps' queues.
	Dir string
	// Listen addresses of the parts.
	Door, Onprem, Cloud, Hub, Admin string
	// StreamOnprem and StreamCloud are those of the stream nodes.
	StreamOnprem, StreamCloud string
	// Vehicles is how many simulated vehicles post where they are; 0 for none.
	Vehicles int
	// Pprof serves profiles on the admin listener.
	Pprof bool
}

// RunDev runs everything in one process until ctx ends: embedded hub, stamps
// onprem and cloud with a stream node each, the door over them, console and admin.
func RunDev(ctx context.Context, o DevOptions, d Deps) (err error) {
	p, err := newProcess(d)
	if err != nil {
		return err
	}
	st := newStack(p.log)
	defer func() { err = errors.Join(err, st.stop(), p.close()) }()
	admin, err := p.admin(httpserve.AdminOptions{Listen: o.Admin, Pprof: o.Pprof})
	if err != nil {
		return err
	}
	st.push(layer{name: "admin", run: admin.Run})
	context.AfterFunc(ctx, admin.Stopping)
	if err := durable.MkdirAll(durable.OS{}, filepath.ToSlash(o.Dir)); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	h, err := p.devHub(o)
	if err != nil {
		return err
	}
	st.push(layer{name: "hub", run: h.Run, close: h.Close})
	stamps, err := p.devStamps(o, h.Addr())
	if err != nil {
		return err
	}
	for _, s := range stamps {
		s.push(st)
		admin.AddCheck("queue of "+s.settings.Stamp.Name, func(context.Context) error { return s.ready() })
	}
	nodes, err := p.devStreams(o, h.Addr(), stamps)
	if err != nil {
		return err
	}
	pushStreams(st, admin, nodes)
	url, front, err := p.devDoor(st, admin, o, stamps, nodes)
	if err != nil {
		return err
	}
	mountStatus(admin, stamps, nodes, front)
	mountDead(admin, stamps)
	admin.Started()
	a := Addresses{Door: url, Gateways: map[string]string{}, Streams: map[string]string{}, Hub: h.Addr(), Admin: admin.URL()}
	for _, s := range stamps {
		a.Gateways[s.settings.Stamp.Name] = s.server.URL()
	}
	for _, n := range nodes {
		a.Streams[n.name] = n.server.URL()
	}
	fmt.Fprint(d.Stdout, welcome(a, o.Dir), unsafeNote(stamps[0].queue.Status().FileSystem))
	if err := writeAddresses(d.AddressesFile, a); err != nil {
		return err
	}
	if err := p.devVehicles(st, o.Vehicles, url); err != nil {
		return err
	}
	return st.wait(ctx)
}

func (p process) devHub(o DevOptions) (*hub.Hub, error) {
	opts := hub.DefaultOptions()
	opts.Listen, opts.Dir = o.Hub, filepath.Join(o.Dir, "hub")
	opts.Topics = nil
	for _, t := range devTopics() {
		opts.Topics = append(opts.Topics, t.Name)
	}
	return hub.New(opts, hub.Deps{Log: p.log})
}

// devRetain is how long the stamps of a development process keep what they have
// forwarded.
const devRetain = time.Hour

// devStamps makes both stamps, or none.
func (p process) devStamps(o DevOptions, hubAddr string) (stamps []*stamp, err error) {
	for _, x := range []struct{ name, region, listen string }{
		{"onprem", "site", o.Onprem},
		{"cloud", "dev", o.Cloud},
	} {
		settings := config.DefaultStamp()
		settings.Stamp = config.Identity{Name: x.name, Region: x.region}
		settings.HTTP.Listen = x.listen
		settings.Queue.Dir = filepath.ToSlash(filepath.Join(o.Dir, x.name))
		settings.Hub.Brokers = []string{hubAddr}
		// The vehicles post some 4 GB a day: a trial that is left alone for a week
		// must not fill the disk with what can be had again by running on.
		settings.Queue.Retain = devRetain
		settings.Queue.UnsafeFileSystem = true // a trial in a container's own layer is worth having
		s, err := newStamp(settings, queue.WritesAndDrains, p)
		if err != nil {
			for _, made := range stamps {
				err = errors.Join(err, made.abandon())
			}
			return nil, fmt.Errorf("stamp %s: %w", x.name, err)
		}
		stamps = append(stamps, s)
	}
	return stamps, nil
}

// devDoor starts the console and the door, which serves it.
func (p process) devDoor(st *stack, admin *httpserve.Admin, o DevOptions, stamps []*stamp, nodes []*streamNode) (string, *door.Door, error) {
	settings := config.DefaultDoor()
	settings.HTTP.Listen, settings.HTTP.DrainDelay = o.Door, 0
	settings.Door.Origins = nil
	for i, s := range stamps {
		settings.Door.Origins = append(settings.Door.Origins, door.Origin{
			Name: s.settings.Stamp.Name, URL: s.server.URL(), Stream: nodes[i].server.URL(), Priority: i + 1,
		})
	}
	// The listener comes first, since the console names the door's address.
	var page http.Handler
	f, err := newFront(settings, p, nil, map[string]http.Handler{
		"/console/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { page.ServeHTTP(w, r) }),
	})
	if err != nil {
		return "", nil, err
	}
	page, err = p.console(st, admin, console.DefaultOptions(), stamps,
		console.Endpoint{Name: "door", Kind: console.KindDoor, URL: f.edge.URL()})
	if err != nil {
		f.door.Close()
		return "", nil, errors.Join(err, f.edge.Close())
	}
	admin.Handle("/door", f.door.Admin())
	admin.Handle("/door/", f.door.Admin())
	f.pushProbes(st, func(ctx context.Context) error {
		awaitStreams(ctx, nodes)
		return f.door.Run(ctx)
	})
	f.pushListener(st)
	return f.edge.URL(), f.door, nil
}

// unsafeNote says, where it is so, that what is kept may be lost.
func unsafeNote(s durable.Support) string {
	if s.Verdict != durable.Refused {
		return ""
	}
	return fmt.Sprintf("For a trial only: the data is on %s (%s), where a stamp in production would not start.\n\n", s.Type, s.Why())
}

func welcome(a Addresses, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `Postroad runs. Everything is kept in %s; Ctrl-C stops it.

  door            %s        send here
  console         %s/console/
  vehicles        %s/demo/
  stamp onprem    %s        API description at /docs
  stamp cloud     %s
  stream onprem   %s        WebSocket, event streams
  stream cloud    %s
  hub             %s               Kafka protocol
  admin           %s        probes, metrics, status

Try, in another terminal:

  postroad send --url %s --key tram-7 "at the depot"
  postroad tail --hub %s --from beginning
  curl -N '%s/v1/topics/messages/stream?key=tram-7'
  postroad status --admin %s

`, dir, a.Door, a.Door, a.Door, a.Gateways["onprem"], a.Gateways["cloud"], a.Streams["onprem"], a.Streams["cloud"],
		a.Hub, a.Admin, a.Door, a.Hub, a.Door, a.Admin)
	return b.String()
}

package door

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postroad/internal/door/carry"
)

// OriginHeader names the origin that answered, on every answer that is not the
// door's own.
const OriginHeader = carry.OriginHeader

// Deps are the collaborators of a Door.
type Deps struct {
	// Log takes changes of state; nil discards them.
	Log *slog.Logger
	// Registerer takes the metrics; nil keeps them unseen.
	Registerer prometheus.Registerer
	// AccessLog takes the lines of the access log; nil writes none.
	AccessLog io.Writer
	// Local are handlers that the door serves itself, by path prefix with a
	// slash at both ends, such as "/console/". The longest prefix wins.
	Local map[string]http.Handler
	// Resolve looks up the names of origins; nil asks the resolver of the system.
	Resolve func(ctx context.Context, host string) ([]string, error)
	// Now is the clock of decisions and records; nil is time.Now.
	Now func() time.Time
}

// Door is a front door. Its Handler serves whether or not Run runs; without
// Run nothing is probed or moved and names are not looked up again. Whoever made
// it ends it with Close, after its requests.
type Door struct {
	local   []local // longest prefix first
	metrics *metrics
	log     *slog.Logger
	access  *accessLog
	rates   *clientRates
	events  *events
	live    *streamSet
	resolve func(ctx context.Context, host string) ([]string, error)
	now     func() time.Time
	started time.Time
	// Buffers for bodies, and for streams, of which there are many at once.
	large, small *pool
	via          string // the door's word in Via, different in each process

	stopping atomic.Bool // /healthz says so

	// state is what is in force; replaced by Reload.
	state atomic.Pointer[layout]

	mu      sync.Mutex                    // one Reload at a time, and starts of runners
	running context.Context               // that of Run, for what Reload adds; guarded by mu
	runners map[string]context.CancelFunc // what runs now, by name; guarded by mu
	reloads int                           // guarded by mu
	ended   sync.WaitGroup                // runners, and carriers that are given up
}

type local struct {
	prefix  string
	handler http.Handler
}

// layout is one configuration, never changed.
type layout struct {
	opts      Options
	groups    map[string]*group
	routes    []route
	toStreams *route // by path, before all routes; nil where there is none
	trust     trust
	limits    Limits
	since     time.Time
}

// sorted are the groups by name.
func (l *layout) sorted() []*group {
	list := make([]*group, 0, len(l.groups))
	for _, name := range slices.Sorted(maps.Keys(l.groups)) {
		list = append(list, l.groups[name])
	}
	return list
}

// New makes a door; it opens no connection yet.
func New(opts Options, deps Deps) (*Door, error) {
	d := &Door{
		log: deps.Log, resolve: deps.Resolve, now: deps.Now, runners: map[string]context.CancelFunc{},
		large: &pool{size: 32 << 10}, small: &pool{size: streamBuffer},
		via: fmt.Sprintf("1.1 postroad-%016x", rand.Uint64()),
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	if d.now == nil {
		d.now = time.Now
	}
	d.started = d.now()
	for prefix, h := range deps.Local {
		if len(prefix) < 3 || prefix[0] != '/' || prefix[len(prefix)-1] != '/' {
			return nil, fmt.Errorf("local handler at %q: must be a path with a slash at both ends", prefix)
		}
		d.local = append(d.local, local{prefix, h})
	}
	slices.SortFunc(d.local, func(a, b local) int { return cmp.Compare(len(b.prefix), len(a.prefix)) })
	d.metrics = newMetrics(d)
	d.access = newAccessLog(deps.AccessLog, d.metrics.unlogged)
	d.rates = newClientRates(opts.Limits.Rate, d.now)
	d.events = newEvents(d.now)
	d.live = newStreams(d.now, rand.Float64)
	if err := d.Reload(opts); err != nil {
		return nil, err
	}
	if err := d.metrics.register(deps.Registerer); err != nil {
		d.Close()
		return nil, fmt.Errorf("register the door's metrics: %w", err)
	}
	return d, nil
}

// Reload puts other options in force: requests from now on are served by them,
// those in flight end as they began, and no connection is dropped. What is known
// of an origin is kept where group and name stay the same. Options that are not
// valid, or whose files cannot be read, are refused, and nothing changes.
func (d *Door) Reload(opts Options) error {
	if err := opts.Validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.state.Load()
	next, err := d.layOut(opts, old)
	if err != nil {
		return err
	}
	d.state.Store(next)
	rule := opts.AccessLog
	d.access.rule.Store(&rule)
	d.rates.set(opts.Limits.Rate)
	d.live.set(opts.Limits.Streams, opts.Drain)
	if old != nil {
		d.reloads++
		d.retire(old, next)
		d.events.add(Event{Kind: "reload", Reason: fmt.Sprintf("%d groups, %d routes", len(next.groups), len(opts.Routes))})
		d.log.Info("configuration reloaded", "groups", len(next.groups), "routes", len(opts.Routes))
	}
	d.startRunners(next)
	return nil
}

// layOut makes the layout of valid options; groups of old are taken over.
func (d *Door) layOut(opts Options, old *layout) (*layout, error) {
	l := &layout{opts: opts, groups: map[string]*group{}, limits: opts.Limits, since: d.now()}
	var err error
	if l.trust, err = newTrust(opts.TrustedProxies, opts.TrustedHeader); err != nil {
		return nil, err
	}
	var made []*group
	for name, o := range opts.groups() {
		var before *group
		if old != nil {
			before = old.groups[name]
		}
		g, err := d.newGroup(name, o, before)
		if err != nil {
			for _, g := range made {
				g.abandon()
			}
			return nil, prefixed("group "+name+": ", err)
		}
		made = append(made, g)
		l.groups[name] = g
	}
	if l.routes, l.toStreams, err = routesOf(opts, l.groups); err != nil {
		for _, g := range made {
			g.abandon()
		}
		return nil, err
	}
	// Nothing fails from here on: the groups that go on get their new rules.
	for _, g := range made {
		g.adopt()
	}
	return l, nil
}

// retire gives up what old had and next has not.
func (d *Door) retire(old, next *layout) {
	for name, g := range old.groups {
		if n := next.groups[name]; n == nil || n.carrier != g.carrier {
			d.ended.Go(g.carrier.giveUp)
		}
	}
}

// Trusts reports whether an address is that of a trusted proxy before the door.
func (d *Door) Trusts(a netip.Addr) bool { return d.state.Load().trust.trusts(a.Unmap()) }

// Run probes the origins, moves streams and writes the access log until ctx
// ends. It returns nil.
func (d *Door) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.running != nil {
		d.mu.Unlock()
		return errors.New("the door runs already")
	}
	d.running = ctx
	d.startRunners(d.state.Load())
	d.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { d.access.run(ctx) })
	wg.Go(func() { d.moveStreams(ctx) })
	<-ctx.Done()
	wg.Wait()
	d.mu.Lock()
	for name, stop := range d.runners {
		stop()
		delete(d.runners, name)
	}
	d.running = nil
	d.mu.Unlock()
	return nil
}

// Close waits for what Run began and ends the connections to origins. Requests
// must have ended before.
func (d *Door) Close() {
	d.mu.Lock()
	for name, stop := range d.runners {
		stop()
		delete(d.runners, name)
	}
	d.running = nil
	d.mu.Unlock()
	d.live.endAll("the door closes")
	for _, g := range d.state.Load().groups {
		g.carrier.giveUp()
	}
	d.ended.Wait()
}

// startRunners starts what runs for each group and origin of l and stops what ran
// for others. The caller holds mu.
func (d *Door) startRunners(l *layout) {
	if d.running == nil || d.running.Err() != nil {
		return
	}
	want := map[string]func(context.Context){}
	for name, g := range l.groups {
		want[fmt.Sprintf("carrier %s %p", name, g.carrier)] = func(ctx context.Context) { _ = g.carrier.Run(ctx) }
		for _, o := range g.origins {
			if !o.Disabled {
				want["probe "+name+" "+o.Name] = func(ctx context.Context) { d.watch(ctx, name, o.Name) }
			}
		}
	}
	for name, stop := range d.runners {
		if want[name] == nil {
			stop()
			delete(d.runners, name)
		}
	}
	for name, run := range want {
		if d.runners[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(d.running)
		d.runners[name] = stop
		d.ended.Go(func() { run(ctx) })
	}
}

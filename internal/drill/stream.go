package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// StreamOptions say how stream nodes are disturbed and who looks at them.
type StreamOptions struct {
	// Binary is the path of the binary under test, Dir an empty directory for
	// data, logs and configuration.
	Binary, Dir string
	// Node, where set, is the binary of the stream nodes instead.
	Node string
	// Nodes run at the beginning. Clients connect to them through a balancer
	// that knows nothing of their health.
	Nodes, Clients int
	// Faults is how many things happen: nodes are killed, asked to end and
	// added, and connections are cut.
	Faults int
	// Rest is about how long it is from one to the next.
	Rest time.Duration
	// Keys is how many keys are written, Pace about how long each rests.
	Keys int
	Pace time.Duration
	// Topic is the topic as it is configured, Settings are further ones of the
	// nodes.
	Topic    string
	Settings []string
	// Seed decides what is sent and what happens when.
	Seed uint64
	// Logf takes a line for each thing that happens.
	Logf func(format string, args ...any)
}

// StreamReport is what came of it.
type StreamReport struct {
	// Killed, Drained, Added and Cuts count what happened.
	Killed, Drained, Added, Cuts int
	// Backs is how many times a client came back. Half of them were away no
	// longer than Median, 99 of 100 no longer than Late, and none than Slowest.
	Backs                 int
	Median, Late, Slowest time.Duration
	// Codes counts how connections ended: by code, or broken.
	Codes map[string]int
	// Copies is how many requests were sent twice, at two gateways.
	Copies int64
	// Hub is what a reader of the hub sees.
	Hub Verdict
	// Verdict is what the clients saw.
	Verdict StreamVerdict
	Took    time.Duration
}

// String is the report for a person.
func (r StreamReport) String() string {
	return fmt.Sprintf("%s; %d requests sent at two gateways; the hub has %d records too many\n%s", r.happened(), r.Copies, r.Hub.Hidden, r.Verdict)
}

// happened is what was done to nodes and clients.
func (r StreamReport) happened() string {
	var codes []string
	for _, c := range slices.Sorted(maps.Keys(r.Codes)) {
		codes = append(codes, fmt.Sprintf("%s: %d", c, r.Codes[c]))
	}
	return fmt.Sprintf("in %.0f s killed %d nodes, asked %d to end, added %d, cut connections %d times;"+
		" %d times a client came back, half of them within %v, 99 of 100 within %v, all within %v; connections ended with %s",
		r.Took.Seconds(), r.Killed, r.Drained, r.Added, r.Cuts, r.Backs, r.Median.Round(time.Millisecond), r.Late.Round(time.Millisecond),
		r.Slowest.Round(time.Millisecond), strings.Join(codes, ", "))
}

// OK reports whether the hub has all and the clients saw all.
func (r StreamReport) OK() bool { return r.Hub.OK() && r.Verdict.OK() }

// audience is stream nodes, what stands behind them, and their clients.
type audience struct {
	StreamOptions
	rng    *rand.Rand
	binary Binary
	ledger *Ledger
	load   *streamLoad
	site   Site
	hub    *Process
	stamps []*Process
	nodes  *nodes
	stats  viewing
	prints *prints
	views  []*view
	report StreamReport

	watching sync.WaitGroup
	unwatch  context.CancelFunc
}

// streamPartitions is how many partitions the embedded hub gives a topic.
const streamPartitions = 8

// Watch subscribes clients of all protocols to stream nodes behind a balancer,
// sends messages, and kills, ends and adds nodes. In the end it compares what
// each client was given with the ledger: each acknowledged message of its
// subject once, in order. An error says that the drill could not be done;
// whether the promise held is in the report.
func Watch(ctx context.Context, o StreamOptions) (_ StreamReport, err error) {
	began := time.Now()
	a, err := newAudience(ctx, o)
	if err != nil {
		return StreamReport{}, err
	}
	defer func() { err = errors.Join(err, a.stop()) }()
	if err = a.watch(ctx); err == nil {
		err = a.loaded(ctx, a.disturb)
	}
	if err == nil {
		err = a.judge(ctx)
	}
	a.report.Took = time.Since(began)
	a.sum()
	if err != nil || !a.report.OK() {
		a.Logf("%s", a.nodes.logs())
	}
	return a.report, err
}

// newAudience starts a hub, two stamps, the nodes and the balancer.
func newAudience(ctx context.Context, o StreamOptions) (_ *audience, err error) {
	a := &audience{
		StreamOptions: o, rng: rand.New(rand.NewPCG(o.Seed, 3)), binary: Binary{Path: o.Binary, Dir: o.Dir},
		ledger: NewLedger(), prints: newPrints(), unwatch: func() {},
	}
	a.nodes = &nodes{
		binary: &Binary{Path: cmp.Or(o.Node, o.Binary), Dir: filepath.Join(o.Dir, "nodes"), Plain: true},
		config: filepath.Join(o.Dir, "stream.yaml"), logf: o.Logf, running: make(map[string]*Process),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.stop())
		}
	}()
	if a.nodes.balancer, err = NewBalancer(ctx, o.Seed); err != nil {
		return a, err
	}
	if err := a.behind(ctx); err != nil {
		return a, err
	}
	for range o.Nodes {
		if err := a.nodes.start(ctx); err != nil {
			return a, err
		}
	}
	return a, nil
}

// behind starts what stands behind the nodes, and writes their configuration.
func (a *audience) behind(ctx context.Context) (err error) {
	if err := os.MkdirAll(a.nodes.binary.Dir, 0o755); err != nil {
		return fmt.Errorf("drill: %w", err)
	}
	a.hub, err = a.binary.Start(ctx, "hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(a.Dir, "hub"))
	if err != nil {
		return err
	}
	var gateways []string
	for _, name := range []string{"east", "west"} {
		p, err := a.binary.Start(ctx, "stamp", "--set", "stamp.name="+name, "--set", "admin.listen=127.0.0.1:0", "--set", "http.listen=127.0.0.1:0",
			"--set", "queue.dir="+filepath.Join(a.Dir, name), "--set", "hub.brokers="+a.hub.Addresses.Hub)
		if err != nil {
			return err
		}
		a.stamps = append(a.stamps, p)
		gateways = append(gateways, p.Addresses.Gateways[name])
	}
	a.site = Site{Hub: a.hub.Addresses.Hub, Gateways: gateways, Streams: a.nodes.balancer.Addr(), Drained: a.drained}
	a.load = newStreamLoad(a.ledger, topic, a.keys(), a.Pace, a.Seed, gateways...)
	return StreamConfig(a.nodes.config, a.site.Hub, gateways, a.Settings, a.Topic)
}

// keys are those of the senders; every eighth has none.
func (a *audience) keys() [][]byte {
	keys := make([][]byte, a.Keys)
	for i := range keys {
		if i%8 != 7 {
			keys[i] = fmt.Appendf(nil, "key %d/%%", i) // not harmless in a subject
		}
	}
	return keys
}

// subjects are those of one client.
func (a *audience) subjects(i int, k kind, keys [][]byte) []subject {
	one := func() subject {
		key := keys[a.rng.IntN(len(keys))]
		if key == nil && k != kindEvents {
			// Messages without a key are in all partitions, and there is no
			// way to come back to them by one offset.
			return subject{topic: topic, all: true, partition: int32(a.rng.IntN(streamPartitions))}
		}
		return subject{topic: topic, key: key, partition: -1}
	}
	switch {
	case k == kindEvents && i%100 == 2:
		return []subject{{topic: topic, all: true, partition: -1}}
	case k == kindEvents || a.rng.IntN(2) == 0:
		return []subject{one()}
	}
	subjects := []subject{one(), one(), one()}
	slices.SortFunc(subjects, func(a, b subject) int { return cmp.Compare(a.name(), b.name()) })
	return slices.CompactFunc(subjects, func(a, b subject) bool { return a.name() == b.name() })
}

// watch starts the clients and returns once all are subscribed.
func (a *audience) watch(ctx context.Context) error {
	ctx, a.unwatch = context.WithCancel(ctx)
	for i, keys := 0, a.keys(); i < a.Clients; i++ {
		v := &viewer{
			kind: kind(i % 3), host: a.site.Streams, prints: a.prints, stats: &a.stats,
			rng: rand.New(rand.NewPCG(a.Seed, uint64(1<<20+i))),
		}
		for _, s := range a.subjects(i, v.kind, keys) {
			v.views = append(v.views, &view{subject: s, client: fmt.Sprintf("client %d (%s)", i, v.kind)})
		}
		a.views = append(a.views, v.views...)
		a.watching.Go(func() { v.run(ctx) })
	}
	return a.everyone(ctx)
}

// everyone waits until all clients are subscribed.
func (a *audience) everyone(ctx context.Context) error {
	err := Until(ctx, 2*startTimeout, "all clients are subscribed", func() (bool, error) { return a.stats.count() == a.Clients, nil })
	if err != nil {
		return fmt.Errorf("%w: %d of %d are\n%s", err, a.stats.count(), a.Clients, a.failures())
	}
	return nil
}

// failures are complaints, and how the last connections ended.
func (a *audience) failures() string {
	a.stats.mu.Lock()
	defer a.stats.mu.Unlock()
	return a.complaints() + "\n" + strings.Join(a.stats.refusals, "\n")
}

// complaints are some of what clients found wrong.
func (a *audience) complaints() string {
	var lines []string
	for _, v := range a.views {
		v.mu.Lock()
		for _, f := range slices.Concat(v.faults, v.gaps) {
			lines = append(lines, fmt.Sprintf("%s: %s", v, f))
		}
		v.mu.Unlock()
		if len(lines) >= maxExamples {
			break
		}
	}
	return strings.Join(lines, "\n")
}

// loaded does something while the load runs.
func (a *audience) loaded(ctx context.Context, do func(context.Context) error) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		a.load.run(loadCtx)
	}()
	err := do(ctx)
	cancel()
	<-done
	return err
}

// disturb lets one thing after the other happen.
func (a *audience) disturb(ctx context.Context) error {
	for i := range a.Faults {
		if err := rest(ctx, a.Rest/2+time.Duration(a.rng.Int64N(int64(a.Rest)))); err != nil {
			return err
		}
		if err := a.once(ctx, i); err != nil {
			return err
		}
	}
	return rest(ctx, a.Rest)
}

// once lets one thing happen. The first are one of each, so that a short run
// has them all.
func (a *audience) once(ctx context.Context, i int) error {
	running := a.nodes.addresses()
	victim := running[a.rng.IntN(len(running))]
	roll := []int{0, 6, 8, 9}
	what := a.rng.IntN(10)
	if i < len(roll) {
		what = roll[i]
	}
	switch {
	case what < 5:
		a.report.Killed++
		if err := a.nodes.kill(victim); err != nil {
			return err
		}
	case what < 6: // all at once: nobody who knew anything is left
		for _, address := range running {
			a.report.Killed++
			if err := a.nodes.kill(address); err != nil {
				return err
			}
		}
	case what < 8:
		a.report.Drained++
		if err := a.nodes.drain(victim); err != nil {
			return err
		}
	case what < 9 && len(running) <= a.Nodes:
		a.report.Added++
		if err := a.nodes.start(ctx); err != nil {
			return err
		}
	default:
		a.report.Cuts++
		a.nodes.balancer.Cut(a.Clients / 4)
		a.Logf("cut %d connections", a.Clients/4)
	}
	for len(a.nodes.addresses()) < a.Nodes-1 || i%2 == 1 && len(a.nodes.addresses()) < a.Nodes {
		if err := a.nodes.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lag is how long nothing may come of what clients are due, before they are
// judged by what they have; after that, settling is how long what comes twice
// may be late.
const (
	lag      = 30 * time.Second
	settling = 2 * time.Second
)

// judge waits until everything is in the hub and with the clients, and judges.
func (a *audience) judge(ctx context.Context) error {
	if err := a.site.Drained(ctx); err != nil {
		return err
	}
	origins, err := a.read(ctx)
	if err != nil {
		return err
	}
	c := newCrowd(a.ledger, a.prints, origins)
	if err := a.complete(ctx, c); err != nil {
		return err
	}
	if err := rest(ctx, settling); err != nil {
		return err
	}
	a.unwatch()
	a.watching.Wait()
	a.report.Verdict, err = c.verdict(a.views)
	return err
}

// drained waits until the stamps have nothing that is not in the hub.
func (a *audience) drained(ctx context.Context) error {
	for _, p := range a.stamps {
		if err := p.WaitDrained(ctx, drainLimit); err != nil {
			return err
		}
	}
	return nil
}

// read reads the hub: what a reader sees of it, and in which partition each
// message stands.
func (a *audience) read(ctx context.Context) (map[Print]origin, error) {
	panel, origins := newPanel(a.ledger), a.load.whole()
	err := a.binary.Tail(ctx, a.site.Hub, topic, func(r Record) error {
		panel.saw(r)
		if o, ok := origins[r.Print()]; ok {
			o.partition = r.Partition
			origins[r.Print()] = o
		}
		return nil
	})
	if err == nil {
		a.report.Hub, err = panel.verdict()
	}
	return origins, err
}

// complete waits until no client is due anything, or nothing has come for long.
func (a *audience) complete(ctx context.Context, c *crowd) error {
	waiting, before, since := a.views, -1, time.Now()
	for len(waiting) > 0 && time.Since(since) < lag {
		missing, left := 0, []*view(nil)
		for _, v := range waiting {
			if n := c.missing(v); n > 0 {
				missing, left = missing+n, append(left, v)
			}
		}
		if missing != before {
			before, since = missing, time.Now()
		}
		if waiting = left; len(left) > 0 {
			if err := rest(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// sum enters what the clients counted.
func (a *audience) sum() {
	a.stats.mu.Lock()
	defer a.stats.mu.Unlock()
	a.report.Codes, a.report.Backs, a.report.Copies = maps.Clone(a.stats.codes), len(a.stats.backs), a.load.again.Load()
	away := make([]time.Duration, 0, len(a.stats.backs))
	for _, b := range a.stats.backs {
		away = append(away, b.took)
	}
	if n := len(away); n > 0 {
		slices.Sort(away)
		a.report.Median, a.report.Late, a.report.Slowest = away[n/2], away[n*99/100], away[n-1]
	}
}

// stop ends everything, the hub last.
func (a *audience) stop() error {
	a.unwatch()
	a.watching.Wait()
	var errs []error
	if a.nodes != nil {
		errs = append(errs, a.nodes.stop())
		if a.nodes.balancer != nil {
			errs = append(errs, a.nodes.balancer.Close())
		}
	}
	for _, p := range slices.Concat(a.stamps, []*Process{a.hub}) {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"postroad/internal/drill"
)

// DoorOptions say how the front door is measured.
type DoorOptions struct {
	// Binary is the binary to start, Dir a directory; what is written goes into a
	// new one below it, which is removed again.
	Binary, Dir string
	// Rounds is how many times all proxies are measured in turn, Duration how long
	// each is under load each time.
	Rounds   int
	Duration time.Duration
	// Connections is how many clients there are; each sends one request after the
	// other.
	Connections int
	// FaultRounds is how many times each fault happens behind Postroad's door; it
	// happens once behind every other proxy.
	FaultRounds int
	// Lead, Length and Tail are how long all is well before a fault, how long it
	// lasts, and how long is looked on after it.
	Lead, Length, Tail time.Duration
	// Only names the parts to measure: posts, gets, faults; none means all.
	Only []string
}

// DefaultDoorOptions take about seven minutes.
func DefaultDoorOptions() DoorOptions {
	d := drill.DefaultDoorOptions()
	return DoorOptions{
		Rounds: 5, Duration: 2 * time.Second, Connections: 64,
		FaultRounds: 3, Lead: 2 * time.Second, Length: d.Length, Tail: d.Tail,
	}
}

// The parts of the measurement.
const (
	doorPosts      = "posts"
	doorGets       = "gets"
	doorFaultsPart = "faults"
)

// Validate reports every option that cannot work.
func (o DoorOptions) Validate() error {
	errs := []error{validSite(o.Binary, o.Dir), within("rounds", o.Rounds, maxRounds), within("connections", o.Connections, 4096), within("fault rounds", o.FaultRounds, maxRounds)}
	if o.Duration < 100*time.Millisecond || o.Duration > time.Hour {
		errs = append(errs, fmt.Errorf("duration: %v: must be between 100ms and 1h", o.Duration))
	}
	for name, d := range map[string]time.Duration{"lead": o.Lead, "length": o.Length, "tail": o.Tail} {
		if d < 0 || d > time.Hour {
			errs = append(errs, fmt.Errorf("%s: %v: must be between 0s and 1h", name, d))
		}
	}
	for _, part := range o.Only {
		if part != doorPosts && part != doorGets && part != doorFaultsPart {
			errs = append(errs, fmt.Errorf("only: %s: must be posts, gets or faults", part))
		}
	}
	return errors.Join(errs...)
}

// doorFronts are the proxies that are measured, by their names in drill.
func doorFronts() []string {
	return []string{frontDoor, frontHAProxy, "nginx", "caddy", drill.ReverseProxy}
}

// Names of proxies that targets speak of.
const (
	frontDoor    = "postroad"
	frontHAProxy = "haproxy"
)

// doorRun is a run under way.
type doorRun struct {
	running
	opts   DoorOptions
	deps   Deps
	cores  cores
	fronts []*drill.Front
	names  []string
	report *DoorReport
}

// wants reports whether a part is to be measured.
func (o DoorOptions) wants(part string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, part)
}

// Door measures what a request through a front door takes of the processor, beside
// other proxies (D1): each is a process on a core of its own before the same two
// origins, which do next to nothing. Then it lets one of two origins be killed and
// be stopped behind each of them, and says what clients saw of it and how it came
// back (D2, D3). Programs that are not installed are left out and named.
func Door(ctx context.Context, o DoorOptions, d Deps) (report *DoorReport, err error) {
	w, err := newWorkplace(o, o.Dir, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.remove()) }()
	r := &doorRun{opts: o, deps: w.deps, report: &DoorReport{Machine: w.machine, Options: o}}
	if o.wants(doorPosts) || o.wants(doorGets) {
		if err := r.cost(ctx, w.dir); err != nil {
			return nil, err
		}
	}
	if o.wants(doorFaultsPart) {
		if err := r.faults(ctx, w.dir); err != nil {
			return nil, err
		}
	}
	return r.report, nil
}

// cost measures processor time.
func (r *doorRun) cost(ctx context.Context, dir string) (err error) {
	c, restore, err := splitCores()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	r.cores = c
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx, dir); err != nil {
		return err
	}
	for _, part := range doorParts() {
		if !r.opts.wants(part.name) {
			continue
		}
		if err := r.measure(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// start starts the origins and all proxies.
func (r *doorRun) start(ctx context.Context, dir string) error {
	var origins []drill.FrontOrigin
	for _, name := range []string{"first", "second"} {
		o, err := newDoorOrigin(ctx)
		if err != nil {
			return err
		}
		r.onStop("origin", o.close)
		origins = append(origins, drill.FrontOrigin{Name: name, Address: o.addr()})
	}
	for _, name := range doorFronts() {
		sub := filepath.Join(dir, name)
		if err := os.Mkdir(sub, 0o755); err != nil {
			return fmt.Errorf("directory of %s: %w", name, err)
		}
		f, err := drill.NewFront(ctx, &drill.Binary{Path: r.opts.Binary, Dir: sub, Plain: true}, name, origins)
		if errors.Is(err, drill.ErrNotInstalled) {
			r.deps.Progress("%v", err)
			r.report.Missing = append(r.report.Missing, name)
			continue
		}
		if err != nil {
			return err
		}
		version, err := f.Version(ctx)
		if err != nil {
			return err
		}
		if version != "" {
			r.report.Versions = append(r.report.Versions, version)
		}
		f.Timeout = patience // a machine that stands still for a moment is no fault of the origins'
		if err := r.cores.startOn(func() error { return f.Start(ctx) }); err != nil {
			return err
		}
		r.onStop(name, f.Stop)
		r.fronts, r.names = append(r.fronts, f), append(r.names, name)
	}
	return nil
}

// doorPart is a kind of request.
type doorPart struct{ name, about string }

func doorParts() []doorPart {
	return []doorPart{
		{doorPosts, fmt.Sprintf("POST of %d B with a key, without an idempotency key", valueBytes)},
		{doorGets, "GET"},
	}
}

// request is the bytes of one.
func (p doorPart) request(host string) []byte {
	if p.name == doorGets {
		return []byte("GET /default HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
	}
	return drill.AppendPost(nil, host, "/v1/topics/"+topic+"/messages?key=key-1", "text/plain", nil, slices.Repeat([]byte{'x'}, valueBytes))
}

// measure measures all proxies in turn, round for round.
func (r *doorRun) measure(ctx context.Context, part doorPart) error {
	cost := make([][]float64, len(r.fronts))
	rate := make([][]float64, len(r.fronts))
	for round := range r.opts.Rounds {
		for i, f := range r.fronts {
			used, n, took, err := r.once(ctx, f, part)
			if err != nil {
				return fmt.Errorf("%s through %s: %w", part.name, r.names[i], err)
			}
			cost[i] = append(cost[i], float64(used.Microseconds())/float64(n))
			rate[i] = append(rate[i], float64(n)/took.Seconds())
			r.deps.Progress("round %d, %s through %s: %.1f µs of processor time a request, %.0f requests/s",
				round+1, part.name, r.names[i], cost[i][round], rate[i][round])
		}
	}
	of := DoorPart{Name: part.name, About: part.about}
	for i, name := range r.names {
		c := DoorContender{Name: name, CPU: figureOf(cost[i]), Rate: figureOf(rate[i])}
		if at := slices.Index(r.names, frontHAProxy); at >= 0 {
			f := ratio(cost[i], cost[at])
			c.OfHAProxy = &f
		}
		if at := slices.Index(r.names, drill.ReverseProxy); at >= 0 {
			f := ratio(cost[i], cost[at])
			c.OfPlain = &f
		}
		of.Contenders = append(of.Contenders, c)
	}
	r.report.Parts = append(r.report.Parts, of)
	return nil
}

// doorWarmUp is how long a proxy is under load before its time counts.
const doorWarmUp = 200 * time.Millisecond

// once puts one proxy under load, and returns the processor time it used, for how
// many requests, and how long they took.
func (r *doorRun) once(ctx context.Context, f *drill.Front, part doorPart) (used time.Duration, n int64, took time.Duration, err error) {
	host, err := drill.HostOf(f.URL())
	if err != nil {
		return 0, 0, 0, err
	}
	l := &doorClients{url: f.URL(), request: part.request(host)}
	if err := l.connect(ctx, r.opts.Connections); err != nil {
		return 0, 0, 0, err
	}
	defer l.close()
	if _, err := l.run(ctx, doorWarmUp); err != nil {
		return 0, 0, 0, err
	}
	before, err := familyTime(f.Process().PID())
	if err != nil {
		return 0, 0, 0, err
	}
	began := time.Now()
	if n, err = l.run(ctx, r.opts.Duration); err != nil {
		return 0, 0, 0, err
	}
	took = time.Since(began)
	after, err := familyTime(f.Process().PID())
	return after - before, n, took, errors.Join(err, ctx.Err())
}

// familyTime is the processor time of a process and of those it has started.
func familyTime(pid int) (time.Duration, error) {
	family, err := drill.Family(pid)
	if err != nil {
		return 0, err
	}
	total := time.Duration(0)
	for _, member := range family {
		used, err := processorTime(member)
		if err != nil {
			return 0, err
		}
		total += used
	}
	return total, nil
}

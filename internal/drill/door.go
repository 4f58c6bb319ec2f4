package drill

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"postroad/internal/loopback"
)

// DoorOptions say what happens to what stands behind a proxy, and to which.
type DoorOptions struct {
	// Binary is the binary under test, Dir an empty directory for data and logs.
	Binary Binary
	// Backend is a command that runs a Backend; see RunBackend.
	Backend Binary
	// Front is the proxy, of Fronts; Fault what happens, of DoorFaults.
	Front, Fault string
	// Settings are further lines of the section "door" of Postroad's door.
	Settings []string
	// Gateways has stamps with a hub as origins, and a reader of the hub judges;
	// otherwise origins are Backends, whose records do.
	Gateways bool
	// Rate and BodyBytes are those of the load, Work how long a Backend works on a
	// request, Keyless leaves out idempotency keys.
	Rate, BodyBytes int
	Work            time.Duration
	Keyless         bool
	// Lead is how long all is well before the fault, Length how long it lasts, Tail
	// how long all is well after it.
	Lead, Length, Tail time.Duration
	// Patience is how long a client waits for an answer.
	Patience time.Duration
	// Seed decides what is sent.
	Seed uint64
	// Logf takes lines on what happens.
	Logf func(format string, args ...any)
}

// DefaultDoorOptions are those that the promise is shown by.
func DefaultDoorOptions() DoorOptions {
	return DoorOptions{
		Rate: 250, BodyBytes: 100, Work: 40 * time.Millisecond,
		Lead: 3 * time.Second, Length: 4 * time.Second, Tail: 5 * time.Second, Patience: startTimeout,
	}
}

// DoorReport is what came of it.
type DoorReport struct {
	Front, Fault string
	Gateways     bool
	BodyBytes    int
	// Requests is how many were sent, Failed how many of them did not get a 2xx,
	// Kinds what they got instead.
	Requests, Failed int
	Kinds            map[string]int
	// Clean is how long after the fault began the last request that failed was
	// sent.
	Clean time.Duration
	// Median, P99 and Slowest are of all requests, from when each was due.
	Median, P99, Slowest time.Duration
	// During is how many requests were due while the fault lasted, FailedAfter how
	// many that were due after it failed, FailedLate how many of these were due in
	// the second half of what was looked on.
	During, FailedAfter, FailedLate int
	// LeftOut is how often Postroad's door isolated the first origin.
	LeftOut int
	// Changes are those of the first origin's state, as Postroad's door tells of
	// them, oldest first.
	Changes []string
	// Shares are those of the first origin in the POSTs executed in each quarter of
	// a second from the fault's end on.
	Shares []float64
	Audit  DoorAudit
}

// DoorHead is the head of a table of reports.
func DoorHead() string {
	return "| proxy | origins | body | fault | requests | failed | clean after | p99 | slowest | failed but executed | executed twice | seen twice | lost |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|"
}

// Row is the report as a line of a table.
func (r DoorReport) Row() string {
	origins, clean := "recording", "–"
	if r.Gateways {
		origins = "stamps"
	}
	if r.Failed > 0 {
		clean = fmt.Sprintf("%.2f s", r.Clean.Seconds())
	}
	return fmt.Sprintf("| %s | %s | %d | %s | %d | %d | %s | %.2f s | %.2f s | %d | %d | %d | %d |",
		r.Front, origins, r.BodyBytes, r.Fault, r.Requests, r.Failed, clean, r.P99.Seconds(), r.Slowest.Seconds(),
		r.Audit.FailedExecuted.Count, r.Audit.ExecutedTwice.Count, r.Audit.SeenTwice.Count, r.Audit.Lost.Count)
}

// String is the report for a person.
func (r DoorReport) String() string {
	text := fmt.Sprintf("%s\n%s\n  failures: %v; median %.3f s\n%s", DoorHead(), r.Row(), r.Kinds, r.Median.Seconds(), r.Audit)
	for _, c := range r.Changes {
		text += "  " + c + "\n"
	}
	if len(r.Shares) > 0 {
		var shares []string
		for _, s := range r.Shares {
			shares = append(shares, fmt.Sprintf("%.0f", 100*s))
		}
		text += "  % of the first origin, by quarters of a second from the fault's end: " + strings.Join(shares, " ") + "\n"
	}
	return text
}

// doorRig is a proxy with its origins under load.
type doorRig struct {
	DoorOptions
	fault   doorFault
	hub     *Process
	origins []*doorOrigin
	front   *Front
	ledger  *Ledger
	load    *DoorLoad
	changes []doorChange
	// began and ended are when the fault did, since the load began, healed the
	// same as ended by the clock.
	began, ended time.Duration
	healed       time.Time
}

// Door sends a load through a proxy, lets something happen and audits what came
// of it. An error says that the drill could not be done; whether the promises held
// is in the report.
func Door(ctx context.Context, o DoorOptions) (report DoorReport, err error) {
	fault, err := faultNamed(o.Fault)
	if err != nil {
		return report, err
	}
	if o.Gateways && fault.told {
		return report, fmt.Errorf("fault %s needs origins that do as they are told", o.Fault)
	}
	r := &doorRig{DoorOptions: o, fault: fault, ledger: NewLedger()}
	defer func() { err = errors.Join(err, r.stop()) }()
	if err := r.start(ctx); err != nil {
		return report, err
	}
	if err := r.run(ctx); err != nil {
		return report, fmt.Errorf("%s through %s: %w\n%s", o.Fault, o.Front, err, r.logs())
	}
	return r.report(ctx)
}

// originNames are those of the origins.
var originNames = [...]string{"first", "second"}

// start starts hub, origins and proxy.
func (r *doorRig) start(ctx context.Context) (err error) {
	if r.Gateways {
		if r.hub, err = r.Binary.Start(ctx, "hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(r.Binary.Dir, "hub")); err != nil {
			return err
		}
	}
	var origins []FrontOrigin
	for i, name := range originNames {
		o := &doorOrigin{name: name, record: filepath.Join(r.Binary.Dir, name+".record")}
		if o.address, err = loopback.Address(ctx); err != nil {
			return err
		}
		r.origins = append(r.origins, o)
		if err := o.start(ctx, r); err != nil {
			return err
		}
		to := o.address
		if r.fault.wired && i == 0 {
			if o.wire, err = NewWire(ctx, o.address, r.Seed); err != nil {
				return err
			}
			to = o.wire.Addr()
		}
		origins = append(origins, FrontOrigin{Name: name, Address: to})
	}
	if r.front, err = NewFront(ctx, &r.Binary, r.Front, origins, r.Settings...); err != nil {
		return err
	}
	if err := r.front.Start(ctx); err != nil {
		return err
	}
	r.load, err = NewDoorLoad(r.ledger, DoorLoadOptions{
		URL: r.front.URL(), Rate: r.Rate, BodyBytes: r.BodyBytes, Patience: r.Patience, Keyless: r.Keyless, Seed: r.Seed,
	})
	return err
}

// run lets the fault happen under load, and everything come to rest.
func (r *doorRig) run(ctx context.Context) (err error) {
	loadCtx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.load.Run(loadCtx)
	}()
	err = r.suffer(ctx)
	cancel()
	<-done
	if err != nil {
		return err
	}
	if r.Front == doorFront {
		if r.changes, err = r.front.changesOf(ctx, originNames[0]); err != nil {
			return err
		}
	}
	return r.front.Stop()
}

func (r *doorRig) suffer(ctx context.Context) error {
	if err := rest(ctx, r.Lead); err != nil {
		return err
	}
	// On a busy machine requests may be slow to begin with.
	if err := Until(ctx, startTimeout, "some requests are acknowledged", func() (bool, error) { return r.load.Acknowledged() >= 10, nil }); err != nil {
		return err
	}
	r.began = r.load.Since()
	if err := r.fault.inflict(r, ctx); err != nil {
		return err
	}
	r.ended, r.healed = r.load.Since(), time.Now()
	if r.Logf != nil {
		r.Logf("%s through %s from %.2f s to %.2f s", r.Fault, r.Front, r.began.Seconds(), r.ended.Seconds())
	}
	return rest(ctx, r.Tail)
}

// report audits once nothing is executed any more.
func (r *doorRig) report(ctx context.Context) (DoorReport, error) {
	v := r.load.View()
	report := DoorReport{
		Front: r.Front, Fault: r.Fault, Gateways: r.Gateways, BodyBytes: r.BodyBytes,
		Requests: v.Requests, Failed: v.Failed, Kinds: v.Kinds,
		Clean: max(0, v.LastFailed-r.began), Median: v.Median, P99: v.P99, Slowest: v.Slowest,
		During: r.load.due(r.began, r.ended), FailedAfter: r.load.failedFrom(r.ended), FailedLate: r.load.failedFrom(r.ended + r.Tail/2),
	}
	for _, c := range r.changes {
		if c.To == suspect {
			report.LeftOut++
		}
		report.Changes = append(report.Changes, fmt.Sprintf("%+.2f s: %s, was %s: %s", c.At.Sub(r.healed).Seconds(), c.To, c.From, c.Reason))
	}
	if w := r.origins[0].wire; w != nil && w.Hits() == 0 {
		return report, fmt.Errorf("%s hit no connection", r.Fault)
	}
	if report.During == 0 {
		return report, fmt.Errorf("%s: no request was sent while it lasted", r.Fault)
	}
	if r.Gateways {
		err := r.judge(ctx, &report)
		return report, err
	}
	executed, err := r.executions(ctx)
	if err != nil {
		return report, err
	}
	report.Audit = audit(r.ledger, executed)
	report.Shares, err = r.shares()
	return report, errors.Join(err, sound(r.ledger, executed, report.Audit))
}

// judge audits by what a reader of the hub sees.
func (r *doorRig) judge(ctx context.Context, report *DoorReport) error {
	for _, o := range r.origins {
		if err := o.p.WaitDrained(ctx, drainLimit); err != nil {
			return fmt.Errorf("stamp %s: %w", o.name, err)
		}
	}
	result, err := r.Binary.judgeDrained(ctx, r.ledger, r.origins[0].p, r.hub.Addresses.Hub, topic)
	report.Audit = fromHub(result.Verdict)
	return err
}

// executions are those of all Backends once none has come for a while: one that
// was stopped has requests to work off that nobody waits for.
func (r *doorRig) executions(ctx context.Context) (all []execution, err error) {
	const calm = time.Second
	since := time.Now()
	err = Until(ctx, drainLimit, "nothing is executed any more", func() (bool, error) {
		var now []execution
		for _, o := range r.origins {
			of, err := readExecutions(o.record)
			if err != nil {
				return false, err
			}
			now = append(now, of...)
		}
		if len(now) != len(all) {
			since = time.Now()
		}
		all = now
		if err := rest(ctx, calm/10); err != nil {
			return false, err
		}
		return time.Since(since) > calm, nil
	})
	return all, err
}

// shares are those of the first origin after the fault.
func (r *doorRig) shares() ([]float64, error) {
	const step = 250 * time.Millisecond
	counts := make([][len(originNames)]int, r.Tail/step)
	for i, o := range r.origins {
		of, err := readExecutions(o.record)
		if err != nil {
			return nil, err
		}
		for _, e := range of {
			if n := e.at.Sub(r.healed) / step; e.at.After(r.healed) && int(n) < len(counts) {
				counts[n][i]++
			}
		}
	}
	shares := make([]float64, len(counts))
	for i, c := range counts {
		shares[i] = float64(c[0]) / float64(max(1, c[0]+c[1]))
	}
	return shares, nil
}

// suspect is how Postroad's door calls an origin that it has isolated.
const suspect = "suspect"

// failedFrom is how many requests failed that were due from a time on.
func (l *DoorLoad) failedFrom(from time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.samples {
		if s.at > from && s.failed() {
			n++
		}
	}
	return n
}

// due is how many requests were due within a time.
func (l *DoorLoad) due(from, to time.Duration) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.samples {
		if s.at >= from && s.at <= to {
			n++
		}
	}
	return n
}

// logs are the ends of all logs.
func (r *doorRig) logs() string {
	var b strings.Builder
	for _, o := range r.origins {
		if o.p != nil {
			fmt.Fprintf(&b, "the log of %s ends:\n%s\n", o.name, o.p.LogTail())
		}
	}
	if r.front != nil && r.front.p != nil {
		fmt.Fprintf(&b, "the log of %s ends:\n%s\n", r.Front, r.front.p.LogTail())
	}
	return b.String()
}

// stop ends everything, the hub last.
func (r *doorRig) stop() error {
	var errs []error
	if r.front != nil {
		errs = append(errs, r.front.Stop())
	}
	for _, o := range r.origins {
		if o.wire != nil {
			errs = append(errs, o.wire.Close())
		}
		if o.p != nil {
			errs = append(errs, o.p.Resume(), o.p.Stop())
		}
	}
	if r.hub != nil {
		errs = append(errs, r.hub.Stop())
	}
	return errors.Join(errs...)
}

// doorOrigin is an origin of a drill, at one address through all its runs.
type doorOrigin struct {
	name, address, record string
	wire                  *Wire
	p                     *Process // nil while there is none
}

func (o *doorOrigin) start(ctx context.Context, r *doorRig) (err error) {
	if !r.Gateways {
		o.p, err = r.Backend.Start(ctx, "backend", "--listen", o.address, "--record", o.record, "--work", r.Work.String())
		return err
	}
	o.p, err = r.Binary.Start(
		ctx, "stamp",
		"--set", "stamp.name="+o.name, "--set", "queue.dir="+filepath.Join(r.Binary.Dir, "queue-"+o.name),
		"--set", "hub.brokers="+r.hub.Addresses.Hub, "--set", "http.listen="+o.address, "--set", "admin.listen=127.0.0.1:0",
		"--set", "http.drain_delay=0s", "--set", "forward.save_interval=500ms",
	)
	return err
}

func (o *doorOrigin) kill() error {
	p := o.p
	o.p = nil
	if err := p.Kill(); err != nil {
		return fmt.Errorf("origin %s: %w", o.name, err)
	}
	return nil
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"postroad/internal/loopback"
)

// ShareOptions say how many processes share a queue directory, and what
// happens to them.
type ShareOptions struct {
	// Binary is the path of the binary under test, Dir an empty directory for
	// data, logs and flight recorders.
	Binary, Dir string
	// Gateways and Forwarders are how many run.
	Gateways, Forwarders int
	// Kills is how many processes are killed, Pauses how many are stopped for
	// longer than the others wait before they take them for dead.
	Kills, Pauses int
	// Spare leaves the forwarders alone, so that each gateway that is paused is
	// taken for dead.
	Spare bool
	// TTL, Heartbeat and Margin are those of the queue; 0 leaves its defaults.
	TTL, Heartbeat, Margin time.Duration
	// Connections is how many requests are under way at a time, Pace about how
	// long each rests after its answer.
	Connections int
	Pace        time.Duration
	// Seed decides what is sent and what happens when.
	Seed uint64
	// Logf takes a line for each thing that happens.
	Logf func(format string, args ...any)
}

// The queue's own defaults, by which a drill waits where it sets none.
const (
	defaultTTL    = 10 * time.Second
	defaultMargin = 3 * time.Second
)

// death is how long a process must be silent before others take it for dead.
func (o ShareOptions) death() time.Duration {
	if o.TTL == 0 {
		return defaultTTL + defaultMargin
	}
	return o.TTL + o.Margin
}

// ShareReport is what came of it.
type ShareReport struct {
	// Killed counts the kills by command; Busy is how many of them came while
	// something was in flight there, Between while a request was durable and
	// not answered.
	Killed        map[string]int
	Busy, Between int
	// Paused counts the pauses that outlasted TTL and margin, Asleep how many
	// of the kills came during one.
	Paused, Asleep int
	// Overtaken is how many paused gateways another had ended the lane of.
	Overtaken int
	// Repeated is how many requests of unknown outcome were sent again, at
	// another gateway.
	Repeated int
	Result
	Took time.Duration
}

// String is the report for a person.
func (r ShareReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "in %.0f s killed %d gateways and %d forwarders, %d of them while something was in flight (%d between sync and answer), %d while paused;"+
		" paused %d processes past their death, %d of them gateways whose lane another ended meanwhile;"+
		" %d requests of unknown outcome sent again at another gateway\n",
		r.Took.Seconds(), r.Killed["gateway"], r.Killed["forward"], r.Busy, r.Between, r.Asleep, r.Paused, r.Overtaken, r.Repeated)
	b.WriteString(r.Result.String())
	return b.String()
}

// share is processes on one directory.
type share struct {
	ShareOptions
	ledger   *Ledger
	load     *Load
	hub      *Process
	gateways []*slot
	forwards []*slot

	mu     sync.Mutex
	binary Binary      // guarded by mu: it numbers what it starts
	report ShareReport // guarded by mu
}

// Share runs gateways and forwarders on one queue directory under load, kills
// them, pauses them past the time after which the others take them for dead,
// and starts them again, at random and each for itself; then judges as Kill
// does.
func Share(ctx context.Context, o ShareOptions) (report ShareReport, err error) {
	began := time.Now()
	s, err := newShare(ctx, o)
	if err != nil {
		return ShareReport{}, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	err = s.loaded(ctx, s.disturb)
	if err == nil {
		err = s.judge(ctx)
	}
	s.report.Took = time.Since(began)
	s.report.Repeated = s.ledger.repeated()
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.logs())
	}
	return s.report, err
}

// newShare starts all processes.
func newShare(ctx context.Context, o ShareOptions) (_ *share, err error) {
	s := &share{ShareOptions: o, ledger: NewLedger(), binary: Binary{Path: o.Binary, Dir: o.Dir}}
	s.report.Killed = make(map[string]int)
	s.load = NewLoad(s.ledger, LoadOptions{
		Topic: topic, Classic: true, Connections: o.Connections, ValueBytes: 256,
		Patience: o.death(), Pace: o.Pace, Elsewhere: true, Seed: o.Seed,
	})
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if s.hub, err = s.start(ctx, "hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(o.Dir, "hub")); err != nil {
		return s, err
	}
	for i := range o.Gateways {
		address, err := loopback.Address(ctx)
		if err != nil {
			return s, err
		}
		s.gateways = append(s.gateways, s.newSlot("gateway", i, address))
	}
	for i := range o.Forwarders {
		s.forwards = append(s.forwards, s.newSlot("forward", i, ""))
	}
	for _, slot := range s.slots() {
		if err := slot.start(ctx); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *share) newSlot(command string, i int, listen string) *slot {
	return &slot{
		share: s, command: command, name: fmt.Sprintf("%s %d", command, i+1), listen: listen,
		rng: rand.New(rand.NewPCG(s.Seed, uint64(100+len(s.slots())))),
	}
}

func (s *share) slots() []*slot { return slices.Concat(s.gateways, s.forwards) }

// start starts a process of the binary.
func (s *share) start(ctx context.Context, args ...string) (*Process, error) {
	s.mu.Lock()
	b := s.binary
	s.binary.started++
	s.mu.Unlock()
	return b.Start(ctx, args...)
}

// loaded does something while the load runs.
func (s *share) loaded(ctx context.Context, do func(context.Context) error) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var to []Target
	for _, g := range s.gateways {
		to = append(to, Target{URL: "http://" + g.listen, Ordered: true})
	}
	done := make(chan error, 1)
	go func() { done <- s.load.Run(loadCtx, to...) }()
	err := do(ctx)
	cancel()
	return errors.Join(err, <-done)
}

// disturb lets things happen to all processes until there was enough of it, and
// leaves all of them running.
func (s *share) disturb(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	var errs []error
	slots := s.slots()
	if s.Spare {
		slots = s.gateways
	}
	for _, slot := range slots {
		all.Go(func() {
			if err := slot.suffer(ctx); err != nil {
				s.mu.Lock()
				errs = append(errs, err)
				s.mu.Unlock()
				cancel(err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (s *share) enough() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report.Killed["gateway"]+s.report.Killed["forward"] >= s.Kills && s.report.Paused >= s.Pauses
}

// judge stops the gateways, waits until every forwarder says that all is in the
// hub, and judges.
func (s *share) judge(ctx context.Context) (err error) {
	for _, g := range s.gateways {
		p := g.p
		g.p = nil
		if err := p.Stop(); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	if err := s.waitDrained(ctx); err != nil {
		return err
	}
	s.report.Result, err = s.binary.judgeDrained(ctx, s.ledger, s.forwards[0].p, s.hub.Addresses.Hub, topic)
	return err
}

// quiet is how long forwarders must say so: each learns from files what the
// others have done, and may not know yet of a lane that has grown.
const quiet = 3 * time.Second

// waitDrained waits until all forwarders have said for a while that nothing
// waits.
func (s *share) waitDrained(ctx context.Context) error {
	since, waiting := time.Now(), int64(0)
	err := Until(ctx, drainLimit, "everything is in the hub", func() (bool, error) {
		waiting = 0
		for _, f := range s.forwards {
			stamps, err := f.p.Status(ctx)
			if err != nil {
				return false, fmt.Errorf("%s: %w", f.name, err)
			}
			waiting += stamps[0].Queue.UnforwardedMessages
		}
		if waiting > 0 {
			since = time.Now()
		}
		return time.Since(since) >= quiet, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %d messages are not, by the forwarders' accounts together", err, waiting)
	}
	return nil
}

// stop ends all processes, the hub last.
func (s *share) stop() error {
	var errs []error
	for _, slot := range s.slots() {
		if slot.p != nil {
			errs = append(errs, slot.p.Stop())
		}
	}
	if s.hub != nil {
		errs = append(errs, s.hub.Stop())
	}
	return errors.Join(errs...)
}

// logs are the ends of the logs of the processes that run.
func (s *share) logs() string {
	var b strings.Builder
	for _, slot := range s.slots() {
		if slot.p != nil {
			fmt.Fprintf(&b, "the log of %s ends:\n%s\n", slot.name, slot.p.LogTail())
		}
	}
	return b.String()
}

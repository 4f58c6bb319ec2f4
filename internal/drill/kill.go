package drill

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"
)

// Topic is where drills send: the topic of the classic call, too.
const Topic = "messages"

const topic = Topic

// KillOptions say how `postroad dev` is killed.
type KillOptions struct {
	// Binary is the path of the binary under test, Dir an empty directory for
	// data, logs and flight recorders.
	Binary, Dir string
	// Kills is how many kills must hit: at least Posts POSTs and one produce
	// were in flight.
	Kills int
	// Between is how many of them must have come between sync and answer: some
	// request was durable and not answered.
	Between int
	// Posts is how many POSTs must be in flight, Connections how many the load
	// keeps there at the most.
	Posts, Connections int
	// Seed decides what is sent and when the kills come.
	Seed uint64
	// Logf takes a line for each kill.
	Logf func(format string, args ...any)
}

// DefaultKillOptions are those that the promise is shown by.
func DefaultKillOptions() KillOptions {
	return KillOptions{Kills: 20, Between: 5, Posts: 50, Connections: 256}
}

// KillReport is what came of a kill drill.
type KillReport struct {
	// Attempts is how many times the process was killed, Hits how many of
	// those kills count, Between how many of these came between sync and
	// answer.
	Attempts, Hits, Between int
	Result
	// Took is how long all of it lasted.
	Took time.Duration
}

// String is the report for a person.
func (r KillReport) String() string {
	return fmt.Sprintf("killed %d times in %.1f s: %d while enough was in flight, %d of these between sync and answer\n%s",
		r.Attempts, r.Took.Seconds(), r.Hits, r.Between, r.Result)
}

// attemptsPerKill bounds how often the process is killed for each kill that
// has to hit.
const attemptsPerKill = 5

// killer is a kill drill under way.
type killer struct {
	KillOptions
	rng    *rand.Rand
	binary Binary
	ledger *Ledger
	load   *Load
	report KillReport
}

// Kill kills `postroad dev` under load at random points, again and again on
// the same data, then reads the topic as a reader does and judges: every
// acknowledged message once. An error says that the drill could not be done;
// whether the promise held is in the report's verdict.
//
// Kills fall anywhere from the moment the process listens, so some come while
// it still takes over what its predecessor left; those rarely count.
func Kill(ctx context.Context, o KillOptions) (KillReport, error) {
	k := &killer{
		KillOptions: o,
		rng:         rand.New(rand.NewPCG(o.Seed, 1)),
		binary:      Binary{Path: o.Binary, Dir: o.Dir},
		ledger:      NewLedger(),
	}
	k.load = NewLoad(k.ledger, LoadOptions{
		Topic: topic, Classic: true, Connections: o.Connections, ValueBytes: 256,
		Patience: startTimeout, Seed: o.Seed,
	})
	began := time.Now()
	for k.report.Hits < o.Kills || k.report.Between < o.Between {
		if k.report.Attempts == attemptsPerKill*o.Kills {
			return k.report, fmt.Errorf("only %d of %d kills hit (%d of %d between sync and answer) in %d attempts",
				k.report.Hits, o.Kills, k.report.Between, o.Between, k.report.Attempts)
		}
		if err := k.once(ctx); err != nil {
			return k.report, err
		}
	}
	err := k.judge(ctx)
	k.report.Took = time.Since(began)
	return k.report, err
}

// dev starts `postroad dev` on free ports.
func (k *killer) dev(ctx context.Context) (*Process, error) {
	return k.binary.Start(ctx, DevArgs(filepath.Join(k.Dir, "data"))...)
}

// DevArgs are the arguments of `postroad dev` on a data directory and free
// ports, without vehicles.
func DevArgs(data string) []string {
	const free = "127.0.0.1:0"
	return []string{
		"dev", "--data", data,
		"--door", free, "--onprem", free, "--cloud", free, "--hub", free, "--admin", free, "--stream-onprem", free, "--stream-cloud", free,
		"--vehicles", "0",
	}
}

// targets are the gateways of a process, and its door.
func targets(a Addresses) []Target {
	var t []Target
	for _, name := range slices.Sorted(maps.Keys(a.Gateways)) {
		t = append(t, Target{URL: a.Gateways[name], Ordered: true})
	}
	if a.Door != "" {
		t = append(t, Target{URL: a.Door})
	}
	return t
}

// once starts the process, kills it under load and looks at what was hit.
func (k *killer) once(ctx context.Context) error {
	p, err := k.dev(ctx)
	if err != nil {
		return err
	}
	stop := k.start(ctx, p)
	err = k.await(ctx)
	killed := p.Kill()
	if err := errors.Join(err, stop(), killed); err != nil {
		return err
	}
	f, err := p.Flight()
	if err != nil {
		return err
	}
	if f.Closed {
		return fmt.Errorf("the process ended by itself:\n%s", p.LogTail())
	}
	k.report.Attempts++
	verdict := "does not count"
	if f.Posts >= k.Posts && f.Produces >= 1 {
		k.report.Hits++
		verdict = "hit"
		if f.SyncedUnanswered > 0 {
			k.report.Between++
			verdict = "hit between sync and answer"
		}
	}
	k.Logf("kill %d after %v: %d POSTs in flight, %d of them synced, %d produces: %s",
		k.report.Attempts, time.Since(p.Started).Round(time.Millisecond), f.Posts, f.SyncedUnanswered, f.Produces, verdict)
	return nil
}

// start begins to send to a process; the function it returns ends that.
func (k *killer) start(ctx context.Context, p *Process) (stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- k.load.Run(ctx, targets(p.Addresses)...) }()
	return func() error {
		cancel()
		return <-done
	}
}

// await waits for the moment of the kill: mostly some time after the load is
// in full flow, sometimes at once.
func (k *killer) await(ctx context.Context) error {
	if k.rng.IntN(6) > 0 {
		before := k.load.Acknowledged()
		err := Until(ctx, startTimeout, "the load is acknowledged", func() (bool, error) {
			return k.load.Acknowledged()-before >= int64(4*k.Connections), nil
		})
		if err != nil {
			return err
		}
	}
	return rest(ctx, time.Duration(k.rng.Int64N(int64(600*time.Millisecond))))
}

// judge starts the process a last time, sends a little more, so that what was
// unknown at the last kill is repeated, waits until all is in the hub, and
// reads it.
func (k *killer) judge(ctx context.Context) error {
	p, err := k.dev(ctx)
	if err != nil {
		return err
	}
	stop := k.start(ctx, p)
	before := k.load.Acknowledged()
	err = Until(ctx, startTimeout, "the load is acknowledged", func() (bool, error) {
		return k.load.Acknowledged()-before >= int64(4*k.Connections), nil
	})
	err = errors.Join(err, stop())
	if err == nil {
		k.report.Result, err = k.binary.Judge(ctx, k.ledger, p, p.Addresses.Hub, topic)
	}
	return errors.Join(err, p.Stop())
}

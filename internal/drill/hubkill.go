package drill

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"postroad/internal/loopback"
)

// HubOptions say how a hub is killed.
type HubOptions struct {
	// Binary is the path of the binary under test, Dir an empty directory for
	// data and logs.
	Binary, Dir string
	// Kills is how many times the hub is killed.
	Kills int
	// Connections is how many requests the load keeps under way.
	Connections int
	// Seed decides what is sent and when the kills come.
	Seed uint64
	// Logf takes a line for each kill.
	Logf func(format string, args ...any)
}

// HubReport is what came of killing the hub.
type HubReport struct {
	// Kills has what was seen of each kill.
	Kills []HubKill
	Result
}

// HubKill is one time that the hub was away.
type HubKill struct {
	// Opened is how long after the kill the breaker was seen open, Closed how
	// long after the hub's return it was seen closed.
	Opened, Closed time.Duration
	// Acknowledged is how many requests were acknowledged meanwhile.
	Acknowledged int64
	// Cause is why the breaker opened, in the stamp's words.
	Cause string
}

// String is the report for a person.
func (r HubReport) String() string {
	var b strings.Builder
	for i, k := range r.Kills {
		fmt.Fprintf(&b, "hub killed, %d: breaker open after %.1f s (%s), closed %.1f s after the hub was back, %d requests acknowledged meanwhile\n",
			i+1, k.Opened.Seconds(), k.Cause, k.Closed.Seconds(), k.Acknowledged)
	}
	b.WriteString(r.Result.String())
	return b.String()
}

// breakerLimit bounds how long the breaker may take to follow the hub.
const breakerLimit = time.Minute

// hubKiller is a hub drill under way.
type hubKiller struct {
	HubOptions
	rng    *rand.Rand
	binary Binary
	ledger *Ledger
	load   *Load
	hub    *Process
	stamp  *Process
	report HubReport
}

// KillHub runs `postroad hub` and `postroad stamp`, kills the hub under load
// at random points and starts it again on the same data, then judges as Kill
// does. That the breaker opens and closes, and that the stamp goes on
// accepting while the hub is away, is part of the drill: it fails with an
// error where they do not.
func KillHub(ctx context.Context, o HubOptions) (report HubReport, err error) {
	k := &hubKiller{
		HubOptions: o,
		rng:        rand.New(rand.NewPCG(o.Seed, 2)),
		binary:     Binary{Path: o.Binary, Dir: o.Dir},
		ledger:     NewLedger(),
	}
	k.load = NewLoad(k.ledger, LoadOptions{
		Topic: topic, Classic: true, Connections: o.Connections, ValueBytes: 256,
		Patience: startTimeout, Pace: 4 * time.Millisecond, Seed: o.Seed,
	})
	address, err := loopback.Address(ctx) // the hub comes back to it
	if err != nil {
		return k.report, err
	}
	if err := k.startHub(ctx, address); err != nil {
		return k.report, err
	}
	defer func() {
		if k.hub != nil {
			err = errors.Join(err, k.hub.Stop())
		}
	}()
	if err := k.startStamp(ctx); err != nil {
		return k.report, err
	}
	defer func() { err = errors.Join(err, k.stamp.Stop()) }()
	err = k.run(ctx)
	return k.report, err
}

func (k *hubKiller) startHub(ctx context.Context, listen string) (err error) {
	k.hub, err = k.binary.Start(ctx, "hub", "--listen", listen, "--data", filepath.Join(k.Dir, "hub"))
	return err
}

func (k *hubKiller) startStamp(ctx context.Context) (err error) {
	k.stamp, err = k.binary.Start(ctx, "stamp",
		"--set", "stamp.name=drill",
		"--set", "http.listen=127.0.0.1:0",
		"--set", "admin.listen=127.0.0.1:0",
		"--set", "queue.dir="+filepath.Join(k.Dir, "queue"),
		"--set", "queue.unsafe_file_system=true", // a drill may run in memory
		"--set", "hub.brokers="+k.hub.Addresses.Hub,
	)
	return err
}

func (k *hubKiller) run(ctx context.Context) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- k.load.Run(loadCtx, targets(k.stamp.Addresses)...) }()
	var err error
	for range k.Kills {
		if err = k.once(ctx); err != nil {
			break
		}
	}
	cancel()
	if err = errors.Join(err, <-done); err != nil {
		return fmt.Errorf("%w; the stamp's log ends:\n%s", err, k.stamp.LogTail())
	}
	k.report.Result, err = k.binary.Judge(ctx, k.ledger, k.stamp, k.hub.Addresses.Hub, topic)
	return err
}

// once kills the hub once and waits for the breaker to follow it away and back.
func (k *hubKiller) once(ctx context.Context) error {
	if err := k.acknowledge(ctx); err != nil {
		return err
	}
	if err := rest(ctx, time.Duration(k.rng.Int64N(int64(500*time.Millisecond)))); err != nil {
		return err
	}
	seen := HubKill{}
	before := k.load.Acknowledged()
	address, killed := k.hub.Addresses.Hub, time.Now()
	err := k.hub.Kill()
	k.hub = nil
	if err != nil {
		return err
	}
	if seen.Cause, err = k.breaker(ctx, func(state string) bool { return state != "closed" }); err != nil {
		return err
	}
	seen.Opened = time.Since(killed)
	if err := k.acknowledge(ctx); err != nil {
		return fmt.Errorf("while the hub is away: %w", err)
	}
	if err := k.startHub(ctx, address); err != nil {
		return err
	}
	back := time.Now()
	if _, err = k.breaker(ctx, func(state string) bool { return state == "closed" }); err != nil {
		return err
	}
	seen.Closed, seen.Acknowledged = time.Since(back), k.load.Acknowledged()-before
	k.report.Kills = append(k.report.Kills, seen)
	k.Logf("hub killed: breaker open after %v (%s), closed %v after its return, %d requests acknowledged meanwhile",
		seen.Opened.Round(time.Millisecond), seen.Cause, seen.Closed.Round(time.Millisecond), seen.Acknowledged)
	return nil
}

// acknowledge waits until some more requests are acknowledged.
func (k *hubKiller) acknowledge(ctx context.Context) error {
	before := k.load.Acknowledged()
	return Until(ctx, startTimeout, "the load is acknowledged", func() (bool, error) {
		return k.load.Acknowledged()-before >= int64(4*k.Connections), nil
	})
}

// breaker waits for a state of the stamp's breaker and returns its cause.
func (k *hubKiller) breaker(ctx context.Context, want func(state string) bool) (cause string, err error) {
	state := ""
	err = Until(ctx, breakerLimit, "the breaker follows the hub", func() (bool, error) {
		stamps, err := k.stamp.Status(ctx)
		if err != nil {
			return false, err
		}
		state, cause = stamps[0].Forward.Breaker.State, stamps[0].Forward.Breaker.Cause
		return want(state), nil
	})
	if err != nil {
		return "", fmt.Errorf("%w: it is %q", err, state)
	}
	return cause, nil
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

package drill

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// TakeoverReport is how long it took, of each kind of end, until a reader saw
// everything that had been acknowledged.
type TakeoverReport struct {
	// Rounds are by what happened: "forward killed", "forward paused", "gateway
	// killed", "gateway paused".
	Rounds map[string][]time.Duration
	Result
	Took time.Duration
}

// Slowest is the longest of the rounds of a kind.
func (r TakeoverReport) Slowest(kind string) time.Duration {
	if len(r.Rounds[kind]) == 0 {
		return 0
	}
	return slices.Max(r.Rounds[kind])
}

// takeoverKinds are the kinds of rounds, in their order.
var takeoverKinds = []string{"forward killed", "forward paused", "gateway killed", "gateway paused"}

// String is the report for a person.
func (r TakeoverReport) String() string {
	var b strings.Builder
	for _, kind := range takeoverKinds {
		rounds := slices.Sorted(slices.Values(r.Rounds[kind]))
		if len(rounds) == 0 {
			continue
		}
		fmt.Fprintf(&b, "%-15s %3d times: all that was acknowledged is at the reader after %.2f s (median), %.2f s (longest)\n",
			kind, len(rounds), rounds[len(rounds)/2].Seconds(), rounds[len(rounds)-1].Seconds())
	}
	b.WriteString(r.Result.String())
	return b.String()
}

// takeoverLimit bounds how long a takeover is waited for, more than is allowed.
const takeoverLimit = 2 * time.Minute

// after is until when after the end of a process what is acknowledged counts:
// what the gateways take then is of chains that have lost their forwarder, too.
const after = 100 * time.Millisecond

// Takeover measures how long the lanes of a process wait for another: under
// load, time and again, it ends one process of those that share a directory,
// by a kill, which others on the same machine notice, or by a pause, which they
// cannot tell from a machine that is gone; and waits until a reader has seen all
// that was acknowledged by then. Kills and Pauses of the options say how often.
// Forwarders that are ended drain at least one chain.
func Takeover(ctx context.Context, o ShareOptions) (report TakeoverReport, err error) {
	began := time.Now()
	report.Rounds = make(map[string][]time.Duration)
	s, err := newShare(ctx, o)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	f := s.binary.follow(ctx, s.hub.Addresses.Hub, topic)
	err = s.loaded(ctx, func(ctx context.Context) error { return s.takeovers(ctx, f, report.Rounds) })
	err = errors.Join(err, f.stop())
	if err == nil {
		err = s.judge(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, s.logs())
	}
	report.Result, report.Took = s.report.Result, time.Since(began)
	return report, err
}

// takeovers goes through the rounds, the kills first: for some seconds after it
// wakes, a forwarder that was paused waits for what it may have under way itself
// before it drains anything.
func (s *share) takeovers(ctx context.Context, f *follower, rounds map[string][]time.Duration) error {
	for _, what := range []string{"killed", "paused"} {
		n := s.Kills
		if what == "paused" {
			n = s.Pauses
		}
		for range n {
			for _, command := range []string{"forward", "gateway"} {
				kind := command + " " + what
				took, err := s.takeover(ctx, f, command, what == "paused")
				if err != nil {
					return fmt.Errorf("%s: %w", kind, err)
				}
				rounds[kind] = append(rounds[kind], took)
				s.Logf("%s: all is at the reader after %v", kind, took.Round(time.Millisecond))
			}
		}
	}
	return nil
}

// takeover ends one process and waits for the others to have done its work.
func (s *share) takeover(ctx context.Context, f *follower, command string, pause bool) (time.Duration, error) {
	if _, err := f.caughtUp(ctx, s.ledger, time.Now(), takeoverLimit); err != nil {
		return 0, fmt.Errorf("before: %w", err)
	}
	victim, err := s.victim(ctx, command)
	if err != nil {
		return 0, err
	}
	p, ended := victim.p, time.Now()
	if pause {
		err = p.Pause()
	} else {
		err = victim.kill(false)
	}
	if err == nil {
		err = rest(ctx, after)
	}
	var seen time.Time
	if err == nil {
		seen, err = f.caughtUp(ctx, s.ledger, ended.Add(after), takeoverLimit)
	}
	if pause {
		err = errors.Join(err, p.Resume())
	} else if err == nil {
		err = victim.start(ctx)
	}
	return max(0, seen.Sub(ended)), err
}

// victim is a process of a command, chosen at random: of forwarders one that
// drains a chain.
func (s *share) victim(ctx context.Context, command string) (*slot, error) {
	slots := s.gateways
	if command == "forward" {
		slots = s.forwards
	}
	from := slots[0].rng.IntN(len(slots))
	var chosen *slot
	err := Until(ctx, takeoverLimit, "a forwarder drains", func() (bool, error) {
		for i := range slots {
			chosen = slots[(from+i)%len(slots)]
			if command != "forward" {
				return true, nil
			}
			stamps, err := chosen.p.Status(ctx)
			if err != nil {
				return false, err
			}
			if len(stamps[0].Forward.Chains) > 0 {
				return true, nil
			}
		}
		return false, nil
	})
	return chosen, err
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"postroad/internal/drill"
)

// BacklogOptions say how a backlog is measured.
type BacklogOptions struct {
	// Binary is the binary to start, Dir a directory on the disk to be
	// measured; what is written goes into a new one below it, which is removed
	// again.
	Binary, Dir string
	// Rounds is how many backlogs are made, one after the other.
	Rounds int
	// Messages is how many messages a backlog has, fewer where the disk has no
	// room for them, and Bytes the size of each.
	Messages, Bytes int
	// Connections is how many connections the messages come over.
	Connections int
}

// DefaultBacklogOptions take about five minutes.
func DefaultBacklogOptions() BacklogOptions {
	return BacklogOptions{Rounds: 5, Messages: 1_000_000, Bytes: 1024, Connections: 16}
}

// Validate reports every option that cannot work.
func (o BacklogOptions) Validate() error {
	return errors.Join(validSite(o.Binary, o.Dir), validBacklog(o.Rounds, o.Messages, o.Bytes), within("connections", o.Connections, maxConnections))
}

// BacklogReport is what Backlog measured.
type BacklogReport struct {
	Machine Machine        `json:"machine"`
	Options BacklogOptions `json:"options"`
	// Messages is how many messages each backlog had.
	Messages int `json:"messages"`
	// DiskBytes is what the queue's directory took on the disk after a clean
	// stop with all of the backlog in it, DiskShare the same as a multiple of
	// the payload.
	DiskBytes Figure `json:"disk_bytes"`
	DiskShare Figure `json:"disk_share"`
	// Accept and Drain are messages per second.
	Accept Figure `json:"accept"`
	Drain  Figure `json:"drain"`
	// Accepting, Restarted and Draining are the memory of the stamp's process.
	Accepting MemoryFigures `json:"accepting"`
	Restarted MemoryFigures `json:"restarted"`
	Draining  MemoryFigures `json:"draining"`
	// Killed and Stopped are milliseconds from the start of the process on the
	// backlog to its first accepted POST, after SIGKILL and after a clean stop.
	Killed  Figure `json:"first_accept_after_kill_ms"`
	Stopped Figure `json:"first_accept_after_stop_ms"`
}

// MemoryFigures are in bytes: resident when the phase was over, and the most
// since the process began.
type MemoryFigures struct {
	Resident Figure `json:"resident"`
	Peak     Figure `json:"peak"`
}

// backlogRound is what one round measured.
type backlogRound struct {
	accept, drain                  float64 // messages per second
	disk                           float64 // bytes
	killed, stopped                float64 // milliseconds
	accepting, restarted, draining memory
}

// Backlog measures a stamp whose hub is away for long (Q4, Q5): what a backlog
// takes on the disk and of memory, how soon a stamp that is started on it
// accepts a message, and what it takes of memory while it drains. All of it is
// done in each round, on a new directory, with processes of the shipped binary.
func Backlog(ctx context.Context, o BacklogOptions, d Deps) (report *BacklogReport, err error) {
	w, err := newWorkplace(o, o.Dir, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.remove()) }()
	free, err := diskFree(w.dir)
	if err != nil {
		return nil, err
	}
	l := load{o.Messages, o.Bytes, o.Connections, 100}
	if l.messages = fitting(o.Messages, o.Bytes, free); l.messages < 1 {
		return nil, fmt.Errorf("%s has %d bytes free, which is too little for any backlog", o.Dir, free)
	}
	if l.messages < o.Messages {
		w.deps.Progress("%d messages instead of %d: the disk has no room for more", l.messages, o.Messages)
	}
	rounds, err := inRounds(w, o.Rounds, func(i int, dir string) (backlogRound, error) {
		r, err := backlogOnce(ctx, o.Binary, dir, l)
		if err == nil {
			w.deps.Progress("backlog, round %d of %d: accepted %.0f/s, peak %d MiB; first accept after %.0f ms; drained %.0f/s, peak %d MiB",
				i, o.Rounds, r.accept, r.accepting.peak>>20, r.killed, r.drain, r.draining.peak>>20)
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return backlogReport(w.machine, o, l, rounds), nil
}

// What is reckoned for a message on the disk beside its bytes, in the queue and
// in the hub's log together, and what is left free beside all of it.
const (
	diskOverhead = 1024
	diskReserve  = 2 << 30
)

// fitting is how many messages of a size the disk has room for, in the queue
// and in the hub at a time, at most wanted.
func fitting(wanted, size int, free int64) int {
	return int(max(0, min(int64(wanted), (free-diskReserve)/int64(2*size+diskOverhead))))
}

func backlogReport(m Machine, o BacklogOptions, l load, rounds []backlogRound) *BacklogReport {
	of := func(pick func(backlogRound) float64) Figure {
		var all []float64
		for _, r := range rounds {
			all = append(all, pick(r))
		}
		return figureOf(all)
	}
	memoryOf := func(pick func(backlogRound) memory) MemoryFigures {
		return MemoryFigures{
			Resident: of(func(r backlogRound) float64 { return float64(pick(r).resident) }),
			Peak:     of(func(r backlogRound) float64 { return float64(pick(r).peak) }),
		}
	}
	payload := float64(l.messages) * float64(l.bytes)
	return &BacklogReport{
		Machine: m, Options: o, Messages: l.messages,
		DiskBytes: of(func(r backlogRound) float64 { return r.disk }),
		DiskShare: of(func(r backlogRound) float64 { return r.disk / payload }),
		Accept:    of(func(r backlogRound) float64 { return r.accept }),
		Drain:     of(func(r backlogRound) float64 { return r.drain }),
		Accepting: memoryOf(func(r backlogRound) memory { return r.accepting }),
		Restarted: memoryOf(func(r backlogRound) memory { return r.restarted }),
		Draining:  memoryOf(func(r backlogRound) memory { return r.draining }),
		Killed:    of(func(r backlogRound) float64 { return r.killed }),
		Stopped:   of(func(r backlogRound) float64 { return r.stopped }),
	}
}

// backlogOnce is one round: filled by a first process, which is killed; looked
// at by a second, which is stopped; drained by a third.
func backlogOnce(ctx context.Context, binary, dir string, l load) (r backlogRound, err error) {
	s, err := newSite(ctx, binary, dir)
	if err != nil {
		return r, err
	}
	if err := r.fill(ctx, s, l); err != nil {
		return r, fmt.Errorf("accept: %w", err)
	}
	if err := r.restart(ctx, s); err != nil {
		return r, fmt.Errorf("restart: %w", err)
	}
	if r.disk, err = used(s.queueDir()); err != nil {
		return r, err
	}
	// Beside the load there is the one message of the restart.
	if err := r.drainAll(ctx, s, l.messages+1); err != nil {
		return r, fmt.Errorf("drain: %w", err)
	}
	return r, nil
}

func used(dir string) (float64, error) {
	n, err := diskUsed(dir)
	return float64(n), err
}

// fill accepts the load with the hub away, and kills the process.
func (r *backlogRound) fill(ctx context.Context, s *site, l load) error {
	p, err := s.startStamp(ctx)
	if err != nil {
		return err
	}
	r.accept, err = l.fill(ctx, p.Addresses.Gateways[stampName])
	if err == nil {
		r.accepting, err = memoryOf(p.PID())
	}
	return errors.Join(err, p.Kill())
}

// restart starts on the backlog of a process that was killed, waits until it
// takes no more memory, and stops cleanly.
func (r *backlogRound) restart(ctx context.Context, s *site) error {
	p, err := s.startStamp(ctx)
	if err != nil {
		return err
	}
	at, err := firstAccepted(ctx, p)
	r.killed = float64(milliseconds(at.Sub(p.Started)))
	if err == nil {
		r.restarted, err = settled(ctx, p.PID())
	}
	return errors.Join(err, p.Stop())
}

// calm is how long the peak of a process's memory must have stood still before
// it counts as what the process takes, and look how often it is looked at.
const (
	calm = 3 * time.Second
	look = 50 * time.Millisecond
)

// settled waits until a process's memory does not grow any more, and returns
// it. With the hub away no other sign tells that a start is over: the backlog
// is read no further than the forwarder can hold.
func settled(ctx context.Context, pid int) (m memory, err error) {
	tick := time.NewTicker(look)
	defer tick.Stop()
	limit := time.Now().Add(drainLimit)
	for grown := time.Now(); ; {
		now, err := memoryOf(pid)
		if err != nil {
			return memory{}, err
		}
		if now.peak > m.peak {
			grown = time.Now()
		}
		m = now
		if time.Since(grown) > calm || time.Now().After(limit) {
			return m, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return memory{}, context.Cause(ctx)
		}
	}
}

// drainAll starts on the backlog of a process that was stopped, brings the hub
// back and waits until all n messages are in it, and the one that it posts.
func (r *backlogRound) drainAll(ctx context.Context, s *site, n int) error {
	p, err := s.startStamp(ctx)
	if err != nil {
		return err
	}
	at, err := firstAccepted(ctx, p)
	if err != nil {
		return errors.Join(err, p.Stop())
	}
	r.stopped = float64(milliseconds(at.Sub(p.Started)))
	hub, err := s.startHub(ctx)
	if err != nil {
		return errors.Join(err, p.Stop())
	}
	err = r.intoHub(ctx, s, p, int64(n+1))
	return errors.Join(err, p.Stop(), hub.Stop())
}

// intoHub watches n messages of a stamp come into the hub.
func (r *backlogRound) intoHub(ctx context.Context, s *site, p *drill.Process, n int64) error {
	watching, err := observe(s.hub)
	if err != nil {
		return err
	}
	defer watching.close()
	marks, err := watching.topic(ctx, topic)
	if err != nil {
		return err
	}
	for i := range marks { // the hub is new, and some may have come before it was asked
		marks[i].Offset = 0
	}
	came, err := watching.watch(ctx, marks, n, backlogLimit)
	if err != nil {
		return err
	}
	r.drain = came.rate()
	r.draining, err = memoryOf(p.PID())
	return err
}

// backlogLimit bounds how long a backlog may take to drain.
const backlogLimit = time.Hour

// Targets of Q4 and Q5.
const (
	diskTarget          = 1.15
	memoryTargetMiB     = 128
	firstAcceptTargetMS = 2000
)

// Goals compares the report with the targets.
func (r *BacklogReport) Goals() []Goal {
	mib := func(f Figure) float64 { return f.Max / (1 << 20) }
	return []Goal{
		atMost("Q4: bytes on disk, multiple of the payload", diskTarget, r.DiskShare.Median, ""),
		atMost("Q4: resident while accepting, most of all rounds", memoryTargetMiB, mib(r.Accepting.Peak), "MiB"),
		atMost("Q4: resident after a restart, most of all rounds", memoryTargetMiB, mib(r.Restarted.Peak), "MiB"),
		atMost("Q4: resident while draining, most of all rounds", memoryTargetMiB, mib(r.Draining.Peak), "MiB"),
		atMost("Q5: start to first accepted POST, after a kill", firstAcceptTargetMS, r.Killed.Median, "ms"),
		atMost("Q5: start to first accepted POST, after a stop", firstAcceptTargetMS, r.Stopped.Median, "ms"),
	}
}

// Write prints the report as Markdown tables.
func (r *BacklogReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	p.f("%d rounds, each with a backlog of %d messages of %d B (%.2f GiB) accepted over %d connections in batches of 100 with the hub away; median (least–most).\n\n",
		r.Options.Rounds, r.Messages, r.Options.Bytes, float64(r.Messages)*float64(r.Options.Bytes)/(1<<30), r.Options.Connections)
	mib := func(f Figure) string {
		const one = 1 << 20
		return spread(Figure{f.Median / one, f.Min / one, f.Max / one}, "%.0f")
	}
	p.table([]string{"memory of the stamp's process", "resident MiB", "peak MiB"}, [][]string{
		{"accepting, hub away", mib(r.Accepting.Resident), mib(r.Accepting.Peak)},
		{"after a kill and a start on the backlog", mib(r.Restarted.Resident), mib(r.Restarted.Peak)},
		{"draining", mib(r.Draining.Resident), mib(r.Draining.Peak)},
	})
	p.table([]string{"", ""}, [][]string{
		{"accepted, messages/s", spread(r.Accept, "%.0f")},
		{"drained, messages/s", spread(r.Drain, "%.0f")},
		{"on the disk, MiB", mib(r.DiskBytes)},
		{"on the disk, multiple of the payload", spread(r.DiskShare, "%.3f")},
		{"start after a kill to first accepted POST, ms", spread(r.Killed, "%.0f")},
		{"start after a stop to first accepted POST, ms", spread(r.Stopped, "%.0f")},
	})
	p.goals(r.Goals())
	return p.err
}

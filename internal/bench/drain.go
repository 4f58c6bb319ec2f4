package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// DrainOptions say how the drain of a backlog is measured.
type DrainOptions struct {
	// Binary is the binary to start, Dir a directory on the disk to be
	// measured; what is written goes into a new one below it, which is removed
	// again.
	Binary, Dir string
	// Rounds is how many backlogs are drained.
	Rounds int
	// Messages is how many messages a backlog has, Bytes the size of each.
	Messages, Bytes int
	// Peers is the program of bench/peers; empty leaves the bare producer out.
	Peers string
	// Hub is the address of a hub that runs, such as a real Kafka, and whose
	// topics "messages" and "bare" are the benchmark's; empty starts the embedded
	// one.
	Hub string
}

// DefaultDrainOptions take about two minutes.
func DefaultDrainOptions() DrainOptions {
	return DrainOptions{Rounds: 5, Messages: 500_000, Bytes: valueBytes}
}

// Validate reports every option that cannot work.
func (o DrainOptions) Validate() error {
	return errors.Join(validSite(o.Binary, o.Dir), validBacklog(o.Rounds, o.Messages, o.Bytes))
}

// DrainReport is what Drain measured.
type DrainReport struct {
	Machine Machine      `json:"machine"`
	Options DrainOptions `json:"options"`
	// First is from the start of the stamp to the first of its records in the
	// hub, All to the last one.
	First Figure `json:"first_ms"`
	All   Figure `json:"all_ms"`
	// Drain is records per second from the first record to the last, as seen in
	// the hub; Bare is the same of the bare producer, and BareClock by its own
	// clock, from its first call to the last answer. Without peers they are nil.
	Drain     Figure  `json:"drain"`
	Bare      *Figure `json:"bare,omitempty"`
	BareClock *Figure `json:"bare_by_its_clock,omitempty"`
	// Share is what of the bare producer's rate the drain reached, round for
	// round.
	Share *Figure `json:"share,omitempty"`
	// RecordBytes is the size of a record with key and headers.
	RecordBytes float64 `json:"record_bytes,omitempty"`
}

// drainRound is what one round measured.
type drainRound struct {
	first, all             float64 // milliseconds
	drain, bare, bareClock float64 // records per second
	recordBytes            float64
}

// Drain measures how a backlog goes out (F1). In each round a stamp whose hub
// is away is filled and stopped; then the hub is started, and the stamp, and the
// records are watched as they come into the hub. After that a bare producer
// produces the same records to the same hub.
func Drain(ctx context.Context, o DrainOptions, d Deps) (report *DrainReport, err error) {
	w, err := newWorkplace(o, o.Dir, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.remove()) }()
	rounds, err := inRounds(w, o.Rounds, func(i int, dir string) (drainRound, error) {
		r, err := drainOnce(ctx, o, dir)
		if err == nil {
			w.deps.Progress("drain, round %d of %d: first record after %.0f ms, %.0f/s; bare producer %.0f/s", i, o.Rounds, r.first, r.drain, r.bare)
		}
		return r, err
	})
	if err != nil {
		return nil, err
	}
	return drainReport(w.machine, o, rounds), nil
}

func drainReport(m Machine, o DrainOptions, rounds []drainRound) *DrainReport {
	of := func(pick func(drainRound) float64) []float64 {
		var all []float64
		for _, r := range rounds {
			all = append(all, pick(r))
		}
		return all
	}
	drain := of(func(r drainRound) float64 { return r.drain })
	report := &DrainReport{
		Machine: m, Options: o,
		First: figureOf(of(func(r drainRound) float64 { return r.first })),
		All:   figureOf(of(func(r drainRound) float64 { return r.all })),
		Drain: figureOf(drain),
	}
	if o.Peers != "" {
		bare := of(func(r drainRound) float64 { return r.bare })
		rate, clock, share := figureOf(bare), figureOf(of(func(r drainRound) float64 { return r.bareClock })), ratio(drain, bare)
		report.Bare, report.BareClock, report.Share = &rate, &clock, &share
		report.RecordBytes = rounds[0].recordBytes
	}
	return report
}

// bareTopic takes the records of the bare producer.
const bareTopic = "bare"

// drainOnce is one round, in a directory of its own.
func drainOnce(ctx context.Context, o DrainOptions, dir string) (r drainRound, err error) {
	s, err := newSite(ctx, o.Binary, dir)
	if err != nil {
		return r, err
	}
	if err := s.fillAndStop(ctx, load{o.Messages, o.Bytes, 16, 100}); err != nil {
		return r, fmt.Errorf("fill: %w", err)
	}
	if o.Hub != "" {
		s.hub = o.Hub
	} else {
		hub, err := s.startHub(ctx)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, hub.Stop()) }()
	}
	watching, err := observe(s.hub)
	if err != nil {
		return r, err
	}
	defer watching.close()
	if err := r.drained(ctx, s, watching, int64(o.Messages)); err != nil {
		return r, fmt.Errorf("drain: %w", err)
	}
	if o.Peers != "" {
		if err := r.produced(ctx, peers{o.Peers}, s, watching, o.Messages); err != nil {
			return r, fmt.Errorf("bare producer: %w", err)
		}
	}
	return r, nil
}

// fillAndStop fills the stamp while its hub is away.
func (s *site) fillAndStop(ctx context.Context, l load) error {
	p, err := s.startStamp(ctx)
	if err != nil {
		return err
	}
	_, err = l.fill(ctx, p.Addresses.Gateways[stampName])
	return errors.Join(err, p.Stop())
}

// drained starts the stamp on its backlog and watches the hub.
func (r *drainRound) drained(ctx context.Context, s *site, watching *observer, n int64) (err error) {
	marks, err := watching.topic(ctx, topic)
	if err != nil {
		return err
	}
	began := time.Now()
	type result struct {
		passage
		err error
	}
	seen := make(chan result, 1)
	ctx, cancel := context.WithCancel(ctx)
	go func() { // from before the start, which returns only when it listens
		p, err := watching.watch(ctx, marks, n, drainLimit)
		seen <- result{p, err}
	}()
	p, err := s.startStamp(ctx)
	if err != nil {
		cancel()
		<-seen
		return err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	defer cancel()
	came := <-seen
	if came.err != nil {
		return came.err
	}
	if came.total != n {
		return fmt.Errorf("%d records for %d messages", came.total, n)
	}
	r.first, r.all = float64(milliseconds(came.first.Sub(began))), float64(milliseconds(came.last.Sub(began)))
	r.drain = came.rate()
	return nil
}

// produced lets the bare producer produce what was drained, once more.
func (r *drainRound) produced(ctx context.Context, p peers, s *site, watching *observer, n int) error {
	marks, err := watching.topic(ctx, bareTopic)
	if err != nil {
		return err
	}
	type result struct {
		produced
		err error
	}
	done := make(chan result, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		out, err := p.produce(ctx, s.hub, topic, bareTopic, n)
		if err != nil {
			cancel()
		}
		done <- result{out, err}
	}()
	came, err := watching.watch(ctx, marks, int64(n), drainLimit)
	if err != nil {
		cancel()
	}
	out := <-done
	if err := errors.Join(out.err, err); err != nil {
		return err
	}
	r.bare, r.bareClock = came.rate(), float64(out.Records)/out.Seconds
	r.recordBytes = float64(out.Bytes) / float64(out.Records)
	return nil
}

// The target of F1.
const drainTarget = 0.85

// Goals compares the report with the targets.
func (r *DrainReport) Goals() []Goal {
	if r.Share == nil {
		return nil
	}
	return []Goal{atLeast("F1: drain of a backlog, share of a bare producer", drainTarget, r.Share.Median, "")}
}

// Write prints the report as Markdown tables.
func (r *DrainReport) Write(w io.Writer) error {
	p := &printer{w: w}
	p.machine(r.Machine)
	p.f("%d rounds, each with a backlog of %d messages of %d B; stamp, hub and bare producer are processes of their own; median (least–most).\n\n",
		r.Options.Rounds, r.Options.Messages, r.Options.Bytes)
	p.table([]string{"from the start of the stamp", "ms"}, [][]string{
		{"to the first record in the hub", spread(r.First, "%.0f")},
		{"to the last record in the hub", spread(r.All, "%.0f")},
	})
	rows := [][]string{{"the stamp drains", spread(r.Drain, "%.0f"), "–"}}
	if r.Bare != nil {
		rows[0][2] = spread(*r.Share, "%.2f")
		rows = append(
			rows,
			[]string{"a bare producer, the same records", spread(*r.Bare, "%.0f"), "1.00"},
			[]string{"the same by its own clock", spread(*r.BareClock, "%.0f"), "–"},
		)
	}
	p.table([]string{"into the same hub", "records/s", "share"}, rows)
	if r.RecordBytes > 0 {
		p.f("A record has %.0f B with key and headers.\n\n", r.RecordBytes)
	}
	if goals := r.Goals(); len(goals) > 0 {
		p.goals(goals)
	}
	return p.err
}

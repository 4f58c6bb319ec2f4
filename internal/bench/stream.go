package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"
)

// StreamOptions say how stream nodes are measured.
type StreamOptions struct {
	// Binary is the binary to start, Dir a directory; what is written goes into a
	// new one below it, which is removed again.
	Binary, Dir string
	// Rounds is how many times everything is measured, Duration how long messages
	// flow each time.
	Rounds   int
	Duration time.Duration
	// Clients is how many connect where nothing flows (S1) and where the memory of
	// a full node is measured (S5). The other cases scale with it: with the 10,000
	// of the targets they are as the targets say.
	Clients int
	// Peers is the program of bench/peers; empty leaves engines of others out.
	Peers string
	// Only names the parts to measure: idle (S1), fanout (S2), latency (S3), full
	// (S5); none means all.
	Only []string
}

// The parts of the measurement.
const (
	streamIdle    = "idle"
	streamFanout  = "fanout"
	streamLatency = "latency"
	streamFull    = "full"
)

// targetClients is how many clients the targets speak of.
const targetClients = 10_000

// DefaultStreamOptions take about half an hour with peers.
func DefaultStreamOptions() StreamOptions {
	return StreamOptions{Rounds: 5, Duration: 8 * time.Second, Clients: targetClients}
}

// Validate reports every option that cannot work.
func (o StreamOptions) Validate() error {
	errs := []error{validSite(o.Binary, o.Dir), within("rounds", o.Rounds, maxRounds), within("clients", o.Clients, 15_000)}
	if o.Duration < 100*time.Millisecond || o.Duration > time.Hour {
		errs = append(errs, fmt.Errorf("duration: %v: must be between 100ms and 1h", o.Duration))
	}
	for _, part := range o.Only {
		if !slices.Contains([]string{streamIdle, streamFanout, streamLatency, streamFull}, part) {
			errs = append(errs, fmt.Errorf("only: %s: must be idle, fanout, latency or full", part))
		}
	}
	return errors.Join(errs...)
}

func (o StreamOptions) wants(part string) bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, part)
}

// scaled is a number of the targets, for as many clients as there are.
func (o StreamOptions) scaled(n int) int { return max(1, n*o.Clients/targetClients) }

// flow is one way in which messages reach clients.
type flow struct {
	name    string
	target  float64 // processor seconds per million messages delivered
	clients int
	keys    int // client i is subscribed to key i modulo this
	bytes   int
	// Every interval, burst messages are published, of the keys in turn.
	burst    int
	interval time.Duration
}

// flows are the four of S2.
func (o StreamOptions) flows() []flow {
	return []flow{
		{"1,000 clients of one key, bursts of 512", 0.3, o.scaled(1000), 1, 128, 512, 250 * time.Millisecond},
		{"1,000 clients of one key, 50 messages/s", 7, o.scaled(1000), 1, 128, 1, 20 * time.Millisecond},
		{"10,000 clients of a key each, 20,000 messages/s", 14, o.scaled(10_000), o.scaled(10_000), 128, o.scaled(1000), 50 * time.Millisecond},
		{"12,500 clients of 1,000 keys, 2,000 messages/s of 512 B", 14, o.scaled(12_500), o.scaled(1000), 512, o.scaled(100), 50 * time.Millisecond},
	}
}

// streamRun is a run under way.
type streamRun struct {
	opts    StreamOptions
	deps    Deps
	dir     string
	cores   cores
	engines []streamPeer
	started int
	report  *StreamReport
	// rounds are what was measured, by contender and flow.
	rounds map[flowOf][]float64
	idle   map[string][]IdleMemory
	// In MiB.
	full, peak []float64
	latency    []Latency
}

type flowOf struct{ contender, flow string }

// nameNode is the contender that is ours.
const nameNode = "Postroad stream node"

// Stream measures stream nodes: what a connection takes of memory (S1), what a
// delivery takes of the processor (S2), how long a message takes to a subscriber
// (S3), and what a full node takes of memory (S5).
func Stream(ctx context.Context, o StreamOptions, d Deps) (report *StreamReport, err error) {
	w, err := newWorkplace(o, o.Dir, d)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.remove()) }()
	r := &streamRun{
		opts: o, deps: w.deps, dir: w.dir, report: &StreamReport{Machine: w.machine, Options: o},
		rounds: make(map[flowOf][]float64), idle: make(map[string][]IdleMemory),
	}
	if o.Peers != "" {
		if r.engines, err = (peers{o.Peers}).engines(ctx); err != nil {
			return nil, err
		}
	}
	apart, restore, err := splitCores()
	if err != nil {
		return nil, err
	}
	r.cores = apart
	defer func() { err = errors.Join(err, restore()) }()
	for i := range o.Rounds {
		if err := r.round(ctx, i); err != nil {
			return nil, fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	r.conclude()
	return r.report, nil
}

// round measures every part once, contenders in turn.
func (r *streamRun) round(ctx context.Context, i int) error {
	progress := func(format string, args ...any) {
		r.deps.Progress("stream, round %d of %d: %s", i+1, r.opts.Rounds, fmt.Sprintf(format, args...))
	}
	if r.opts.wants(streamIdle) {
		for _, name := range r.contenders() {
			if err := r.measureIdle(ctx, name, progress); err != nil {
				return fmt.Errorf("%s, idle: %w", name, err)
			}
		}
	}
	if r.opts.wants(streamFanout) {
		for _, f := range r.opts.flows() {
			for _, name := range r.contenders() {
				if err := r.measureFlow(ctx, name, f, progress); err != nil {
					return fmt.Errorf("%s, %s: %w", name, f.name, err)
				}
			}
		}
	}
	if r.opts.wants(streamLatency) {
		if err := r.measureLatency(ctx, progress); err != nil {
			return fmt.Errorf("latency: %w", err)
		}
	}
	if r.opts.wants(streamFull) {
		if err := r.measureFull(ctx, progress); err != nil {
			return fmt.Errorf("full node: %w", err)
		}
	}
	return nil
}

func (r *streamRun) contenders() []string {
	names := []string{nameNode}
	for _, e := range r.engines {
		names = append(names, e.title())
	}
	return names
}

// start starts a contender.
func (r *streamRun) start(ctx context.Context, name string) (fanout, error) {
	r.started++
	for _, e := range r.engines {
		if e.title() == name {
			return peers{r.opts.Peers}.startEngine(ctx, e, r.cores)
		}
	}
	return startNode(ctx, r.opts.Binary, r.nodeDir(), r.cores)
}

// nodeDir is a directory for what is started next.
func (r *streamRun) nodeDir() string { return filepath.Join(r.dir, fmt.Sprintf("node-%d", r.started)) }

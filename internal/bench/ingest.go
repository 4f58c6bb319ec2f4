package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"postroad/internal/telemetry"
)

// IngestOptions say how the way in is measured.
type IngestOptions struct {
	// Dir is a directory on the disk to be measured; what is written goes into
	// a new one below it, which is removed again.
	Dir string
	// Duration is how long each contender runs in each round.
	Duration time.Duration
	// Rounds is how many rounds there are.
	Rounds int
	// Connections are the numbers of connections that single messages are
	// posted over, BatchConnections the number for batches.
	Connections      []int
	BatchConnections int
	// Samples is how many messages are followed to the hub on an idle system.
	Samples int
}

// DefaultIngestOptions take about three minutes.
func DefaultIngestOptions() IngestOptions {
	return IngestOptions{Duration: 3 * time.Second, Rounds: 5, Connections: []int{64, 256}, BatchConnections: 16, Samples: 500}
}

// maxConnections keeps a run within the file descriptors of a usual limit.
const maxConnections = 4096

// Validate reports every option that cannot work.
func (o IngestOptions) Validate() error {
	var errs []error
	bad := func(ok bool, name string, value any, rule string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v: %s", name, value, rule))
		}
	}
	bad(o.Dir != "", "dir", `""`, "must name a directory")
	bad(o.Duration > 0 && o.Duration <= 10*time.Minute, "duration", o.Duration, "must be above 0 and at most 10m")
	bad(o.Rounds >= 1 && o.Rounds <= 1000, "rounds", o.Rounds, "must be between 1 and 1000")
	bad(len(o.Connections) > 0, "connections", o.Connections, "must have at least one number")
	for _, n := range append([]int{o.BatchConnections}, o.Connections...) {
		bad(n >= 1 && n <= maxConnections, "connections", n, "must be between 1 and 4096")
	}
	bad(o.Samples >= 1 && o.Samples <= 1_000_000, "samples", o.Samples, "must be between 1 and 1000000")
	return errors.Join(errs...)
}

// Deps are what a benchmark is given beside its options.
type Deps struct {
	// Version is the program's own.
	Version telemetry.Version
	// Progress takes a line now and then; nil drops them.
	Progress func(format string, args ...any)
	// Log takes warnings of the parts; nil drops them.
	Log *slog.Logger
}

func (d Deps) filled() Deps {
	if d.Progress == nil {
		d.Progress = func(string, ...any) {}
	}
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	return d
}

// valueBytes is the size of the messages of the targets.
const valueBytes = 256

// batchMessages is how many messages a batch has.
const batchMessages = 1000

// ingest is a run under way.
type ingest struct {
	opts IngestOptions
	deps Deps
	dir  string
	running
	// full is the whole product, alone is one without forwarder.
	full, alone *stamp
	hub         string
	noop        string
	raw         *rawLog
	sync        *syncTimer
	report      *IngestReport
}

// Ingest measures the way in.
func Ingest(ctx context.Context, o IngestOptions, d Deps) (report *IngestReport, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := machineOf(o.Dir, d.Version)
	if err != nil {
		return nil, err
	}
	b := &ingest{opts: o, deps: d.filled(), report: &IngestReport{Machine: m, Options: o}}
	if b.dir, err = os.MkdirTemp(o.Dir, "postroad-bench-"); err != nil {
		return nil, fmt.Errorf("directory for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, b.stop(), os.RemoveAll(b.dir)) }()
	if err := b.start(); err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	for _, measure := range []func(context.Context) error{b.visible, b.singles, b.batches} {
		if err := measure(ctx); err != nil {
			return nil, err
		}
	}
	return b.report, nil
}

func (b *ingest) start() (err error) {
	h, err := startHub(&b.running, filepath.Join(b.dir, "hub"), b.deps.Log)
	if err != nil {
		return err
	}
	b.hub = h.Addr()
	if b.full, err = startStamp(&b.running, filepath.Join(b.dir, "full"), []string{b.hub}, b.deps.Log); err != nil {
		return err
	}
	if b.alone, err = startStamp(&b.running, filepath.Join(b.dir, "alone"), nil, b.deps.Log); err != nil {
		return err
	}
	if b.noop, err = serve(&b.running, "no-op", http.HandlerFunc(noop), b.deps.Log); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if b.raw, err = openRawLog(ctx, filepath.Join(b.dir, "raw")); err != nil {
		cancel()
		return err
	}
	b.onStop("raw log", func() error {
		cancel()
		<-b.raw.ended
		return nil
	})
	if b.sync, err = newSyncTimer(b.dir); err != nil {
		return err
	}
	b.onStop("sync timer", b.sync.close)
	return nil
}

// contender is one thing that is measured in each round.
type contender struct {
	name string
	// run returns a rate.
	run func(ctx context.Context, n int, d time.Duration) (float64, error)
	// syncs counts the syncs of the disk; nil where there are none.
	syncs *atomic.Int64
}

// measured are the rounds of one contender.
type measured struct {
	rates []float64 // of requests
	syncs []float64 // a second
}

// compare runs all contenders in turn, round for round, and returns their
// rates.
func (b *ingest) compare(ctx context.Context, what string, n int, all []contender) ([]measured, error) {
	results := make([]measured, len(all))
	for round := range b.opts.Rounds {
		for i, c := range all {
			if err := b.full.drained(ctx); err != nil {
				return nil, err
			}
			began, before := time.Now(), c.synced()
			rate, err := c.run(ctx, n, b.opts.Duration)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w", what, c.name, err)
			}
			results[i].rates = append(results[i].rates, rate)
			results[i].syncs = append(results[i].syncs, float64(c.synced()-before)/time.Since(began).Seconds())
			b.deps.Progress("%s, %d connections, round %d of %d: %s %.0f/s", what, n, round+1, b.opts.Rounds, c.name, rate)
		}
	}
	return results, nil
}

func (c contender) synced() int64 {
	if c.syncs == nil {
		return 0
	}
	return c.syncs.Load()
}

// post is a contender that POSTs a body to a server.
func post(name, url, contentType string, body []byte) contender {
	return contender{name: name, run: func(ctx context.Context, n int, d time.Duration) (float64, error) {
		return blast(ctx, url, "/v1/topics/"+topic+"/messages", contentType, body, n, d)
	}}
}

// postTo is a contender that POSTs a body to a stamp.
func postTo(name string, s *stamp, contentType string, body []byte) contender {
	c := post(name, s.url, contentType, body)
	c.syncs = &s.syncs
	return c
}

// append is a contender that appends to the raw log.
func (b *ingest) append(name string, bytes []byte) contender {
	return contender{name: name, syncs: &b.raw.syncs, run: func(ctx context.Context, n int, d time.Duration) (float64, error) {
		return b.raw.hammer(ctx, bytes, n, d)
	}}
}

// The names of the contenders.
const (
	nameNoop  = "no-op handler"
	nameFull  = "full product path"
	nameAlone = "gateway and queue, no forwarder"
	nameRaw   = "raw appends, no HTTP"
)

// singles measures Q1: messages one by one.
func (b *ingest) singles(ctx context.Context) error {
	body := append(append([]byte(`{"a":"`), bytes.Repeat([]byte{'x'}, valueBytes-8)...), `"}`...)
	all := []contender{
		post(nameNoop, b.noop, "application/json", body),
		postTo(nameFull, b.full, "application/json", body),
		postTo(nameAlone, b.alone, "application/json", body),
		b.append(nameRaw, body),
	}
	for _, n := range b.opts.Connections {
		rates, err := b.compare(ctx, "single messages", n, all)
		if err != nil {
			return err
		}
		b.report.Singles = append(b.report.Singles, Comparison{
			Connections: n, Unit: "messages/s", Contenders: summarise(all, rates, 1),
		})
	}
	return nil
}

// batches measures Q3: NDJSON batches.
func (b *ingest) batches(ctx context.Context) error {
	line := append(append([]byte(`{"value":"`), bytes.Repeat([]byte{'x'}, valueBytes)...), "\"}\n"...)
	body := bytes.Repeat(line, batchMessages)
	values := bytes.Repeat([]byte{'x'}, valueBytes*batchMessages)
	all := []contender{
		b.append(nameRaw, values),
		postTo(nameFull, b.full, "application/x-ndjson", body),
		postTo(nameAlone, b.alone, "application/x-ndjson", body),
	}
	rates, err := b.compare(ctx, "batches of 1000", b.opts.BatchConnections, all)
	if err != nil {
		return err
	}
	b.report.Batches = Comparison{
		Connections: b.opts.BatchConnections, Unit: "messages/s", Contenders: summarise(all, rates, batchMessages),
	}
	return nil
}

// summarise gives each contender its rate times per, and its share of the
// first, the floor, round for round.
func summarise(all []contender, results []measured, per float64) []Contender {
	var summary []Contender
	for i, c := range all {
		m := results[i]
		absolute, share := make([]float64, len(m.rates)), make([]float64, len(m.rates))
		for round, rate := range m.rates {
			absolute[round] = rate * per
			if floor := results[0].rates[round]; floor > 0 {
				share[round] = rate / floor
			}
		}
		summary = append(summary, Contender{Name: c.name, Rate: figureOf(absolute), Share: figureOf(share), Syncs: figureOf(m.syncs)})
	}
	return summary
}

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
	"slices"
	"sync/atomic"
	"time"

	"postroad/internal/message"
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
	// Peers is the program of bench/peers; empty leaves the stores of others
	// out.
	Peers string
	// Only names the parts to measure: idle, singles, batches, storage. Empty
	// means all.
	Only []string
}

// The parts of the measurement.
const (
	partIdle    = "idle"
	partSingles = "singles"
	partBatches = "batches"
	partStorage = "storage"
)

// DefaultIngestOptions take about seven minutes.
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
	for _, part := range o.Only {
		bad(slices.Contains([]string{partIdle, partSingles, partBatches, partStorage}, part), "only", part, "must be idle, singles, batches or storage")
	}
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
	// full is the whole product, away is one whose hub is not there, and alone
	// is one without forwarder.
	full, away, alone *stamp
	hub               string
	noop              string
	raw               *rawLog
	files             *files
	filesURL          string
	sync              *syncTimer
	report            *IngestReport
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
	for _, part := range []struct {
		name    string
		measure func(context.Context) error
	}{{partIdle, b.visible}, {partSingles, b.singles}, {partBatches, b.batches}, {partStorage, b.storage}} {
		if len(o.Only) > 0 && !slices.Contains(o.Only, part.name) {
			continue
		}
		if err := part.measure(ctx); err != nil {
			return nil, err
		}
	}
	return b.report, nil
}

// noHub is an address at which nothing listens: a connection is refused.
const noHub = "127.0.0.1:1"

func (b *ingest) start() (err error) {
	h, err := startHub(&b.running, filepath.Join(b.dir, "hub"), b.deps.Log)
	if err != nil {
		return err
	}
	b.hub = h.Addr()
	if b.full, err = startStamp(&b.running, filepath.Join(b.dir, "full"), []string{b.hub}, b.deps.Log); err != nil {
		return err
	}
	if b.away, err = startStamp(&b.running, filepath.Join(b.dir, "away"), []string{noHub}, b.deps.Log); err != nil {
		return err
	}
	if b.alone, err = startStamp(&b.running, filepath.Join(b.dir, "alone"), nil, b.deps.Log); err != nil {
		return err
	}
	if b.noop, err = serve(&b.running, "no-op", http.HandlerFunc(noop), b.deps.Log); err != nil {
		return err
	}
	if b.files, err = openFiles(filepath.Join(b.dir, "files")); err != nil {
		return err
	}
	b.onStop("files", b.files.close)
	if b.filesURL, err = serve(&b.running, "files", b.files, b.deps.Log); err != nil {
		return err
	}
	return b.startDisk()
}

// startDisk starts what measures the disk alone.
func (b *ingest) startDisk() (err error) {
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
	// syncs counts the syncs of the disk; nil where nobody does.
	syncs *atomic.Int64
	// after, where set, tidies up after a round.
	after func() error
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
			if c.after != nil {
				if err := c.after(); err != nil {
					return nil, fmt.Errorf("%s: after %s: %w", what, c.name, err)
				}
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
		return hammer(ctx, n, d, func() error { return b.raw.append(bytes) })
	}}
}

// The names of the contenders.
const (
	nameNoop  = "no-op handler"
	nameFull  = "full product path"
	nameAlone = "gateway and queue, no forwarder"
	nameAway  = "full product path, hub unreachable"
	nameFiles = "one file per message, synced"
	nameRaw   = "raw appends, no HTTP"
	nameQueue = "Postroad's queue, no HTTP"
)

// singles measures Q1 and Q2: messages one by one.
func (b *ingest) singles(ctx context.Context) error {
	body := append(append([]byte(`{"a":"`), bytes.Repeat([]byte{'x'}, valueBytes-8)...), `"}`...)
	all := []contender{
		post(nameNoop, b.noop, "application/json", body),
		postTo(nameFull, b.full, "application/json", body),
		postTo(nameAway, b.away, "application/json", body),
		postTo(nameAlone, b.alone, "application/json", body),
		{name: nameFiles, syncs: &b.files.syncs, after: b.files.clear, run: post("", b.filesURL, "application/json", body).run},
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
		postTo(nameAway, b.away, "application/x-ndjson", body),
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

// storage measures the stores below HTTP: records of 256 B from as many writers
// as there were connections, each acknowledged once it is on stable storage.
func (b *ingest) storage(ctx context.Context) error {
	value := bytes.Repeat([]byte{'x'}, valueBytes)
	m := []message.Message{{ID: message.ID{1}, Topic: topic, Value: value, Time: time.Now().UTC()}}
	all := []contender{
		b.append(nameRaw, value),
		{name: nameQueue, syncs: &b.alone.syncs, run: func(ctx context.Context, n int, d time.Duration) (float64, error) {
			return hammer(ctx, n, d, func() error {
				_, err := b.alone.queue.Append(ctx, m)
				return err
			})
		}},
		{name: nameFiles, syncs: &b.files.syncs, after: b.files.clear, run: func(ctx context.Context, n int, d time.Duration) (float64, error) {
			return hammer(ctx, n, d, func() error { return b.files.put(value) })
		}},
	}
	if b.opts.Peers != "" {
		p := peers{b.opts.Peers}
		stores, err := p.stores(ctx)
		if err != nil {
			return err
		}
		for _, s := range stores {
			all = append(all, contender{name: s.title(), run: func(ctx context.Context, n int, d time.Duration) (float64, error) {
				return p.store(ctx, s.Name, b.dir, n, d)
			}})
		}
	}
	for _, n := range b.opts.Connections {
		rates, err := b.compare(ctx, "records", n, all)
		if err != nil {
			return err
		}
		b.report.Storage = append(b.report.Storage, Comparison{
			Connections: n, Unit: "records/s", Contenders: summarise(all, rates, 1),
		})
	}
	return nil
}

// summarise gives each contender its rate times per, and its share of the
// first, the floor, round for round.
func summarise(all []contender, results []measured, per float64) []Contender {
	var summary []Contender
	for i, c := range all {
		m := results[i]
		absolute := make([]float64, len(m.rates))
		for round, rate := range m.rates {
			absolute[round] = rate * per
		}
		x := Contender{Name: c.name, Rate: figureOf(absolute), Share: ratio(m.rates, results[0].rates), Rounds: absolute}
		if c.syncs != nil {
			syncs := figureOf(m.syncs)
			x.Syncs = &syncs
		}
		summary = append(summary, x)
	}
	return summary
}

// ratio is that of two contenders, round for round; 0 where the second did
// nothing.
func ratio(of, to []float64) Figure {
	shares := make([]float64, len(of))
	for round, rate := range of {
		if floor := to[round]; floor > 0 {
			shares[round] = rate / floor
		}
	}
	return figureOf(shares)
}

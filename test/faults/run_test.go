package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"postroad/internal/drill"
)

// bench is what the runs of a test share: a hub, and the binary under test.
type bench struct {
	t      *testing.T
	strace string
	binary drill.Binary
	hub    *drill.Process
	dir    string
	seed   uint64
	rng    *rand.Rand
	runs   int
}

// newBench starts a hub of its own for a test, outside strace.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, strace: strace(t), dir: t.TempDir(), seed: seed(t)}
	b.rng = rand.New(rand.NewPCG(b.seed, 3))
	b.binary = drill.Binary{Path: postroad(t), Dir: b.dir}
	hub, err := b.binary.Start(t.Context(), "hub", "--listen", "127.0.0.1:0", "--data", filepath.Join(b.dir, "hub"), "--partitions", "2")
	if err != nil {
		t.Fatal(err)
	}
	b.hub = hub
	t.Cleanup(func() {
		if err := hub.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// script says what happens in a run: a stamp under strace and load, then another
// on what it left.
type script struct {
	inject *injection
	// lie answers 202 for the stamp where it gives no answer: the sabotage.
	lie bool
	// takeover lets another stamp go first, without strace, which is killed
	// under load. target then tells which of the files that it left the fault
	// is for; nil where the fault has no path.
	takeover bool
	target   func(queue string) (string, error)
}

// run is one run of a script.
type run struct {
	*bench
	script
	queue string
	topic string
	load  *drill.Load
	// What came of it.
	trace trace
	// told is how many requests were told that their outcome is unknown, by a
	// process that lived.
	told   int64
	result drill.Result
}

// Limits of a run. Beyond them a process hangs.
const (
	serveLimit = 20 * time.Second
	patience   = 15 * time.Second
)

// calls are the system calls that are looked at.
var calls = []string{"pwrite64", "fdatasync", "fsync", "openat", "mkdirat", "unlinkat", "pread64", "getdents64", "fstatfs", "statfs", "ftruncate"}

// Requests acknowledged before the stamp is stopped, and after the restart.
const (
	enough = 60
	more   = 10
)

// run goes through the script with a fault. An error says that something else
// than the fault went wrong, such as a process that hangs; whether the promise
// held is in the result.
func (b *bench) run(s script) (*run, error) {
	b.runs++
	r := &run{
		bench: b, script: s,
		queue: filepath.Join(b.dir, fmt.Sprintf("queue-%03d", b.runs)), topic: fmt.Sprintf("faults-%03d", b.runs),
	}
	ledger := drill.NewLedger()
	r.load = drill.NewLoad(ledger, drill.LoadOptions{
		Topic: r.topic, Connections: 3, ValueBytes: 1500, Patience: patience, Seed: b.seed + uint64(b.runs),
	})
	ctx := b.t.Context()
	for _, act := range []func(context.Context) error{
		r.killed, r.traced, func(ctx context.Context) error { return r.restarted(ctx, ledger) },
	} {
		if err := act(ctx); err != nil {
			return r, fmt.Errorf("run %d, %v: %w", b.runs, r.inject, err)
		}
	}
	return r, nil
}

// killed runs a stamp under load and kills it, where the script says so.
func (r *run) killed(ctx context.Context) error {
	if !r.takeover {
		return nil
	}
	p, err := r.start(ctx)
	if err != nil {
		return err
	}
	if err = errors.Join(r.acknowledge(ctx, p, enough), p.Kill()); err != nil || r.target == nil {
		return err
	}
	r.inject.path, err = r.target(r.queue)
	return err
}

// acknowledge puts a process under load until so many more requests are
// acknowledged.
func (r *run) acknowledge(ctx context.Context, p *drill.Process, n int64) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	loaded := make(chan error, 1)
	go func() {
		loaded <- r.load.Run(loadCtx, drill.Target{URL: p.Addresses.Gateways["faults"], Ordered: true})
	}()
	before := r.load.Acknowledged()
	err := drill.Until(ctx, serveLimit, "the load is acknowledged", func() (bool, error) {
		return r.load.Acknowledged() >= before+n, nil
	})
	cancel()
	if err = errors.Join(err, <-loaded); err != nil {
		return fmt.Errorf("%w; the log ends:\n%s", err, p.LogTail())
	}
	return nil
}

// start starts a stamp on the run's queue. Segments are small and beats and
// saves frequent, so that a short run has all kinds of calls.
func (r *run) start(ctx context.Context) (*drill.Process, error) {
	args := []string{"stamp"}
	for _, set := range []string{
		"stamp.name=faults", "http.listen=127.0.0.1:0", "admin.listen=127.0.0.1:0", "http.drain_delay=0s",
		"queue.dir=" + r.queue, "queue.unsafe_file_system=true", "queue.segment_bytes=65536", "queue.heartbeat_interval=300ms", "queue.ttl=3s", "queue.takeover_margin=1s",
		"forward.save_interval=100ms", "hub.brokers=" + r.hub.Addresses.Hub,
	} {
		args = append(args, "--set", set)
	}
	return r.binary.Start(ctx, args...)
}

// traced runs a stamp under strace and load until it has acknowledged enough,
// or is gone; then stops it under load.
func (r *run) traced(ctx context.Context) error {
	log := filepath.Join(r.dir, fmt.Sprintf("trace-%03d", r.runs))
	names := calls
	if r.inject != nil {
		names = []string{r.inject.call}
	}
	r.binary.Through = through(r.strace, log, names, r.inject)
	p, err := r.start(ctx)
	r.binary.Through = nil
	if err != nil {
		if !errors.Is(err, drill.ErrEnded) || r.inject == nil {
			return err
		}
		r.trace, err = readTrace(ctx, log, r.queue) // it did not come as far as to listen
		return err
	}
	served := r.serve(ctx, p)
	if r.trace, err = readTrace(ctx, log, r.queue); err != nil {
		return errors.Join(served, err)
	}
	if errors.Is(served, drill.ErrEnded) && r.trace.killed && r.inject != nil && r.inject.kills() {
		return nil
	}
	return served
}

// serve puts a process under load and stops it. ErrEnded: it was gone before.
func (r *run) serve(ctx context.Context, p *drill.Process) error {
	loadCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	target := p.Addresses.Gateways["faults"]
	if r.lie {
		liar := httptest.NewServer(newLiar(target))
		defer liar.Close()
		target = liar.URL
	}
	loaded := make(chan error, 1)
	go func() { loaded <- r.load.Run(loadCtx, drill.Target{URL: target, Ordered: true}) }()
	before, untold := r.load.Acknowledged(), r.load.Unknown()
	err := drill.Until(ctx, serveLimit, "the load is acknowledged", func() (bool, error) {
		select {
		case <-p.Ended():
			return true, nil
		default:
			return r.load.Acknowledged() >= before+enough, nil
		}
	})
	told := r.load.Unknown() - untold
	stopped := p.Stop()
	if !errors.Is(stopped, drill.ErrEnded) {
		r.told = told
	}
	if _, ok := errors.AsType[*exec.ExitError](stopped); ok && r.inject != nil && !errors.Is(stopped, drill.ErrEnded) {
		stopped = nil // the fault hit while it stopped, and it said so
	}
	cancel()
	if err != nil {
		err = fmt.Errorf("%w; the log ends:\n%s", err, p.LogTail())
	}
	return errors.Join(err, stopped, <-loaded)
}

// restarted runs another stamp on what the first one left, without strace, and
// judges what a reader of the hub sees.
func (r *run) restarted(ctx context.Context, ledger *drill.Ledger) error {
	p, err := r.start(ctx)
	if err != nil {
		return err
	}
	if err := r.acknowledge(ctx, p, more); err != nil {
		return errors.Join(err, p.Stop())
	}
	r.result, err = r.binary.Judge(ctx, ledger, p, r.hub.Addresses.Hub, r.topic)
	return errors.Join(err, p.Stop())
}

// newLiar passes requests on, and answers 202 where there is no answer.
func newLiar(target string) http.Handler {
	u, err := url.Parse(target)
	if err != nil {
		panic(err) // an address that a process gave
	}
	proxy := httputil.NewSingleHostReverseProxy(u)
	proxy.ErrorHandler = func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusAccepted) }
	return proxy
}

// lane is what is read of the file of a lane.
type lane struct {
	Lane        string `json:"lane"`
	Predecessor string `json:"predecessor"`
}

// lanes are the lanes of the run's queue.
func (r *run) lanes() ([]lane, error) {
	files, err := filepath.Glob(filepath.Join(r.queue, "lanes", "*", "lane"))
	if err != nil {
		return nil, err
	}
	var lanes []lane
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var l lane
		if err := json.Unmarshal(text, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		lanes = append(lanes, l)
	}
	return lanes, nil
}
